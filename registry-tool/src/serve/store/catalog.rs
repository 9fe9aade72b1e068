//! What a layout holds, by repository and tag.
//!
//! The refs of a layout are names as people type them (`python:3.8`, `quay.io/podman/hello`), and every spelling of a name means
//! the same repository. Where a layout stands for a repository, a ref that is one word is a tag of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use image_tool::address::digest::Digest;
use image_tool::address::name::{familiar, split_tag};
use image_tool::layout::{Error, Layout, MANIFEST_LIMIT, is_index, is_manifest};
use oci_spec::image::{Descriptor, MediaType};
use serde::Deserialize;

use crate::reference::{is_repository, is_tag};

/// What a manifest or an index says, as far as a registry has to know.
#[derive(Debug)]
pub(in crate::serve) struct Document {
    /// Its descriptor, without annotations.
    pub(in crate::serve) descriptor: Descriptor,
    /// The manifests of an index.
    pub(in crate::serve) manifests: Vec<Descriptor>,
    /// The config and the layers.
    pub(in crate::serve) blobs: Vec<Descriptor>,
    /// What it refers to.
    pub(in crate::serve) subject: Option<Digest>,
    /// Its kind, among those that refer to one thing (distribution-spec, "Listing Referrers").
    pub(in crate::serve) artifact_type: Option<String>,
    /// Its annotations.
    pub(in crate::serve) annotations: BTreeMap<String, String>,
}

/// As they are written. `null` is no value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub(in crate::serve) fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let is_index = is_index(descriptor);
        let given = written.artifact_type.filter(|text| !text.is_empty());
        // Only a manifest is of its config's kind.
        let kind = written.config.as_ref().filter(|_| !is_index).map(|config| config.media_type().to_string());
        let blobs = written.config.into_iter().chain(written.layers.into_iter().chain(written.blobs).flatten());
        Ok(Self {
            descriptor: Descriptor::new(
                descriptor.media_type().clone(),
                descriptor.size(),
                descriptor.digest().clone(),
            ),
            blobs: blobs.collect(),
            manifests: written.manifests.unwrap_or_default(),
            subject: written.subject.map(|subject| subject.digest().clone()),
            artifact_type: given.or(kind),
            annotations: written.annotations.unwrap_or_default(),
        })
    }
}

/// Whether a descriptor is that of a document that leads further.
pub(in crate::serve) fn is_document(descriptor: &Descriptor) -> bool {
    is_index(descriptor) || is_manifest(descriptor) || *descriptor.media_type() == MediaType::ArtifactManifest
}

