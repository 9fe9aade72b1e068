//! docker's `Mounts` of a container, read from the mounts of its config.json.

use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::show::template::{Struct, Value};

use super::words::Words;
use crate::config;
use crate::container::status::{Container, Mount};
use crate::volume::Store;

/// What every container has.
const OWN: [&str; 12] = [
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/sys",
    "/sys/fs/cgroup",
    "/etc/resolv.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/dev/console",
    config::INIT,
];

/// A mount that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: &'static str,
    /// The name of a volume; empty for others.
    pub name: String,
    /// The path on the host; empty for a tmpfs.
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// Whether the container may write to it.
    pub writable: bool,
    propagation: String,
}

/// The mounts that the user or the image asked for, by destination. Those of `--tmpfs` are not among them, as in docker.
#[must_use]
pub fn attached(container: &Container, home: &Home, words: &Words) -> Vec<Attached> {
    let store = home.volumes();
    let store = std::path::absolute(&store).unwrap_or(store);
    let is_plain_tmpfs = |mount: &Mount| {
        let path = |text: &String| text.split(':').next().unwrap_or_default() == mount.destination;
        mount.kind == "tmpfs" && words.all("tmpfs").iter().any(path)
    };
    let bundle = container.bundle().map(Path::to_owned).unwrap_or_default();
    let is_own = |mount: &Mount| {
        // What is mounted over one of docker's files comes from the bundle, unless the user gave another.
        OWN.contains(&mount.destination.as_str())
            && (mount.kind != "bind"
                || Path::new(&mount.source).starts_with(&bundle)
                || !mount.source.starts_with('/')
                || mount.destination == config::INIT
                || mount.source == "/dev/shm"
                || mount.source == "/sys/fs/cgroup"
                || mount.source == "/proc"
                || mount.source == "/sys"
                || mount.source == "/dev/mqueue")
    };
    let mounts = container.mounts().iter().filter(|mount| !is_own(mount) && !is_plain_tmpfs(mount));
    let mut all: Vec<Attached> = mounts.map(|mount| Attached::of(mount, &store)).collect();
    all.sort_by(|one, other| one.destination.cmp(&other.destination));
    all
}

impl Attached {
    fn of(mount: &Mount, store: &Path) -> Self {
        let has = |option: &str| mount.options.iter().any(|own| own == option);
        let propagation =
            ["rprivate", "private", "rshared", "shared", "rslave", "slave"].into_iter().find(|kind| has(kind));
        let volume = Store::new(PathBuf::from(store));
        let name = volume.containing(Path::new(&mount.source)).map(|(name, _)| name.to_owned());
        let kind = match (&name, mount.kind.as_str()) {
            (_, "tmpfs") => "tmpfs",
            (Some(_), _) => "volume",
            (None, _) => "bind",
        };
        Self {
            kind,
            name: name.unwrap_or_default(),
            source: if kind == "tmpfs" { String::new() } else { mount.source.clone() },
            destination: mount.destination.clone(),
            writable: !has("ro"),
            propagation: if kind == "bind" { propagation.unwrap_or_default().to_owned() } else { String::new() },
        }
    }

    /// The text of docker ps: the name, or the path on the host.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.name.is_empty() { &self.source } else { &self.name }
    }

    /// docker's document.
    #[must_use]
    pub fn document(&self, words: &Words) -> Value {
        let named = !self.name.is_empty();
        let kind = Struct::new("types.MountPoint").with("Type", self.kind);
        let kind = if named { kind.with("Name", &self.name) } else { kind.hidden("Name", "") };
        let kind = kind.with("Source", &self.source).with("Destination", &self.destination);
        let kind = if named { kind.with("Driver", "local") } else { kind.hidden("Driver", "") };
        kind.with("Mode", self.mode(words)).with("RW", self.writable).with("Propagation", &self.propagation).into()
    }

    /// The mode of the `-v` that asked for it. docker adds `z` to that of a named volume.
    fn mode(&self, words: &Words) -> String {
        let mine = words.all("volume").iter().find_map(|text| {
            let parts: Vec<&str> = text.split(':').collect();
            match parts[..] {
                [_, target] if target.trim_end_matches('/') == self.destination => Some(String::new()),
                [_, target, mode] if target.trim_end_matches('/') == self.destination => Some(mode.to_owned()),
                _ => None,
            }
        });
        match mine {
            Some(mode) if mode.is_empty() && self.kind == "volume" => "z".into(),
            Some(mode) => mode,
            None => String::new(),
        }
    }
}
