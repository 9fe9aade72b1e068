use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueHint};
use image_tool::beneath::{Root, Unfinished};
use image_tool::interrupt;
use image_tool::layer::apply::Options;
use image_tool::layer::cache::{Source, apply_all};
use image_tool::layer::owner::{IdMap, Owners};
use image_tool::layer::progress;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::meter::Meter;
use image_tool::program::pipe;

use super::TOOL;
use super::operand::{Operand, named};
use image_tool::program::limits::Limits;

/// Unpack an image into a directory and print its path.
///
/// Everything is verified; if something is wrong, the directory is left as it was. For root, files keep their owners. For other users,
/// all files belong to the user, and device nodes are left out.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool unpack :python:3.8 rootfs
  image-tool unpack --uid-map 0:100000:65536 :python:3.8 rootfs")]
pub(crate) struct Unpack {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Directory, which must be new or empty.
    #[arg(value_hint = ValueHint::DirPath)]
    directory: PathBuf,
    /// Own all files, as for other users, even as root.
    #[arg(long)]
    rootless: bool,
    /// Shift user IDs; may be repeated.
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT", conflicts_with = "rootless", value_hint = ValueHint::Other)]
    uid_map: Vec<String>,
    /// Shift group IDs; may be repeated [default: the user IDs' map].
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT", requires = "uid_map", value_hint = ValueHint::Other)]
    gid_map: Vec<String>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: Limits,
}

impl Unpack {
    pub(crate) fn run(self) -> Result<()> {
        let mut options = Options::tree();
        if self.rootless {
            options.owners = Owners::Caller;
        }
        if !self.uid_map.is_empty() {
            let map = |words: &[String]| {
                IdMap::parse(&words.join("\n"))
                    .with_context(|| format!("{}: not a valid ID map (INSIDE:OUTSIDE:COUNT)", words.join(" ")))
            };
            let users = map(&self.uid_map)?;
            let groups = if self.gid_map.is_empty() { users.clone() } else { map(&self.gid_map)? };
            options.owners = Owners::Mapped { users, groups };
        }
        let limits = self.limits.get();
        (options.entries, options.size) = (limits.entries(), limits.size);
        let address = self.address.address()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let sources = || -> Result<Vec<Source>> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            self.limits.of(&image)?;
            Ok(Source::of_image(&layout, &image)?)
        };
        let sources = sources().map_err(|error| named(error, &address))?;
        interrupt::listen().context("signals")?;
        let meter = Meter::of_layers(|| (progress::now().bytes, progress::now().entries));
        let skipped = into(&self.directory, |path| {
            let root = Root::open(path)?;
            apply_all(&sources, root, options).with_context(|| address.to_string())
        });
        drop(meter);
        for (what, count) in skipped? {
            TOOL.say(&format!("{address}: {count} × {what} left out"));
        }
        pipe::print_line(&self.directory.display().to_string())
    }
}

/// How the names of folders begin that are not complete.
const PREFIX: &str = ".unpack-";

/// Fills a folder. A new one has a temporary name until it is complete. An existing one, which must be empty and may be
/// a mount point, is filled in place.
fn into<T>(directory: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let failed = || directory.display().to_string();
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!("{}: not empty (name a new folder)", directory.display());
            }
            let filled = fill(directory);
            if filled.is_err() {
                // Report only the first error.
                let _ = Root::open(directory)
                    .and_then(|root| root.names("")?.into_iter().try_for_each(|name| root.remove(name)));
            }
            filled
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(parent).with_context(failed)?;
            Unfinished::sweep(parent, PREFIX);
            let unfinished = Unfinished::create(parent, PREFIX, 0o755).with_context(failed)?;
            let value = fill(unfinished.path())?;
            interrupt::check().with_context(failed)?;
            unfinished.finish(directory).with_context(failed)?;
            Ok(value)
        }
        Err(error) => Err(error).with_context(failed),
    }
}
