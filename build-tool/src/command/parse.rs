use std::path::PathBuf;

use anyhow::Result;
use build_tool::dockerfile::Dockerfile;
use build_tool::source::context::Context;
use clap::Args;
use image_tool::address::home::Home;

/// Print a Dockerfile's syntax tree as JSON.
///
/// Variables are as they are written; each instruction comes with its lines and its text.
#[derive(Args)]
pub(crate) struct Parse {
    /// The context: a directory.
    #[arg(default_value = ".")]
    context: PathBuf,
    /// Read this Dockerfile, not the context's; - is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Parse {
    pub(crate) fn run(self) -> Result<()> {
        let context = Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let file = Dockerfile::parse(context.dockerfile_name(), context.dockerfile())?;
        let mut text = serde_json::to_vec(&file)?;
        text.push(b'\n');
        super::print_bytes(&text)
    }
}
