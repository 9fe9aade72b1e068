//! `registry-tool copy`.

use clap::{Args, ValueHint};
use image_tool::layout::platform::Platform;
use image_tool::program::pipe::print_line;
use registry_tool::place::policy::Policy;
use registry_tool::question::query::Choice;
use registry_tool::question::round::Round;
use registry_tool::reference::{ImageName, is_tag};
use registry_tool::transfer::copy::{Order, copy};

use super::progress::{Pace, Transfer};
use super::{Network, block_on, mirrors};

/// Copy an image from one registry or repository to another.
///
/// Layers are streamed from one registry to the other and verified on the way; nothing is written to disk. Layers that the
/// target already has, or can mount from another of its repositories, are not sent. An index is copied with all its images.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool copy alpine:3.20 localhost:5000/alpine:3.20
  registry-tool copy --additional-tag 3 --additional-tag latest alpine:3.20 localhost:5000/alpine:3.20
  registry-tool copy --platform linux/amd64 alpine localhost:5000/alpine:amd64")]
pub(crate) struct Copy {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    source: ImageName,
    /// Name of the copy.
    #[arg(value_hint = ValueHint::Other)]
    target: ImageName,
    /// Give the copy this tag too; may be repeated.
    #[arg(long = "additional-tag", value_name = "TAG", value_hint = ValueHint::Other, value_parser = tag)]
    additional_tags: Vec<String>,
    /// Copy what refers to the image too, such as SBOMs and signatures, and what refers to that.
    #[arg(long)]
    referrers: bool,
    /// Copy only the image for this platform [default: all].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    /// Print only the new name.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    network: Network,
}

fn tag(text: &str) -> Result<String, String> {
    if is_tag(text) { Ok(text.to_owned()) } else { Err("not a valid tag".to_owned()) }
}

impl Copy {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let display = self.pace.display(self.quiet, Transfer::Copy);
        let choice = match self.platform {
            // An image that is not in an index is copied as it is.
            Some(platform) => Choice::One { platform, is_asked: false },
            None => Choice::All,
        };
        let order = Order {
            source: &self.source,
            target: &self.target,
            more_tags: &self.additional_tags,
            has_referrers: self.referrers,
            choice,
            policy: Policy::read()?,
            jobs: self.pace.jobs(),
            watcher: display.watcher(),
        };
        let mirrors = mirrors()?;
        let settings = self.network.settings();
        let copied = block_on(async { Ok(copy(&order, Round { mirrors: &mirrors, settings: &settings }).await?) })?;
        let name = &self.target;
        let digest = copied.digest();
        display.say(&format!("{}: digest: {digest} size: {}", name.tag().unwrap_or("latest"), copied.size()));
        print_line(&name.pinned(digest.as_ref()))
    }
}
