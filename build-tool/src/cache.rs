//! The step cache: from the key of a step to the layer that it made.
//!
//! `$OCI_HOME/builds` is an image layout whose blobs are layers; `steps/` in it holds one small JSON file a step. A key covers the
//! step before, what the instruction says and what it reads (contents, not times), so a hit needs no mount and reads no layer.
//! All of it may be deleted at any time: a step whose blob is gone is a step that was never run.

pub mod folder;
pub mod prune;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use image_tool::address::digest::{self, Digest, Hasher};
use image_tool::address::home::Home;
use image_tool::error::{During, Io};
use image_tool::layout::{self, Layout, Writer};
use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use crate::stage::layer::Layer;

/// The identity of a step: equal keys, equal layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Digest);

impl Key {
    /// Begin a key of the kind `kind`.
    pub fn builder(kind: &str) -> KeyBuilder {
        let mut builder = KeyBuilder(Hasher::sha256());
        builder.add("build-tool step 1");
        builder.add(kind);
        builder
    }

    /// The hex digits, for file names.
    pub fn hex(&self) -> &str {
        self.0.digest()
    }
}

/// A key in the making. Every part is framed by its length, so no two lists of parts look alike.
#[derive(Clone)]
pub struct KeyBuilder(Hasher);

impl KeyBuilder {
    /// Add a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Add a list of parts, its length included.
    pub fn list(
        &mut self,
        parts: impl IntoIterator<Item = impl AsRef<[u8]>, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        let parts = parts.into_iter();
        self.add((parts.len() as u64).to_le_bytes());
        for part in parts {
            self.add(part);
        }
        self
    }

    /// The key.
    pub fn finish(&self) -> Key {
        Key(self.0.clone().finish())
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When, RFC 3339.
    pub created: String,
    /// The layer that it made; a step may find nothing to do.
    pub layer: Option<RecordedLayer>,
    /// The instruction, for people who look at the cache; empty for a mark.
    #[serde(default)]
    pub step: String,
}

impl Record {
    /// A record that says that there was something, and nothing of what it did.
    pub fn mark(created: &str) -> Self {
        Self { created: created.to_owned(), layer: None, step: String::new() }
    }
}

/// A layer in the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedLayer {
    /// The blob, in the cache's own layout.
    pub descriptor: Descriptor,
    /// The digest of the archive in it.
    pub diff_id: String,
}

/// The cache, opened.
#[derive(Debug, Clone)]
pub struct Cache {
    writer: Writer,
    path: PathBuf,
    read: bool,
}

impl Cache {
    /// Open or make the cache. Without `read` (`--no-cache`) it only takes and gives nothing back.
    pub fn open(home: &Home, read: bool) -> Result<Self, layout::Error> {
        let path = home.builds();
        let writer = Layout::create(&path)?.writer()?;
        Ok(Self { writer, path, read })
    }

    /// Where layers are written.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The cache's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether results may be taken from it.
    pub fn reads(&self) -> bool {
        self.read
    }

    fn step_path(&self, key: &Key) -> PathBuf {
        self.path.join("steps").join(key.hex())
    }

    /// What the step of that key did, if its layer is still there.
    pub fn get(&self, key: &Key) -> Option<(Record, Option<Layer>)> {
        if !self.read {
            return None;
        }
        // A record that cannot be read is one that is not there.
        let record: Record = serde_json::from_slice(&fs::read(self.step_path(key)).ok()?).ok()?;
        let layer = match &record.layer {
            None => None,
            Some(layer) => {
                let layout = self.writer.layout().clone();
                if !layout.has(&layer.descriptor) {
                    return None;
                }
                let diff_id = digest::parse(&layer.diff_id).ok()?;
                Some(Layer { layout, descriptor: layer.descriptor.clone(), diff_id })
            }
        };
        Some((record, layer))
    }

    /// Remember what a step did.
    pub fn put(&self, key: &Key, record: &Record) -> Result<(), Io> {
        let write = || -> io::Result<()> {
            let folder = self.path.join("steps");
            fs::create_dir_all(&folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer(&mut file, record)?;
            file.flush()?;
            file.persist(self.step_path(key)).map_err(|error| error.error)?;
            Ok(())
        };
        write().during("write the step cache", &self.path)
    }

    /// Let another key mean the step of `key` too.
    pub fn alias(&self, other: &Key, key: &Key) -> Result<(), Io> {
        let read = || -> io::Result<Record> { Ok(serde_json::from_slice(&fs::read(self.step_path(key))?)?) };
        self.put(other, &read().during("read the step cache", &self.path)?)
    }

    /// A layer that was just written to the cache.
    pub fn layer(&self, descriptor: Descriptor, diff_id: Digest) -> Layer {
        Layer { layout: self.writer.layout().clone(), descriptor, diff_id }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;

    #[test]
    fn parts_are_framed() {
        let key = |parts: &[&str]| {
            let mut key = Key::builder("x");
            for part in parts {
                key.add(part);
            }
            key.finish()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a", ""]), key(&["a"]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        let list = |lists: &[&[&str]]| {
            let mut key = Key::builder("x");
            for parts in lists {
                key.list(parts.iter());
            }
            key.finish()
        };
        assert_ne!(list(&[&["a"], &["b", "c"]]), list(&[&["a", "b"], &["c"]]));
    }

    #[test]
    fn a_record_without_its_blob_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let cache = Cache { writer: layout.writer().unwrap(), path: folder.path().into(), read: true };
        let descriptor = cache.writer().put(MediaType::ImageLayer, b"layer").unwrap();
        let layer = RecordedLayer { descriptor: descriptor.clone(), diff_id: digest::sha256(b"x").to_string() };
        let record = Record { created: "2020-01-01T00:00:00Z".into(), layer: Some(layer), step: "RUN x".into() };
        let key = Key::builder("a").finish();
        assert!(cache.get(&key).is_none());
        cache.put(&key, &record).unwrap();
        assert_eq!(cache.get(&key).unwrap().0, record);
        assert!(Cache { read: false, ..cache.clone() }.get(&key).is_none());
        fs::remove_file(folder.path().join(Layout::blob_path(descriptor.digest()))).unwrap();
        assert!(cache.get(&key).is_none());
    }
}
