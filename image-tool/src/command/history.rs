use std::io;

use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::summary::{Summary, layer_size};
use image_tool::show::template::Template;
use image_tool::{address::digest, show::human};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::operand::{Operand, named};
use super::table::heading;

/// Show how an image was built.
///
/// Prints the steps in docker's columns, the latest first.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool history :python:3.8
  image-tool history --no-trunc --format \"{{.CreatedBy}}\" :python:3.8")]
pub(crate) struct History {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Format each step with a Go template, such as "{{.CreatedBy}}".
    ///
    /// The fields are .ID, .CreatedSince, .CreatedAt, .CreatedBy, .Size and .Comment. A template that begins with `table` aligns
    /// them in columns.
    #[arg(long, value_name = "TEMPLATE", value_hint = ValueHint::Other)]
    format: Option<Template>,
    /// Print IDs and commands in full.
    #[arg(long)]
    no_trunc: bool,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl History {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.clone().address()?;
        let values = self.values(&address).map_err(|error| named(error, &address))?;
        if let Some(template) = &self.format {
            return pipe::print_exactly(template.lines(&values, heading, human::table, &io::stdout())?);
        }
        let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
        if self.quiet {
            return pipe::print(values.iter().map(|value| text(value, "ID") + "\n").collect::<String>());
        }
        let fields = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
        let mut table: Vec<Vec<String>> =
            vec![fields.iter().map(|field| if *field == "ID" { "IMAGE".into() } else { heading(field) }).collect()];
        table.extend(values.iter().map(|value| fields.iter().map(|field| text(value, field)).collect()));
        pipe::print(human::table(&table))
    }

    fn values(&self, address: &Address) -> Result<Vec<Value>> {
        let layout = Layout::of(address)?;
        let image = match &self.platform {
            Some(platform) => layout.image(address, platform)?,
            None => Summary::image(&layout, &layout.resolve(address)?)?,
        };
        let now = Timestamp::now();
        let config: Value = serde_json::from_slice(image.config_bytes())?;
        let mut layers = image.manifest().layers().iter();
        let mut steps = config["history"].as_array().cloned().unwrap_or_default();
        let told = steps.iter().filter(|step| step["empty_layer"] != true).count();
        // The history may be shorter than the list of layers, or missing.
        steps.extend((told..image.manifest().layers().len()).map(|_| json!({})));
        let mut values = Vec::new();
        for step in steps {
            let layer = if step["empty_layer"] == true { None } else { layers.next() };
            let size = layer.map_or(0, |layer| layer_size(&layout, layer));
            let created: Option<Timestamp> = step["created"].as_str().and_then(|text| text.parse().ok());
            let mut created_by = step["created_by"].as_str().unwrap_or_default().replace(['\t', '\n'], " ");
            if !self.no_trunc && created_by.chars().count() > 45 {
                created_by = created_by.chars().take(44).chain(['…']).collect();
            }
            values.push(json!({
                "ID": "<missing>",
                "CreatedSince": created.map_or("N/A".into(), |created| human::ago(created, now)),
                "CreatedAt": created.map_or("N/A".into(), |created| created.to_string()),
                "CreatedBy": created_by,
                "Size": human::size(size),
                "Comment": step["comment"].as_str().unwrap_or_default(),
            }));
        }
        if let Some(last) = values.last_mut() {
            let id = image.manifest().config().digest();
            last["ID"] = if self.no_trunc { id.to_string() } else { digest::short(id).to_owned() }.into();
        }
        values.reverse();
        Ok(values)
    }
}
