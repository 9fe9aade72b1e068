//! The work of the hooks in config.json: they bring the network up before the program starts and take it down when the container is
//! deleted, which with `--rm` also removes the bundle.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image_tool::address::home::Home;
use serde::Deserialize;

use super::{networks, removal};
use crate::bundle::{self, Bundle, annotation, name};
use crate::network;
use crate::network::Plan;
use crate::network::state::Networks;

/// The hook that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `createRuntime`: the namespaces exist, the program has not started.
    Up,
    /// `poststop`: the container is deleted.
    Down,
}

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant but two is another module's error, passed on")]
pub enum Error {
    /// Standard input does not hold the state of a container.
    #[error("container state on standard input")]
    State(#[source] serde_json::Error),
    /// The bundle has no plan for a network.
    #[error("{}: config.json describes no network to set up", .0.display())]
    NoPlan(PathBuf),
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Removal(#[from] removal::Error),
}

/// The part of a container's state that hooks need (runtime-spec runtime.md, "State").
#[derive(Debug, Deserialize)]
struct State {
    #[serde(default)]
    pid: i32,
    bundle: PathBuf,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Does the work of a hook for the container whose `state` the runtime gave.
pub fn run(home: &Home, action: Action, state: &[u8]) -> Result<(), Error> {
    let state: State = serde_json::from_slice(state).map_err(Error::State)?;
    let bundle = match Bundle::open(&state.bundle) {
        Ok(bundle) => bundle,
        // The bundle was deleted before its container: nothing is left to do.
        Err(bundle::Error::NoSuchBundle(_)) if action == Action::Down => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match action {
        Action::Up => up(home, &bundle, state.pid),
        Action::Down => down(home, &bundle, &state.annotations),
    }
}

fn up(home: &Home, bundle: &Bundle, pid: i32) -> Result<(), Error> {
    let missing = || Error::NoPlan(bundle.path().to_owned());
    let id = bundle.annotation(annotation::ID).filter(|id| name::is_id(id)).ok_or_else(missing)?;
    let plan: Plan =
        bundle.annotation(annotation::NETWORK).and_then(|text| serde_json::from_str(text).ok()).ok_or_else(missing)?;
    let plans = plan.all().map(|each| Ok((each, networks::conflist(home, &each.network)?)));
    let plans: Vec<_> = plans.collect::<Result<_, network::Error>>()?;
    Ok(Networks::of_host().up(&networks::newcomer(bundle, id, &bundle.name(), pid), &plans)?)
}

fn down(home: &Home, bundle: &Bundle, annotations: &BTreeMap<String, String>) -> Result<(), Error> {
    // What the runtime says counts: it leaves the annotation out if the container is about to be started again.
    if annotations.get(annotation::RM).is_some_and(|value| value == "true") {
        // By force, since the runtime may still hold mounts.
        return Ok(removal::remove(home, bundle, true, true)?);
    }
    if let Some(id) = bundle.annotation(annotation::ID).filter(|id| name::is_id(id)) {
        Networks::of_host().down(id)?;
    }
    Ok(())
}
