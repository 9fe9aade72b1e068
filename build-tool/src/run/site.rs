//! The site of a build: what its commands have in common, made once: the place where the root file system is mounted, the mount
//! points that every command needs, and its files in /etc.
//!
//! Each command mounts in a namespace of its own, so all of them can mount at one place at the same time. A file system
//! takes longer to make and remove a dozen small files than overlayfs to mount.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::error::{During, Io};

use super::network::Network;
use super::place::{FILES, places, stub};
use super::runtime::Program;
use super::sandbox::{self, Sandbox};
use crate::cache::folder::Folder;

/// A folder, removed when the value is dropped, and the program that runs the commands.
#[derive(Debug)]
pub struct Site {
    folder: Folder,
    runtime: Program,
}

impl Site {
    /// Makes the folder below `builds`. `runtime` is the program that the caller wants.
    pub fn new(builds: &Path, sandbox: &Sandbox, runtime: Option<PathBuf>) -> Result<Self, Io> {
        let folder = Folder::new(builds)?;
        for name in ["rootfs", "stubs", "host", "none"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).during("create", &path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755)).during("chmod", &path)?;
        }
        let runtime = Program::new(runtime, &folder.path().join("stubs"));
        let site = Self { folder, runtime };
        for place in places() {
            stub(&site.stubs(), &place.relative(), place.is_file)?;
        }
        write(&site.folder.path().join("host"), Network::Host, sandbox)?;
        write(&site.folder.path().join("none"), Network::None, sandbox)?;
        Ok(site)
    }

    /// The OCI runtime.
    pub(super) fn runtime(&self) -> &Program {
        &self.runtime
    }

    /// The directory to mount root file systems at.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    /// A layer of empty mount points.
    pub(super) fn stubs(&self) -> PathBuf {
        self.folder.path().join("stubs")
    }

    /// The folder of a network's files. Those of a bridge are changed by its hook while the command runs, so they are
    /// written into the folder of the command.
    pub(super) fn files(&self, network: Network, own: &Path, sandbox: &Sandbox) -> Result<PathBuf, Io> {
        match network {
            Network::Host => Ok(self.folder.path().join("host")),
            Network::None => Ok(self.folder.path().join("none")),
            Network::Bridge => {
                write(own, network, sandbox)?;
                Ok(own.to_owned())
            }
        }
    }
}

fn write(folder: &Path, network: Network, sandbox: &Sandbox) -> Result<(), Io> {
    let texts = [sandbox::resolv_conf_file(network), sandbox.hosts_file(network)];
    for ((name, _), text) in FILES.iter().zip(texts) {
        let path = folder.join(name);
        fs::write(&path, text).during("write", &path)?;
        // Every user of the container may read it, whatever the caller's umask is.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).during("chmod", &path)?;
    }
    Ok(())
}
