//! Where an archive is written: a file that appears once it is complete, or standard output.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image_tool::error::During;
use image_tool::program::pipe;

use super::error::Error;
use crate::build::output::Target;

/// The name to print of what was written.
pub(super) fn name(target: &Target) -> Option<String> {
    match target {
        Target::Stdout => None,
        Target::File(path) => Some(path.display().to_string()),
    }
}

/// Writes to the place.
pub(super) fn write(target: &Target, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    match target {
        Target::Stdout if io::stdout().is_terminal() => Err(Error::Terminal),
        Target::Stdout => {
            let mut output = BufWriter::with_capacity(256 * 1024, Stdout(io::stdout().lock()));
            write(&mut output)?;
            output.flush().map_err(Error::Stdout)
        }
        // A device or a pipe is written to, not replaced.
        Target::File(path) if path.metadata().is_ok_and(|metadata| !metadata.is_file()) => {
            let mut output = BufWriter::new(File::options().write(true).open(path).during("open", path)?);
            write(&mut output)?;
            Ok(output.flush().during("write", path)?)
        }
        Target::File(path) => file(path, write),
    }
}

fn file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    let named = builder.prefix(".build-tool-").permissions(Permissions::from_mode(0o644)).tempfile_in(folder);
    let mut output = BufWriter::with_capacity(256 * 1024, named.during("create a file in", folder)?);
    write(&mut output)?;
    let file = output.into_inner().map_err(io::IntoInnerError::into_error).during("write", path)?;
    file.as_file().sync_all().during("write", path)?;
    file.persist(path).map_err(|error| error.error).during("write", path)?;
    Ok(())
}

/// Standard output. If it is closed, the tool ends quietly.
struct Stdout<W>(W);

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(pipe::stdout_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(pipe::stdout_error)
    }
}