/// Whether a blob need not be there: one that may not be distributed is fetched from elsewhere.
pub(in crate::serve) fn is_elsewhere(blob: &Descriptor) -> bool {
    let media_type = blob.media_type().to_string();
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

/// The tags of a repository, and every manifest that they lead to.
#[derive(Debug, Default)]
pub(in crate::serve) struct Repository {
    /// The tags in the order of their bytes.
    pub(in crate::serve) tags: BTreeMap<String, Descriptor>,
    manifests: HashSet<String>,
}

/// What a layout holds at one moment.
#[derive(Debug, Default)]
pub(in crate::serve) struct Catalog {
    repositories: BTreeMap<String, Repository>,
    /// The manifests without a tag, which are found under every repository's name.
    untagged: HashSet<String>,
    documents: HashMap<String, Arc<Document>>,
    blobs: HashSet<String>,
    is_partial: bool,
}

impl Catalog {
    /// Reads a layout. Documents that `former` knows are not read again: a digest never means anything else.
    ///
    /// # Errors
    /// As [`Layout::index`]. A document that cannot be read is left out.
    pub(in crate::serve) fn read(layout: &Layout, is_root: bool, former: Option<&Self>) -> Result<Self, Error> {
        let mut catalog = Self::default();
        let (mut untagged, mut later) = (Vec::new(), Vec::new());
        for (reference, mut descriptor) in layout.index()?.entries()? {
            descriptor.set_annotations(None);
            catalog.learn(layout, &descriptor, former);
            match reference.as_deref().map(|reference| place(reference, is_root)) {
                None | Some(None) => untagged.push(descriptor),
                Some(Some((repository, tag, true))) => {
                    // With the host it is what a mirror has of that registry.
                    catalog.put(repository.clone(), tag.clone(), descriptor.clone());
                    let path = repository.split_once('/').map_or_else(String::new, |(_, path)| path.to_owned());
                    later.push((path, tag, descriptor));
                }
                Some(Some((repository, tag, false))) => catalog.put(repository, tag, descriptor),
            }
        }
        // A name with a port in front gives way to the same name without a host.
        for (repository, tag, descriptor) in later {
            if catalog.tag(&repository, &tag).is_none() {
                catalog.put(repository, tag, descriptor);
            }
        }
        catalog.untagged = catalog.closure(&untagged);
        let closures: Vec<_> = catalog.repositories.values().map(|held| catalog.closure(held.tags.values())).collect();
        for (repository, manifests) in catalog.repositories.values_mut().zip(closures) {
            repository.manifests = manifests;
        }
        Ok(catalog)
    }

    fn put(&mut self, repository: String, tag: String, descriptor: Descriptor) {
        self.repositories.entry(repository).or_default().tags.insert(tag, descriptor);
    }

    /// Takes in a descriptor and all that it leads to.
    fn learn(&mut self, layout: &Layout, root: &Descriptor, former: Option<&Self>) {
        let mut left = vec![root.clone()];
        while let Some(descriptor) = left.pop() {
            let digest = descriptor.digest().to_string();
            if !self.blobs.insert(digest.clone()) || !is_document(&descriptor) {
                continue;
            }
            let known = former.and_then(|former| former.documents.get(&digest)).cloned();
            let document = match known.map_or_else(|| open(layout, &descriptor), |known| Ok(Some(known))) {
                Ok(Some(document)) => document,
                // An index may name manifests that the layout lacks.
                Ok(None) => continue,
                Err(reason) => {
                    tracing::warn!("{}: manifest {digest}: {reason}", layout.path().display());
                    self.is_partial = true;
                    continue;
                }
            };
            self.blobs.extend(document.blobs.iter().map(|blob| blob.digest().to_string()));
            left.extend(document.manifests.iter().cloned());
            self.documents.insert(digest, document);
        }
    }

    /// The manifests that some descriptors lead to.
    fn closure<'a>(&'a self, roots: impl IntoIterator<Item = &'a Descriptor>) -> HashSet<String> {
        let mut found = HashSet::new();
        let mut left: Vec<&Descriptor> = roots.into_iter().collect();
        while let Some(descriptor) = left.pop() {
            if let Some(document) = self.documents.get(descriptor.digest().as_ref())
                && found.insert(descriptor.digest().to_string())
            {
                left.extend(&document.manifests);
            }
        }
        found
    }

    /// The repositories by name; the empty name is that of the layout itself. Names that no client can ask for are left out.
    pub(in crate::serve) fn repositories(&self) -> impl Iterator<Item = (&str, &Repository)> {
        let all = self.repositories.iter().map(|(name, repository)| (name.as_str(), repository));
        all.filter(|(name, _)| !name.contains(':'))
    }

    /// A repository by any spelling of its name.
    pub(in crate::serve) fn repository(&self, name: &str) -> Option<&Repository> {
        if name.is_empty() {
            return self.repositories.get("");
        }
        self.repositories.get(&familiar(name).0)
    }

    /// The image that has a tag.
    pub(in crate::serve) fn tag(&self, repository: &str, tag: &str) -> Option<&Descriptor> {
        self.repository(repository)?.tags.get(tag)
    }

    /// A manifest that a repository shows.
    pub(in crate::serve) fn manifest(&self, repository: &str, digest: &Digest) -> Option<&Arc<Document>> {
        let shown = self.untagged.contains(digest.as_ref())
            || self.repository(repository).is_some_and(|held| held.manifests.contains(digest.as_ref()));
        self.documents.get(digest.as_ref()).filter(|_| shown)
    }

    /// A manifest that any repository shows.
    pub(in crate::serve) fn document(&self, digest: &Digest) -> Option<&Arc<Document>> {
        self.documents.get(digest.as_ref())
    }

    /// The manifests of a repository that refer to another one, in the order of their digests.
    pub(in crate::serve) fn referrers(&self, repository: &str, subject: &Digest) -> Vec<&Arc<Document>> {
        let refers = |document: &&Arc<Document>| {
            document.subject.as_ref() == Some(subject)
                && self.manifest(repository, document.descriptor.digest()).is_some()
        };
        let mut found: Vec<_> = self.documents.values().filter(refers).collect();
        found.sort_by_key(|document| document.descriptor.digest().to_string());
        found
    }

    /// Whether there is a document of a kind.
    pub(in crate::serve) fn any(&self, test: impl Fn(&Document) -> bool) -> bool {
        self.documents.values().any(|document| test(document))
    }

    /// Whether an image uses a blob.
    pub(in crate::serve) fn uses(&self, digest: &Digest) -> bool {
        self.blobs.contains(digest.as_ref())
    }

    /// Whether something could not be read, so that what it uses is unknown.
    pub(in crate::serve) fn is_partial(&self) -> bool {
        self.is_partial
    }
}

