//! The layers of a stage: where their blobs are, what they make together, and where they lie unpacked.

use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::layer::cache::{self, Cache};
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

impl Layer {
    /// The layer unpacked, if it is; it stays as long as the value lives.
    pub fn unpacked(&self, home: &Home) -> Result<Option<cache::Layer>, cache::Error> {
        // Asking the cache leaves a lock behind: most layers are not there, and are asked for often.
        let path = home.layers().join(self.diff_id.algorithm().as_ref()).join(self.diff_id.digest());
        if path.is_dir() { Cache::of(home).get(&self.diff_id) } else { Ok(None) }
    }
}

/// What the layers make together, the lowest first.
pub fn tree(layers: &[Layer], home: &Home) -> Result<Tree, contents::Error> {
    let mut tree = Tree::default();
    for layer in layers {
        tree.apply(&Contents::of(layer, home)?);
    }
    Ok(tree)
}
