//! Namespaces of other containers that a container joins (`--network container:NAME`, and the same of `--pid` and `--ipc`).
//!
//! Another container has new namespaces each time it starts, and a process id in config.json would come to mean a stranger's. So config.json
//! names a place in /run that is the container's own, where the namespace of the other is mounted: when the bundle is created, and again by
//! [`renew`] before each later start. A network that hooks set up has such a place already, which follows its container by itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::error::During as _;

use super::Error;
use crate::bundle::{Bundle, annotation, name};
use crate::network::state::Networks;
use crate::option::Refused;
use crate::rootfs;

/// The option by which a namespace is joined, for errors, by the name of its file in /proc/PID/ns.
const OPTIONS: [(&str, &str); 3] = [("net", "--network"), ("pid", "--pid"), ("ipc", "--ipc")];

/// What a container joins: the id of another container, by the name of the namespace's file in /proc/PID/ns.
pub type Joins = BTreeMap<String, String>;

/// The path of a joined namespace for config.json; `None` if the user cannot hold one, who is not root.
pub(super) fn path(home: &Home, id: &str, kind: &str, other: &str) -> Result<Option<PathBuf>, Error> {
    if !rootfs::is_root_of_host() {
        return Ok(None);
    }
    let bundle = Bundle::find(&home.bundles(), other)?;
    let networks = Networks::of_host();
    if kind == "net" && bundle.annotation(annotation::NETWORK).is_some() {
        return Ok(Some(networks.place(other).join("netns")));
    }
    Ok(Some(networks.joined().join(id).join(kind)))
}

/// Mounts the namespaces that other containers have now. If one does not run, the container cannot start, and what it had joined before is
/// let go.
pub(super) fn hold(home: &Home, id: &str, bundle: &Path, joins: &Joins) -> Result<(), Error> {
    let held = joins.iter().try_for_each(|(kind, other)| hold_one(home, id, bundle, kind, other));
    if held.is_err() {
        release(id);
    }
    held
}

fn hold_one(home: &Home, id: &str, bundle: &Path, kind: &str, other: &str) -> Result<(), Error> {
    let option = OPTIONS.iter().find(|(name, _)| *name == kind).map_or("--network", |(_, option)| *option);
    let Some(place) = path(home, id, kind, other)? else { return Ok(()) };
    let joined = Bundle::find(&home.bundles(), other)?;
    let stopped = || Refused::new(option, format!("container {} is not running", joined.name()));
    let pid = joined.occupant().ok_or_else(stopped)?;
    let folder = Networks::of_host().joined().join(id);
    if !place.starts_with(&folder) {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).during("create", &folder)?;
    // By it, what a bundle holds whose folder is lost can be let go.
    let owner = folder.join(OWNER);
    fs::write(&owner, bundle.as_os_str().as_encoded_bytes()).during("write", &owner)?;
    rootfs::unmount(&place, true)?;
    File::create(&place).during("create", &place)?;
    rustix::mount::mount_bind(format!("/proc/{pid}/ns/{kind}").as_str(), &place).during("mount", &place)?;
    // The process may have ended before the mount, and another one may have got its id.
    if joined.has_process(pid) { Ok(()) } else { Err(stopped().into()) }
}

const OWNER: &str = "bundle";

/// Lets go of all that a container has joined.
pub(super) fn release(id: &str) {
    let folder = Networks::of_host().joined().join(id);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        // What stays mounted keeps an empty namespace alive until the host is started again.
        let _ = rootfs::unmount(&entry.path(), true);
    }
    let _ = fs::remove_dir_all(&folder);
}

/// Lets go of what a bundle has joined whose folder is lost.
pub(super) fn release_lost(bundle: &Path) {
    for entry in fs::read_dir(Networks::of_host().joined()).into_iter().flatten().flatten() {
        let owned =
            fs::read(entry.path().join(OWNER)).is_ok_and(|owner| owner == bundle.as_os_str().as_encoded_bytes());
        if let (true, Some(id)) = (owned, entry.file_name().to_str()) {
            release(id);
        }
    }
}

/// Does what must be done before each start of a container that joins others.
pub(super) fn renew(home: &Home, bundle: &Bundle) -> Result<(), Error> {
    let joins: Option<Joins> = bundle.annotation(annotation::JOINS).and_then(|json| serde_json::from_str(json).ok());
    let id = bundle.annotation(annotation::ID).filter(|id| name::is_id(id));
    match (joins, id) {
        (Some(joins), Some(id)) => {
            let known =
                |(kind, other): (&String, &String)| OPTIONS.iter().any(|(name, _)| name == kind) && name::is_id(other);
            if joins.iter().all(known) { hold(home, id, bundle.path(), &joins) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}
