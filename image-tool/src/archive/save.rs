//! Saving images of layouts as an archive.
//!
//! Blobs are stored as they are, compressed: docker, podman, skopeo and containerd all decompress on load.
//! (Decompressing first, like skopeo, costs ten times the CPU time and twice the space.) Both formats are OCI layouts;
//! a docker-archive also has `manifest.json` and `repositories`, as docker writes it since version 25. The documents
//! come first, so that a reader of the stream knows what to expect.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::{Error, Format};
use crate::address::RefName;
use crate::address::name;
use crate::beneath::page::Buffer;
use crate::layer::entry::{Entry, Kind, Writer};
use crate::layout::{Image, Layout, REF_NAME};

/// How many bytes of a blob are copied at once.
const CHUNK: usize = 256 * 1024;

/// An image to save.
pub struct Subject {
    /// The layout that contains it.
    pub layout: Layout,
    /// The manifest, or an index that an oci-archive keeps whole.
    pub descriptor: Descriptor,
    /// The image for one platform, for a docker-archive.
    pub image: Option<Image>,
    /// The name in the archive, if any.
    pub name: Option<RefName>,
}

/// The annotation in which containerd and docker look for the full name of an image.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Writes an archive and gives `output` back. Equal images give equal bytes.
///
/// # Errors
/// [`Error`]. A missing blob or one of the wrong size is noticed before the first byte is written, a corrupt blob only
/// when it is read: the archive is then truncated.
pub fn save<W: Write>(output: W, subjects: &[Subject], format: Format) -> Result<W, Error> {
    let (manifests, blobs) = entries(subjects, format)?;
    let mut writer = Writer::new(output);
    let mut folder = |path: &str| writer.entry(&Entry::new(path, Kind::Directory, 0o755)).map_err(Error::Write);
    folder("blobs")?;
    for algorithm in ["sha256", "sha512"] {
        if blobs.keys().any(|digest| digest.starts_with(algorithm)) {
            folder(&format!("blobs/{algorithm}"))?;
        }
    }
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    let mut documents = vec![("oci-layout", json!({"imageLayoutVersion": "1.0.0"})), ("index.json", index)];
    if format == Format::Docker {
        let (manifest, repositories) = docker_documents(subjects);
        documents.push(("manifest.json", manifest));
        documents.push(("repositories", repositories));
    }
    for (path, document) in documents {
        writer.file(&Entry::new(path, Kind::File, 0o444), document.to_string().as_bytes()).map_err(Error::Write)?;
    }
    for (layout, descriptor) in blobs.values() {
        blob(&mut writer, layout, descriptor)?;
    }
    let mut output = writer.finish().map_err(Error::Write)?;
    output.flush().map_err(Error::Write)?;
    Ok(output)
}

/// A blob and the layout that contains it.
type Held<'a> = (&'a Layout, Descriptor);

/// The entries of `index.json`, and the blobs reachable from them by digest.
fn entries(subjects: &[Subject], format: Format) -> Result<(Vec<Value>, BTreeMap<String, Held<'_>>), Error> {
    let mut blobs: BTreeMap<String, Held<'_>> = BTreeMap::new();
    let mut manifests: Vec<Value> = Vec::new();
    for subject in subjects {
        let root = match (&subject.image, format) {
            (Some(image), Format::Docker) => image.descriptor(),
            _ => &subject.descriptor,
        };
        for (digest, descriptor) in subject.layout.reach(std::slice::from_ref(root))? {
            drop(subject.layout.open_blob(&descriptor)?);
            blobs.entry(digest).or_insert((&subject.layout, descriptor));
        }
        let mut entry = serde_json::to_value(root).expect("a descriptor is serialisable");
        let mut annotations = entry["annotations"].as_object().cloned().unwrap_or_default();
        annotations.remove(REF_NAME);
        if let Some(name) = &subject.name {
            let canonical = name::canonical(name.as_str());
            // docker writes only the tag here and the full name beside it; skopeo and podman, which read oci-archives,
            // expect the full name here.
            let reference = if format == Format::Docker { canonical.1 } else { name.as_str() };
            annotations.insert(REF_NAME.into(), reference.into());
            annotations.insert(IMAGE_NAME.into(), format!("{}:{}", canonical.0, canonical.1).into());
        }
        // Of an image that is saved by its ID the name stays behind.
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("annotations");
        }
        if !annotations.is_empty() {
            entry["annotations"] = Value::Object(annotations);
        }
        if !manifests.contains(&entry) {
            manifests.push(entry);
        }
    }
    Ok((manifests, blobs))
}

/// Writes a blob as a file of the archive.
fn blob<W: Write>(writer: &mut Writer<W>, layout: &Layout, descriptor: &Descriptor) -> Result<(), Error> {
    let path = Layout::blob_path(descriptor.digest());
    writer.entry(&Entry { size: descriptor.size(), ..Entry::new(path, Kind::File, 0o444) }).map_err(Error::Write)?;
    let mut reader = layout.blob(descriptor)?;
    let mut chunk = Buffer::new(CHUNK);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => writer.write_all(&chunk[..count]).map_err(Error::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(layout.read_error(descriptor, error).into()),
        }
    }
}

/// `manifest.json`, with one item for each image and all its names, and `repositories`, for the oldest readers.
fn docker_documents(subjects: &[Subject]) -> (Value, Value) {
    let mut manifest: Vec<Value> = Vec::new();
    let mut repositories = json!({});
    for subject in subjects {
        let Some(image) = &subject.image else { continue };
        let path = |descriptor: &Descriptor| Layout::blob_path(descriptor.digest()).to_string_lossy().into_owned();
        let config = path(image.manifest().config());
        let layers: Vec<String> = image.manifest().layers().iter().map(path).collect();
        // The full name, as skopeo and podman write it: docker shortens it, and podman does not add "localhost/".
        let tag = subject
            .name
            .as_ref()
            .map(|name| name::canonical(name.as_str()))
            .filter(|(repository, tag)| is_docker_name(repository, tag));
        let position =
            manifest.iter().position(|item| item["Config"] == config.as_str() && item["Layers"] == json!(layers));
        let item = match position {
            Some(position) => &mut manifest[position],
            None => {
                manifest.push(json!({"Config": config, "RepoTags": null, "Layers": layers}));
                manifest.last_mut().expect("an item has just been pushed")
            }
        };
        if let Some((repository, tag)) = tag {
            let name = json!(format!("{repository}:{tag}"));
            match &mut item["RepoTags"] {
                Value::Array(tags) if tags.contains(&name) => {}
                Value::Array(tags) => tags.push(name),
                tags => *tags = json!([name]),
            }
            if let Some(top) = image.manifest().layers().last() {
                repositories[repository][tag] = top.digest().digest().into();
            }
        }
    }
    (manifest.into(), repositories)
}

/// Whether docker accepts the name: lower case, and a tag of word characters.
fn is_docker_name(repository: &str, tag: &str) -> bool {
    let lower = |component: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        component.starts_with(plain)
            && component.ends_with(plain)
            && component.chars().all(|c| plain(c) || "._-".contains(c))
    };
    let path = repository.split_once('/').filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost");
    let path = path.map_or(repository, |(_, path)| path);
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    path.split('/').all(lower) && !tag.is_empty() && tag.len() <= 128 && tag.chars().all(word)
}
