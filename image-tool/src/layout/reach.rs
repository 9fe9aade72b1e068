//! Finding everything reachable from `index.json`.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{Descriptor, MediaType};
use serde_json::Value;

use super::image::{MANIFEST_LIMIT, is_index, is_manifest};
use super::{Error, Layout};
use crate::address::digest::Digest;

impl Layout {
    /// The descriptors of all blobs reachable from `roots`, including themselves, each once.
    ///
    /// An index may refer to manifests that the layout lacks: after pulling one platform, it still names the others.
    ///
    /// # Errors
    /// [`Error`] if a manifest or index cannot be read, since what it refers to is unknown.
    pub fn reach(&self, roots: &[Descriptor]) -> Result<BTreeMap<String, Descriptor>, Error> {
        let mut found = BTreeMap::new();
        let mut left: Vec<(Descriptor, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
        while let Some((descriptor, needed)) = left.pop() {
            if found.contains_key(descriptor.digest().as_ref()) {
                continue;
            }
            if is_index(&descriptor)
                || is_manifest(&descriptor)
                || *descriptor.media_type() == MediaType::ArtifactManifest
            {
                let bytes = match self.read(&descriptor, MANIFEST_LIMIT) {
                    Err(Error::MissingBlob { .. }) if !needed => continue,
                    result => result?,
                };
                let malformed =
                    |reason: String| Error::Malformed { what: format!("manifest {}", descriptor.digest()), reason };
                let document: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
                let parts = [("config", true), ("layers", true), ("blobs", true), ("manifests", false)];
                for (key, needed) in parts {
                    let values = match document.get(key) {
                        Some(Value::Array(values)) => &values[..],
                        Some(value @ Value::Object(_)) => std::slice::from_ref(value),
                        _ => continue,
                    };
                    for value in values {
                        let below: Descriptor = serde_json::from_value(value.clone())
                            .map_err(|error| malformed(format!("{key}: {error}")))?;
                        left.push((below, needed));
                    }
                }
            }
            found.insert(descriptor.digest().to_string(), descriptor);
        }
        Ok(found)
    }

    /// The digests of all blobs reachable from `index.json`.
    pub(super) fn reachable_blobs(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.reach(&self.index()?.descriptors()?)?.into_keys().collect())
    }
}

/// Whether `digest` is in the result of [`Layout::reachable_blobs`].
pub(super) fn holds(set: &BTreeSet<String>, digest: &Digest) -> bool {
    set.contains(digest.as_ref())
}
