//! The layer with the mount points that every container of an image needs and the image lacks: made once, beside the image.
//!
//! A container with other mount points has a layer of its own instead: how many of these there will be is for users to say, and
//! nothing removes them before the image.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use image_tool::address::digest;
use image_tool::beneath::{Root, Unfinished};
use image_tool::error::During as _;
use image_tool::layer::stack::Stack;
use oci_spec::runtime::Mount;

use super::Error;
use super::mount_point::{self, Ground};
use crate::config;

/// Where every container may have a mount, whatever its options.
const USUAL: [&str; 7] = ["/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts", config::INIT];

/// How the names of layers begin that are not complete.
const TEMPORARY: &str = ".init-";

/// What the content of a layer depends on, beside the mounts and the image.
const FORMAT: &str = "init 1\n";

/// Whether the layer for all has every mount point that the image lacks.
pub(super) fn suffices(image: &Root, mounts: &[Mount]) -> Result<bool, Error> {
    for mount in mount_point::uncovered(mounts).filter(|mount| !is_usual(mount)) {
        if !mount_point::exists(image, mount.destination())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The layer for all containers whose mounts are these; `None` if the image's layers are several directories, which others may be
/// put on.
pub(super) fn layer(stack: &Stack, image: &Root, mounts: &[Mount]) -> Result<Option<PathBuf>, Error> {
    let Some(folder) = stack.init_layers() else { return Ok(None) };
    let usual: Vec<Mount> = mount_point::uncovered(mounts).filter(|mount| is_usual(mount)).cloned().collect();
    let lines = usual.iter().map(|mount| {
        let kind = if mount_point::is_file(mount) { "file" } else { "folder" };
        format!("{kind} {}\n", mount.destination().display())
    });
    let key = digest::sha256(format!("{FORMAT}{}", lines.collect::<String>()).as_bytes());
    let path = folder.join(key.digest());
    if path.is_dir() {
        return Ok(Some(path));
    }
    fs::create_dir_all(&folder).during("create", &folder)?;
    Unfinished::sweep(&folder, TEMPORARY);
    let unfinished = Unfinished::create(&folder, TEMPORARY, 0o755)?;
    fill(unfinished.path(), image, &usual)?;
    match unfinished.finish(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        // Another container may have been faster.
        _ => Ok(Some(path)),
    }
}

/// Makes in an empty folder what the image lacks for these mounts, and docker's own files.
pub(super) fn fill(folder: &Path, image: &Root, mounts: &[Mount]) -> Result<(), Error> {
    let layer = Root::open(folder)?;
    let ground = Ground::layer(image, &layer);
    ground.make(mounts)?;
    ground.furnish()?;
    Ok(())
}

fn is_usual(mount: &Mount) -> bool {
    USUAL.iter().any(|usual| mount.destination() == Path::new(usual))
}
