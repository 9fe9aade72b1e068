//! Putting an image onto another base: its own layers stay, those below are replaced.
//!
//! Whether its files fit there is nobody's to know: a program may need a library that the new base has in another version.

use oci_spec::image::Descriptor;
use serde_json::Value;

use super::append::{self, flavoured, rewrite};
use crate::layout::{self, Image, Layout, Writer};

/// Why an image could not be put onto another base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image is not made from the old base.
    #[error("layer {number} is not that of the old base ({found}, not {wanted})")]
    OtherBase {
        /// Which layer, from 1.
        number: usize,
        /// The diff ID that it should have.
        wanted: String,
        /// The diff ID that the image has there, or `none`.
        found: String,
    },
    /// The new image could not be written.
    #[error(transparent)]
    Append(#[from] append::Error),
    /// A layer of the new base could not be taken.
    #[error(transparent)]
    Layout(#[from] layout::Error),
}

/// Writes an image with the layers of `new` instead of those of `old`, which must be its lowest. The layers of `new` are taken from its
/// layout. The command, the environment and what else the config says remain the image's.
///
/// # Errors
/// [`Error`].
pub fn rebase(
    image: &Image,
    old: &Image,
    (layout, new): (&Layout, &Image),
    writer: &Writer,
) -> Result<Descriptor, Error> {
    let own: Vec<(&Descriptor, &str)> = image.layers().collect();
    let count = old.layers().count();
    for (index, (_, wanted)) in old.layers().enumerate() {
        let found = own.get(index).map_or("none", |(_, diff_id)| diff_id);
        if found != wanted {
            return Err(Error::OtherBase { number: index + 1, wanted: wanted.to_owned(), found: found.to_owned() });
        }
    }
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (descriptor, diff_id) in new.layers() {
        writer.take(layout, descriptor)?;
        layers.push(serde_json::json!(flavoured(descriptor, image)?));
        diff_ids.push(Value::from(diff_id));
    }
    diff_ids.extend(own[count..].iter().map(|(_, diff_id)| Value::from(*diff_id)));
    let history = history(image, old, new, own.len() - count);
    Ok(rewrite(image, writer, |config, manifest| {
        // The image's own layers as they are written, with fields that are unknown here.
        let written = manifest["layers"].as_array_mut();
        let written = written.ok_or(append::Error::Field { document: "manifest", field: "layers" })?;
        drop(written.splice(..count, layers));
        config["rootfs"]["diff_ids"] = diff_ids.into();
        match (history, config.as_object_mut()) {
            (Some(history), _) => config["history"] = history.into(),
            (None, Some(config)) => drop(config.remove("history")),
            (None, None) => {}
        }
        Ok(())
    })?)
}

/// The history of the new base and then that of the image's own layers; none if one of them does not tell of each layer.
fn history(image: &Image, old: &Image, new: &Image, own: usize) -> Option<Vec<Value>> {
    let of = |image: &Image| {
        let config: Value = serde_json::from_slice(image.config_bytes()).ok()?;
        config["history"].as_array().cloned()
    };
    let layers = |history: &[Value]| history.iter().filter(|step| step["empty_layer"] != true).count();
    let mut history = of(new)?;
    let rest = of(image)?.get(of(old)?.len()..)?.to_vec();
    (layers(&history) == new.layers().count() && layers(&rest) == own).then(|| {
        history.extend(rest);
        history
    })
}
