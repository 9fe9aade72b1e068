use std::io;

use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::address::name;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::human;
use image_tool::show::summary::Summary;
use image_tool::show::template::Template;
use serde::Serialize;
use serde_json::{Value, json};

use super::operand::{Operand, named};

/// Print the details of images as JSON.
///
/// The output is a JSON array in the form of `docker image inspect`.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool inspect :python:3.8
  image-tool inspect --format \"{{json .Config.Env}}\" :python:3.8
  image-tool list images | head -n1 | image-tool inspect -")]
pub(crate) struct Inspect {
    /// Images, or - to read an address from standard input.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Operand>,
    /// Format each image with a Go template, such as "{{.Id}}" or "{{json .Config.Env}}".
    #[arg(short, long, value_name = "TEMPLATE", value_hint = ValueHint::Other)]
    format: Option<Template>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
        let mut documents = Vec::new();
        for operand in self.addresses {
            let address = operand.address()?;
            documents.push(document(&address, self.platform.as_ref()).map_err(|error| named(error, &address))?);
        }
        if let Some(template) = &self.format {
            return pipe::print_exactly(template.lines(&documents, str::to_owned, human::table, &io::stdout())?);
        }
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        documents.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
        bytes.push(b'\n');
        pipe::print(human::json(&String::from_utf8(bytes)?))
    }
}

fn document(address: &Address, platform: Option<&Platform>) -> Result<Value> {
    let layout = Layout::of(address)?;
    let descriptor = layout.resolve(address)?;
    let image = match platform {
        Some(platform) => layout.image(address, platform)?,
        None => Summary::image(&layout, &descriptor)?,
    };
    let summary = Summary::of(&layout, &image);
    let config: Value = serde_json::from_slice(image.config_bytes())?;
    let mut tags = Vec::new();
    let mut digests = Vec::new();
    for (reference, entry) in layout.index()?.entries()? {
        if let Some(reference) = reference.filter(|_| entry.digest() == descriptor.digest()) {
            let (repository, tag) = name::familiar(&reference);
            tags.push(format!("{repository}:{tag}"));
            let digest = format!("{repository}@{}", descriptor.digest());
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
    }
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let comment =
        config["history"].as_array().and_then(|history| history.last()?["comment"].as_str()).unwrap_or_default();
    let mut document = json!({
        "Id": summary.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": comment,
        "Created": config["created"],
        "Author": text("author"),
        "Config": config["config"],
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": summary.size,
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
        "Descriptor": image.descriptor(),
    });
    // docker always shows these fields, and templates rely on it.
    for (field, nothing) in [
        ("User", json!("")),
        ("WorkingDir", json!("")),
        ("Env", Value::Null),
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Labels", Value::Null),
        ("Volumes", Value::Null),
    ] {
        if document["Config"].get(field).is_none() {
            document["Config"][field] = nothing;
        }
    }
    if config["variant"].is_string() {
        document["Variant"] = config["variant"].clone();
    }
    Ok(document)
}
