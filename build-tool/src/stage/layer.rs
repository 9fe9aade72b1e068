//! The layers of a stage: where their blobs are, and where they are unpacked.

use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::edit::append;
use image_tool::edit::convert::{self, Conversion};
use image_tool::layer::cache::{self, Archive, Cache, Source};
use image_tool::layer::limit::Limits;
use image_tool::layer::pack::{Format, Packed, Packing};
use image_tool::layer::stack::{self, Stack};
use image_tool::layout::{Layout, Writer};
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
    /// Whether a step made it; else it is a base image's.
    pub built: bool,
}

impl Layer {
    /// The unpacked layer, if there is one; it stays as long as the value lives.
    pub fn unpacked(&self, home: &Home) -> Result<Option<cache::Layer>, cache::Error> {
        // Asking the cache leaves a lock file behind, and most layers are not unpacked although they are asked for
        // often.
        let path = home.layers().join(self.diff_id.algorithm().as_ref()).join(self.diff_id.digest());
        if path.is_dir() { Cache::of(home).get(&self.diff_id) } else { Ok(None) }
    }

    /// The archive of the layer, if it is stored as one. It stays as long as the value lives.
    pub fn archive(&self, home: &Home) -> Result<Option<Archive>, cache::Error> {
        Cache::of(home).archive_if_there(&self.diff_id)
    }

    /// The layer packed in this way, in the writer's layout. One that is compressed so already, unless a level is asked for, is
    /// the same, and so is one that may not be distributed.
    pub fn packed(&self, packing: Packing, writer: &Writer) -> Result<Self, append::Error> {
        let is_foreign = self.descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty());
        if is_foreign || packing.is_met_by(Format::of(&self.descriptor)?) {
            return Ok(self.clone());
        }
        let packed = convert::repack(&self.source()?, writer, Conversion { packing, limits: Limits::default() })?;
        let Packed { descriptor, diff_id } = packed;
        Ok(Self { layout: writer.layout().clone(), descriptor, diff_id, ..self.clone() })
    }

    /// The layer's blob, opened.
    fn source(&self) -> Result<Source, cache::Error> {
        let blob = self.layout.open_blob(&self.descriptor)?;
        Ok(Source { blob, descriptor: self.descriptor.clone(), diff_id: self.diff_id.clone() })
    }
}

/// The layers as directories, stored and mounted or unpacked if they are not yet. They stay as long as the value lives.
///
/// A base image's layers become one image, which all builds on it share. Those of steps are unpacked, if the step has not left its
/// directory: an image of them would be of use to this build alone.
pub fn stack(layers: &[Layer], cache: &Cache) -> Result<Stack, stack::Error> {
    let base = layers.iter().take_while(|layer| !layer.built).count();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    Stack::new(cache, &diff_ids, base, &|number| layers[number].source())
}

/// Adds layers to a stack.
pub fn extend(stack: &mut Stack, layers: &[Layer], cache: &Cache) -> Result<(), stack::Error> {
    for layer in layers {
        stack.push(match cache.get(&layer.diff_id)? {
            Some(unpacked) => unpacked,
            // If the layer is unpacked, its blob is not even opened.
            None => cache.layer_of(&layer.diff_id, || layer.source()?.start_within(cache.limits()))?,
        });
    }
    Ok(())
}
