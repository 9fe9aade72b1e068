use std::io;

use bundle_tool::describe::host;
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::human;
use image_tool::show::template::{Template, Value};

use super::inspect::BadTemplate;
use super::joined;

/// Print the version of these programs and of what they are like.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool version
  bundle-tool version --format '{{.Server.Version}}'")]
pub(crate) struct Version {
    /// Format the version with a Go template, such as '{{.Server.Version}}', or as `json`.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Print what there is on this host, as `docker info` does.
///
/// Reads a runtime's list of containers from standard input, unless that is a terminal.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool list --format json | bundle-tool info
  run-tool list --format json | bundle-tool info --format '{{.ContainersRunning}}'")]
pub(crate) struct Info {
    /// Format the information with a Go template, or as `json`.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Prints a document by a template, or for people.
fn show(format: Option<&str>, document: &Value, text: impl Fn(&Value) -> String) -> anyhow::Result<()> {
    match format {
        None | Some("") => pipe::print(human::lines(&text(document))),
        Some(format) => {
            let template: Template =
                if format == "json" { "{{json .}}" } else { format }.parse().map_err(BadTemplate)?;
            let line = template.fill_in(document, &io::stdout());
            pipe::print_exactly(line.map_err(|error| anyhow::anyhow!("template parsing error: {error}"))? + "\n")
        }
    }
}

/// docker's own template for people, of which each line has a tab.
const VERSION: &str = "Client:{{if ne .Client.Platform.Name \"\"}} {{.Client.Platform.Name}}{{end}}
 Version:\t{{.Client.Version}}
 API version:\t{{.Client.ApiVersion}}
 OS/Arch:\t{{.Client.Os}}/{{.Client.Arch}}
 Context:\t{{.Client.Context}}
 Experimental:\t{{.Client.Experimental}}

Server:{{if ne .Server.Platform.Name \"\"}} {{.Server.Platform.Name}}{{end}}
{{- range .Server.Components}}
 {{.Name}}:
  Version:\t{{.Version}}
{{- if eq .Name \"Engine\"}}
  API version:\t{{.Details.ApiVersion}} (minimum version {{.Details.MinAPIVersion}})
  OS/Arch:\t{{.Details.Os}}/{{.Details.Arch}}
  Experimental:\t{{.Details.Experimental}}
{{- end}}{{end}}";

impl Version {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let text = |document: &Value| {
            let template: Template = VERSION.parse().expect("the constant is a template");
            let filled = template.fill_in(document, &io::stdout()).unwrap_or_default();
            let line = |line: &str| match line.split_once('\t') {
                Some((label, value)) => format!("{label:<20}{value}\n"),
                None => format!("{line}\n"),
            };
            filled.lines().map(line).collect()
        };
        show(self.format.as_deref(), &host::version(), text)
    }
}

impl Info {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let containers = joined::containers_or_bundles(&home, "info")?;
        show(self.format.as_deref(), &host::info(&home, &containers), host::info_text)
    }
}
