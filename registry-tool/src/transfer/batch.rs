//! Several blobs at once: all that an image consists of, moved by as many tasks as were asked for.

use std::future::Future;
use std::sync::Arc;

use oci_spec::image::Descriptor;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::event::{Event, Watcher};

/// The tasks were torn down from outside.
#[derive(Debug, Error)]
#[error("stopped")]
pub struct Stopped;

/// Moves blobs, `jobs` at once. The first failure ends the others; what they have moved so far is theirs to keep.
pub(super) async fn move_all<E, F>(
    blobs: &[Descriptor],
    jobs: usize,
    watcher: &Watcher,
    move_one: impl Fn(Descriptor) -> F,
) -> Result<(), E>
where
    E: From<Stopped> + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    for blob in blobs {
        watcher(Event::Waiting(blob));
    }
    let seats = Arc::new(Semaphore::new(jobs.max(1)));
    let mut tasks = JoinSet::new();
    for blob in blobs {
        let (seats, moved) = (Arc::clone(&seats), move_one(blob.clone()));
        tasks.spawn(async move {
            let _seat = seats.acquire_owned().await.map_err(|_| Stopped)?;
            moved.await
        });
    }
    while let Some(finished) = tasks.join_next().await {
        if let Err(error) = finished.unwrap_or_else(|_| Err(Stopped.into())) {
            tasks.shutdown().await;
            return Err(error);
        }
    }
    Ok(())
}
