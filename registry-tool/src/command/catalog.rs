//! `registry-tool catalog`.

use clap::{Args, ValueHint};
use registry_tool::client::Registry;
use registry_tool::question::query::catalog;
use registry_tool::reference::RegistryHost;
use serde_json::json;

use super::tags::print_names;
use super::{Network, block_on, mirrors};

/// List the repositories of a registry, if the registry allows it.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool catalog localhost:5000
  registry-tool catalog --json localhost:5000")]
pub(crate) struct Catalog {
    /// Host of the registry, such as localhost:5000.
    #[arg(value_hint = ValueHint::Hostname)]
    registry: RegistryHost,
    /// Print the JSON document that the distribution spec defines, with all pages in one.
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
            Ok(catalog(&registry).await?)
        })?;
        print_names(&names, self.json.then(|| json!({ "repositories": names })))
    }
}
