//! What each layer of an image adds, and what later layers replace or delete: bytes that everybody pulls and nobody
//! sees. The layers are read as archives; nothing is unpacked. [`page`] draws the result.

pub mod page;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::beneath::{self, clean};
use crate::layer::cache::{self, Cache, Source};
use crate::layer::entry::{self, Kind, Reader};
use crate::layer::limit::Limits;
use crate::layer::stack::stock;
use crate::layer::stream::{self, Stream};
use crate::layer::whiteout::{self, Whiteout};
use crate::layout::{Image, Layout};

/// Why the layers of an image could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The blob of a layer could not be opened.
    #[error(transparent)]
    Source(#[from] cache::Error),
    /// The blob of a layer is corrupt.
    #[error("layer {digest}")]
    Stream {
        /// The digest of the blob.
        digest: String,
        /// Why it could not be read.
        source: stream::Error,
    },
    /// A layer is not a tar archive.
    #[error("layer {digest}")]
    Archive {
        /// The digest of the blob.
        digest: String,
        /// Why it could not be read.
        source: entry::Error,
    },
    /// A layer has more entries than a person allows.
    #[error("layer {digest}: more than {limit} entries")]
    TooManyEntries {
        /// The digest of the blob.
        digest: String,
        /// How many it may have.
        limit: u64,
    },
    /// A layer has a path that leads out of the image.
    #[error("layer {digest}")]
    Path {
        /// The digest of the blob.
        digest: String,
        /// Why it could not be read.
        source: beneath::Error,
    },
}

/// A layer of an image.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the blob.
    pub digest: String,
    /// The command in the history that created it.
    pub created_by: String,
    /// The size of the blob in bytes.
    pub compressed: u64,
    /// The total size of its files in bytes.
    pub size: u64,
    /// The number of entries in the archive.
    pub entries: u64,
    /// The size of those files that later layers replace or delete, in bytes.
    pub wasted: u64,
    /// How the layer is stored for containers, if it is.
    pub stored: Option<Stored>,
}

/// How a layer is stored for containers.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Stored {
    /// `tar` for its plain archive, `folder` if it is unpacked.
    pub form: &'static str,
    /// What it takes, in bytes.
    pub size: u64,
}

/// A file that a later layer replaces or deletes.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Waste {
    /// The path, relative to the root.
    pub path: PathBuf,
    /// The size in bytes.
    pub size: u64,
    /// The index of the layer that contains it, from 0.
    pub layer: usize,
    /// The index of the layer that replaces or deletes it.
    pub by: usize,
}

/// A file or directory of the resulting image.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Node {
    /// The size of the file, or of all files beneath the directory, in bytes.
    pub size: u64,
    /// The index of the layer that contains the file; for a directory, of the layer with most of its bytes.
    pub layer: usize,
    /// The entries of the directory by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, Node>,
}

/// The layers of an image, and what becomes of their files.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Tree {
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Wasted files, the largest first.
    pub waste: Vec<Waste>,
    /// The resulting tree.
    pub root: Node,
}

impl Tree {
    /// The total size of the files in all layers, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// The total size of wasted files, in bytes.
    #[must_use]
    pub fn wasted(&self) -> u64 {
        self.waste.iter().map(|waste| waste.size).sum()
    }

    /// Reads and verifies the layers of an image within limits, and looks for them in the cache.
    ///
    /// # Errors
    /// [`Error`].
    pub fn of(layout: &Layout, image: &Image, cache: &Cache, limits: Limits) -> Result<Self, Error> {
        let config: Value = serde_json::from_slice(image.config_bytes()).unwrap_or_default();
        let steps = config["history"].as_array().into_iter().flatten().filter(|step| step["empty_layer"] != true);
        let mut steps = steps.map(|step| step["created_by"].as_str().unwrap_or_default().to_owned());
        let mut survey = Survey { limits, ..Survey::default() };
        let mut layers = Vec::new();
        for (index, source) in Source::of_image(layout, image)?.into_iter().enumerate() {
            let mut layer = Layer {
                digest: source.descriptor.digest().to_string(),
                created_by: steps.next().unwrap_or_default(),
                compressed: source.descriptor.size(),
                size: 0,
                entries: 0,
                wasted: 0,
                stored: stock::layer(cache, &source.diff_id).map(|(form, size)| Stored { form: form.word(), size }),
            };
            survey.layer(index, source, &mut layer)?;
            layers.push(layer);
        }
        let mut waste = survey.waste;
        for wasted in &waste {
            layers[wasted.layer].wasted += wasted.size;
        }
        waste.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        let mut root = Node::default();
        for (path, (size, layer)) in &survey.files {
            insert(&mut root, path, *size, *layer);
        }
        sum(&mut root);
        Ok(Self { layers, waste, root })
    }
}

