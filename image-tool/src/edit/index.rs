//! Indexes: made of images, and changed entry by entry. Documents are changed as JSON, so unknown fields stay.
//!
//! What is attested of an image has an entry of its own (BuildKit, docs/attestations/attestation-storage.md), which comes and goes with
//! that of the image.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use crate::address::digest::{self, Digest};
use crate::layout::platform::{Platform, offered};
use crate::layout::{self, Layout, Writer, is_index};

/// Why an index could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layout could not be read or written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// There is one image, and no index to change.
    #[error("not an index (image-tool index create makes one)")]
    NotIndex,
    /// The index has no such entry.
    #[error("no entry for {entry} (it has {})", if .offered.is_empty() { "none for any platform" } else { .offered })]
    NoEntry {
        /// What was looked for.
        entry: Entry,
        /// The platforms of its entries.
        offered: String,
    },
}

/// Which entry of an index is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// That for a platform.
    Platform(Platform),
    /// That of a digest.
    Digest(Digest),
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(digest) = digest::parse(text) {
            return Ok(Self::Digest(digest));
        }
        text.parse().map(Self::Platform).map_err(|_| "neither a platform nor a digest".to_owned())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform(platform) => platform.fmt(formatter),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

/// What is said of an entry, or of the index itself.
#[derive(Debug, Clone, Default)]
pub struct Note {
    /// Annotations to set.
    pub annotations: Vec<(String, String)>,
    /// Names of annotations to remove.
    pub unset: Vec<String>,
    /// The platform of the entry.
    pub platform: Option<Platform>,
}

/// Writes an index of images, each with the platform from its config; of an index, all entries are taken. If several are for the
/// same platform, the last one counts.
///
/// # Errors
/// [`Error`].
pub fn create(layout: &Layout, writer: &Writer, images: &[Descriptor]) -> Result<Descriptor, Error> {
    let document = json!({"schemaVersion": 2, "mediaType": MediaType::ImageIndex.to_string(), "manifests": []});
    write(writer, &with(layout, document, images)?)
}

/// Writes an index with more images, which replace those for the same platforms.
///
/// # Errors
/// [`Error`].
pub fn add(layout: &Layout, writer: &Writer, index: &Descriptor, images: &[Descriptor]) -> Result<Descriptor, Error> {
    write(writer, &with(layout, read(layout, index)?, images)?)
}

/// Writes an index without some entries, and what is attested of them.
///
/// # Errors
/// [`Error::NoEntry`] and others.
pub fn remove(layout: &Layout, writer: &Writer, index: &Descriptor, entries: &[Entry]) -> Result<Descriptor, Error> {
    let mut document = read(layout, index)?;
    for entry in entries {
        let found = find(&document, entry)?;
        drop_image(list(&mut document), found.digest().as_ref());
    }
    write(writer, &document)
}

/// Writes an index with annotations on an entry, or on itself.
///
/// # Errors
/// [`Error::NoEntry`] and others.
pub fn annotate(
    layout: &Layout,
    writer: &Writer,
    index: &Descriptor,
    (entry, note): (Option<&Entry>, &Note),
) -> Result<Descriptor, Error> {
    let mut document = read(layout, index)?;
    let target = match entry {
        None => &mut document,
        Some(entry) => {
            let digest = find(&document, entry)?.digest().to_string();
            let known = list(&mut document).iter_mut().find(|known| known["digest"] == digest.as_str());
            known.expect("it was found a line ago")
        }
    };
    note_annotations(target, note);
    if let Some(platform) = &note.platform {
        let mut value = json!({"os": platform.os(), "architecture": platform.architecture()});
        if let Some(variant) = platform.variant() {
            value["variant"] = variant.into();
        }
        target["platform"] = value;
    }
    write(writer, &document)
}

/// Sets and removes annotations of a document or a descriptor; without any, the field goes.
pub(super) fn note_annotations(target: &mut Value, note: &Note) {
    for (name, value) in &note.annotations {
        target["annotations"][name] = value.as_str().into();
    }
    let Some(target) = target.as_object_mut() else { return };
    if let Some(annotations) = target.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !note.unset.contains(name));
        if annotations.is_empty() {
            target.remove("annotations");
        }
    }
}

fn read(layout: &Layout, index: &Descriptor) -> Result<Value, Error> {
    if !is_index(index) {
        return Err(Error::NotIndex);
    }
    Ok(serde_json::from_slice(&layout.document(index)?).map_err(|error| malformed(index, &error))?)
}

fn malformed(descriptor: &Descriptor, error: &serde_json::Error) -> layout::Error {
    layout::Error::Malformed { what: format!("index {}", descriptor.digest()), reason: error.to_string() }
}

fn write(writer: &Writer, document: &Value) -> Result<Descriptor, Error> {
    let media_type = document["mediaType"].as_str().map_or(MediaType::ImageIndex, MediaType::from);
    Ok(writer.put(media_type, document.to_string().as_bytes())?)
}

