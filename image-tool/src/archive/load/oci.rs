//! Archives that are OCI layouts: `index.json`, and every blob under its digest.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use oci_spec::image::Descriptor;
use serde_json::Value;

use super::Loaded;
use super::store::{Archive, malformed};
use crate::address::digest;
use crate::address::name::short;
use crate::archive::Error;
use crate::archive::save::IMAGE_NAME;
use crate::layout::{Layout, REF_NAME, is_index, is_manifest};

/// How deep indexes, manifests and blobs may be nested.
const DEPTH: u8 = 4;

impl Archive<'_> {
    /// Loads the images of `index.json`.
    pub(super) fn oci(&mut self) -> Result<Vec<Loaded>, Error> {
        let index: Value = self.json(Path::new("index.json"))?;
        let names = self.names_by_config();
        let mut loaded = Vec::new();
        for entry in index["manifests"].as_array().into_iter().flatten() {
            let descriptor: Descriptor =
                serde_json::from_value(entry.clone()).map_err(|error| malformed(Path::new("index.json"), error))?;
            self.commit_all(&descriptor, DEPTH)?;
            let annotation = |key: &str| entry["annotations"][key].as_str();
            let mut candidates: Vec<String> = Vec::new();
            if let Some(whole) = annotation(IMAGE_NAME) {
                candidates.push(short(whole));
            } else if let Some(tags) = self.config_of(&descriptor).and_then(|config| names.get(&config)) {
                // A docker-archive whose index has no name, or only the tag.
                candidates.extend(tags.iter().cloned());
            }
            if candidates.is_empty() {
                candidates.extend(annotation(REF_NAME).map(str::to_owned));
            }
            let plain = plain_descriptor(&descriptor);
            let before = loaded.len();
            loaded.extend(
                candidates
                    .iter()
                    .filter_map(|name| name.parse().ok())
                    .map(|name| Loaded { name: Some(name), descriptor: plain.clone() }),
            );
            if loaded.len() == before {
                loaded.push(Loaded { name: None, descriptor: plain });
            }
        }
        let mut seen = BTreeSet::new();
        loaded.retain(|image| {
            seen.insert((image.name.as_ref().map(ToString::to_string), image.descriptor.digest().to_string()))
        });
        Ok(loaded)
    }

    /// The names in `manifest.json` by the digest of the config.
    fn names_by_config(&mut self) -> HashMap<String, Vec<String>> {
        let items: Vec<Value> = self.json(Path::new("manifest.json")).unwrap_or_default();
        let mut names = HashMap::new();
        for item in items {
            let config = item["Config"]
                .as_str()
                .and_then(|path| self.find(Path::new(path)))
                .and_then(|path| self.files.get(&path));
            let tags = item["RepoTags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(short));
            if let Some(config) = config {
                names.entry(config.digest.to_string()).or_insert_with(Vec::new).extend(tags);
            }
        }
        names
    }

    fn config_of(&mut self, descriptor: &Descriptor) -> Option<String> {
        let document: Value = self.json(&Layout::blob_path(descriptor.digest())).ok()?;
        document["config"]["digest"].as_str().map(str::to_owned)
    }

    fn commit_all(&mut self, descriptor: &Descriptor, depth: u8) -> Result<(), Error> {
        let path = Layout::blob_path(descriptor.digest());
        let (found, stored) = self.file(&path)?;
        if stored.size != descriptor.size() {
            return Err(malformed(&found, digest::Error::Size { expected: descriptor.size(), actual: stored.size }));
        }
        let done = self.committed.contains(descriptor.digest().as_ref());
        if !done && (is_index(descriptor) || is_manifest(descriptor)) {
            let document: Value = self.json(&path)?;
            for key in ["config", "layers", "blobs", "manifests"] {
                let below = match &document[key] {
                    Value::Array(values) => values.clone(),
                    value @ Value::Object(_) => vec![value.clone()],
                    _ => continue,
                };
                for value in below {
                    let below: Descriptor = serde_json::from_value(value).map_err(|error| malformed(&path, error))?;
                    // An index may refer to platforms that were not saved.
                    if key == "manifests" && self.find(&Layout::blob_path(below.digest())).is_none() {
                        continue;
                    }
                    let depth = depth.checked_sub(1).ok_or_else(|| malformed(&path, "indexes are nested too deep"))?;
                    self.commit_all(&below, depth)?;
                }
            }
        }
        self.commit(&path, descriptor.media_type().clone()).map(drop)
    }
}

/// The descriptor without annotations that belong to the archive.
fn plain_descriptor(descriptor: &Descriptor) -> Descriptor {
    let mut plain = descriptor.clone();
    let annotations = descriptor.annotations().clone().map(|mut annotations| {
        annotations.retain(|key, _| key != REF_NAME && !key.starts_with("io.containerd."));
        annotations
    });
    plain.set_annotations(annotations.filter(|annotations| !annotations.is_empty()));
    plain
}
