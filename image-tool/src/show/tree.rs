//! What each layer of an image adds, and what of it later layers replace or delete: bytes that everybody pulls and nobody
//! sees.

pub mod page;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::beneath::{self, clean};
use crate::layer::cache::{self, Source};
use crate::layer::entry::{self, Kind, Reader};
use crate::layer::stream::{self, Stream, default_limit};
use crate::layer::whiteout::{self, Whiteout};
use crate::layout::{Image, Layout};

/// Why an image's tree could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer's blob could not be found.
    #[error(transparent)]
    Source(#[from] cache::Error),
    /// A layer's blob is not what it should be.
    #[error("layer {digest}")]
    Stream {
        /// The blob.
        digest: String,
        /// What is wrong.
        source: stream::Error,
    },
    /// A layer is no archive.
    #[error("layer {digest}")]
    Archive {
        /// The blob.
        digest: String,
        /// What is wrong.
        source: entry::Error,
    },
    /// A layer has a path that leads out of it.
    #[error("layer {digest}")]
    Path {
        /// The blob.
        digest: String,
        /// What is wrong.
        source: beneath::Error,
    },
}

/// One layer.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Layer {
    /// The blob's digest.
    pub digest: String,
    /// What made it, by the image's history.
    pub created_by: String,
    /// The blob's size.
    pub compressed: u64,
    /// The bytes of the files in it.
    pub size: u64,
    /// How many entries it has.
    pub entries: u64,
    /// The bytes of its files that later layers replace or delete.
    pub wasted: u64,
}

/// A file that a layer has in vain.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Waste {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// The number of the layer that has it, from 0.
    pub layer: usize,
    /// The number of the layer that replaces or deletes it.
    pub by: usize,
}

/// A file or directory of the image as it is in the end.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Node {
    /// The bytes of the file, or of all files beneath the directory.
    pub size: u64,
    /// The number of the layer that the file is from; of a directory, that of the most of its bytes.
    pub layer: usize,
    /// What is in the directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, Node>,
}

/// An image's layers and what becomes of them.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Tree {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// What is wasted, the largest first.
    pub waste: Vec<Waste>,
    /// The tree in the end.
    pub root: Node,
}

impl Tree {
    /// The bytes of all layers' files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// The bytes that are wasted.
    #[must_use]
    pub fn wasted(&self) -> u64 {
        self.waste.iter().map(|waste| waste.size).sum()
    }

    /// Reads the layers of an image, verified.
    ///
    /// # Errors
    /// [`Error`].
    pub fn of(layout: &Layout, image: &Image) -> Result<Self, Error> {
        let config: Value = serde_json::from_slice(image.config_bytes()).unwrap_or_default();
        let steps = config["history"].as_array().into_iter().flatten().filter(|step| step["empty_layer"] != true);
        let mut steps = steps.map(|step| step["created_by"].as_str().unwrap_or_default().to_owned());
        let mut survey = Survey::default();
        let mut layers = Vec::new();
        for (index, source) in Source::of_image(layout, image)?.into_iter().enumerate() {
            let mut layer = Layer {
                digest: source.descriptor.digest().to_string(),
                created_by: steps.next().unwrap_or_default(),
                compressed: source.descriptor.size(),
                size: 0,
                entries: 0,
                wasted: 0,
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
    /// The files so far: size, and the layer that they are from.
    files: BTreeMap<PathBuf, (u64, usize)>,
    waste: Vec<Waste>,
}

impl Survey {
    fn layer(&mut self, index: usize, source: Source, layer: &mut Layer) -> Result<(), Error> {
        let digest = || source.descriptor.digest().to_string();
        let limit = default_limit(source.descriptor.size());
        let stream = Stream::open(source.blob, &source.descriptor, Some(&source.diff_id), limit);
        let mut stream = stream.map_err(|error| Error::Stream { digest: digest(), source: error })?;
        let mut reader = Reader::new(&mut stream);
        let mut brought = BTreeSet::new();
        let mut deleted = Vec::new();
        while let Some(entry) =
            reader.next_entry().map_err(|error| Error::Archive { digest: digest(), source: error })?
        {
            layer.entries += 1;
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
                        // What stood there is gone, be it a file or all that was beneath a directory.
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
            // A whiteout spares what its own layer brings; an opaque one spares the directory itself.
            if inside || !brought.contains(&path) {
                self.delete(&path, index, &brought);
            }
        }
        stream.finish().map(drop).map_err(|error| Error::Stream { digest: digest(), source: error })
    }

    /// Takes away a file, or all beneath a directory, that is not of the current layer.
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

/// Adds sizes up, and finds the layer of the most bytes in each directory.
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
    // The lower layer of two with equally many, so that the answer is always the same.
    node.layer =
        bytes.iter().max_by_key(|(layer, size)| (**size, std::cmp::Reverse(**layer))).map_or(0, |(layer, _)| *layer);
    bytes
}
