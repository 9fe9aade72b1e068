//! Base images: found in the target layout, or pulled into it by `registry-tool`.

use std::cell::RefCell;
use std::env;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use image_tool::address::{self, Address};
use image_tool::edit;
use image_tool::layer::limit::{Limits, TooManyLayers};
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Image, Layout, is_index};
use oci_spec::image::Descriptor;

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
    /// The image is for another platform.
    #[error("{name}: no image for {wanted} (available: {offered})")]
    Platform {
        /// The image's name.
        name: String,
        /// The platform that is needed.
        wanted: String,
        /// The platform that the image is for.
        offered: String,
    },
    /// The image has too many layers.
    #[error("{name}: image refused")]
    Layers {
        /// The image's name.
        name: String,
        /// How many it has, and may have.
        source: TooManyLayers,
    },
    /// No image of that name is here, and a stage was probably meant.
    #[error("{name}: neither a stage nor an image that is here ({hint}; for an image: {})", pull_command(.name, .layout))]
    Slip {
        /// The name as written.
        name: String,
        /// What was probably meant.
        hint: String,
        /// The layout, as addresses call it.
        layout: String,
    },
    /// The images of two platforms cannot be put under one name.
    #[error(transparent)]
    Index(#[from] edit::index::Error),
    /// registry-tool cannot be started.
    #[error("start registry-tool to pull {name} (install it beside build-tool or in PATH, or use --pull never)")]
    NoTool {
        /// The image's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// registry-tool failed.
    #[error("{}", failure(.name, .said, .status))]
    Pull {
        /// The image's name.
        name: String,
        /// The last line that it wrote, if it was read.
        said: String,
        /// Its exit status.
        status: ExitStatus,
    },
}

/// Why a pull failed: in registry-tool's words, or else its exit status.
fn failure(name: &str, said: &str, status: &ExitStatus) -> String {
    match said.strip_prefix("registry-tool: ") {
        Some(why) => why.to_owned(),
        None => format!("registry-tool pull {name}: {status}"),
    }
}

fn pull_command(name: &str, layout: &str) -> String {
    format!("registry-tool pull {name} {layout}").trim_end().to_owned()
}

/// What is looked for, and how.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The layout, as addresses call it; empty for the default one.
    pub layout: &'a str,
    /// The image's name.
    pub name: &'a str,
    /// The platform that it must be for.
    pub platform: &'a Platform,
    /// When it is pulled.
    pub pull: Pull,
    /// The limits of its layers.
    pub limits: Limits,
    /// What was probably meant instead of an image. Such a name is never pulled.
    pub slip: Option<&'a str>,
    /// Takes the lines that registry-tool writes for people; without it, registry-tool is quiet.
    pub report: Option<&'a dyn Fn(&str)>,
}

/// Finds an image for a platform in a layout, or pulls it there.
pub fn find(query: &Query<'_>) -> Result<(Layout, Image), Error> {
    let Query { layout, name, platform, pull, limits, slip, .. } = *query;
    let address: Address = format!("{layout}:{name}").parse()?;
    let look = || -> Result<(Layout, Image), Error> {
        let layout = Layout::of(&address)?;
        let image = layout.image(&address, platform)?;
        fits(name, &image, platform)?;
        limits
            .check(image.manifest().layers().len())
            .map_err(|source| Error::Layers { name: name.to_owned(), source })?;
        Ok((layout, image))
    };
    let found = look();
    let is_missing = matches!(
        found,
        Err(Error::Layout(
            layout::Error::NoSuchImage { .. } | layout::Error::MissingBlob { .. } | layout::Error::NoPlatform { .. }
        ) | Error::Platform { .. })
    );
    match (pull, slip) {
        (Pull::Never, _) => return found,
        (Pull::Missing, _) if !is_missing => return found,
        (_, Some(hint)) if is_missing => {
            return Err(Error::Slip { name: name.to_owned(), hint: hint.to_owned(), layout: layout.to_owned() });
        }
        _ => {}
    }
    let before = Layout::of(&address).and_then(|layout| layout.resolve(&address)).ok();
    self::pull(query)?;
    if let Some(before) = before {
        keep_platforms(&address, &before)?;
    }
    look()
}

/// Refuses an image for another platform. One that does not say what it is for is taken.
pub fn fits(name: &str, image: &Image, platform: &Platform) -> Result<(), Error> {
    let config: serde_json::Value = serde_json::from_slice(image.config_bytes()).unwrap_or_default();
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let (os, architecture) = (text("os"), text("architecture"));
    let same = |have: &str, want: &str| have.is_empty() || have == want;
    if same(&os, platform.os()) && same(&architecture, platform.architecture()) {
        return Ok(());
    }
    let (name, wanted) = (name.to_owned(), platform.to_string());
    Err(Error::Platform { name, wanted, offered: format!("{os}/{architecture}") })
}

/// Keeps the image for another platform that had the name before a pull: both are then in an index.
fn keep_platforms(address: &Address, before: &Descriptor) -> Result<(), Error> {
    let layout = Layout::of(address)?;
    let after = layout.resolve(address)?;
    let (Some(reference), false) = (address.reference(), is_index(before) || is_index(&after)) else { return Ok(()) };
    let (old, new) = (layout.image_of(before)?, layout.image_of(&after)?);
    let same = |one: &Image, other: &Image| {
        one.config().os() == other.config().os() && one.config().architecture() == other.config().architecture()
    };
    if before.digest() != after.digest() && !same(&old, &new) {
        let writer = layout.writer()?;
        let index = edit::index::create(&layout, &writer, &[before.clone(), after])?;
        writer.publish(reference, index)?;
        // As docker's user pulls, it is left without a name. Now it has one.
        layout.update_index(|index| {
            index.remove_unnamed(before.digest());
            Ok(())
        })?;
    }
    Ok(())
}

fn pull(query: &Query<'_>) -> Result<(), Error> {
    let Query { layout, name, platform, report, .. } = *query;
    let mut command = Command::new(sibling("registry-tool"));
    command.arg("pull");
    if report.is_none() {
        command.arg("--quiet");
    }
    if *platform != Platform::host() {
        command.args(["--platform", &platform.to_string()]);
    }
    command.arg(name);
    if !layout.is_empty() {
        command.arg(layout);
    }
    let last = RefCell::new(String::new());
    let keep = |line: &str| {
        line.clone_into(&mut last.borrow_mut());
        if let Some(report) = report {
            report(line);
        }
    };
    // Where nothing is shown, its errors are.
    let keep: Option<&dyn Fn(&str)> = if report.is_some() { Some(&keep) } else { None };
    let status = report_on(&mut command, keep).map_err(|source| Error::NoTool { name: name.to_owned(), source })?;
    let said = last.take();
    if status.success() { Ok(()) } else { Err(Error::Pull { name: name.to_owned(), said, status }) }
}

/// Runs a program, and passes on what it writes for people, line by line. Its address is not ours to print.
pub fn report_on(command: &mut Command, report: Option<&dyn Fn(&str)>) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let Some(report) = report else { return command.status() };
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let lines = child.stderr.take().map(|stderr| BufReader::new(stderr).split(b'\n'));
    for line in lines.into_iter().flatten() {
        report(String::from_utf8_lossy(&line?).trim_end());
    }
    child.wait()
}

/// The path of a program of this family: beside this one, or else its bare name, to be found in PATH.
pub fn sibling(name: &str) -> PathBuf {
    let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
