//! The device nodes to be created for a container.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::FileType;

use crate::cgroup::device::DEFAULT;
use crate::kernel::beneath;

/// A device node to be created.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(super) path: PathBuf,
    pub(super) kind: FileType,
    pub(super) number: u64,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Node {
    /// Its path in the container.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The nodes of a container: those in `linux.devices`, then the default ones that are not among them.
pub(crate) fn nodes(devices: &[LinuxDevice]) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for device in devices {
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => bail!("invalid device type \"a\""),
        };
        let number = |number: i64| u32::try_from(number).context("device number");
        let number = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(number(device.major())?, number(device.minor())?),
        };
        nodes.push(Node {
            path: beneath::clean(device.path()),
            kind,
            number,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    for (path, major, minor) in DEFAULT {
        if !nodes.iter().any(|node| node.path == Path::new(path)) {
            let number = rustix::fs::makedev(major, minor);
            nodes.push(Node {
                path: path.into(),
                kind: FileType::CharacterDevice,
                number,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    Ok(nodes)
}
