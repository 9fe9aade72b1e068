//! What of the stored layers is needed: those of bundles, and those of the images in the default layout. Images elsewhere have their
//! blobs, of which a layer is stored again.

use image_tool::address::digest;
use image_tool::address::home::Home;
use image_tool::layer::stack::stock::Wanted;
use image_tool::layout::{self, Layout, is_manifest};

use super::Error;
use crate::bundle::Bundle;

/// Adds what bundles need.
///
/// # Errors
/// [`Error::Bundle`] if a bundle's layers cannot be read.
pub fn by_bundles(home: &Home, wanted: &mut Wanted) -> Result<(), Error> {
    for bundle in Bundle::list(&home.bundles())? {
        let layers = bundle.layers()?.unwrap_or_default();
        // A line that is no digest names no layer.
        let diff_ids: Vec<_> = layers.iter().filter_map(|text| digest::parse(text).ok()).collect();
        wanted.add(&diff_ids);
    }
    Ok(())
}

/// Adds what images need.
///
/// # Errors
/// [`Error::Layout`] if the layout cannot be read: what is needed is unknown then.
pub fn by_images(home: &Home, wanted: &mut Wanted) -> Result<(), Error> {
    let layout = match Layout::open(&home.images()) {
        Err(layout::Error::NoLayout { .. }) => return Ok(()),
        other => other?,
    };
    for descriptor in layout.reach(&layout.index()?.descriptors()?)?.values().filter(|one| is_manifest(one)) {
        match layout.image_of(descriptor) {
            Ok(image) => {
                let diff_ids: Vec<_> = image.layers().filter_map(|(_, text)| digest::parse(text).ok()).collect();
                wanted.add(&diff_ids);
            }
            Err(error @ layout::Error::Io(_)) => return Err(error.into()),
            // An artifact, or half of an image: no container can be made of it.
            Err(_) => {}
        }
    }
    Ok(())
}
