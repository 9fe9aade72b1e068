use anyhow::{Context as _, bail};
use bundle_tool::bundle::annotation;
use bundle_tool::network::Plan;
use image_tool::program::pipe;

use super::candidates;

/// List the published ports of a container, or where one of them leads from.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool port web
  bundle-tool port web 80/tcp")]
pub(crate) struct Port {
    /// Container name, ID prefix or bundle path.
    #[arg(add = candidates::containers())]
    bundle: String,
    /// A port of the container, PORT[/PROTOCOL].
    port: Option<String>,
}

impl Port {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        let plan: Option<Plan> =
            bundle.annotation(annotation::NETWORK).and_then(|text| serde_json::from_str(text).ok());
        // Ports lead nowhere while the container does not run.
        let mappings = match plan.filter(|_| bundle.occupant().is_some()) {
            Some(plan) => plan.mappings()?,
            None => Vec::new(),
        };
        let wanted = self.port.as_deref().map(|text| text.split_once('/').unwrap_or((text, "tcp")));
        let mut lines: Vec<(u16, String)> = Vec::new();
        for mapping in mappings {
            let address = std::net::SocketAddr::new(mapping.ip, mapping.host);
            let place = format!("{}/{}", mapping.container, mapping.protocol);
            match wanted {
                None => lines.push((mapping.container, format!("{place} -> {address}\n"))),
                Some((port, protocol)) if place == format!("{port}/{protocol}") => {
                    lines.push((mapping.container, format!("{address}\n")));
                }
                Some(_) => {}
            }
        }
        if let Some((port, protocol)) = wanted {
            port.parse::<u16>().with_context(|| format!("Invalid port: {port:?}"))?;
            if lines.is_empty() {
                bail!("No public port '{port}/{protocol}' published for {}", self.bundle);
            }
        }
        lines.sort();
        pipe::print(lines.into_iter().map(|(_, line)| line).collect::<String>())
    }
}
