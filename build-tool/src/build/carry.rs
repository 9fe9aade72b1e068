//! Steps from other machines and for them: `--cache-from` and `--cache-to`.
//!
//! A folder is a layout with the steps under one name. A registry gets and gives the same, by registry-tool and a layout that
//! vanishes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};

use image_tool::address::{self, Address};
use image_tool::layout::{self, Layout};

use super::export::Finished;
use super::output::{CacheExport, CachePlace};
use crate::cache::exchange;
use crate::progress::{Show, Task};
use crate::stage::base::{report_on, sibling};
use crate::step::chain;
use crate::step::session::Session;

/// The name of the steps in a layout.
const NAME: &str = "cache";

/// Why steps cannot be carried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The steps cannot be read or written.
    #[error("cache {place}")]
    Exchange {
        /// The folder or repository.
        place: String,
        /// Why.
        source: exchange::Error,
    },
    /// The folder's name cannot be in an address.
    #[error("cache {place}")]
    Name {
        /// The folder.
        place: String,
        /// Why.
        source: address::Error,
    },
    /// registry-tool cannot be started.
    #[error("start registry-tool for the cache {place} (install it beside build-tool or in PATH)")]
    NoTool {
        /// The repository.
        place: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// registry-tool failed, and has written why.
    #[error("registry-tool {verb} {place}: {status}")]
    Registry {
        /// `pull` or `push`.
        verb: &'static str,
        /// The repository.
        place: String,
        /// Its exit status.
        status: ExitStatus,
    },
    /// A folder of this machine cannot be used.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// Takes the steps of a place. If there are none, the build goes on without.
pub(super) fn import(session: &Session<'_>, place: &CachePlace) {
    let task = session.progress.start(format!("importing cache from {}", name(place)));
    let taken = || -> Result<usize, Error> {
        match place {
            CachePlace::Folder(path) => take(session, path, place),
            CachePlace::Registry(reference) => {
                let folder = session.folder()?;
                let path = folder.path().join("layout");
                let address = address(&path, place)?.to_string();
                registry(session, &task, "pull", &[reference, &address], reference)?;
                take(session, &path, place)
            }
        }
    };
    match taken() {
        Ok(count) => {
            task.note(&format!("{count} steps"));
            task.done();
        }
        Err(error) => task.failed(&chain(&error)),
    }
}

fn take(session: &Session<'_>, path: &Path, place: &CachePlace) -> Result<usize, Error> {
    let failed = |source| Error::Exchange { place: name(place), source };
    exchange::import(&session.cache, &address(path, place)?).map_err(failed)
}

/// Stores the steps of a build at a place.
pub(super) fn export(session: &Session<'_>, finished: &[Finished], order: &CacheExport) -> Result<(), Error> {
    let task = session.progress.start(format!("exporting cache to {}", name(&order.place)));
    let layers = finished.iter().flat_map(|each| &each.built.draft.layers);
    let layers: BTreeSet<String> = layers.map(|layer| layer.descriptor.digest().to_string()).collect();
    let layers = (!order.all).then_some(&layers);
    let place = &order.place;
    let write = |path: &Path| -> Result<usize, Error> {
        let failed = |source| Error::Exchange { place: name(place), source };
        let layout = Layout::create(path).map_err(|error: layout::Error| failed(error.into()))?;
        let name = NAME.parse().expect("it is a valid ref");
        exchange::export(&session.cache, &layout, &name, layers).map_err(failed)
    };
    let stored = || -> Result<usize, Error> {
        match place {
            CachePlace::Folder(path) => write(path),
            CachePlace::Registry(reference) => {
                let folder = session.folder()?;
                let path = folder.path().join("layout");
                let count = write(&path)?;
                let address = address(&path, place)?.to_string();
                registry(session, &task, "push", &[&address, reference], reference)?;
                Ok(count)
            }
        }
    };
    match stored() {
        Ok(count) => {
            task.note(&format!("{count} steps"));
            task.done();
            Ok(())
        }
        Err(error) => {
            task.failed(&chain(&error));
            if order.optional { Ok(()) } else { Err(error) }
        }
    }
}

fn name(place: &CachePlace) -> String {
    match place {
        CachePlace::Registry(reference) => reference.clone(),
        CachePlace::Folder(path) => path.display().to_string(),
    }
}

/// The address of the steps in a layout.
fn address(path: &Path, place: &CachePlace) -> Result<Address, Error> {
    let name = NAME.parse().expect("it is a valid ref");
    let failed = |source| Error::Name { place: self::name(place), source };
    Address::new(&path.display().to_string(), Some(name), None).map_err(failed)
}

fn registry(
    session: &Session<'_>,
    task: &Task<'_>,
    verb: &'static str,
    operands: &[&str],
    place: &str,
) -> Result<(), Error> {
    let report: &dyn Fn(&str) = &|line| task.note(line);
    let report = (session.options.show != Show::Quiet).then_some(report);
    let mut command = Command::new(sibling("registry-tool"));
    command.arg(verb).args(report.is_none().then_some("--quiet")).args(operands);
    let place = place.to_owned();
    match report_on(&mut command, report) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Registry { verb, place, status }),
        Err(source) => Err(Error::NoTool { place, source }),
    }
}
