//! Everything that one image consists of: its documents and its blobs, wherever they are read from.

use std::collections::HashSet;

use oci_spec::image::Descriptor;

use super::manifest::{Content, Manifest, ManifestError};

/// Indexes may be nested, but nobody's are this deep.
pub(super) const DEPTH: usize = 4;
/// Each level of an index may be full; all of them together are not in any image.
const DOCUMENTS: usize = 2048;

/// Everything that an image consists of.
pub(crate) struct Plan {
    /// Manifests and indexes, each after those it refers to: the last is the image itself.
    pub(crate) documents: Vec<Manifest>,
    /// Configs and layers, each once.
    pub(crate) blobs: Vec<Descriptor>,
}

/// Why there is no plan.
pub(crate) enum PlanError<E> {
    /// A document that an index refers to cannot be read.
    Read(E),
    /// The documents refer to too much.
    Excess(ManifestError),
}

impl Plan {
    /// Plans an image; `read` reads the documents that it refers to.
    pub(crate) async fn of<E>(
        top: Manifest,
        read: impl AsyncFn(&Descriptor) -> Result<Manifest, E>,
    ) -> Result<Self, PlanError<E>> {
        let mut plan = Self { documents: Vec::new(), blobs: Vec::new() };
        plan.add(top, DEPTH, &read).await?;
        Ok(plan)
    }

    /// The image itself.
    pub(crate) fn top(&self) -> &Manifest {
        self.documents.last().expect("a plan ends with the image itself")
    }

    /// Adds a document after all that it refers to.
    async fn add<E, R: AsyncFn(&Descriptor) -> Result<Manifest, E>>(
        &mut self,
        manifest: Manifest,
        depth: usize,
        read: &R,
    ) -> Result<(), PlanError<E>> {
        match &manifest.content {
            Content::Image(blobs) => {
                let mut seen: HashSet<_> = self.blobs.iter().map(|blob| blob.digest().clone()).collect();
                self.blobs.extend(blobs.iter().filter(|blob| seen.insert(blob.digest().clone())).cloned());
            }
            Content::Index(_) if depth == 0 => return Err(PlanError::Excess(too_deep(&manifest))),
            Content::Index(children) => {
                for child in children {
                    if self.documents.len() > DOCUMENTS {
                        let reason = format!("it leads to more than {DOCUMENTS} manifests");
                        return Err(PlanError::Excess(manifest.malformed(reason)));
                    }
                    if !self.documents.iter().any(|known| known.descriptor.digest() == child.digest()) {
                        let child = read(child).await.map_err(PlanError::Read)?;
                        Box::pin(self.add(child, depth - 1, read)).await?;
                    }
                }
            }
        }
        self.documents.push(manifest);
        Ok(())
    }
}

pub(super) fn too_deep(manifest: &Manifest) -> ManifestError {
    manifest.malformed(format!("indexes are nested more than {DEPTH} deep"))
}

/// Whether a blob comes from the registry, and not from a URL of its own as foreign layers do.
pub(crate) fn is_ours(blob: &Descriptor) -> bool {
    blob.urls().as_ref().is_none_or(Vec::is_empty)
}