/// The entries of an index, to be changed.
fn list(document: &mut Value) -> &mut Vec<Value> {
    if !document["manifests"].is_array() {
        document["manifests"] = json!([]);
    }
    document["manifests"].as_array_mut().expect("it was made a line ago")
}

fn find(document: &Value, entry: &Entry) -> Result<Descriptor, Error> {
    let entries = document["manifests"].as_array().into_iter().flatten();
    let entries: Vec<Descriptor> = entries.filter_map(|value| serde_json::from_value(value.clone()).ok()).collect();
    let found = match entry {
        // Exactly that platform: another that would run too is not the one to be removed.
        Entry::Platform(platform) => entries.iter().find(|known| offered([*known]) == [platform.to_string()]),
        Entry::Digest(digest) => entries.iter().find(|known| known.digest() == digest),
    };
    found.cloned().ok_or_else(|| Error::NoEntry { entry: entry.clone(), offered: offered(&entries).join(", ") })
}

/// The document with the entries of images.
fn with(layout: &Layout, mut document: Value, images: &[Descriptor]) -> Result<Value, Error> {
    let known = list(&mut document);
    for image in images {
        if is_index(image) {
            for manifest in layout.manifests(image)? {
                put(known, entry(layout, &manifest, manifest.annotations().as_ref())?);
            }
        } else {
            put(known, entry(layout, image, None)?);
        }
    }
    Ok(document)
}

/// The entry of an image, with the platform that its descriptor or its config tells.
fn entry(
    layout: &Layout,
    image: &Descriptor,
    annotations: Option<&std::collections::HashMap<String, String>>,
) -> Result<Value, Error> {
    let mut entry = json!({
        "mediaType": image.media_type().to_string(), "digest": image.digest().to_string(), "size": image.size(),
    });
    if let Some(annotations) = annotations {
        entry["annotations"] = json!(annotations);
    }
    entry["platform"] = match image.platform() {
        Some(platform) => serde_json::to_value(platform).expect("a platform is serialisable"),
        None => platform_of(&layout.image_of(image)?)?,
    };
    Ok(entry)
}

/// The platform that a config tells.
fn platform_of(image: &layout::Image) -> Result<Value, layout::Error> {
    let config: Value = serde_json::from_slice(image.config_bytes()).map_err(|error| layout::Error::Malformed {
        what: format!("config {}", image.manifest().config().digest()),
        reason: error.to_string(),
    })?;
    let mut platform = json!({"architecture": config["architecture"], "os": config["os"]});
    for key in ["variant", "os.version"] {
        if config[key].is_string() {
            platform[key] = config[key].clone();
        }
    }
    Ok(platform)
}

/// Adds an entry; one of the same image, or for the same platform, goes. Attestations are for none.
fn put(entries: &mut Vec<Value>, new: Value) {
    let is_attestation = new["platform"]["os"] == "unknown";
    let replaced =
        |known: &&Value| known["digest"] == new["digest"] || (!is_attestation && known["platform"] == new["platform"]);
    let old: Vec<String> =
        entries.iter().filter(replaced).filter_map(|known| known["digest"].as_str().map(str::to_owned)).collect();
    for digest in old {
        drop_image(entries, &digest);
    }
    entries.push(new);
}

/// Removes the entry of an image, and those of what is attested of it.
fn drop_image(entries: &mut Vec<Value>, digest: &str) {
    entries.retain(|known| known["digest"] != digest && known["annotations"]["vnd.docker.reference.digest"] != digest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Value> {
        vec![
            json!({"digest": "a", "platform": {"os": "linux", "architecture": "amd64"}}),
            json!({"digest": "x", "platform": {"os": "unknown", "architecture": "unknown"},
                   "annotations": {"vnd.docker.reference.digest": "a"}}),
            json!({"digest": "b", "platform": {"os": "linux", "architecture": "arm64"}}),
            json!({"digest": "y", "platform": {"os": "unknown", "architecture": "unknown"},
                   "annotations": {"vnd.docker.reference.digest": "b"}}),
        ]
    }

    fn digests(entries: &[Value]) -> String {
        entries.iter().map(|entry| entry["digest"].as_str().unwrap()).collect()
    }

    #[test]
    fn an_entry_comes_and_goes_with_its_attestations() {
        let mut all = entries();
        put(&mut all, json!({"digest": "z", "platform": {"os": "unknown", "architecture": "unknown"}}));
        assert_eq!(digests(&all), "axbyz");
        put(&mut all, json!({"digest": "c", "platform": {"os": "linux", "architecture": "amd64"}}));
        assert_eq!(digests(&all), "byzc");
        drop_image(&mut all, "b");
        assert_eq!(digests(&all), "zc");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(digest.parse::<Entry>().unwrap().to_string(), digest);
        assert_eq!("ARM64".parse::<Entry>().unwrap().to_string(), "linux/arm64");
        assert!("a/b/c/d".parse::<Entry>().is_err());
    }
}
