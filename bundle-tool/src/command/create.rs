use std::io::IsTerminal as _;

use anyhow::Context as _;
use bundle_tool::bundle::{Bundle, annotation};
use bundle_tool::container::{self, Made, Request};
use bundle_tool::option::{Refused, boolean};
use clap::ArgAction;
use image_tool::address::home::Home;
use image_tool::layer::progress;
use image_tool::layout;
use image_tool::program::limits::Limits;
use image_tool::program::meter::Meter;
use image_tool::program::{caller, pipe};

use super::options::Options;
use super::pull::{self, Pulling, When};
use super::{Rejected, shell, typed, warn};

/// Create a bundle from an image and print its path.
///
/// Takes the options of `docker run`. The root file system is an overlay on the image's layers, which all bundles share; if an overlay
/// cannot be mounted, it is a copy of the image. Any OCI runtime can run the bundle; the container's name is its ID there.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    args_override_self = true,
    override_usage = "bundle-tool create [OPTIONS] ADDRESS [COMMAND [ARGUMENT]...]",
    after_long_help = "Examples:
  bundle-tool create --name web -p 9998:8000 images:python:3.8 python3 -m http.server 8000
  bundle-tool create --bundle box --read-only --tmpfs /tmp --memory 256m images:alpine sh
  registry-tool pull alpine images | bundle-tool create --network none -"
)]
pub(crate) struct Create {
    /// When to pull the image into its layout with registry-tool: missing, always or never [default: never; with --shell, missing].
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pull: Option<When>,
    /// Show no progress of a pull.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    quiet: bool,
    /// Take docker's name or ID of an image in the default layout instead of an address, and print assignments of shell variables instead
    /// of the path: what a script needs to do the rest of docker run.
    #[arg(long)]
    shell: bool,
    /// With --shell, print the container's ID alone, as docker create does.
    #[arg(long, requires = "shell")]
    id: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    options: Options,
}

impl Create {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        if self.shell {
            self.check_client()?;
        }
        let pull = self.pull.unwrap_or(if self.shell { When::Missing } else { When::Never });
        let (mut request, notes) = self.options.request(&home, self.shell)?;
        request.annotations.insert(annotation::ARGUMENTS.into(), arguments());
        request.limits = self.limits.get();
        let made = make(&home, &request, Pulling { when: pull, quiet: self.quiet, limits: self.limits })?;
        notes.iter().chain(&made.notes).for_each(|text| warn(text));
        if self.id {
            return pipe::print_line(&made.id);
        }
        if self.shell {
            return pipe::print_exactly(shell::container(&Bundle::open(&made.bundle)?));
        }
        let path = made.bundle.to_str().context("the bundle's path is not UTF-8")?;
        pipe::print_line(path)
    }

    /// What docker's client refuses before it asks a daemon.
    fn check_client(&self) -> anyhow::Result<()> {
        // docker's own names for the runtime of its daemon are those of ours.
        if let Some(runtime) = self.options.runtime()
            && !["", "runc", "io.containerd.runc.v2", "run-tool"].contains(&runtime)
        {
            let reason = format!(
                "unknown runtime specified {runtime} (run-tool is the one; another runs the bundle of bundle-tool create)"
            );
            return Err(Refused::new("--runtime", reason).into());
        }
        let streams = self.options.streams();
        if streams.detach && streams.attach {
            return Err(Rejected::new(anyhow::anyhow!("Conflicting options: -a and -d"), 1).into());
        }
        let starts = caller::caller().is_none_or(|name| name != "docker create");
        if starts && streams.terminal && streams.input && !streams.detach && !std::io::stdin().is_terminal() {
            return Err(Rejected::new(anyhow::anyhow!("the input device is not a TTY"), 1).into());
        }
        Ok(())
    }
}

/// Creates the container, and pulls its image as asked.
fn make(home: &Home, request: &Request, pulling: Pulling) -> anyhow::Result<Made> {
    if pulling.when == When::Always {
        pull::image(request, pulling)?;
    }
    let create = || {
        let _meter = Meter::of_layers(|| (progress::now().bytes, progress::now().entries));
        container::create(home, request)
    };
    let made = match create() {
        Err(error) if pulling.when == When::Missing && is_missing(&error) && pull::is_name(&request.address) => {
            pull::image(request, pulling)?;
            create()
        }
        made => made,
    };
    // The library's errors do not name the image.
    made.map_err(|error| about(error, &request.address))
}

/// Whether the layout lacks the image, or has it for another platform.
fn is_missing(error: &container::Error) -> bool {
    use layout::Error::{MissingBlob, NoLayout, NoPlatform, NoSuchImage};
    match error {
        container::Error::Layout(NoSuchImage { .. } | NoPlatform { .. } | NoLayout { .. } | MissingBlob { .. }) => true,
        container::Error::Refused(refused) => refused.option == "--platform",
        _ => false,
    }
}

/// The words after `create`, from which `inspect` reads docker's options again, as a JSON array.
fn arguments() -> String {
    serde_json::to_string(&typed("create")).expect("strings are JSON")
}

/// Adds the image to an error that is about it and does not name it.
pub(super) fn about(error: container::Error, address: &image_tool::address::Address) -> anyhow::Error {
    use container::Error;
    let named = matches!(
        &error,
        Error::Layout(
            image_tool::layout::Error::NoSuchImage { .. }
                | image_tool::layout::Error::Ambiguous { .. }
                | image_tool::layout::Error::NoPlatform { .. }
                | image_tool::layout::Error::NoLayout { .. }
        ) | Error::Refused(_)
            | Error::Bundle(_)
            | Error::Network(_)
            | Error::NoNetwork(_)
            | Error::Volume(_)
            | Error::IdFile(_)
    ) || matches!(&error, Error::Config(bundle_tool::config::Error::Refused(_)));
    if named { error.into() } else { anyhow::Error::new(error).context(address.to_string()) }
}
