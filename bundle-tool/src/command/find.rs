use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use image_tool::program::pipe;

use super::candidates;

/// Print the path of a container's bundle.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool run --bundle \"$(bundle-tool find web)\" web
  bundle-tool find --id web
  bundle-tool find --name 4f2a")]
pub(crate) struct Find {
    /// Print the container's ID for the runtime, which is the name that it was created with, instead of the path.
    #[arg(long)]
    name: bool,
    /// Print the container's 64-digit ID instead of the path.
    #[arg(long, conflicts_with = "name")]
    id: bool,
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    container: String,
}

impl Find {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.container)?;
        if self.name {
            return pipe::print_line(&bundle.runtime_id());
        }
        if self.id {
            let id = bundle.annotation(annotation::ID);
            return pipe::print_line(id.with_context(|| format!("{}: the bundle has no id", self.container))?);
        }
        pipe::print_line(bundle.path().to_str().context("the path is not UTF-8")?)
    }
}
