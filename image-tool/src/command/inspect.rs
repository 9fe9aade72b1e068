use anyhow::Result;
use clap::Args;
use image_tool::address::Address;
use image_tool::address::name;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::show::summary::Summary;
use image_tool::show::template::Template;
use serde::Serialize;
use serde_json::{Value, json};

use super::operand::{Operand, named};
use super::print::print_bytes;

/// Print what is known of images, as one JSON array in docker's form.
#[derive(Args)]
pub(crate) struct Inspect {
    /// Images; - reads an address from standard input.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Operand>,
    /// Print a line for each image by a template, as {{.Id}} or {{json .Config.Env}}.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Of an index, inspect the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
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
            let mut lines = String::new();
            for document in &documents {
                lines.push_str(&image_tool::show::human::plain(&template.render(document)?));
                lines.push('\n');
            }
            return print_bytes(lines.as_bytes());
        }
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        documents.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
        bytes.push(b'\n');
        // JSON escapes control characters below space; a terminal knows more of them.
        let text: String = String::from_utf8(bytes)?;
        let escape =
            |c: char| if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        print_bytes(text.chars().map(escape).collect::<String>().as_bytes())
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
    // docker shows these whether an image has them or not, and templates count on it.
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
