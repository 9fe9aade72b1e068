use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use image_tool::address::Address;
use image_tool::archive::Format;
use image_tool::archive::save::{Subject, save};
use image_tool::layout::{self, Layout};
use image_tool::pipe;
use image_tool::platform::Platform;

use super::Operand;
use super::show::named;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    DockerArchive,
    OciArchive,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pack {
    None,
    Gzip,
    Zstd,
}

/// Write images as one archive.
///
/// A docker-archive is what docker load, podman load and skopeo read, and an OCI layout besides; an oci-archive has indexes of
/// several platforms whole. Layers are written as they are, compressed.
#[derive(Args)]
pub(crate) struct Save {
    /// Images; - reads an address from standard input.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Operand>,
    /// Write to a file, which appears under its name when it is complete; standard output, which must not be a terminal, if
    /// omitted.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The archive's form.
    #[arg(long, value_enum, default_value = "docker-archive")]
    format: Form,
    /// Compress the archive.
    #[arg(long, value_enum, default_value = "none")]
    compress: Pack,
    /// Of an index, save the image for a platform, as linux/arm64; a docker-archive has this machine's.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Save {
    pub(crate) fn run(self) -> Result<()> {
        if self.addresses.iter().filter(|operand| **operand == Operand::Stdin).count() > 1 {
            bail!("- can stand once");
        }
        let mut addresses = Vec::new();
        for operand in self.addresses {
            addresses.push(operand.address()?);
        }
        let format = match self.format {
            Form::DockerArchive => Format::Docker,
            Form::OciArchive => Format::Oci,
        };
        let mut subjects = Vec::new();
        for address in &addresses {
            subjects.push(subject(address, format, self.platform.as_ref()).map_err(|error| named(error, address))?);
        }
        let all = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match self.output {
            Some(path) if path != Path::new("-") => to_file(&path, &subjects, format, self.compress, &all),
            _ => {
                let stdout = io::stdout();
                if stdout.is_terminal() {
                    bail!("an archive is not for a terminal (use -o FILE, or a pipe)");
                }
                let output = BufWriter::with_capacity(256 * 1024, StdoutWriter(stdout.lock()));
                write(output, &subjects, format, self.compress).with_context(|| all.clone())?;
                Ok(())
            }
        }
    }
}

fn subject(address: &Address, format: Format, platform: Option<&Platform>) -> Result<Subject> {
    let layout = Layout::of(address)?;
    let descriptor = layout.resolve(address)?;
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let mut subject = Subject { name: address.reference().cloned(), image: None, descriptor, layout };
    // An address that is a bare layout means its only image, which may have a name.
    if subject.name.is_none() && address.digest().is_none() {
        let entries = subject.layout.index()?.entries()?;
        let entry =
            entries.into_iter().find(|(name, entry)| name.is_some() && entry.digest() == subject.descriptor.digest());
        subject.name = entry.and_then(|(name, _)| name?.parse().ok());
    }
    // An identity is no name.
    if let Some(name) = &subject.name {
        let entries = subject.layout.index()?.entries()?;
        let known = entries
            .iter()
            .any(|(entry, _)| entry.as_deref().is_some_and(|entry| image_tool::name::equal(entry, name.as_str())));
        if !known && address.digest().is_none() {
            subject.name = None;
        }
    }
    let index = layout::is_index(&subject.descriptor);
    if format == Format::Docker || (index && platform.is_some()) {
        let image = subject.layout.image(address, wanted)?;
        subject.descriptor = image.descriptor().clone();
        subject.image = Some(image);
    }
    Ok(subject)
}

fn write<W: Write>(output: W, subjects: &[Subject], format: Format, pack: Pack) -> Result<W> {
    Ok(match pack {
        Pack::None => save(output, subjects, format)?,
        Pack::Gzip => save(image_tool::layer::pack::Gzip::new(output), subjects, format)?
            .finish()
            .map_err(image_tool::archive::Error::Write)?,
        Pack::Zstd => {
            let encoder = zstd::stream::write::Encoder::new(output, 3)?;
            save(encoder, subjects, format)?.finish().map_err(image_tool::archive::Error::Write)?
        }
    })
}

/// Under a temporary name beside the file, then renamed: what stands under the name is whole.
fn to_file(path: &Path, subjects: &[Subject], format: Format, pack: Pack, all: &str) -> Result<()> {
    let failed = || path.display().to_string();
    // A device or a pipe is written to, not replaced.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).with_context(failed)?;
        if file.is_terminal() {
            bail!("{}: an archive is not for a terminal", path.display());
        }
        write(BufWriter::with_capacity(256 * 1024, file), subjects, format, pack).with_context(|| all.to_owned())?;
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".image-tool-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(failed)?;
    let (file, place) = temporary.into_parts();
    let output = BufWriter::with_capacity(256 * 1024, file);
    let output = write(output, subjects, format, pack).with_context(|| all.to_owned())?;
    let file = output.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    place.persist(path).map_err(|error| error.error).with_context(failed)?;
    Ok(())
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