fn open(layout: &Layout, descriptor: &Descriptor) -> Result<Option<Arc<Document>>, String> {
    match layout.read(descriptor, MANIFEST_LIMIT) {
        Ok(bytes) => Document::parse(descriptor, &bytes).map(|document| Some(Arc::new(document))),
        Err(Error::MissingBlob { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The repository and tag of a ref, and whether it begins with a host that cannot be part of a repository's name: one with a port,
/// as an image has that was made to be pushed to this very server. A ref that is no name is none.
fn place(reference: &str, is_root: bool) -> Option<(String, String, bool)> {
    if is_root && split_tag(reference).1.is_none() && !reference.contains('/') {
        return is_tag(reference).then(|| (String::new(), reference.to_owned(), false));
    }
    let (repository, tag) = familiar(reference);
    let (path, has_port) = match repository.split_once('/') {
        Some((host, path)) if host.contains(':') => (path, true),
        _ => (repository.as_str(), false),
    };
    (is_repository(path) && is_tag(tag)).then(|| (repository.clone(), tag.to_owned(), has_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_a_repository_and_a_tag() {
        let found = |reference: &str, is_root| {
            place(reference, is_root).map(|(repository, tag, is_cut)| format!("{repository} {tag} {is_cut}"))
        };
        for (reference, is_root, expected) in [
            ("python:3.8", false, Some("python 3.8 false")),
            ("docker.io/library/python", false, Some("python latest false")),
            ("3.8", false, Some("3.8 latest false")),
            ("3.8", true, Some(" 3.8 false")),
            ("python:3.8", true, Some("python 3.8 false")),
            ("quay.io/podman/hello", false, Some("quay.io/podman/hello latest false")),
            ("127.0.0.1:5000/app:1", false, Some("127.0.0.1:5000/app 1 true")),
            ("Upper:1", false, None),
            ("a+b", true, None),
        ] {
            assert_eq!(found(reference, is_root).as_deref(), expected, "{reference} {is_root}");
        }
    }

    #[test]
    fn the_kind_of_a_manifest_is_its_configs_unless_it_says() {
        let config = r#""config":{"mediaType":"a/config","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;
        let digest = image_tool::address::digest::sha256(b"x");
        for (media_type, text, kind) in [
            (MediaType::ImageManifest, format!("{{{config}}}"), Some("a/config")),
            (MediaType::ImageManifest, format!("{{{config},\"artifactType\":\"a/b\"}}"), Some("a/b")),
            (MediaType::ImageManifest, format!("{{{config},\"artifactType\":\"\"}}"), Some("a/config")),
            (MediaType::ImageIndex, format!("{{{config}}}"), None),
            (MediaType::ImageIndex, "{\"artifactType\":\"a/b\",\"annotations\":null}".into(), Some("a/b")),
        ] {
            let descriptor = Descriptor::new(media_type, 1, digest.clone());
            let document = Document::parse(&descriptor, text.as_bytes()).unwrap();
            assert_eq!(document.artifact_type.as_deref(), kind, "{text}");
        }
    }
}
