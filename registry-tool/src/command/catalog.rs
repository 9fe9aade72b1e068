//! `registry-tool catalog`.

use clap::Args;
use registry_tool::client::Registry;
use registry_tool::reference::RegistryHost;
use serde_json::json;

use super::tags::write_names;
use super::{Network, block_on, mirrors};

/// List the repositories of a registry, where it lets one.
#[derive(Args)]
pub(crate) struct Catalog {
    /// The registry: localhost:5000.
    registry: RegistryHost,
    /// Print the document that the distribution-spec defines, pages joined.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: Network,
}

impl Catalog {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let endpoint = mirrors()?.host_endpoint(self.registry.as_str())?;
        let settings = self.network.settings();
        let names = block_on(async {
            let registry = Registry::connect(&endpoint, &settings).await?;
            Ok(registry.catalog().await?)
        })?;
        write_names(&names, self.json.then(|| json!({ "repositories": names })))
    }
}
