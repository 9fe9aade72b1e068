use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use image_tool::program::pipe;

/// Print the path of a container's bundle.
#[derive(clap::Args)]
pub(crate) struct Find {
    /// Print the container's name, which is its id for the runtime, in place of the path.
    #[arg(long)]
    name: bool,
    /// Print the container's id of 64 digits in place of the path.
    #[arg(long, conflicts_with = "name")]
    id: bool,
    /// A container's name, a bundle's path, or the first digits of an id.
    container: String,
}

impl Find {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.container)?;
        if self.name {
            return Ok(pipe::print_line(&bundle.name())?);
        }
        if self.id {
            let id = bundle.annotation(annotation::ID);
            return Ok(pipe::print_line(id.with_context(|| format!("{}: the bundle has no id", self.container))?)?);
        }
        Ok(pipe::print_line(bundle.path().to_str().context("the path is not UTF-8")?)?)
    }
}
