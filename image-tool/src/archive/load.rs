//! An archive of images, read in one pass into a layout.
//!
//! What comes first in an archive is not defined: docker writes the layers before the `manifest.json` that explains them.
//! So every large file becomes a blob in the making, without a name in the layout, and small ones stay in memory; at the
//! end those that an image needs are committed, and the rest is as if it had never been. Nothing is copied a second time
//! and nothing is left behind by an archive that was cut.
//!
//! Layers stay the bytes that they are. A plain tar becomes a plain layer, which is what makes loading cost a hash and a
//! copy: compressing it would take twenty times as long, for a blob whose digest nobody else has. (Pushed to a registry a
//! plain layer costs more to transfer; whoever wants it small saves it from a layout where it is.) With an `index.json`
//! every blob is held against the digest by which it is named, as in a pull. A layer that only `manifest.json` names is held
//! against the config's diff id, compressed or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::legacy::{self, Ancestor};
use super::save::IMAGE_NAME;
use super::{Error, Format};
use crate::address::RefName;
use crate::address::digest::{self, Digest, Hasher};
use crate::address::name;
use crate::layer::entry::{Kind, Reader};
use crate::layer::{Compression, Decoder};
use crate::layout::{BlobWriter, Layout, MANIFEST_LIMIT, REF_NAME, Writer, is_index, is_manifest};

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The name that it had in the archive, if it had one that a layout can have.
    pub name: Option<RefName>,
    /// What it is.
    pub descriptor: Descriptor,
}

/// Files in an archive of hundreds of images; each large one is an open file until the end.
const FILES: usize = 20_000;
/// Files up to this stay in memory: every document of docker and OCI is smaller.
const SMALL: u64 = 128 * 1024;
const MEMORY: u64 = 256 << 20;

/// A file of the archive.
struct Stored {
    content: Content,
    digest: Digest,
    size: u64,
    compression: Compression,
    /// The digest of the archive in it, if it is compressed and was looked into.
    diff_id: Option<Digest>,
}

enum Content {
    Memory(Vec<u8>),
    Blob(Option<Box<BlobWriter>>),
}

struct Archive<'a> {
    writer: &'a Writer,
    files: BTreeMap<PathBuf, Stored>,
    links: HashMap<PathBuf, PathBuf>,
    committed: BTreeSet<String>,
}

/// Reads an archive, plain or compressed with gzip or zstd, and puts its images into the writer's layout.
///
/// # Errors
/// [`Error`]; the layout then has no new entry.
pub fn load<R: Read>(input: R, writer: &Writer) -> Result<(Vec<Loaded>, Format), Error> {
    raise_file_limit();
    let (decoder, _) = Decoder::detect(input)?;
    let mut archive = Archive { writer, files: BTreeMap::new(), links: HashMap::new(), committed: BTreeSet::new() };
    archive.read(BufReader::with_capacity(256 * 1024, decoder))?;
    let (loaded, format) =
        if archive.find(Path::new("index.json")).is_some() && archive.find(Path::new("oci-layout")).is_some() {
            (archive.oci()?, Format::Oci)
        } else if archive.find(Path::new("manifest.json")).is_some() {
            (archive.docker()?, Format::Docker)
        } else if archive.find(Path::new("repositories")).is_some() {
            (archive.legacy()?, Format::Docker)
        } else {
            return Err(Error::NoImage);
        };
    if loaded.is_empty() {
        return Err(Error::NoImage);
    }
    writer.layout().update_index(|index| {
        for Loaded { name, descriptor } in &loaded {
            match name {
                Some(name) => index.set(name, descriptor),
                None => index.add(descriptor),
            }
        }
        Ok(())
    })?;
    Ok((loaded, format))
}

/// As far as it goes: a file is open for each layer until the end. With too many, opening fails and says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn malformed(path: &Path, reason: impl ToString) -> Error {
    Error::Malformed { path: path.to_path_buf(), reason: reason.to_string() }
}

/// A path in the archive without `.` and `..`, whichever way it was written.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

/// The digest that a path in a layout promises: `blobs/sha256/HEX`.
fn promised(path: &Path) -> Option<Digest> {
    let mut parts = path.iter().map(|part| part.to_str());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some("blobs")), Some(Some(algorithm)), Some(Some(hex)), None) => {
            digest::parse(&format!("{algorithm}:{hex}")).ok()
        }
        _ => None,
    }
}

