use std::io;

use bundle_tool::bundle::annotation;
use image_tool::program::pipe;
use image_tool::show::human;
use image_tool::show::template::Template;
use serde_json::{Value, json};

use super::candidates;

/// Print the config.json of bundles, or some of its fields.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool inspect web
  bundle-tool inspect --format '{{.Name}} {{.Image}}' web db
  bundle-tool inspect --format '{{json .Config.process.args}}' web")]
pub(crate) struct Inspect {
    /// Format each bundle with a Go template, such as '{{.Name}} {{.Image}}'.
    ///
    /// The fields are .Name, .ID, .Image, .Created, .Path, .Hostname, .Labels, .Volumes and, for config.json itself, .Config.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Container names, ID prefixes or bundle paths.
    #[arg(required = true, value_name = "BUNDLE", add = candidates::containers())]
    bundles: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (mut files, mut values) = (Vec::new(), Vec::new());
        for operand in &self.bundles {
            let bundle = super::bundle(operand)?;
            if self.format.is_none() {
                files.extend(std::fs::read(bundle.path().join("config.json"))?);
                continue;
            }
            let text = |key: &str| bundle.annotation(key).unwrap_or_default().to_owned();
            let labels: Value = serde_json::from_str(&text(annotation::LABELS)).unwrap_or_else(|_| json!({}));
            let volumes: Vec<String> = bundle.volumes().into_iter().map(|used| used.name).collect();
            values.push(json!({
                "Name": bundle.name(), "ID": text(annotation::ID), "Id": text(annotation::ID), "Image": text(annotation::IMAGE),
                "Created": text(annotation::CREATED), "Path": bundle.path(), "Hostname": bundle.config()["hostname"],
                "Labels": labels, "Volumes": volumes, "Config": bundle.config(),
            }));
        }
        match &self.format {
            Some(template) => {
                pipe::print_exactly(template.lines(&values, str::to_owned, human::table, &io::stdout())?)
            }
            None => pipe::print(files),
        }
    }
}
