//! Files that are written atomically: a reader sees the old or the new content, never a part. And the kernel's files, which are read
//! often.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::error::Fails;
use super::syscall::Pid;

/// Reads a file of `/proc` or of a control group. The kernel says that these are empty, so `fs::read_to_string` would ask for the size and
/// then read a few bytes at a time.
pub(crate) fn read_kernels(path: impl AsRef<Path>) -> std::io::Result<String> {
    let mut text = String::with_capacity(4096);
    fs::File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Replaces a file atomically.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        drop(file);
        put(&temporary, path)
    };
    write()
        .inspect_err(|_| {
            // The error to report is the first one.
            let _ = fs::remove_file(&temporary);
        })
        .fails(|| format!("write {}", path.display()))
        .map_err(Into::into)
}

/// Renames a file to a name that may be taken. ext4 writes a file out at once that replaces another by its name, which costs more than
/// all the rest if the state is not on a tmpfs (RUN of a build); it does not if the two change names.
fn put(temporary: &Path, path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => match renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => fs::remove_file(temporary),
            Err(_) => fs::rename(temporary, path),
        },
        // Not every file system knows the flags.
        Err(_) => fs::rename(temporary, path),
    }
}

/// Writes a process id atomically, if a file is given: someone may be waiting for the file.
pub(crate) fn write_pid(path: Option<&Path>, pid: Pid) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().with_context(|| format!("pid file {}", path.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let write = || -> std::io::Result<()> {
        // An interrupted call may have left it behind.
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(pid.to_string().as_bytes())?;
        fs::rename(&temporary, path)
    };
    write().fails(|| format!("open {}", temporary.display()))?;
    Ok(())
}
