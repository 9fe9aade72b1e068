//! Base images: found in the target layout, or pulled into it by `registry-tool`.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use image_tool::address::{self, Address};
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Image, Layout};

/// When base images are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pull {
    /// If the layout lacks them.
    #[default]
    Missing,
    /// Always, to get the newest.
    Always,
    /// Never.
    Never,
}

impl std::str::FromStr for Pull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "missing" | "false" => Ok(Self::Missing),
            "always" | "true" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is none of missing, always and never")),
        }
    }
}

/// Why there is no base image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] address::Error),
    /// The layout has no such image, or it is broken.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// registry-tool cannot be started.
    #[error("start registry-tool to pull {name} (install it beside build-tool or in PATH, or use --pull never)")]
    NoTool {
        /// The image's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// registry-tool failed, and has written why.
    #[error("registry-tool pull {name}: {status}")]
    Pull {
        /// The image's name.
        name: String,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
}

/// Finds the image `name` for a platform, in the layout that addresses call `layout`.
pub fn find(layout: &str, name: &str, platform: &Platform, pull: Pull, quiet: bool) -> Result<(Layout, Image), Error> {
    let address: Address = format!("{layout}:{name}").parse()?;
    let look = || -> Result<(Layout, Image), layout::Error> {
        let layout = Layout::of(&address)?;
        let image = layout.image(&address, platform)?;
        Ok((layout, image))
    };
    match pull {
        Pull::Always => self::pull(layout, name, platform, quiet)?,
        Pull::Never => return Ok(look()?),
        Pull::Missing => match look() {
            Err(
                layout::Error::NoSuchImage { .. }
                | layout::Error::MissingBlob { .. }
                | layout::Error::NoPlatform { .. },
            ) => {
                self::pull(layout, name, platform, quiet)?;
            }
            other => return Ok(other?),
        },
    }
    Ok(look()?)
}

fn pull(layout: &str, name: &str, platform: &Platform, quiet: bool) -> Result<(), Error> {
    let mut command = Command::new(sibling("registry-tool"));
    command.arg("pull");
    if quiet {
        command.arg("--quiet");
    }
    if *platform != Platform::host() {
        command.args(["--platform", &platform.to_string()]);
    }
    command.arg(name);
    if !layout.is_empty() {
        command.arg(layout);
    }
    // Its address is not ours to print; its progress is for people.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().map_err(|source| Error::NoTool { name: name.to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Pull { name: name.to_owned(), status }) }
}

/// The path of a program of this family: beside this one, or else its bare name, to be found in PATH.
pub fn sibling(name: &str) -> PathBuf {
    let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
