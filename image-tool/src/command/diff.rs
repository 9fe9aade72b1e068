use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use image_tool::beneath::Root;
use image_tool::layer::diff;

use super::archive::output;
use super::publish::source_date_epoch;

/// Write what turns one folder into another as a layer's tar.
///
/// Together with unpack and append this changes an image by hand: unpack it twice, change one, append the difference.
#[derive(Args)]
pub(crate) struct Diff {
    /// The folder as it was.
    lower: PathBuf,
    /// The folder as it is.
    upper: PathBuf,
    /// Leave out a path, as seen from the folder, with all beneath it; can stand several times.
    #[arg(long, value_name = "PATH")]
    exclude: Vec<PathBuf>,
    /// Write to a file, which appears under its name when it is complete; standard output, which must not be a terminal, if
    /// omitted.
    #[arg(short, long, value_name = "FILE")]
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
