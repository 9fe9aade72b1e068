//! `SOURCE_DATE_EPOCH`: a number of seconds, or the name of what has the time.
//!
//! The value comes from `--build-arg` or the environment, else from an ARG before the first FROM. It may be `context`, a context
//! with a name, or a stage that does nothing but ADD one remote source (BuildKit's rules). A folder has no time: then the build is
//! as one without the argument.

use std::collections::BTreeMap;

use image_tool::address::home::Home;

use crate::dockerfile::Problem;
use crate::dockerfile::expand::{self, Quoting};
use crate::dockerfile::instruction::{Argument, Copy, Instruction};
use crate::dockerfile::plan::{Base, Plan, Stage, full_name};
use crate::source::access::Access;
use crate::source::archive;
use crate::source::context::{self, Context};
use crate::source::download;
use crate::source::git;
use crate::source::named::Named;
use crate::step::session::Options;

/// The argument's name.
const NAME: &str = "SOURCE_DATE_EPOCH";

/// Why the time is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value is neither a number nor the name of something that has a time.
    #[error("{0:?} is not a number of seconds, `context`, or the name of a context or a stage")]
    Value(String),
    /// The stage is not of the kind that has a time.
    #[error("the stage {name} {reason}")]
    Stage {
        /// The stage's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A word of the stage cannot be expanded.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The context cannot be opened.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// The address of the repository is wrong.
    #[error(transparent)]
    Address(#[from] git::BadAddress),
    /// The repository cannot be fetched.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The URL cannot be fetched.
    #[error(transparent)]
    Download(#[from] download::Error),
    /// What was fetched cannot be read.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// What may have a time.
pub(super) struct Sources<'a> {
    pub(super) context: &'a Context,
    pub(super) contexts: &'a Named,
    pub(super) access: &'a Access,
    pub(super) home: &'a Home,
}

/// The values of arguments before the first FROM and of predefined ones.
struct Globals<'a> {
    plan: &'a Plan,
    given: &'a BTreeMap<String, String>,
    predefined: &'a dyn Fn(&str) -> Option<String>,
}

/// The options with the epoch in them. The argument has the number wherever it is seen from now on, or is not set.
pub(super) fn settle(
    options: &Options,
    plan: &mut Plan,
    sources: &Sources<'_>,
    predefined: &dyn Fn(&str) -> Option<String>,
) -> Result<Options, Error> {
    let mut options = options.clone();
    let global = plan.globals.iter().rev().find(|(name, _)| name == NAME).and_then(|(_, value)| value.clone());
    let Some(value) = options.arguments.get(NAME).cloned().or(global) else { return Ok(options) };
    options.epoch = resolve(&value, &Globals { plan, given: &options.arguments, predefined }, sources)?;
    let text = options.epoch.map(|seconds| seconds.to_string());
    match &text {
        Some(text) => drop(options.arguments.insert(NAME.to_owned(), text.clone())),
        None => drop(options.arguments.remove(NAME)),
    }
    for (_, value) in plan.globals.iter_mut().filter(|(name, _)| name == NAME) {
        value.clone_from(&text);
    }
    Ok(options)
}

fn resolve(value: &str, globals: &Globals<'_>, sources: &Sources<'_>) -> Result<Option<i64>, Error> {
    let Globals { plan, given, .. } = globals;
    if value.is_empty() {
        return Ok(None);
    }
    if let Ok(seconds) = value.parse() {
        return Ok(Some(seconds));
    }
    if value == "context" {
        return Ok(sources.context.time()?);
    }
    if let Some(place) = sources.contexts.place(value) {
        // An image has no time of its own.
        let tree = place.is_tree().then(|| sources.contexts.tree(value, sources.access, sources.home)).transpose()?;
        return Ok(tree.map(context::Tree::time).transpose()?.flatten());
    }
    let stage =
        plan.stages.iter().find(|stage| stage.name.as_ref().is_some_and(|name| full_name(name) == full_name(value)));
    let Some(stage) = stage else { return Err(Error::Value(value.to_owned())) };
    let add = source_of(stage).map_err(|reason| Error::Stage { name: value.to_owned(), reason })?;
    let mut variables: BTreeMap<String, String> = plan
        .globals
        .iter()
        .filter(|(name, _)| name != NAME)
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    for step in &stage.steps {
        let Instruction::Arg(declared) = &step.instruction else { continue };
        for Argument { name, default } in declared {
            let value = match (given.get(name), default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => globals.word(default, &variables)?,
                (None, None) => continue,
            };
            variables.insert(name.clone(), value);
        }
    }
    let checksum = add.checksum.as_deref().map(|text| globals.word(text, &variables)).transpose()?;
    let source = globals.word(&add.sources[0], &variables)?;
    remote_time(&source, checksum, sources)?
        .ok_or(Error::Stage { name: value.to_owned(), reason: "adds neither a URL nor a git repository" })
}

/// The only ADD of a stage that does nothing else.
fn source_of(stage: &Stage) -> Result<&Copy, &'static str> {
    if stage.base != Base::Scratch {
        return Err("does not begin FROM scratch");
    }
    let mut found = None;
    for step in &stage.steps {
        match &step.instruction {
            Instruction::Arg(_) => {}
            Instruction::Add(copy) if found.is_none() && copy.sources.len() == 1 && copy.heredocs.is_empty() => {
                found = Some(copy);
            }
            Instruction::Add(_) => return Err("adds more than one source"),
            _ => return Err("does more than ADD"),
        }
    }
    found.ok_or("adds nothing")
}

impl Globals<'_> {
    fn word(&self, text: &str, variables: &BTreeMap<String, String>) -> Result<String, Problem> {
        let lookup = |name: &str| variables.get(name).cloned().or_else(|| (self.predefined)(name));
        expand::word(text, self.plan.escape, Quoting::Strip, &lookup)
    }
}

/// The time of a remote source; `Some(None)` if it has none, `None` if it is not remote.
fn remote_time(source: &str, checksum: Option<String>, sources: &Sources<'_>) -> Result<Option<Option<i64>>, Error> {
    let builds = sources.home.builds();
    let folder =
        || std::fs::create_dir_all(&builds).map_err(|error| image_tool::error::Io::new("create", &builds, error));
    if let Some(mut address) = git::Address::parse(source)?.filter(|address| !address.like_path) {
        folder()?;
        address.checksum = checksum.or(address.checksum);
        address.submodules = false;
        let pin = git::resolve(&address, sources.access, &builds)?;
        return Ok(Some(Some(pin.checkout(false, sources.access, &builds)?.committed)));
    }
    if !download::is_url(source) {
        return Ok(None);
    }
    folder()?;
    let remote = download::Remote::new(source, checksum.as_deref(), sources.access, &builds)?;
    let fetched = remote.get()?;
    if fetched.modified.is_some() {
        return Ok(Some(fetched.modified));
    }
    let newest = archive::newest(&fetched.file);
    Ok(Some(newest.map_err(|error| image_tool::error::Io::new("read", download::shown(source), error))?))
}
