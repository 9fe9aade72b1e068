use anyhow::bail;
use bundle_tool::option::port::Expose;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::{candidates, joined};

/// List the published ports of a container, or where one of them leads from.
///
/// Reads a runtime's list of containers from standard input.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool list --format json | bundle-tool port web
  run-tool list --format json | bundle-tool port web 8000/tcp")]
pub(crate) struct Port {
    /// Name or ID of the container.
    #[arg(value_name = "CONTAINER", add = candidates::containers())]
    container: String,
    /// Port of the container, as PORT or PORT/PROTOCOL.
    #[arg(value_name = "PORT")]
    port: Option<Expose>,
}

impl Port {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let all = joined::containers(&Home::from_environment(), "port")?;
        let Some(container) = joined::find(&all, &self.container)? else {
            bail!("No such container: {}", self.container);
        };
        let plan = container.plan().filter(|_| container.is_up()).unwrap_or_default();
        let mut lines = Vec::new();
        for mapping in plan.mappings()? {
            let host = format!("{}:{}", mapping.ip, mapping.host);
            match &self.port {
                None => {
                    lines.push((mapping.container, format!("{}/{} -> {host}\n", mapping.container, mapping.protocol)));
                }
                Some(wanted) if wanted.ports().any(|own| own == (mapping.container, mapping.protocol)) => {
                    lines.push((mapping.container, host + "\n"));
                }
                Some(_) => {}
            }
        }
        if let (true, Some(wanted)) = (lines.is_empty(), &self.port) {
            let shown: Vec<String> = wanted.ports().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
            bail!("Error: No public port '{}' published for {}", shown.join(", "), container.name());
        }
        lines.sort();
        pipe::print(lines.into_iter().map(|(_, line)| line).collect::<String>())
    }
}
