//! run-tool's own file, out of the container's reach (CVE-2019-5736).
//!
//! A process of the container can reach the file of any program that runs inside it through `/proc/PID/exe`, even run-tool's
//! on the host, and could write to it there. So before anything enters a container, run-tool executes itself again from an
//! overlay of lower layers only, attached nowhere: a file system that knows no writing, whatever becomes of the flags of its
//! mount. Where it cannot be made, from a sealed copy in memory.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::kernel::error::Fails;
use crate::kernel::{log, syscall};

const EXE: &str = "/proc/self/exe";
const MARK: &str = "_RUN_TOOL_SEALED";
const OVERLAY: &str = "overlay";

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Whether nobody can write to the file of this process.
fn is_sealed() -> Result<bool> {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    const ST_RDONLY: i64 = 1;
    let exe = rustix::fs::open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).fails(|| EXE)?;
    let statfs = rustix::fs::fstatfs(&exe).fails(|| EXE)?;
    let overlay = statfs.f_type == OVERLAYFS_SUPER_MAGIC && statfs.f_flags as i64 & ST_RDONLY != 0;
    // The tool may lie on some overlay of the system's that is only mounted read-only.
    if overlay && std::env::var_os(MARK).is_some_and(|value| value == OVERLAY) {
        return Ok(true);
    }
    let readable = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| EXE)?;
    // EINVAL: no file in memory.
    Ok(rustix::fs::fcntl_get_seals(&readable).is_ok_and(|found| found.contains(seals())))
}

/// Goes on from a sealed file. Returns only in the process that runs from one. `root` is the folder of the containers' states.
pub(crate) fn ensure(root: &Path) -> Result<()> {
    if is_sealed()? {
        // The words that runc's tests look for.
        log::debug(|| "runc exeseal: using /proc/self/exe clone".to_owned());
        return Ok(());
    }
    let again = std::env::var_os(MARK).is_some();
    let overlaid =
        if again { None } else { overlaid(root).inspect_err(|error| log::debug(|| format!("{error:#}"))).ok() };
    let (file, kind) = match overlaid {
        Some(file) => {
            log::debug(|| "runc exeseal: using overlayfs for sealed /proc/self/exe".to_owned());
            (file, OVERLAY)
        }
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
    let error = syscall::execveat(file.as_fd(), &arguments, &environment);
    Err(error).context("executing a sealed copy of run-tool")
}

/// The file in an overlay of its folder. An overlay without an upper layer has two lower ones: `root` is the other, if it is
/// there. It is not made for this: a command that fails leaves no folder behind.
fn overlaid(root: &Path) -> Result<OwnedFd> {
    let exe = fs::read_link(EXE).fails(|| EXE)?;
    let (Some(folder), Some(name)) = (exe.parent(), exe.file_name()) else { bail!("{}: no file", exe.display()) };
    let mut layers = Vec::new();
    for layer in [folder, root] {
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
    // Not needed, and what the kernel says about it when the layers are of two file systems is noise in its log.
    let _ = rustix::mount::fsconfig_set_string(overlay.as_fd(), "xino", "off");
    rustix::mount::fsconfig_create(overlay.as_fd()).fails(|| "fsconfig create overlay")?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount =
        rustix::mount::fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).fails(|| "fsmount")?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, name, flags, Mode::empty()).fails(|| "open in the overlay")?;
    // What is mounted over the file's name, as packagers do to replace a runtime, is not in the overlay.
    let (found, wanted) = (rustix::fs::fstat(&file).fails(|| "fstat")?, rustix::fs::stat(EXE).fails(|| EXE)?);
    if (found.st_ino, found.st_size, found.st_mtime) != (wanted.st_ino, wanted.st_size, wanted.st_mtime) {
        bail!("{}: another file is mounted there", exe.display());
    }
    Ok(file)
}

/// A copy in memory that nobody can change.
fn copied() -> Result<OwnedFd> {
    let create = |flags| rustix::fs::memfd_create("run-tool", flags);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Old kernels refuse the flag that new ones, strictly set up, demand.
    let memory = create(flags | MemfdFlags::EXEC).or_else(|_| create(flags)).fails(|| "memfd_create")?;
    let mut memory = File::from(memory);
    let mut exe = File::open(EXE).fails(|| EXE)?;
    std::io::copy(&mut exe, &mut memory).fails(|| "copy of run-tool")?;
    patiently(|| rustix::fs::fcntl_add_seals(&memory, seals())).fails(|| "fcntl(F_ADD_SEALS)")?;
    Ok(memory.into())
}

/// On a busy host the kernel may hold on to pages that were just copied for longer than it waits for them itself.
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
    fn pages_that_are_still_busy_are_waited_for() {
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
