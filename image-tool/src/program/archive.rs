//! Archive operands: files and pipes, but never terminals.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::caller::caller;
use super::pipe;

/// Opens an archive, or standard input for `-`; returns it with its name for errors. `instead` tells how to name a
/// file.
///
/// # Errors
/// If it cannot be opened, or is a terminal.
pub fn input(path: &Path, instead: &str) -> Result<(Box<dyn io::Read>, String)> {
    if path != Path::new("-") {
        let name = path.display().to_string();
        return Ok((Box::new(File::open(path).with_context(|| name.clone())?), name));
    }
    if io::stdin().is_terminal() {
        if caller().is_some_and(|name| name == "docker load") {
            bail!("requested load from stdin, but stdin is empty");
        }
        bail!("standard input is a terminal ({instead}, or use a pipe)");
    }
    Ok((Box::new(io::stdin().lock()), "standard input".into()))
}

/// Writes an archive to standard output, or to a file that appears when it is complete.
///
/// # Errors
/// Those of writing; what is a terminal is refused.
pub fn output(path: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        if io::stdout().is_terminal() {
            if caller().is_some_and(|name| ["docker save", "docker export"].contains(&name.as_str())) {
                bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
            }
            bail!("standard output is a terminal (use -o FILE or a pipe)");
        }
        let mut output = BufWriter::with_capacity(256 * 1024, StdoutWriter(io::stdout().lock()));
        write(&mut output)?;
        return output.flush().context("standard output");
    };
    let failed = || path.display().to_string();
    // A device or a pipe is written to, not replaced.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).with_context(failed)?;
        if file.is_terminal() {
            bail!("{}: is a terminal", path.display());
        }
        let mut output = BufWriter::with_capacity(256 * 1024, file);
        write(&mut output)?;
        return output.flush().with_context(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = || {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        tempfile::Builder::new().prefix(".image-tool-").permissions(permissions).tempfile_in(folder)
    };
    // A file without a name if the file system supports that, so that nothing is ever left behind.
    let nameless =
        rustix::fs::open(folder, OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::from_raw_mode(0o644));
    let (file, place) = match nameless {
        Ok(file) => (File::from(file), None),
        Err(_) => named()
            .map(tempfile::NamedTempFile::into_parts)
            .map(|(file, place)| (file, Some(place)))
            .with_context(failed)?,
    };
    let mut output = BufWriter::with_capacity(256 * 1024, file);
    write(&mut output)?;
    let file = output.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    let place = match place {
        Some(place) => place,
        // Linking does not replace an existing file, but renaming does.
        None => {
            let place = named().with_context(failed)?.into_temp_path();
            std::fs::remove_file(&place).with_context(failed)?;
            let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, nameless, CWD, place.as_os_str(), AtFlags::SYMLINK_FOLLOW)
                .map_err(io::Error::from)
                .with_context(failed)?;
            place
        }
    };
    place.persist(path).map_err(|error| error.error).with_context(failed)
}

/// Standard output. If it is closed, the tool ends quietly.
struct StdoutWriter<W>(W);

impl<W: Write> Write for StdoutWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(pipe::stdout_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(pipe::stdout_error)
    }
}
