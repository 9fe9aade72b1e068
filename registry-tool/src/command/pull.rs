//! `registry-tool pull`.

use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::layer::cache::Cache;
use image_tool::layer::stack::{self, Store};
use image_tool::layer::{limit, mount};
use image_tool::layout::Layout;
use image_tool::layout::journal;
use image_tool::layout::platform::Platform;
use image_tool::program::caller::caller;
use image_tool::program::limits::Limits;
use image_tool::program::pipe::print_line;
use registry_tool::place::policy::Policy;
use registry_tool::question::query::Choice;
use registry_tool::reference::ImageName;
use registry_tool::transfer::pull::{Order, pull};

use super::access::Access;
use super::progress::{Pace, Transfer};
use super::{Network, TOOL, block_on, choice, misuse};

/// Pull an image into a layout.
///
/// Layers are downloaded in parallel and verified while they are written. Layers that the layout already has are not
/// downloaded again, and an interrupted download resumes where it stopped. The image's address is printed once the whole image
/// is on disk.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool pull python:3.8
  registry-tool pull quay.io/podman/hello images:hello
  registry-tool pull --unpack python:3.8 | bundle-tool create -
  registry-tool pull --platform linux/arm64 alpine arm
  registry-tool pull --platform linux/amd64 --platform linux/arm64 alpine images:alpine:two")]
pub(crate) struct Pull {
    /// Name of the image, such as python:3.8 or quay.io/team/app@sha256:DIGEST.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// Layout to store the image in, and its ref there [default: the default layout, and the name as typed].
    #[arg(value_hint = ValueHint::DirPath)]
    address: Option<Address>,
    /// Pull the image for this platform; several make an index of these [default: this machine's].
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_hint = ValueHint::Other,
        conflicts_with = "all_platforms"
    )]
    platforms: Vec<Platform>,
    /// Pull the images for all platforms, and their index.
    #[arg(long)]
    all_platforms: bool,
    /// Store the layers for containers too, while they arrive.
    ///
    /// They are inflated, checked and written to $OCI_HOME/layers in one pass, and the first bundle-tool create of the image finds them
    /// there: as plain archives where images can be mounted, else unpacked. Containers of a user other than root do not use them.
    #[arg(long, conflicts_with = "all_platforms")]
    unpack: bool,
    /// Print only the address.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pace: Pace,
    /// Pull an image without verification even if policy.json or $DOCKER_CONTENT_TRUST requires a signature.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Pull {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // docker's default is what the variable says.
        let wants_trust = || std::env::var("DOCKER_CONTENT_TRUST").is_ok_and(|value| value == "1" || value == "true");
        if !self.disable_content_trust.unwrap_or_else(|| !wants_trust()) {
            anyhow::bail!(
                "{}: docker's content trust cannot be verified (--disable-content-trust pulls without verification)",
                self.reference.typed()
            );
        }
        let limits = self.limits.get();
        if limits.entries.is_some() && !self.unpack {
            return Err(misuse("pull: --max-entries needs --unpack, without which no entry is read"));
        }
        if self.unpack && self.platforms.len() > 1 {
            return Err(misuse("pull: --unpack stores the layers of one platform"));
        }
        let display = self.pace.display(self.quiet, Transfer::Pull);
        let store = self.store(limits)?;
        let way = self.access.way(&self.network, &self.reference)?;
        let usual =
            if self.all_platforms { Choice::All } else { Choice::One { platform: Platform::host(), is_asked: false } };
        let order = Order {
            name: &self.reference,
            target: self.address.as_ref(),
            choice: choice(self.platforms, usual),
            policy: Policy::read()?,
            is_trusted: self.disable_content_trust == Some(true),
            jobs: self.pace.jobs(),
            store,
            limits,
            watcher: display.watcher(),
        };
        let pulled = block_on(async { Ok(pull(&order, way.round()).await?) })?;
        display.say(&format!("Digest: {}", pulled.digest));
        let status = if pulled.is_newer { "Downloaded newer image" } else { "Image is up to date" };
        display.say(&format!("Status: {status} for {}", self.reference.familiar()));
        // docker run says no more of what it pulls.
        if caller().is_none_or(|caller| caller == "docker pull") {
            display.say(&pulled.name.to_string());
        }
        if let Ok(layout) = Layout::of(&pulled.address) {
            journal::record_name(&layout, "pull", &self.reference.familiar());
        }
        print_line(&pulled.address.to_string())
    }

    /// Where layers are stored, if that is asked for and of use.
    fn store(&self, limits: limit::Limits) -> anyhow::Result<Option<Store>> {
        let cache = || Cache::of(&Home::from_environment()).within(limits);
        match self.unpack.then(|| Store::new(cache())).transpose() {
            Err(stack::Error::Mount(error @ mount::Error::NotPermitted)) => {
                TOOL.say(&format!("layers are not stored for containers: {error}"));
                Ok(None)
            }
            other => Ok(other?),
        }
    }
}
