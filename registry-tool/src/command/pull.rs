//! `registry-tool pull`.

use clap::Args;
use image_tool::address::Address;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe::print_line;
use registry_tool::place::policy::Policy;
use registry_tool::question::query::Choice;
use registry_tool::question::round::Round;
use registry_tool::reference::ImageName;
use registry_tool::transfer::pull::{Order, pull};

use super::progress::{Display, Progress, Transfer};
use super::{Network, block_on, mirrors};

/// Pull an image into a layout.
///
/// Layers come in parallel and are verified while they are written; what the layout has is not fetched again, and a download
/// that was cut, or killed, goes on where it stopped. The image's address is printed once it is whole and on disk.
#[derive(Args)]
pub(crate) struct Pull {
    /// The image, by docker's names: python:3.8, quay.io/team/app@sha256:….
    reference: ImageName,
    /// The layout, or layout and ref, that it goes to [default: the default layout, under the name as typed].
    address: Option<Address>,
    /// Pull the image for this platform, as os/architecture[/variant].
    #[arg(long, conflicts_with = "all_platforms")]
    platform: Option<Platform>,
    /// Pull the images for all platforms and the index that joins them.
    #[arg(long)]
    all_platforms: bool,
    /// Print nothing but the address.
    #[arg(short, long)]
    quiet: bool,
    /// How progress is shown on standard error.
    #[arg(long, value_enum, default_value = "auto")]
    progress: Progress,
    /// Pull an image unverified that containers' policy.json wants signed, or docker's DOCKER_CONTENT_TRUST.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// Transfer this many blobs at once.
    #[arg(short, long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    #[command(flatten)]
    network: Network,
}

impl Pull {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // docker's default is what the variable says.
        let wants_trust = || std::env::var("DOCKER_CONTENT_TRUST").is_ok_and(|value| value == "1" || value == "true");
        if !self.disable_content_trust.unwrap_or_else(|| !wants_trust()) {
            anyhow::bail!(
                "{}: signatures of docker's content trust cannot be verified (--disable-content-trust pulls it unverified)",
                self.reference.typed()
            );
        }
        let mirrors = mirrors()?;
        let display = Display::new(self.progress, self.quiet, Transfer::Pull);
        let choice = if self.all_platforms {
            Choice::All
        } else {
            let is_asked = self.platform.is_some();
            Choice::One { platform: self.platform.unwrap_or_else(Platform::host), is_asked }
        };
        let order = Order {
            name: &self.reference,
            target: self.address.as_ref(),
            choice,
            policy: Policy::read()?,
            is_trusted: self.disable_content_trust == Some(true),
            jobs: usize::from(self.jobs),
            watcher: display.watcher(),
        };
        let settings = self.network.settings();
        let pulled = block_on(async { Ok(pull(&order, Round { mirrors: &mirrors, settings: &settings }).await?) })?;
        display.say(&format!("Digest: {}", pulled.digest));
        let status = if pulled.is_newer { "Downloaded newer image" } else { "Image is up to date" };
        display.say(&format!("Status: {status} for {}", self.reference.familiar()));
        display.say(&pulled.name.to_string());
        Ok(print_line(&pulled.address.to_string())?)
    }
}
