//! The layers of a stage: where their blobs are, and where they lie unpacked.

use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::layer::cache::{self, Cache, Source};
use image_tool::layout::Layout;
use oci_spec::image::Descriptor;

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

/// The layers unpacked, those that are not yet as well; they stay as long as the values live.
pub fn unpack(layers: &[Layer], cache: &Cache) -> Result<Vec<cache::Layer>, cache::Error> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for Layer { layout, descriptor, diff_id } in layers {
        let unpacked = cache.get(diff_id)?;
        // The blob of one that is unpacked is not even opened.
        if unpacked.is_none() {
            let blob = layout.open_blob(descriptor)?;
            missing.push(Source { blob, descriptor: descriptor.clone(), diff_id: diff_id.clone() });
        }
        found.push(unpacked);
    }
    let mut made = cache.layers(&missing)?.into_iter();
    Ok(found.into_iter().filter_map(|found| found.or_else(|| made.next())).collect())
}
