use std::path::PathBuf;

use anyhow::Result;
use build_tool::dockerfile::Dockerfile;
use build_tool::source::context::Context;
use clap::{Args, ValueHint};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::human;

/// Print the syntax tree of a Dockerfile as JSON.
///
/// Each instruction comes with its line numbers and its text. Variables are not expanded.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool parse app
  build-tool parse | jq -r '.steps[] | select(.instruction == \"FROM\").value.base'")]
pub(crate) struct Parse {
    /// Directory of the context.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    context: PathBuf,
    /// Read this Dockerfile instead of the context's, or - for standard input.
    #[arg(short, long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl Parse {
    pub(crate) fn run(self) -> Result<()> {
        let context = Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let file = Dockerfile::parse(context.dockerfile_name(), context.dockerfile())?;
        pipe::print(human::json(&serde_json::to_string(&file)?) + "\n")
    }
}
