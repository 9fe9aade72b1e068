//! An image as lists and tables show it.

use jiff::Timestamp;
use oci_spec::image::Descriptor;
use serde_json::Value;

use crate::address::digest::Digest;
use crate::layer::size::archive_size;
use crate::layout::platform::Platform;
use crate::layout::{self, Image, Layout, is_index};

/// What there is to tell of an image in a line.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The image's identity as docker has it: the digest of its config.
    pub id: Digest,
    /// When it was made, if its config tells.
    pub created: Option<Timestamp>,
    /// The size of its layers' archives, not compressed.
    pub size: u64,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

impl Summary {
    /// The image that a descriptor means on this machine; of an index without this machine's platform, the first that
    /// is there.
    ///
    /// # Errors
    /// That no image can be read.
    pub fn image(layout: &Layout, descriptor: &Descriptor) -> Result<Image, layout::Error> {
        if !is_index(descriptor) {
            return layout.image_of(descriptor);
        }
        let manifests = layout.manifests(descriptor)?;
        let chosen = Platform::host().choose(&manifests).into_iter().chain(&manifests);
        let mut failure = layout::Error::Malformed {
            what: format!("index {}", descriptor.digest()),
            reason: "it has no image".into(),
        };
        for manifest in chosen {
            match layout.image_of(manifest) {
                Ok(image) => return Ok(image),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Summarises an image.
    #[must_use]
    pub fn of(layout: &Layout, image: &Image) -> Self {
        let config: Value = serde_json::from_slice(image.config_bytes()).unwrap_or_default();
        let created = config["created"].as_str().and_then(|text| text.parse().ok());
        let labels = config["config"]["Labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
        let size = image.manifest().layers().iter().map(|layer| layer_size(layout, layer)).sum();
        Self { id: image.manifest().config().digest().clone(), created, size, labels }
    }
}

/// The size of a layer's archive, or of its blob where that is all that can be told.
#[must_use]
pub fn layer_size(layout: &Layout, layer: &Descriptor) -> u64 {
    layout.open_blob(layer).map_or(layer.size(), |mut blob| archive_size(&mut blob, layer))
}
