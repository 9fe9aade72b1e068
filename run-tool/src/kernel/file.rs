//! Files that are written atomically: a reader sees the old or the new content, never a part.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::error::Fails;
use super::syscall::Pid;

/// Replaces a file atomically.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    };
    write()
        .inspect_err(|_| {
            // The error to report is the first one.
            let _ = fs::remove_file(&temporary);
        })
        .fails(|| format!("write {}", path.display()))
        .map_err(Into::into)
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
