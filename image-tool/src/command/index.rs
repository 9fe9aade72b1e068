use anyhow::Result;
use clap::{ArgGroup, Args, Subcommand, ValueHint};
use image_tool::address::{Address, RefName};
use image_tool::edit::index::{self, Entry, Note};
use image_tool::layout::platform::Platform;
use image_tool::layout::{Layout, Writer};
use oci_spec::image::Descriptor;

use super::fields::pair;
use super::operand::{named, new_name};
use super::publish::publish;

/// Make indexes, which hold images for several platforms under one name, and change them.
#[derive(Args)]
pub(crate) struct Index {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Create(Create),
    Add(Add),
    Remove(Remove),
    Annotate(Annotate),
}

/// Combine images for several platforms under one name and print the address.
///
/// Each image is added for the platform that its config names; of an index, all images are added. If several are for the same
/// platform, the last one wins.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool index create :app images:app-amd64 images:app-arm64")]
struct Create {
    /// New name, LAYOUT:REF.
    new: Address,
    /// Images to combine; blobs from other layouts are hard-linked or copied.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
}

/// Add images to an index and print the new index's address.
///
/// An image replaces the one for the same platform.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool index add :multi images:app-riscv64")]
struct Add {
    /// Index.
    #[arg(value_name = "INDEX")]
    address: Address,
    /// Images to add; blobs from other layouts are hard-linked or copied.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// Give the new index this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
}

/// Remove images from an index, with what is attested of them, and print the new index's address.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool index remove :multi linux/amd64 linux/arm64
  image-tool index remove --ref small :multi arm64")]
struct Remove {
    /// Index.
    #[arg(value_name = "INDEX")]
    address: Address,
    /// Platforms or digests of the images.
    #[arg(required = true, value_name = "PLATFORM|DIGEST", value_hint = ValueHint::Other)]
    entries: Vec<Entry>,
    /// Give the new index this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
}

/// Annotate an index, or one of its entries, and print the new index's address.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool index annotate --annotation org.opencontainers.image.version=3 :multi
  image-tool index annotate --annotation tested=yes :multi linux/arm64
  image-tool index annotate --set-platform linux/arm64/v9 :multi linux/arm64")]
#[command(group = ArgGroup::new("note").required(true).multiple(true).args(["annotations", "unset", "set_platform"]))]
struct Annotate {
    /// Index.
    #[arg(value_name = "INDEX")]
    address: Address,
    /// Platform or digest of an entry [default: the index itself].
    #[arg(value_name = "PLATFORM|DIGEST", value_hint = ValueHint::Other)]
    entry: Option<Entry>,
    /// Set an annotation; may be repeated.
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    annotations: Vec<(String, String)>,
    /// Remove an annotation; may be repeated.
    #[arg(long = "unset-annotation", value_name = "KEY", value_hint = ValueHint::Other)]
    unset: Vec<String>,
    /// Set the platform of the entry.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", requires = "entry", value_hint = ValueHint::Other)]
    set_platform: Option<Platform>,
    /// Give the new index this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
}

impl Index {
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Create(command) => command.run(),
            Verb::Add(command) => command.run(),
            Verb::Remove(command) => command.run(),
            Verb::Annotate(command) => command.run(),
        }
    }
}

impl Create {
    fn run(self) -> Result<()> {
        new_name(&self.new)?;
        let layout = Layout::create(&self.new.layout_path())?;
        let writer = layout.writer()?;
        let images = take(&writer, &self.addresses)?;
        publish(&writer, &self.new, None, index::create(&layout, &writer, &images)?)
    }
}

impl Add {
    fn run(self) -> Result<()> {
        change(&self.address, self.reference, |layout, writer, index| {
            let images = take(writer, &self.addresses)?;
            Ok(index::add(layout, writer, index, &images)?)
        })
    }
}

impl Remove {
    fn run(self) -> Result<()> {
        change(&self.address, self.reference, |layout, writer, index| {
            Ok(index::remove(layout, writer, index, &self.entries)?)
        })
    }
}

impl Annotate {
    fn run(self) -> Result<()> {
        let note = Note { annotations: self.annotations, unset: self.unset, platform: self.set_platform };
        change(&self.address, self.reference, |layout, writer, index| {
            Ok(index::annotate(layout, writer, index, (self.entry.as_ref(), &note))?)
        })
    }
}

/// Takes images into a layout.
fn take(writer: &Writer, addresses: &[Address]) -> Result<Vec<Descriptor>> {
    let take = |address: &Address| -> Result<Descriptor> {
        let source = Layout::of(address)?;
        let descriptor = source.resolve(address)?;
        for blob in source.reach(std::slice::from_ref(&descriptor))?.values() {
            writer.take(&source, blob)?;
        }
        Ok(descriptor)
    };
    addresses.iter().map(|address| take(address).map_err(|error| named(error, address))).collect()
}

/// Changes an index.
fn change(
    address: &Address,
    reference: Option<RefName>,
    change: impl FnOnce(&Layout, &Writer, &Descriptor) -> Result<Descriptor>,
) -> Result<()> {
    let make = || -> Result<_> {
        let layout = Layout::of(address)?;
        let index = layout.resolve(address)?;
        let writer = layout.writer()?;
        let descriptor = change(&layout, &writer, &index)?;
        Ok((writer, descriptor))
    };
    let (writer, descriptor) = make().map_err(|error| named(error, address))?;
    publish(&writer, address, reference, descriptor)
}
