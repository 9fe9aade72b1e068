//! The summary of an image, for lists and tables.

use jiff::Timestamp;
use oci_spec::image::Descriptor;
use serde_json::Value;

use crate::address::digest::Digest;
use crate::layer::size::archive_size;
use crate::layout::{self, Image, Layout};

/// What a line about an image shows.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The ID of the image, as in docker: the digest of its config.
    pub id: Digest,
    /// The creation time, if the config has one.
    pub created: Option<Timestamp>,
    /// The total size of the uncompressed layers, in bytes.
    pub size: u64,
    /// The labels, sorted by name.
    pub labels: Vec<(String, String)>,
}

impl Summary {
    /// The image of a descriptor for this machine; if an index has none for this platform, the first that can be read.
    ///
    /// # Errors
    /// [`layout::Error`] if no image can be read.
    pub fn image(layout: &Layout, descriptor: &Descriptor) -> Result<Image, layout::Error> {
        layout.some_image(descriptor)
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

/// The size of the uncompressed layer, or of its blob if that is unknown.
#[must_use]
pub fn layer_size(layout: &Layout, layer: &Descriptor) -> u64 {
    layout.open_blob(layer).map_or(layer.size(), |mut blob| archive_size(&mut blob, layer))
}
