//! run-tool's own file, out of the container's reach (CVE-2019-5736).
//!
//! A process of the container can reach the file of any program that runs inside it through `/proc/PID/exe`, even run-tool's
//! on the host, and could write to it there. So before anything enters a container, run-tool executes itself again from a
//! mount of its own file that is read-only and attached nowhere; where such a mount cannot be made, from a sealed copy in
//! memory.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::Fails;
use crate::log;
use crate::syscall::{self, MountAttributes};

const EXE: &str = "/proc/self/exe";
const MARK: &str = "_RUN_TOOL_SEALED";

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Whether nobody can write to the file of this process.
fn is_sealed() -> Result<bool> {
    const ST_RDONLY: i64 = 1;
    let exe = rustix::fs::open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).fails(|| EXE)?;
    let statfs = rustix::fs::fstatfs(&exe).fails(|| EXE)?;
    if statfs.f_flags as i64 & ST_RDONLY != 0 {
        return Ok(true);
    }
    let readable = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| EXE)?;
    // EINVAL: no file in memory.
    Ok(rustix::fs::fcntl_get_seals(&readable).is_ok_and(|found| found.contains(seals())))
}

/// Goes on from a sealed file. Returns only in the process that runs from one.
pub(crate) fn ensure() -> Result<()> {
    if is_sealed()? {
        // The words that runc's tests look for.
        log::debug(|| "runc exeseal: using /proc/self/exe clone".to_owned());
        return Ok(());
    }
    let again = std::env::var_os(MARK).is_some();
    let file = if again { copied()? } else { mounted().or_else(|_| copied())? };
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
    environment.push(CString::new(format!("{MARK}=1")).expect("no NUL"));
    let error = syscall::execveat(file.as_fd(), &arguments, &environment);
    Err(error).context("executing a sealed copy of run-tool")
}

/// A read-only mount of the file alone.
fn mounted() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, EXE, flags).fails(|| "open_tree")?;
    syscall::mount_setattr(tree.as_fd(), false, &MountAttributes { set: 1, ..MountAttributes::default() })
        .fails(|| "mount_setattr")?;
    Ok(tree)
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
    rustix::fs::fcntl_add_seals(&memory, seals()).fails(|| "fcntl(F_ADD_SEALS)")?;
    Ok(memory.into())
}
