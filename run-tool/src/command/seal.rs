//! Protection of run-tool's own binary from the container (CVE-2019-5736).
//!
//! A process of the container can open the binary of any program that runs inside it through `/proc/PID/exe`, even run-tool's
//! binary on the host, and could write to it. So before anything enters a container, run-tool executes itself again from a
//! detached overlay without an upper layer. Such a file system cannot be written to, whatever happens to its mount flags. If the
//! overlay cannot be made, run-tool executes a sealed copy in memory instead.
//!
//! On x86-64, `entry` has already done so by an overlay if that is possible, with a fraction of the work.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::container::hook::MARK;
use crate::kernel::error::Fails;
use crate::kernel::{log, syscall};

const EXE: &str = "/proc/self/exe";
const OVERLAY: &str = "overlay";
/// The lower layer that an overlay needs beside the binary's folder. Nothing is looked up in it.
const OTHER_LAYER: &str = "/run";

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Whether this process runs from a binary that nobody can write to.
fn is_sealed() -> Result<bool> {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    const ST_RDONLY: i64 = 1;
    let exe = rustix::fs::open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).fails(|| EXE)?;
    let statfs = rustix::fs::fstatfs(&exe).fails(|| EXE)?;
    let overlay = statfs.f_type == OVERLAYFS_SUPER_MAGIC && statfs.f_flags as i64 & ST_RDONLY != 0;
    // An installed binary may also lie on a read-only overlay, which can be remounted. So the environment must confirm ours.
    if overlay && std::env::var_os(MARK).is_some_and(|value| value == OVERLAY) {
        return Ok(true);
    }
    let readable = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| EXE)?;
    // EINVAL: not a memfd.
    Ok(rustix::fs::fcntl_get_seals(&readable).is_ok_and(|found| found.contains(seals())))
}

/// Makes sure that this process runs from a sealed binary: unless it does, it executes itself again from one.
pub(crate) fn ensure() -> Result<()> {
    if is_sealed()? {
        report();
        return Ok(());
    }
    let again = std::env::var_os(MARK).is_some();
    let overlaid = if again { None } else { overlaid().ok() };
    let (file, kind) = match overlaid {
        Some(file) => (file, OVERLAY),
        None => (copied()?, "memory"),
    };
    let string = |string: OsString| CString::new(string.into_vec()).expect("arguments come from C strings");
    let arguments: Vec<CString> = std::env::args_os().map(string).collect();
    let mut environment: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| name != MARK)
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            string(name)
        })
        .collect();
    environment.push(CString::new(format!("{MARK}={kind}")).expect("no NUL"));
    let error = syscall::execve_file(file.as_fd(), &arguments, &environment);
    Err(error).context("executing a sealed copy of run-tool")
}

/// Tells the log how this process was sealed. runc's tests look for these messages.
fn report() {
    log::debug(|| "runc exeseal: using /proc/self/exe clone".to_owned());
    if std::env::var_os(MARK).is_some_and(|value| value == OVERLAY) {
        log::debug(|| "runc exeseal: using overlayfs for sealed /proc/self/exe".to_owned());
    }
}

/// Opens the binary in an overlay of its folder, as `entry` does.
fn overlaid() -> Result<OwnedFd> {
    let exe = fs::read_link(EXE).fails(|| EXE)?;
    let (Some(folder), Some(name)) = (exe.parent(), exe.file_name()) else {
        bail!("{}: not the path of a file", exe.display())
    };
    let mut layers = Vec::new();
    for layer in [folder, Path::new(OTHER_LAYER)] {
        if !layers.is_empty() {
            layers.push(b':');
        }
        for byte in layer.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\') {
                layers.push(b'\\');
            }
            layers.push(*byte);
        }
    }
    let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).fails(|| "fsopen overlay")?;
    rustix::mount::fsconfig_set_string(overlay.as_fd(), "lowerdir", layers).fails(|| "fsconfig lowerdir")?;
    // Without this the kernel logs a useless warning when the layers are on different file systems.
    let _ = rustix::mount::fsconfig_set_string(overlay.as_fd(), "xino", "off");
    rustix::mount::fsconfig_create(overlay.as_fd()).fails(|| "fsconfig create overlay")?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount =
        rustix::mount::fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).fails(|| "fsmount")?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, name, flags, Mode::empty()).fails(|| "open in the overlay")?;
    // The overlay lacks files that are mounted over names in the folder; some packages replace a runtime that way.
    let (found, wanted) = (rustix::fs::fstat(&file).fails(|| "fstat")?, rustix::fs::stat(EXE).fails(|| EXE)?);
    if (found.st_ino, found.st_size, found.st_mtime) != (wanted.st_ino, wanted.st_size, wanted.st_mtime) {
        bail!("{}: another file is mounted over it", exe.display());
    }
    Ok(file)
}

/// Copies the binary to a memfd and seals it.
fn copied() -> Result<OwnedFd> {
    let create = |flags| rustix::fs::memfd_create("run-tool", flags);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Old kernels reject MFD_EXEC. New ones can be configured to require it (vm.memfd_noexec).
    let memory = create(flags | MemfdFlags::EXEC).or_else(|_| create(flags)).fails(|| "memfd_create")?;
    let mut memory = File::from(memory);
    let mut exe = File::open(EXE).fails(|| EXE)?;
    std::io::copy(&mut exe, &mut memory).fails(|| "copy of run-tool")?;
    patiently(|| rustix::fs::fcntl_add_seals(&memory, seals())).fails(|| "fcntl(F_ADD_SEALS)")?;
    Ok(memory.into())
}

/// Seals, and tries again for a while on EBUSY: on a busy host the kernel may hold pages that were just copied.
fn patiently(mut seal: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    for _ in 0..20 {
        match seal() {
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
    seal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_waits_for_busy_pages() {
        let mut left = 3;
        let seal = || {
            left -= 1;
            if left > 0 { Err(rustix::io::Errno::BUSY) } else { Ok(()) }
        };
        assert_eq!(patiently(seal), Ok(()));
        assert_eq!(patiently(|| Err(rustix::io::Errno::BUSY)), Err(rustix::io::Errno::BUSY));
        assert_eq!(patiently(|| Err(rustix::io::Errno::PERM)), Err(rustix::io::Errno::PERM));
    }
}
