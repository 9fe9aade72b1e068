use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum, ValueHint};
use image_tool::address::Address;
use image_tool::archive::Format;
use image_tool::archive::save::{Subject, save};
use image_tool::layer::pack::Gzip;
use image_tool::layout::journal;
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Layout};

use super::operand::{Operand, named};
use super::publish::Pack;
use image_tool::program::archive::output;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    DockerArchive,
    OciArchive,
}

/// Save images to an archive.
///
/// A docker-archive can be read by docker load, podman load and skopeo, and is also an OCI layout. An oci-archive keeps
/// multi-platform images whole. Layers are written as they are.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool save -o python.tar :python:3.8
  image-tool save --format oci-archive --compress zstd -o all.tar.zst :a :b
  image-tool save :python:3.8 | docker load")]
pub(crate) struct Save {
    /// Images, or - to read an address from standard input.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Operand>,
    /// Write to this file, which appears once it is complete [default: standard output, unless it is a terminal].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Format of the archive.
    #[arg(long, value_enum, default_value = "docker-archive")]
    format: Form,
    /// Compress the archive.
    #[arg(long, value_enum, default_value = "none")]
    compress: Pack,
    /// Save the image for this platform [default: this machine's for a docker-archive, all for an oci-archive].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Save {
    pub(crate) fn run(self) -> Result<()> {
        if self.addresses.iter().filter(|operand| **operand == Operand::Stdin).count() > 1 {
            bail!("- may be given only once");
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
        let all = || addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        output(self.output.as_deref(), |output| write(output, &subjects, format, self.compress).with_context(all))?;
        for saved in &subjects {
            journal::record_image(&saved.layout, "save", &saved.descriptor, None);
        }
        Ok(())
    }
}

fn subject(address: &Address, format: Format, platform: Option<&Platform>) -> Result<Subject> {
    let layout = Layout::of(address)?;
    let descriptor = layout.resolve(address)?;
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let mut subject = Subject { name: address.reference().cloned(), image: None, descriptor, layout };
    // A bare layout means its only image, which may have a name.
    if subject.name.is_none() && address.digest().is_none() {
        let entries = subject.layout.index()?.entries()?;
        let entry =
            entries.into_iter().find(|(name, entry)| name.is_some() && entry.digest() == subject.descriptor.digest());
        subject.name = entry.and_then(|(name, _)| name?.parse().ok());
    }
    // An ID is not a name.
    if let Some(name) = &subject.name {
        let entries = subject.layout.index()?.entries()?;
        let known = entries.iter().any(|(entry, _)| {
            entry.as_deref().is_some_and(|entry| image_tool::address::name::equal(entry, name.as_str()))
        });
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

fn write(output: &mut dyn Write, subjects: &[Subject], format: Format, pack: Pack) -> Result<()> {
    use image_tool::archive::Error::Write;
    let output = match pack {
        Pack::None => save(output, subjects, format)?,
        Pack::Gzip => save(Gzip::new(output), subjects, format)?.finish().map_err(Write)?,
        Pack::Zstd => {
            let encoder = zstd::stream::write::Encoder::new(output, 3).map_err(Write)?;
            save(encoder, subjects, format)?.finish().map_err(Write)?
        }
    };
    output.flush().map_err(Write)?;
    Ok(())
}