impl Archive<'_> {
    fn read<R: BufRead>(&mut self, input: R) -> Result<(), Error> {
        let mut reader = Reader::new(input);
        let mut memory = 0;
        while let Some(entry) = reader.next_entry()? {
            let path = normal(&entry.path);
            if self.files.len() + self.links.len() >= FILES {
                return Err(Error::TooMany { limit: FILES });
            }
            match entry.kind {
                Kind::File if entry.sparse.is_some() => return Err(malformed(&path, "a sparse file")),
                Kind::File => {
                    let small = entry.size <= SMALL && memory + entry.size <= MEMORY;
                    memory += if small { entry.size } else { 0 };
                    let stored = self.store(&path, small, entry.size, &mut reader)?;
                    self.links.remove(&path);
                    self.files.insert(path, stored);
                }
                // docker writes a layer once, and for those that are equal a link to it.
                Kind::Symlink(target) => {
                    let from = path.parent().unwrap_or(Path::new(""));
                    self.links.insert(path.clone(), normal(&from.join(target)));
                }
                Kind::HardLink(target) => {
                    self.links.insert(path, normal(&target));
                }
                _ => {}
            }
        }
        // To the end, so that a checksum behind the archive is seen, and whoever writes into a pipe is not cut off.
        io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(|error| Error::Tar(error.into()))?;
        Ok(())
    }

    fn store<R: BufRead>(&self, path: &Path, small: bool, size: u64, reader: &mut Reader<R>) -> Result<Stored, Error> {
        let promised = promised(path);
        let mut hasher = match &promised {
            Some(digest) => Hasher::of(digest).map_err(|error| malformed(path, error))?,
            None => Hasher::sha256(),
        };
        let mut content = if small {
            Content::Memory(Vec::new())
        } else if let Some(digest) = &promised {
            let descriptor = Descriptor::new(MediaType::ImageLayer, size, digest.clone());
            Content::Blob(Some(Box::new(self.writer.expect(&descriptor)?)))
        } else {
            Content::Blob(Some(Box::new(self.writer.blob()?)))
        };
        let mut compression = None;
        loop {
            let bytes = reader.fill_buf().map_err(|error| Error::Tar(error.into()))?;
            if bytes.is_empty() {
                break;
            }
            compression.get_or_insert_with(|| Compression::of_magic(bytes));
            match &mut content {
                Content::Memory(memory) => {
                    memory.extend_from_slice(bytes);
                    hasher.update(bytes);
                }
                // The blob hashes by itself.
                Content::Blob(Some(blob)) => blob.write_all(bytes).map_err(|error| blob.error("write", error))?,
                Content::Blob(None) => hasher.update(bytes),
            }
            let count = bytes.len();
            reader.consume(count);
        }
        let digest = match &content {
            Content::Blob(Some(blob)) => blob.digest(),
            _ => hasher.finish(),
        };
        if let Some(promised) = promised.filter(|promised| *promised != digest) {
            return Err(malformed(path, digest::Error::Mismatch { expected: promised, actual: digest }));
        }
        Ok(Stored { content, digest, size, compression: compression.unwrap_or(Compression::None), diff_id: None })
    }

    /// The path of a file, behind the links that lead to it.
    fn find(&self, path: &Path) -> Option<PathBuf> {
        let mut path = normal(path);
        for _ in 0..16 {
            if self.files.contains_key(&path) {
                return Some(path);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    fn file(&mut self, path: &Path) -> Result<(PathBuf, &mut Stored), Error> {
        let found = self.find(path).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let stored = self.files.get_mut(&found).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        Ok((found, stored))
    }

    /// The bytes of a document.
    fn bytes(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        let (found, stored) = self.file(path)?;
        let size = stored.size;
        match &mut stored.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            _ if size > MANIFEST_LIMIT => Err(malformed(
                &found,
                format!("{size} bytes are more than the {MANIFEST_LIMIT} that are read of such a document"),
            )),
            Content::Blob(Some(blob)) => blob
                .read_back(|reader| {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).map(|_| bytes)
                })
                .map_err(|error| Error::Tar(error.into())),
            Content::Blob(None) => {
                let descriptor = Descriptor::new(MediaType::ImageLayer, size, stored.digest.clone());
                Ok(self.writer.layout().read(&descriptor, MANIFEST_LIMIT)?)
            }
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self, path: &Path) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(path)?).map_err(|error| malformed(path, error))
    }

    /// Puts a file into the layout as a blob of this type.
    fn commit(&mut self, path: &Path, media_type: MediaType) -> Result<Descriptor, Error> {
        let writer = self.writer;
        let found = self.find(path).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let stored = self.files.get_mut(&found).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let descriptor = Descriptor::new(media_type.clone(), stored.size, stored.digest.clone());
        match &mut stored.content {
            Content::Memory(bytes) => {
                if !self.committed.contains(descriptor.digest().as_ref()) {
                    let mut blob = writer.expect(&descriptor)?;
                    blob.write_all(bytes).map_err(|error| blob.error("write", error))?;
                    blob.commit(media_type)?;
                }
            }
            Content::Blob(blob) => {
                if let Some(blob) = blob.take() {
                    blob.commit(media_type)?;
                }
            }
        }
        self.committed.insert(descriptor.digest().to_string());
        Ok(descriptor)
    }

    /// An OCI layout: all that its entries lead to.
    fn oci(&mut self) -> Result<Vec<Loaded>, Error> {
        let index: Value = self.json(Path::new("index.json"))?;
        let names = self.names_by_config();
        let mut loaded = Vec::new();
        for entry in index["manifests"].as_array().into_iter().flatten() {
            let descriptor: Descriptor =
                serde_json::from_value(entry.clone()).map_err(|error| malformed(Path::new("index.json"), error))?;
            self.commit_all(&descriptor, 4)?;
            let annotation = |key: &str| entry["annotations"][key].as_str();
            let mut candidates: Vec<String> = Vec::new();
            if let Some(whole) = annotation(IMAGE_NAME) {
                candidates.push(familiar(whole));
            } else if let Some(tags) = self.config_of(&descriptor).and_then(|config| names.get(&config)) {
                // A docker-archive whose index says nothing, or no more than the tag.
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

    /// The names in `manifest.json`, by the digest of the config.
    fn names_by_config(&mut self) -> HashMap<String, Vec<String>> {
        let items: Vec<Value> = self.json(Path::new("manifest.json")).unwrap_or_default();
        let mut names = HashMap::new();
        for item in items {
            let config = item["Config"]
                .as_str()
                .and_then(|path| self.find(Path::new(path)))
                .and_then(|path| self.files.get(&path));
            let tags = item["RepoTags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(familiar));
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
                    // An index may name platforms that were not saved.
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

    /// docker's `manifest.json`: a config, and the files of the layers.
    fn docker(&mut self) -> Result<Vec<Loaded>, Error> {
        let manifest = Path::new("manifest.json");
        let items: Vec<Value> = self.json(manifest)?;
        let mut loaded = Vec::new();
        for item in &items {
            let text = |value: &Value| {
                value.as_str().map(PathBuf::from).ok_or_else(|| malformed(manifest, "a path is missing"))
            };
            let config_path = text(&item["Config"])?;
            let layers = item["Layers"].as_array().into_iter().flatten().map(text).collect::<Result<Vec<_>, _>>()?;
            let config: Value = self.json(&config_path)?;
            let diff_ids: Vec<&str> =
                config["rootfs"]["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if diff_ids.len() != layers.len() {
                let reason = format!("it has {} diff ids, but the image has {} layers", diff_ids.len(), layers.len());
                return Err(malformed(&config_path, reason));
            }
            let mut descriptors = Vec::with_capacity(layers.len());
            for (path, diff_id) in layers.iter().zip(&diff_ids) {
                descriptors.push(self.layer(path, Some(diff_id))?.0);
            }
            let config = self.commit(&config_path, MediaType::ImageConfig)?;
            let descriptor = self.manifest(&config, &descriptors)?;
            let names: Vec<RefName> = item["RepoTags"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|tag| familiar(tag.as_str()?).parse().ok())
                .collect();
            if names.is_empty() {
                loaded.push(Loaded { name: None, descriptor: descriptor.clone() });
            }
            loaded.extend(names.into_iter().map(|name| Loaded { name: Some(name), descriptor: descriptor.clone() }));
        }
        Ok(loaded)
    }

    /// A layer's file as a blob, and the digest of the archive in it, which must be `expected`.
    fn layer(&mut self, path: &Path, expected: Option<&str>) -> Result<(Descriptor, String), Error> {
        let writer = self.writer;
        let (found, stored) = self.file(path)?;
        if stored.compression != Compression::None && stored.diff_id.is_none() {
            let descriptor = Descriptor::new(MediaType::ImageLayer, stored.size, stored.digest.clone());
            let compression = stored.compression;
            let hash = |reader: &mut dyn Read| -> io::Result<Digest> {
                let mut decoder = Decoder::new(reader, compression).map_err(io::Error::other)?;
                let mut hasher = Hasher::sha256();
                let mut buffer = vec![0; 256 * 1024];
                loop {
                    match decoder.read(&mut buffer) {
                        Ok(0) => return Ok(hasher.finish()),
                        Ok(count) => hasher.update(&buffer[..count]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            };
            let digest = match &mut stored.content {
                Content::Memory(bytes) => hash(&mut &bytes[..]),
                Content::Blob(Some(blob)) => blob.read_back(hash),
                Content::Blob(None) => hash(&mut writer.layout().blob(&descriptor)?),
            };
            stored.diff_id = Some(digest.map_err(|error| malformed(&found, error))?);
        }
        let actual = stored.diff_id.as_ref().unwrap_or(&stored.digest).to_string();
        let media_type = stored.compression.media_type();
        match expected {
            Some(expected) if expected != actual => {
                Err(Error::DiffId { path: found, expected: expected.into(), actual })
            }
            _ => Ok((self.commit(path, media_type)?, actual)),
        }
    }

    fn manifest(&self, config: &Descriptor, layers: &[Descriptor]) -> Result<Descriptor, Error> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.to_string(),
            "config": config,
            "layers": layers,
        });
        Ok(self.writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes())?)
    }

    /// Before `manifest.json`: `repositories` names the topmost layer's folder, which names its parent.
    fn legacy(&mut self) -> Result<Vec<Loaded>, Error> {
        let repositories: BTreeMap<String, BTreeMap<String, String>> = self.json(Path::new("repositories"))?;
        let mut loaded = Vec::new();
        for (repository, tags) in repositories {
            for (tag, top) in tags {
                let mut ancestors = Vec::new();
                let mut layers = Vec::new();
                let mut next = Some(top);
                while let Some(id) = next {
                    if ancestors.len() > 1024 {
                        return Err(malformed(Path::new(&id), "more than 1024 layers, or a circle of parents"));
                    }
                    let document: Map<String, Value> = self.json(&Path::new(&id).join("json"))?;
                    let (descriptor, diff_id) = self.layer(&Path::new(&id).join("layer.tar"), None)?;
                    next = legacy::parent(&document).map(str::to_owned);
                    if document.get("throwaway").and_then(Value::as_bool) != Some(true) {
                        layers.push(descriptor);
                    }
                    ancestors.push(Ancestor { document, diff_id });
                }
                layers.reverse();
                let config = legacy::config(&ancestors).to_string();
                let config = self.writer.put(MediaType::ImageConfig, config.as_bytes())?;
                let descriptor = self.manifest(&config, &layers)?;
                loaded.push(Loaded { name: familiar(&format!("{repository}:{tag}")).parse().ok(), descriptor });
            }
        }
        Ok(loaded)
    }
}

/// A name as a layout has it: `python:3.8` for what archives call docker.io/library/python:3.8.
fn familiar(name: &str) -> String {
    let (repository, tag) = name::familiar(name);
    format!("{repository}:{tag}")
}

/// A descriptor without the annotations that belong to the archive it came in.
fn plain_descriptor(descriptor: &Descriptor) -> Descriptor {
    let mut plain = descriptor.clone();
    let annotations = descriptor.annotations().clone().map(|mut annotations| {
        annotations.retain(|key, _| key != REF_NAME && !key.starts_with("io.containerd."));
        annotations
    });
    plain.set_annotations(annotations.filter(|annotations| !annotations.is_empty()));
    plain
}
