//! `registry-tool tags`.

use clap::{Args, ValueHint};
use image_tool::program::pipe;
use image_tool::show::human;
use registry_tool::client::Registry;
use registry_tool::question::query::tags;
use registry_tool::reference::{ImageName, RepositoryName};
use serde_json::json;

use super::access::Access;
use super::{Network, block_on};

/// List the tags of a repository.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool tags python
  registry-tool tags --json localhost:5000/team/app")]
pub(crate) struct Tags {
    /// Name of the repository, such as python or quay.io/team/app.
    #[arg(value_hint = ValueHint::Other)]
    repository: RepositoryName,
    /// Print the JSON document that the distribution spec defines, with all pages in one.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Tags {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let way = self.access.way(&self.network, self.repository.image())?;
        let list = async |registry: &Registry, _: &ImageName| Ok(tags(registry).await?);
        let name = self.repository.image();
        let names = block_on(async { Ok(way.round().ask("repository", name, list).await?) })?;
        print_names(&names, self.json.then(|| json!({ "name": name.repository(), "tags": names })))
    }
}

/// Prints names, one a line, or a document that holds them.
pub(super) fn print_names(names: &[String], document: Option<serde_json::Value>) -> anyhow::Result<()> {
    let text = match document {
        Some(document) => human::json(&document.to_string()) + "\n",
        None => names.iter().map(|name| format!("{name}\n")).collect(),
    };
    pipe::print(text)
}
