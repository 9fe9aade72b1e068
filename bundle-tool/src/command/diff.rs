use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::bail;
use bundle_tool::container::change;
use image_tool::address::home::Home;
use image_tool::layer::diff::Options;
use image_tool::program::pipe::{self, stdout_error};

use super::{About as _, candidates};

/// Write a container's changes as a layer's tar archive to standard output.
///
/// A deleted file is a whiteout, as the image spec defines it, so `image-tool append` can add the archive to an image.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool diff box | tar t
  bundle-tool diff box | image-tool append images:alpine -")]
pub(crate) struct Diff {
    /// Print a line for each path instead, as docker diff does: A for what was added, C for what was changed, D for what was deleted.
    #[arg(long)]
    names: bool,
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
}

/// Standard output, which remembers that it was closed: the library reports that as an error of its archive.
struct Stdout {
    inner: io::StdoutLock<'static>,
    closed: bool,
}

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.closed |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Diff {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.names {
            let lines = change::names(&Home::from_environment(), &super::bundle(&self.bundle)?).about(&self.bundle)?;
            let line = |(what, path): &(char, PathBuf)| format!("{what} /{}\n", path.display());
            return pipe::print(lines.iter().map(line).collect::<String>());
        }
        if io::stdout().is_terminal() {
            bail!("an archive is not written to a terminal (bundle-tool diff {} | tar t)", self.bundle);
        }
        let bundle = super::bundle(&self.bundle)?;
        let mut stdout = Stdout { inner: io::stdout().lock(), closed: false };
        let written = change::write(&bundle, BufWriter::with_capacity(1 << 16, &mut stdout), &Options::default());
        let flushed = written.map(|mut output| output.flush());
        match flushed {
            _ if stdout.closed => Err(stdout_error(io::ErrorKind::BrokenPipe.into()).into()),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error).about("standard output"),
            Err(error) => Err(error).about(&self.bundle),
        }
    }
}
