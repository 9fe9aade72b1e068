//! `registry-tool push`.

use std::io;

use anyhow::Context as _;
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::layout::Layout;
use image_tool::layout::journal;
use image_tool::program::pipe::{only_line, print_line};
use registry_tool::question::format::Format;
use registry_tool::reference::ImageName;
use registry_tool::transfer::push::{Order, push};

use super::access::Access;
use super::copy::{Dialect, tag};
use super::progress::{Pace, Transfer};
use super::{Network, block_on};

/// Push an image from a layout to a registry.
///
/// An index is pushed with all images in it. Layers that the registry already has are not sent; those that another of its
/// repositories has are mounted from there. The name and digest of the image are printed once the registry has stored it.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool push :python:3.8 localhost:5000/python:3.8
  registry-tool push images:localhost:5000/app:1
  registry-tool pull -q alpine images | registry-tool push - localhost:5000/alpine")]
pub(crate) struct Push {
    /// Image, or - to read its address from standard input.
    #[arg(value_parser = operand, value_hint = ValueHint::AnyPath)]
    address: Operand,
    /// Name at the registry [default: the ref in the address].
    #[arg(value_hint = ValueHint::Other)]
    reference: Option<ImageName>,
    /// Give the image this tag too; may be repeated.
    #[arg(long = "additional-tag", value_name = "TAG", value_hint = ValueHint::Other, value_parser = tag)]
    additional_tags: Vec<String>,
    /// Rewrite the manifests in this format; the digest at the registry is another then.
    #[arg(long, value_enum)]
    format: Option<Dialect>,
    /// Print only the name.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pace: Pace,
    /// Send layers in chunks of this many MiB, so that an interrupted upload can resume.
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    chunk_size: u32,
    /// Try to mount layers from this repository of the same registry; may be repeated.
    #[arg(long, value_name = "REPOSITORY", value_hint = ValueHint::Other)]
    mount_from: Vec<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

#[derive(Clone)]
enum Operand {
    StandardInput,
    Address(Address),
}

fn operand(text: &str) -> Result<Operand, image_tool::address::Error> {
    if text == "-" { Ok(Operand::StandardInput) } else { text.parse().map(Operand::Address) }
}

impl Push {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let address = match self.address {
            Operand::Address(address) => address,
            Operand::StandardInput => {
                let line = only_line(io::stdin().lock())?;
                line.parse().with_context(|| "standard input".to_owned())?
            }
        };
        let name = match self.reference {
            Some(name) => name,
            None => match address.reference() {
                Some(reference) => reference.as_str().parse()?,
                None => anyhow::bail!("{address}: no name to push it under (registry-tool push {address} REFERENCE)"),
            },
        };
        let display = self.pace.display(self.quiet, Transfer::Push);
        let order = Order {
            address: &address,
            name: &name,
            more_tags: &self.additional_tags,
            format: self.format.map(Format::from),
            jobs: self.pace.jobs(),
            chunk: u64::from(self.chunk_size) << 20,
            mount_from: self.mount_from,
            watcher: display.watcher(),
        };
        let way = self.access.way(&self.network, &name)?;
        let pushed = block_on(async { Ok(push(&order, way.round()).await?) })?;
        if let Ok(layout) = Layout::of(&address) {
            journal::record_name(&layout, "push", &name.familiar());
        }
        let label = name.tag().map_or_else(|| pushed.digest.to_string(), str::to_owned);
        display.say(&format!("{label}: digest: {} size: {}", pushed.digest, pushed.size));
        print_line(&name.pinned(pushed.digest.as_ref()))
    }
}
