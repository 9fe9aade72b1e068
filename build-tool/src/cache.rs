//! The step cache: from a step's key to the layer that the step made.
//!
//! `$OCI_HOME/builds` is an image layout whose blobs are layers; its folder `steps/` holds one small JSON file for each
//! step. A key covers the step before, the instruction, and what the instruction reads (contents, not times), so a hit
//! needs no mount and reads no layer. All of it may be deleted at any time: a step whose blob is gone counts as never
//! run.
//!
//! This room knows what a layer is ([`crate::stage::layer`]) and where an image holds steps ([`crate::stage::draft`]), and imports nothing else.

pub mod exchange;
pub mod folder;
pub mod prune;
pub mod turn;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image_tool::address::digest::{self, Digest, Hasher};
use image_tool::address::home::Home;
use image_tool::error::{During, Io};
use image_tool::layout::{self, Layout, Writer};
use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use crate::stage::layer::Layer;

/// The identity of a step: steps with equal keys make equal layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Digest);

impl Key {
    /// Begins a key of a kind of step, such as `run` or `copy`.
    pub fn builder(kind: &str) -> KeyBuilder {
        let mut builder = KeyBuilder(Hasher::sha256());
        builder.add("build-tool step 2");
        builder.add(kind);
        builder
    }

    /// The key with those hex digits, if they are a digest's.
    fn of_hex(hex: &str) -> Option<Self> {
        digest::parse(&format!("sha256:{hex}")).ok().map(Self)
    }

    /// The digest's hex digits, which are the file's name in the cache.
    pub fn hex(&self) -> &str {
        self.0.digest()
    }
}

/// A key in the making. Each part is preceded by its length, so that different lists of parts never give the same
/// bytes.
#[derive(Clone)]
pub struct KeyBuilder(Hasher);

impl KeyBuilder {
    /// Adds a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Adds the length of a list, then its parts.
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

    /// The key of the parts so far.
    pub fn finish(&self) -> Key {
        Key(self.0.clone().finish())
    }
}

/// What the cache remembers of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When the step was done, RFC 3339.
    pub created: String,
    /// The layer that the step made; `None` if it found nothing to do.
    pub layer: Option<RecordedLayer>,
    /// The instruction, shown by `cache ls`; empty for a mark.
    #[serde(default)]
    pub step: String,
    /// The hex digits of the key under which the step was stored first, if this is another one. The steps that follow are keyed by
    /// it, so that they are found again when other files than those that were taken have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

impl Record {
    /// A mark: it says that such a step was done before, but not what it did.
    pub fn mark(created: &str) -> Self {
        Self { created: created.to_owned(), layer: None, step: String::new(), first: None }
    }

    /// The key of the step that was found under `key`.
    pub fn key(&self, key: &Key) -> Key {
        self.first.as_deref().and_then(Key::of_hex).unwrap_or_else(|| key.clone())
    }
}

/// A layer in the cache's layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedLayer {
    /// The descriptor of the blob, with its media type and size.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive.
    pub diff_id: String,
}

/// The cache, open.
#[derive(Debug, Clone)]
pub struct Cache {
    writer: Writer,
    path: PathBuf,
    read: bool,
    /// The keys of the steps that were taken or stored.
    used: Arc<Mutex<BTreeSet<String>>>,
    /// Those of them that were stored.
    made: Arc<Mutex<BTreeSet<String>>>,
}

impl Cache {
    /// Opens the cache, or creates it. Without `read` (`--no-cache`) it returns only steps that were stored since.
    pub fn open(home: &Home, read: bool) -> Result<Self, layout::Error> {
        let path = home.builds();
        let writer = Layout::create(&path)?.writer()?.for_cache();
        Ok(Self { writer, path, read, used: Arc::default(), made: Arc::default() })
    }

    /// The layout's writer, which takes new layers.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The cache's folder, `$OCI_HOME/builds`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether steps may be taken from the cache.
    pub fn reads(&self) -> bool {
        self.read
    }

    fn step_path(&self, key: &Key) -> PathBuf {
        self.path.join("steps").join(key.hex())
    }

    /// Looks up a step; `None` if it, or its layer, is not there.
    pub fn get(&self, key: &Key) -> Option<(Record, Option<Layer>)> {
        if !self.read && !self.made(key) {
            return None;
        }
        let record = self.record(key.hex())?;
        let layer = match &record.layer {
            None => None,
            Some(layer) => {
                let layout = self.writer.layout().clone();
                if !layout.has(&layer.descriptor) {
                    return None;
                }
                let diff_id = digest::parse(&layer.diff_id).ok()?;
                Some(Layer { layout, descriptor: layer.descriptor.clone(), diff_id, built: true })
            }
        };
        self.note(key.hex());
        Some((record, layer))
    }

    /// Whether the step was stored since the cache was opened.
    pub fn made(&self, key: &Key) -> bool {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(key.hex())
    }

    fn note(&self, key: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
    }

    /// The keys of the steps that were taken or stored since the cache was opened, in order.
    fn used(&self) -> BTreeSet<String> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The record of a key; one that cannot be read counts as missing.
    fn record(&self, key: &str) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.path.join("steps").join(key)).ok()?).ok()
    }

    /// Stores what a step did.
    pub fn put(&self, key: &Key, record: &Record) -> Result<(), Io> {
        self.note(key.hex());
        self.keep(key.hex(), record)?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key.hex().to_owned());
        Ok(())
    }

    fn keep(&self, key: &str, record: &Record) -> Result<(), Io> {
        let write = || -> io::Result<()> {
            let folder = self.path.join("steps");
            fs::create_dir_all(&folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.persist(folder.join(key)).map_err(|error| error.error)?;
            Ok(())
        };
        write().during("write the step cache", &self.path)
    }

    /// Stores the step of `key` under another key too.
    pub fn alias(&self, other: &Key, key: &Key) -> Result<(), Io> {
        let read = || -> io::Result<Record> { Ok(serde_json::from_slice(&fs::read(self.step_path(key))?)?) };
        let mut record = read().during("read the step cache", &self.path)?;
        record.first.get_or_insert_with(|| key.hex().to_owned());
        self.put(other, &record)
    }

    /// A layer that was just written into the cache.
    pub fn layer(&self, descriptor: Descriptor, diff_id: Digest) -> Layer {
        Layer { layout: self.writer.layout().clone(), descriptor, diff_id, built: true }
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
        let writer = layout.writer().unwrap();
        let (used, made) = (Arc::default(), Arc::default());
        let cache = Cache { writer, path: folder.path().into(), read: true, used, made };
        let descriptor = cache.writer().put(MediaType::ImageLayer, b"layer").unwrap();
        let layer = RecordedLayer { descriptor: descriptor.clone(), diff_id: digest::sha256(b"x").to_string() };
        let record =
            Record { created: "2020-01-01T00:00:00Z".into(), layer: Some(layer), step: "RUN x".into(), first: None };
        let key = Key::builder("a").finish();
        assert!(cache.get(&key).is_none());
        cache.put(&key, &record).unwrap();
        assert_eq!(cache.get(&key).unwrap().0, record);
        let other = Key::builder("b").finish();
        cache.alias(&other, &key).unwrap();
        assert_eq!(cache.get(&other).unwrap().0.key(&other), key);
        let without = |made| Cache { read: false, made, ..cache.clone() };
        assert!(without(Arc::default()).get(&key).is_none());
        assert_eq!(without(Arc::clone(&cache.made)).get(&key).unwrap().0, record, "it was made since");
        fs::remove_file(folder.path().join(Layout::blob_path(descriptor.digest()))).unwrap();
        assert!(cache.get(&key).is_none());
    }
}
