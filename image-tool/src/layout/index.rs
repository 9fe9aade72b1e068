//! `index.json`: the refs of a layout. Unknown content is preserved.

use oci_spec::image::Descriptor;
use serde_json::{Map, Value, json};

use super::Error;
use crate::address::RefName;
use crate::address::digest::Digest;
use crate::address::name;

/// The annotation with the ref of an entry (image-spec annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The maximum size of an `index.json`.
pub(super) const LIMIT: u64 = 16 << 20;

/// The annotation of an entry without a ref that says by which name, with a digest, it was pulled. It is containerd's.
pub const PULLED: &str = "io.containerd.image.name";

/// The name and the digest by which an image without a ref was pulled.
#[must_use]
pub fn pulled(descriptor: &Descriptor) -> Option<(&str, &str)> {
    let pulled = descriptor.annotations().as_ref()?.get(PULLED)?.split_once('@');
    pulled.filter(|_| ref_name(descriptor).is_none())
}

/// An `index.json` in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    document: Map<String, Value>,
    manifests: Vec<Value>,
}

/// The ref of an entry.
pub(super) fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

impl Index {
    /// An index without entries.
    #[must_use]
    pub fn empty() -> Self {
        let document = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"});
        match document {
            Value::Object(document) => Self { document, manifests: Vec::new() },
            _ => unreachable!("json! was given an object"),
        }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > LIMIT {
            return Err(format!("more than {LIMIT} bytes"));
        }
        let mut document: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err("schemaVersion is not 2".to_owned());
        }
        let manifests = match document.remove("manifests") {
            Some(Value::Array(manifests)) => manifests,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err("manifests is not an array".to_owned()),
        };
        Ok(Self { document, manifests })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut document = self.document.clone();
        document.insert("manifests".to_owned(), Value::Array(self.manifests.clone()));
        serde_json::to_vec(&document).expect("a JSON value is serialisable")
    }

    /// The entries as descriptors.
    ///
    /// # Errors
    /// [`Error::Malformed`], with the number of the first invalid entry.
    pub fn descriptors(&self) -> Result<Vec<Descriptor>, Error> {
        let parse = |(number, value): (usize, &Value)| {
            serde_json::from_value(value.clone()).map_err(|error| Error::Malformed {
                what: format!("index.json: manifests[{number}]"),
                reason: error.to_string(),
            })
        };
        self.manifests.iter().enumerate().map(parse).collect()
    }

    /// The entries with their refs, in order.
    ///
    /// # Errors
    /// Those of [`Self::descriptors`].
    pub fn entries(&self) -> Result<Vec<(Option<String>, Descriptor)>, Error> {
        let pair = |descriptor: Descriptor| (ref_name(&descriptor).map(str::to_owned), descriptor);
        Ok(self.descriptors()?.into_iter().map(pair).collect())
    }

    /// Gives a ref to `descriptor`, and takes it from all other entries, under every spelling of its name. The new
    /// entry keeps the other annotations of the descriptor.
    pub fn set(&mut self, reference: &RefName, descriptor: &Descriptor) {
        let mut value = serde_json::to_value(descriptor).expect("a descriptor is serialisable");
        value["annotations"][REF_NAME] = reference.as_str().into();
        let position = self.position(reference);
        self.manifests.retain(|entry| {
            // An unnamed entry of the same image is redundant.
            let same_unnamed = Self::entry_ref(entry).is_none() && entry["digest"] == value["digest"];
            !same_unnamed && !Self::entry_ref(entry).is_some_and(|text| name::equal(text, reference.as_str()))
        });
        // Keep the position, so that an unchanged image gives an unchanged index.
        let position = position.unwrap_or(self.manifests.len()).min(self.manifests.len());
        self.manifests.insert(position, value);
    }

    /// As [`Self::set`], but an image that has lost its only ref by it stays without one: somebody may have noted its ID.
    pub fn take_over(&mut self, reference: &RefName, descriptor: &Descriptor) {
        let former = self.position(reference).map(|position| self.manifests[position].clone());
        self.set(reference, descriptor);
        if let Some(former) = former.and_then(|former| serde_json::from_value(former).ok()) {
            self.add(&former);
        }
    }

    /// Adds an entry without a ref, unless the image has an entry.
    pub fn add(&mut self, descriptor: &Descriptor) {
        let digest = descriptor.digest().to_string();
        if !self.manifests.iter().any(|entry| entry["digest"] == digest.as_str()) {
            let mut value = serde_json::to_value(descriptor).expect("a descriptor is serialisable");
            if let Some(annotations) = value.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove(REF_NAME);
            }
            self.manifests.push(value);
        }
    }

    /// Removes a ref; returns whether it existed. Other refs of the image are kept.
    pub fn remove(&mut self, reference: &RefName) -> bool {
        let before = self.manifests.len();
        match self.position(reference) {
            Some(position) => drop(self.manifests.remove(position)),
            None => return false,
        }
        self.manifests.len() < before
    }

    /// Removes the entry of an image that has no ref; returns whether it existed.
    pub fn remove_unnamed(&mut self, digest: &Digest) -> bool {
        let before = self.manifests.len();
        let digest = digest.to_string();
        self.manifests.retain(|entry| Self::entry_ref(entry).is_some() || entry["digest"] != digest.as_str());
        self.manifests.len() < before
    }

    /// Removes all entries of an image; returns their refs.
    pub fn remove_image(&mut self, digest: &Digest) -> Vec<String> {
        let digest = digest.to_string();
        let mut refs = Vec::new();
        self.manifests.retain(|entry| {
            let gone = entry["digest"] == digest.as_str();
            if gone {
                refs.extend(Self::entry_ref(entry).map(str::to_owned));
            }
            !gone
        });
        refs
    }

    fn position(&self, reference: &RefName) -> Option<usize> {
        let find = |test: &dyn Fn(&str) -> bool| {
            self.manifests.iter().position(|entry| Self::entry_ref(entry).is_some_and(test))
        };
        find(&|text| text == reference.as_str()).or_else(|| find(&|text| name::equal(text, reference.as_str())))
    }

    fn entry_ref(entry: &Value) -> Option<&str> {
        entry.get("annotations")?.get(REF_NAME)?.as_str()
    }
}
