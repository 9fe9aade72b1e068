//! Volumes as docker describes them.

use image_tool::show::format::List;
use image_tool::show::table;
use image_tool::show::template::{Struct, Value};

use crate::volume::Volume;

/// docker's list.
pub const LIST: List<'static> = List {
    headings: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
    narrowest: table::NARROW,
};

fn mountpoint(volume: &Volume) -> String {
    std::path::absolute(&volume.data).unwrap_or_else(|_| volume.data.clone()).display().to_string()
}

/// A row of docker's list. `links` and `size` are those of `system df`.
#[must_use]
pub fn row(volume: &Volume, links: &str, size: &str) -> Value {
    let labels = volume.about.labels.clone();
    let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Struct::new("*formatter.volumeContext")
        .with("Driver", "local")
        .with("Labels", shown.join(","))
        .with("Links", links)
        .with("Mountpoint", mountpoint(volume))
        .with("Name", &volume.name)
        .with("Scope", "local")
        .with("Size", size)
        .hidden(
            "Label",
            Value::Method(std::rc::Rc::new(move |key: &str| labels.get(key).cloned().unwrap_or_default().into())),
        )
        .into()
}

/// docker's document.
#[must_use]
pub fn document(volume: &Volume) -> Value {
    // docker has no fractions of a second here.
    let created = volume.about.created.parse::<jiff::Timestamp>();
    let created = created.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    Struct::new("types.Volume")
        .with("CreatedAt", created)
        .with("Driver", "local")
        .with("Labels", Value::map(volume.about.labels.clone()))
        .with("Mountpoint", mountpoint(volume))
        .with("Name", &volume.name)
        .with("Options", Value::map(volume.about.options.clone()))
        .with("Scope", "local")
        .into()
}
