//! A writable layer of limited size (`--storage-opt size=`): a file system of its own, in a file of the bundle.
//!
//! A project quota needs a file system that was made and mounted for it; docker has it on xfs alone. A file is possible on all, takes no more
//! space than what is written, and goes with the bundle. mkfs.ext4(8) and mount(8) make and mount it. The loop device detaches itself when
//! the file system is unmounted, or when mount(8) is killed before that.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bundle;
use crate::option::Refused;
use crate::rootfs;

/// Makes a file system of `size` bytes in the bundle's folder, and mounts it for the writable layer.
pub(super) fn make(folder: &Path, size: u64) -> Result<(), Refused> {
    if !rootfs::is_root_of_host() {
        return Err(refused("needs root, as it is a file system of its own"));
    }
    let file = folder.join(bundle::SIZED);
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    created.and_then(|new| new.set_len(size)).map_err(|error| refused(format!("{}: {error}", file.display())))?;
    // Nothing is reserved or zeroed: the file is as large as what is written.
    let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"];
    run(Command::new("mkfs.ext4").args(options).arg(&file), "e2fsprogs")?;
    mount(folder)
}

/// Mounts the file system of a bundle's writable layer, if it has one of its own that is not mounted, for example after a reboot.
pub(super) fn mount(folder: &Path) -> Result<(), Refused> {
    let (file, target) = (folder.join(bundle::SIZED), bundle::writable(folder));
    if target == folder || rootfs::is_mounted(&target) {
        return Ok(());
    }
    match DirBuilder::new().mode(0o700).create(&target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refused(format!("{}: {error}", target.display())));
        }
        _ => {}
    }
    run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&file).arg(&target), "mount")
}

/// Runs a program of a Debian package to its end.
fn run(command: &mut Command, package: &str) -> Result<(), Refused> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refused(format!("{program}: not found (apt install {package})")),
        _ => refused(format!("{program}: {error}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("failed without a message");
    let line = line.strip_prefix(&format!("{program}: ")).unwrap_or(line);
    Err(refused(format!("{program}: {line}")))
}

fn refused(reason: impl Into<String>) -> Refused {
    Refused::new("--storage-opt size", reason)
}
