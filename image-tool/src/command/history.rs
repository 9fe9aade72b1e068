use std::io;

use anyhow::Result;
use clap::{ArgAction, Args, ValueHint};
use image_tool::address::Address;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::format::{Format, List};
use image_tool::show::summary::{Summary, layer_size};
use image_tool::show::table;
use image_tool::show::template::{Struct, Value};
use image_tool::{address::digest, show::human};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::operand::{Operand, named};

/// docker's list.
const LIST: List<'static> = List {
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    narrowest: table::WIDE,
};

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
    format: Option<Format>,
    /// Print IDs and commands in full.
    #[arg(long)]
    no_trunc: bool,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
    /// Print sizes and dates for people, or as bytes and RFC 3339 with =false.
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set, value_parser = boolean, hide_default_value = true, hide_possible_values = true)]
    human: bool,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl History {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.clone().address()?;
        let values = self.values(&address).map_err(|error| named(error, &address))?;
        let format = self.format.filter(|format| !format.is_plain_table());
        if self.quiet && format.is_none() {
            let lines = values.iter().filter_map(|value| value.text_of("ID"));
            return pipe::print(lines.map(|id| format!("{id}\n")).collect::<String>());
        }
        let created = if self.human { "CreatedSince" } else { "CreatedAt" };
        let format = format.unwrap_or_else(|| Format::columns(&["ID", created, "CreatedBy", "Size", "Comment"]));
        pipe::print_exactly(format.lines(&values, LIST, &io::stdout())?)
    }

    fn values(&self, address: &Address) -> Result<Vec<Value>> {
        let layout = Layout::of(address)?;
        let image = match &self.platform {
            Some(platform) => layout.image(address, platform)?,
            None => Summary::image(&layout, &layout.resolve(address)?)?,
        };
        let now = Timestamp::now();
        let config: Json = serde_json::from_slice(image.config_bytes())?;
        let mut layers = image.manifest().layers().iter();
        let mut steps = config["history"].as_array().cloned().unwrap_or_default();
        let told = steps.iter().filter(|step| step["empty_layer"] != true).count();
        // The history may be shorter than the list of layers, or missing.
        steps.extend((told..image.manifest().layers().len()).map(|_| json!({})));
        let config_digest = image.manifest().config().digest();
        let last = steps.len().saturating_sub(1);
        let mut values = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            let layer = if step["empty_layer"] == true { None } else { layers.next() };
            let size = layer.map_or(0, |layer| layer_size(&layout, layer));
            let created: Option<Timestamp> = step["created"].as_str().and_then(|text| text.parse().ok());
            let mut created_by = step["created_by"].as_str().unwrap_or_default().replace(['\t', '\n'], " ");
            if !self.no_trunc && created_by.chars().count() > 45 {
                created_by = created_by.chars().take(44).chain(['…']).collect();
            }
            let id = match (index == last, self.no_trunc) {
                (false, _) => "<missing>".to_owned(),
                (true, true) => config_digest.to_string(),
                (true, false) => digest::short(config_digest).to_owned(),
            };
            let seconds = |created: Timestamp| created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let at = created.map_or("N/A".into(), seconds);
            let since = created.filter(|_| self.human).map(|created| human::ago(created, now));
            let row = Struct::new("*image.historyContext")
                .with("Comment", step["comment"].as_str().unwrap_or_default())
                .with("CreatedAt", at.as_str())
                .with("CreatedBy", created_by)
                .with("CreatedSince", since.unwrap_or(at))
                .with("ID", id)
                .with("Size", if self.human { human::size(size) } else { size.to_string() });
            values.push(row.into());
        }
        values.reverse();
        Ok(values)
    }
}

/// Go's words for a switch.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".into()),
    }
}
