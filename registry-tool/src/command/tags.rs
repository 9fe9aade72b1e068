//! `registry-tool tags`.

use clap::Args;
use registry_tool::client::Registry;
use registry_tool::question::round::Round;
use registry_tool::reference::{ImageName, RepositoryName};
use serde_json::json;

use super::print_bytes;
use super::{Network, block_on, mirrors};

/// List the tags of a repository.
#[derive(Args)]
pub(crate) struct Tags {
    /// The repository: python, quay.io/team/app.
    repository: RepositoryName,
    /// Print the document that the distribution-spec defines, pages joined.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: Network,
}

impl Tags {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let round = Round { mirrors: &mirrors, settings: &settings };
        let list = async |registry: &Registry, _: &ImageName| Ok(registry.tags().await?);
        let name = self.repository.image();
        let tags = block_on(async { Ok(round.ask("repository", name, list).await?) })?;
        write_names(&tags, self.json.then(|| json!({ "name": name.repository(), "tags": tags })))
    }
}

/// One a line, or the document.
pub(super) fn write_names(names: &[String], document: Option<serde_json::Value>) -> anyhow::Result<()> {
    let text = match document {
        Some(document) => format!("{document}\n"),
        // A registry's word is not trusted to be a name: a control character in one must not reach a terminal.
        None => {
            names.iter().filter(|name| !name.chars().any(char::is_control)).map(|name| format!("{name}\n")).collect()
        }
    };
    print_bytes(text.as_bytes())
}
