//! The command line: a file for each subcommand.

mod append;
mod config;
mod diff;
mod export;
mod gc;
mod history;
mod import;
mod index;
mod inspect;
mod list;
mod load;
mod manual;
mod rm;
mod save;
mod show;
mod squash;
mod tag;
mod tree;
mod unpack;
mod verify;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use image_tool::address::{Address, RefName};
use image_tool::digest::Digest;
use image_tool::layer::Compression;
use image_tool::layout::{Layout, Writer};
use image_tool::pipe;
use image_tool::program::Tool;
use image_tool::program::document::Document;
use oci_spec::image::Descriptor;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// The name that messages begin with.
pub(crate) const TOOL: Tool = Tool("image-tool");

/// Inspect and change OCI image layouts, save and load archives.
///
/// An image is named by an address, LAYOUT[:REF][@DIGEST]. Without LAYOUT, as in :python:3.8, it is in the default layout:
/// $OCI_LAYOUT, else images in $OCI_HOME, /var/lib/oci or the user's data folder.
#[derive(Parser)]
#[command(name = "image-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log progress; repeat for more detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    List(list::List),
    Inspect(inspect::Inspect),
    History(history::History),
    Show(show::Show),
    Tag(tag::Tag),
    Rm(rm::Rm),
    Gc(gc::Gc),
    Verify(verify::Verify),
    Save(save::Save),
    Load(load::Load),
    Unpack(unpack::Unpack),
    Append(append::Append),
    Config(config::Config),
    Squash(squash::Squash),
    Index(index::Index),
    Import(import::Import),
    Export(export::Export),
    Diff(diff::Diff),
    Tree(tree::Tree),
    #[command(flatten)]
    Document(Document),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::List(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::History(command) => command.run(),
            Self::Show(command) => command.run(),
            Self::Tag(command) => command.run(),
            Self::Rm(command) => command.run(),
            Self::Gc(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Save(command) => command.run(),
            Self::Load(command) => command.run(),
            Self::Unpack(command) => command.run(),
            Self::Append(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Squash(command) => command.run(),
            Self::Index(command) => command.run(),
            Self::Import(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Tree(command) => command.run(),
            Self::Document(document) => document.run(TOOL, Arguments::command(), &manual::MANUAL),
        }
    }
}

/// An operand that names an image: an address, or `-` for a line of standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operand {
    Stdin,
    Address(Address),
}

impl std::str::FromStr for Operand {
    type Err = image_tool::address::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" { Ok(Self::Stdin) } else { text.parse().map(Self::Address) }
    }
}

impl Operand {
    /// The one address, read from standard input if it is there.
    pub(crate) fn address(self) -> Result<Address> {
        match self {
            Self::Address(address) => Ok(address),
            Self::Stdin => {
                let line = pipe::only_line(io::stdin().lock())?;
                line.parse().with_context(|| format!("standard input: {line}"))
            }
        }
    }
}

/// An operand that names a layout, and perhaps a name in it; with or without the `:` that an address ends its layout with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LayoutOperand {
    pub(crate) layout: String,
    pub(crate) address: Option<Address>,
}

impl std::str::FromStr for LayoutOperand {
    type Err = image_tool::address::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix(':').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let address: Address = text.parse()?;
        let named = address.reference().is_some() || address.digest().is_some();
        Ok(Self { layout: address.layout().to_owned(), address: named.then_some(address) })
    }
}

impl LayoutOperand {
    /// The path of the layout.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        if self.layout.is_empty() { image_tool::home::Home::from_environment().images() } else { (&self.layout).into() }
    }

    /// Opens the layout; the default one may not be there yet, and then it is empty.
    pub(crate) fn open(&self) -> Result<Option<Layout>> {
        match Layout::open(&self.path()) {
            Err(image_tool::layout::Error::NoLayout { .. }) if self.layout.is_empty() => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// The address of something in the layout.
    pub(crate) fn address_of(&self, reference: Option<&str>, digest: Option<&Digest>) -> Result<Address> {
        let reference = reference.and_then(|text| text.parse::<RefName>().ok());
        Ok(Address::new(&self.layout, reference, digest.cloned())?)
    }
}

/// Gives a new image the name it shall have, its own or that of the one it was made from, and prints its address.
pub(crate) fn publish(
    writer: &Writer,
    address: &Address,
    reference: Option<RefName>,
    descriptor: Descriptor,
) -> Result<()> {
    let digest = descriptor.digest().clone();
    let new = match reference.or_else(|| address.reference().cloned()) {
        Some(reference) => {
            writer.publish(&reference, descriptor)?;
            address.with_reference(reference)
        }
        None => {
            writer.layout().update_index(|index| {
                index.add(&descriptor);
                Ok(())
            })?;
            address.clone()
        }
    };
    print_line(&new.with_digest(&digest).to_string())
}

/// The time that reproducible builds ask for.
pub(crate) fn source_date_epoch() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            text.parse().map(Some).with_context(|| format!("SOURCE_DATE_EPOCH: {text:?} is not a number of seconds"))
        }
        Err(_) => Ok(None),
    }
}

/// How a new layer is compressed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pack {
    None,
    Gzip,
    Zstd,
}

impl From<Pack> for Compression {
    fn from(pack: Pack) -> Self {
        match pack {
            Pack::None => Self::None,
            Pack::Gzip => Self::Gzip,
            Pack::Zstd => Self::Zstd,
        }
    }
}

/// An archive from a file, or from standard input for `-`, and how to name it in an error.
pub(crate) fn input(path: &Path) -> Result<(Box<dyn io::Read>, String)> {
    if path != Path::new("-") {
        let name = path.display().to_string();
        return Ok((Box::new(File::open(path).with_context(|| name.clone())?), name));
    }
    if io::stdin().is_terminal() {
        bail!("standard input is a terminal (name a tar, or use a pipe)");
    }
    Ok((Box::new(io::stdin().lock()), "standard input".into()))
}

/// Writes an archive to a file, which appears under its name when it is complete, or to standard output.
pub(crate) fn output(path: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        if io::stdout().is_terminal() {
            bail!("an archive is not for a terminal (use -o FILE, or a pipe)");
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
            bail!("{}: an archive is not for a terminal", path.display());
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
    // Without a name where the file system can, so that nothing is left whatever happens.
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
        // A link does not replace what has the name, a rename does.
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

/// Standard output, whose broken pipe ends the tool quietly.
struct StdoutWriter<W>(W);

impl<W: Write> Write for StdoutWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(pipe::stdout_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(pipe::stdout_error)
    }
}

/// Writes to standard output.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    pipe::print_bytes(bytes).context("standard output")
}

/// Writes one line to standard output.
pub(crate) fn print_line(line: &str) -> Result<()> {
    pipe::print_line(line).context("standard output")
}

/// Writes a line to standard error, with its control characters escaped.
pub(crate) use image_tool::program::say;
