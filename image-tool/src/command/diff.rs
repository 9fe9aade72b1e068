use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use image_tool::beneath::Root;
use image_tool::layer::diff;

use super::publish::source_date_epoch;
use image_tool::program::archive::output;

/// Write the difference between two directories as a layer.
///
/// To change an image by hand, unpack it twice, change one copy, and append the difference.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool diff old new | image-tool append :app -
  image-tool diff --exclude tmp -o layer.tar old new")]
pub(crate) struct Diff {
    /// Old directory.
    #[arg(value_hint = ValueHint::DirPath)]
    lower: PathBuf,
    /// New directory.
    #[arg(value_hint = ValueHint::DirPath)]
    upper: PathBuf,
    /// Leave out this path, relative to the directories, and everything beneath it; may be repeated.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::Other)]
    exclude: Vec<PathBuf>,
    /// Write to this file, which appears once it is complete [default: standard output, unless it is a terminal].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

impl Diff {
    pub(crate) fn run(self) -> Result<()> {
        let mut options = diff::Options { latest: source_date_epoch()?, ..diff::Options::default() };
        for path in &self.exclude {
            options.exclude.insert(image_tool::beneath::clean(path)?);
        }
        let (lower, upper) = (Root::open(&self.lower)?, Root::open(&self.upper)?);
        output(self.output.as_deref(), |output| {
            diff::trees(&lower, &upper, output, &options).with_context(|| self.upper.display().to_string())?;
            Ok(())
        })
    }
}
