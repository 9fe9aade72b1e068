//! Images as docker's API describes them, and what containers have of the same form: docker 20.10's fields in docker's order.

use serde_json::Value as Json;

use super::summary::Summary;
use super::template::{Struct, Value};
use crate::address::{Address, name};
use crate::layout::platform::Platform;
use crate::layout::{self, Image, Layout, REF_NAME, index};

/// The document of `docker image inspect`.
///
/// # Errors
/// [`layout::Error`] if there is no such image, or if it cannot be read.
pub fn image(address: &Address, platform: Option<&Platform>) -> Result<Value, layout::Error> {
    let layout = Layout::of(address)?;
    let descriptor = layout.resolve(address)?;
    let image = match platform {
        Some(platform) => layout.image(address, platform)?,
        None => Summary::image(&layout, &descriptor)?,
    };
    let summary = Summary::of(&layout, &image);
    let config: Json = serde_json::from_slice(image.config_bytes()).unwrap_or_default();
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for (reference, entry) in layout.index()?.entries()? {
        if entry.digest() != descriptor.digest() {
            continue;
        }
        let digest = match (&reference, index::pulled(&entry)) {
            (Some(reference), _) => {
                let (repository, tag) = name::familiar(reference);
                tags.push(format!("{repository}:{tag}"));
                format!("{repository}@{}", descriptor.digest())
            }
            (None, Some((name, digest))) => format!("{}@{digest}", name::familiar(name).0),
            (None, None) => continue,
        };
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let comment = config["history"].as_array().and_then(|history| history.last()?["comment"].as_str());
    let diff_ids = config["rootfs"]["diff_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    let root = Struct::new("types.RootFS").with("Type", "layers").with("Layers", Value::list(diff_ids));
    // What docker's builder adds, and no other.
    let old = config.get("container_config").unwrap_or(&Json::Null);
    Ok(Struct::new("types.ImageInspect")
        .with("Id", summary.id.to_string())
        .with("RepoTags", tags)
        .with("RepoDigests", digests)
        .with("Parent", "")
        .with("Comment", comment.unwrap_or_default())
        .with("Created", created(&config["created"]))
        .with("Container", text("container"))
        .with("ContainerConfig", self::config(old, ""))
        .with("DockerVersion", text("docker_version"))
        .with("Author", text("author"))
        .with("Config", self::config(&config["config"], ""))
        .with("Architecture", text("architecture"))
        .unless_empty("Variant", text("variant"))
        .with("Os", text("os"))
        .unless_empty("OsVersion", text("os.version"))
        .with("Size", summary.size)
        .with("VirtualSize", summary.size)
        .with("GraphDriver", graph_driver(Value::map::<String, String>([])))
        .with("RootFS", root)
        .with("Metadata", Struct::new("types.ImageMetadata").with("LastTagTime", NEVER))
        .with("Descriptor", descriptor_of(&image))
        .into())
}

/// The descriptor of an image by whatever name it is called.
fn descriptor_of(image: &Image) -> Json {
    let mut json = serde_json::to_value(image.descriptor()).unwrap_or_default();
    if let Some(annotations) = json["annotations"].as_object_mut() {
        annotations.remove(REF_NAME);
        if annotations.is_empty() {
            json.as_object_mut().expect("a descriptor is an object").remove("annotations");
        }
    }
    json
}

/// Go's zero time, which docker shows for what has not happened.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

fn created(time: &Json) -> &str {
    time.as_str().unwrap_or(NEVER)
}

/// How layers are stored, with the folders of one container.
#[must_use]
pub fn graph_driver(data: Value) -> Value {
    Struct::new("types.GraphDriverData").with("Data", data).with("Name", "overlay2").into()
}

/// docker's `Config`, from the config of an image with the fields that a container has in addition. `image` is what it is made from.
#[must_use]
pub fn config(config: &Json, image: &str) -> Value {
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let is = |key: &str| config[key].as_bool().unwrap_or_default();
    let image = if image.is_empty() { text("Image") } else { image };
    Struct::new("*container.Config")
        .with("Hostname", text("Hostname"))
        .with("Domainname", text("Domainname"))
        .with("User", text("User"))
        .with("AttachStdin", is("AttachStdin"))
        .with("AttachStdout", is("AttachStdout"))
        .with("AttachStderr", is("AttachStderr"))
        .unless_empty("ExposedPorts", set(&config["ExposedPorts"]))
        .with("Tty", is("Tty"))
        .with("OpenStdin", is("OpenStdin"))
        .with("StdinOnce", is("StdinOnce"))
        .with("Env", words(&config["Env"]))
        .with("Cmd", words(&config["Cmd"]))
        .unless_empty("Healthcheck", healthcheck(&config["Healthcheck"]))
        .unless_empty("ArgsEscaped", is("ArgsEscaped"))
        .with("Image", image)
        .with("Volumes", set(&config["Volumes"]))
        .with("WorkingDir", text("WorkingDir"))
        .with("Entrypoint", words(&config["Entrypoint"]))
        .unless_empty("NetworkDisabled", is("NetworkDisabled"))
        .unless_empty("MacAddress", text("MacAddress"))
        .with("OnBuild", words(&config["OnBuild"]))
        .with("Labels", labels(&config["Labels"]))
        .unless_empty("StopSignal", text("StopSignal"))
        .unless_empty("StopTimeout", config["StopTimeout"].as_i64())
        .unless_empty("Shell", words(&config["Shell"]))
        .into()
}

/// A list of strings; a nil slice if it is absent.
fn words(json: &Json) -> Value {
    if json.is_array() { json.into() } else { Value::List(None) }
}

/// A map whose values say nothing, such as the exposed ports.
fn set(json: &Json) -> Value {
    match json.as_object() {
        Some(keys) => Value::map(keys.keys().map(|key| (key.as_str(), Struct::new("struct {}")))),
        None => Value::Map(None),
    }
}

fn labels(json: &Json) -> Value {
    if json.is_object() { json.into() } else { Value::Map(None) }
}

fn healthcheck(json: &Json) -> Value {
    if !json.is_object() {
        return Value::NilPointer;
    }
    let number = |key: &str| json[key].as_i64().unwrap_or_default();
    Struct::new("*container.HealthConfig")
        .unless_empty("Test", words(&json["Test"]))
        .unless_empty("Interval", Value::Duration(number("Interval")))
        .unless_empty("Timeout", Value::Duration(number("Timeout")))
        .unless_empty("StartPeriod", Value::Duration(number("StartPeriod")))
        .unless_empty("Retries", number("Retries"))
        .into()
}

/// Documents as `docker inspect` prints them without a template, or with the format `json` if `is_compact`.
#[must_use]
pub fn array(documents: &[Value], is_compact: bool) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = if is_compact {
        serde_json::to_writer(&mut bytes, documents)
    } else {
        serde::Serialize::serialize(documents, &mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
    };
    // Values of these kinds can always be written.
    debug_assert!(written.is_ok());
    bytes.push(b'\n');
    super::human::json(&String::from_utf8_lossy(&bytes))
}