#[derive(Default)]
struct Survey {
    /// The files so far: the size, and the layer that contains it.
    files: BTreeMap<PathBuf, (u64, usize)>,
    waste: Vec<Waste>,
    limits: Limits,
}

impl Survey {
    fn layer(&mut self, index: usize, source: Source, layer: &mut Layer) -> Result<(), Error> {
        let digest = || source.descriptor.digest().to_string();
        let limit = self.limits.archive(source.descriptor.size());
        let stream = Stream::open(source.blob, &source.descriptor, Some(&source.diff_id), limit);
        let mut stream = stream.map_err(|error| Error::Stream { digest: digest(), source: error })?;
        let mut reader = Reader::new(&mut stream);
        let mut brought = BTreeSet::new();
        let mut deleted = Vec::new();
        while let Some(entry) =
            reader.next_entry().map_err(|error| Error::Archive { digest: digest(), source: error })?
        {
            layer.entries += 1;
            if layer.entries > self.limits.entries() {
                return Err(Error::TooManyEntries { digest: digest(), limit: self.limits.entries() });
            }
            layer.size += entry.size;
            let path = clean(&entry.path).map_err(|error| Error::Path { digest: digest(), source: error })?;
            let Some(name) = path.file_name() else { continue };
            let above = path.parent().unwrap_or(Path::new(""));
            match whiteout::parse(name) {
                Some(Whiteout::Of(target)) => deleted.push((above.join(target), false)),
                Some(Whiteout::Opaque) => deleted.push((above.to_path_buf(), true)),
                Some(_) => {}
                None => {
                    if entry.kind != Kind::Directory {
                        // The new entry replaces a file, or everything beneath a directory.
                        self.delete(&path, index, &brought);
                        self.files.insert(path.clone(), (entry.size, index));
                    } else if let Some((size, from)) = self.files.remove(&path) {
                        self.lose(path.clone(), size, from, index);
                    }
                    brought.insert(path);
                }
            }
        }
        for (path, inside) in deleted {
            // A whiteout does not affect files of its own layer; an opaque one keeps the directory itself.
            if inside || !brought.contains(&path) {
                self.delete(&path, index, &brought);
            }
        }
        stream.finish().map(drop).map_err(|error| Error::Stream { digest: digest(), source: error })
    }

    /// Removes a file, or everything beneath a directory, unless it is from the current layer.
    fn delete(&mut self, path: &Path, by: usize, brought: &BTreeSet<PathBuf>) {
        let beneath = self.files.range(path.to_path_buf()..).take_while(|(file, _)| file.starts_with(path));
        let gone: Vec<PathBuf> = beneath
            .filter(|(file, (_, from))| *from != by || !brought.contains(*file))
            .map(|(file, _)| file.clone())
            .collect();
        for file in gone {
            if let Some((size, from)) = self.files.remove(&file) {
                self.lose(file, size, from, by);
            }
        }
    }

    fn lose(&mut self, path: PathBuf, size: u64, layer: usize, by: usize) {
        if size > 0 && layer != by {
            self.waste.push(Waste { path, size, layer, by });
        }
    }
}

fn insert(root: &mut Node, path: &Path, size: u64, layer: usize) {
    let mut node = root;
    for part in path {
        node = node.children.entry(part.to_string_lossy().into_owned()).or_default();
    }
    (node.size, node.layer) = (size, layer);
}

/// Adds up the sizes, and finds the layer with most bytes in each directory.
fn sum(node: &mut Node) -> HashMap<usize, u64> {
    if node.children.is_empty() {
        return HashMap::from([(node.layer, node.size)]);
    }
    let mut bytes: HashMap<usize, u64> = HashMap::new();
    for child in node.children.values_mut() {
        for (layer, size) in sum(child) {
            *bytes.entry(layer).or_default() += size;
        }
    }
    node.size = bytes.values().sum();
    // If two have equally many, the lower one, so that the result is always the same.
    node.layer =
        bytes.iter().max_by_key(|(layer, size)| (**size, std::cmp::Reverse(**layer))).map_or(0, |(layer, _)| *layer);
    bytes
}
