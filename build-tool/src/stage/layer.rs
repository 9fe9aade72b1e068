//! The layers of a stage: where their blobs are, and where they are unpacked.

use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::layer::cache::{self, Cache, Source};
use image_tool::layout::Layout;
use oci_spec::image::Descriptor;

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The layout that holds the blob: the target for a base image's layer, the step cache for one that was built.
    pub layout: Layout,
    /// The blob's descriptor.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
}

impl Layer {
    /// The unpacked layer, if there is one; it stays as long as the value lives.
    pub fn unpacked(&self, home: &Home) -> Result<Option<cache::Layer>, cache::Error> {
        // Asking the cache leaves a lock file behind, and most layers are not unpacked although they are asked for
        // often.
        let path = home.layers().join(self.diff_id.algorithm().as_ref()).join(self.diff_id.digest());
        if path.is_dir() { Cache::of(home).get(&self.diff_id) } else { Ok(None) }
    }
}

/// Unpacks the layers that are not unpacked yet, and returns all of them. They stay as long as the values live.
pub fn unpack(layers: &[Layer], cache: &Cache) -> Result<Vec<cache::Layer>, cache::Error> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for Layer { layout, descriptor, diff_id } in layers {
        let unpacked = cache.get(diff_id)?;
        // If the layer is unpacked, its blob is not even opened.
        if unpacked.is_none() {
            let blob = layout.open_blob(descriptor)?;
            missing.push(Source { blob, descriptor: descriptor.clone(), diff_id: diff_id.clone() });
        }
        found.push(unpacked);
    }
    let mut made = cache.layers(&missing)?.into_iter();
    Ok(found.into_iter().filter_map(|found| found.or_else(|| made.next())).collect())
}
