//! Layers stored for containers while they arrive: inflated, checked and written in the same pass as the download.
//!
//! Why here, and not in a program behind a pipe: one pipe carries one layer at a time, and a program that downloads several would have to
//! be told of each retry, restart and end. What is stored is `image_tool`'s, which every tool of the family links, so
//! `bundle-tool create` finds it as if it had stored it.
//!
//! A layer is read behind its download, from the file of the blob, so that a download that is resumed is stored as well: the part that
//! was there is read first. If what arrived had to be thrown away, the layer is stored from its blob in the end.

use std::collections::HashMap;
use std::sync::Arc;

use image_tool::address::digest::{self, Digest};
use image_tool::layer::cache::{self, Source, Started};
use image_tool::layer::stack::{self, Store};
use image_tool::layout::{self, Layout};
use oci_spec::image::{Descriptor, ImageConfiguration};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::info;

use super::batch::Stopped;
use super::growth::{Follower, Growth};

/// Why a layer is not stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The config of the image, or a layer's blob, cannot be read.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The layer is not what the config says, or cannot be written.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// The work was torn down from outside.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Stores the layers of one image.
#[derive(Clone)]
pub struct Storing {
    store: Store,
    /// The diff IDs by the digests of the blobs.
    diff_ids: Arc<HashMap<Digest, Digest>>,
}

/// A layer that is being stored.
pub struct Begun(Option<JoinHandle<Result<(), stack::Error>>>);

impl Storing {
    /// For an image whose config is in the layout; `blobs` are the config and the layers. `None` if there is nothing to store: an
    /// artifact has no diff IDs.
    pub(super) fn of(store: &Store, layout: &Layout, blobs: &[Descriptor]) -> Result<Option<Self>, StoreError> {
        let Some((config, layers)) = blobs.split_first() else { return Ok(None) };
        let bytes = layout.read(config, layout::CONFIG_LIMIT)?;
        let Ok(config) = serde_json::from_slice::<ImageConfiguration>(&bytes) else { return Ok(None) };
        let diff_ids = config.rootfs().diff_ids().iter().map(|text| digest::parse(text));
        let diff_ids: Result<Vec<Digest>, _> = diff_ids.collect();
        let diff_ids = diff_ids.map_err(|error| stack::Error::from(cache::Error::DiffId(error)))?;
        if diff_ids.len() != layers.len() {
            return Ok(None);
        }
        let pairs = layers.iter().map(|layer| layer.digest().clone()).zip(diff_ids);
        Ok(Some(Self { store: store.clone(), diff_ids: Arc::new(pairs.collect()) }))
    }

    /// Begins to store a blob that is arriving, if it is a layer.
    pub(super) fn begin(&self, growth: watch::Receiver<Growth>, descriptor: &Descriptor) -> Begun {
        let Some(diff_id) = self.diff_ids.get(descriptor.digest()).cloned() else { return Begun(None) };
        // Without it, the layer is stored in the end.
        let Some(follower) = Follower::new(growth, descriptor.size()) else { return Begun(None) };
        let (store, descriptor) = (self.store.clone(), descriptor.clone());
        let limits = store.limits();
        let work = move || store.put(&diff_id, || Started::within(follower, &descriptor, &diff_id, limits));
        Begun(Some(spawn_blocking(work)))
    }

    /// Stores a layer whose blob is in the layout, unless `begun` has.
    pub(super) async fn settle(
        &self,
        layout: &Layout,
        descriptor: &Descriptor,
        begun: Begun,
    ) -> Result<(), StoreError> {
        let Some(diff_id) = self.diff_ids.get(descriptor.digest()).cloned() else { return Ok(()) };
        if let Some(task) = begun.0 {
            match task.await.map_err(|_| Stopped)? {
                Ok(()) => return Ok(()),
                Err(error) => info!(digest = %descriptor.digest(), %error, "storing it again"),
            }
        }
        let (store, layout, descriptor) = (self.store.clone(), layout.clone(), descriptor.clone());
        let work = move || {
            store.put(&diff_id, || {
                let blob = layout.open_blob(&descriptor)?;
                Source { blob, descriptor, diff_id: diff_id.clone() }.start_within(store.limits())
            })
        };
        Ok(spawn_blocking(work).await.map_err(|_| Stopped)??)
    }
}

impl Begun {
    /// Of a blob that was there already.
    pub(super) fn not() -> Self {
        Self(None)
    }
}
