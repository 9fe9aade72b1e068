//! The layers of a stage: where their blobs are, what they make together, and where they lie unpacked.

use image_tool::digest::Digest;
use image_tool::home::Home;
use image_tool::layout::Layout;
use oci_spec::image::Descriptor;

use crate::contents::{self, Contents};
use crate::tree::Tree;

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The layout that holds its blob: the target's for a base image's, the step cache for one that was built.
    pub layout: Layout,
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of the archive in it.
    pub diff_id: Digest,
}

/// What the layers make together, the lowest first.
pub fn tree(layers: &[Layer], home: &Home) -> Result<Tree, contents::Error> {
    let mut tree = Tree::default();
    for layer in layers {
        tree.apply(&Contents::of(layer, &home.builds(), &home.layers())?);
    }
    Ok(tree)
}
