//! Bytes on their way into an upload.
//!
//! They are written by a thread of their own, which a slow disk may hold up; the network is read on until a few pieces wait. What
//! has arrived when a client goes away stays in the upload.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use image_tool::layout::BlobWriter;
use oci_distribution::errors::OciErrorCode;
use tokio::sync::mpsc;

use super::failure::Failure;

/// How many pieces may wait for the disk.
const QUEUE: usize = 8;

/// Appends a body to an upload of at most `most` bytes. Returns the upload, unless it has become useless, and how that went.
pub(super) async fn append(
    upload: BlobWriter,
    body: Incoming,
    most: Option<u64>,
    timeout: Duration,
) -> (Option<BlobWriter>, Result<(), Failure>) {
    let room = most.map(|most| most.saturating_sub(upload.size()));
    let (sender, receiver) = mpsc::channel(QUEUE);
    let writing = tokio::task::spawn_blocking(move || write(upload, receiver));
    let arrived = pass_on(body, sender, room, timeout).await;
    match writing.await {
        Ok((upload, Ok(()))) => (Some(upload), arrived),
        Ok((upload, Err(error))) => {
            let error = upload.error("write", error);
            (Some(upload), Err(Failure::internal(&error)))
        }
        Err(error) => (None, Err(Failure::internal(&error))),
    }
}

fn write(mut upload: BlobWriter, mut pieces: mpsc::Receiver<Bytes>) -> (BlobWriter, io::Result<()>) {
    while let Some(piece) = pieces.blocking_recv() {
        if let Err(error) = upload.write_all(&piece) {
            return (upload, Err(error));
        }
    }
    (upload, Ok(()))
}

async fn pass_on(
    mut body: Incoming,
    sender: mpsc::Sender<Bytes>,
    mut room: Option<u64>,
    timeout: Duration,
) -> Result<(), Failure> {
    loop {
        let Some(piece) = next(&mut body, timeout).await? else { return Ok(()) };
        if let Some(room) = &mut room {
            *room = room.checked_sub(piece.len() as u64).ok_or_else(too_large)?;
        }
        // Whoever wrote has failed, and says why.
        if sender.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

fn too_large() -> Failure {
    let message = "the blob is larger than this registry takes";
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, OciErrorCode::SizeInvalid, message)
}

/// The next piece of a body.
async fn next(body: &mut Incoming, timeout: Duration) -> Result<Option<Bytes>, Failure> {
    let broken = |status, message: String| Failure::new(status, OciErrorCode::BlobUploadInvalid, message);
    loop {
        match tokio::time::timeout(timeout, body.frame()).await {
            Err(_) => return Err(broken(StatusCode::REQUEST_TIMEOUT, "no bytes arrive any more".into())),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken(StatusCode::BAD_REQUEST, error.to_string())),
            Ok(Some(Ok(frame))) => {
                // Trailers are of no use here.
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// A small body, whole; `None` if it is larger than `most` bytes.
pub(super) async fn collect(mut body: Incoming, most: u64, timeout: Duration) -> Result<Option<Bytes>, Failure> {
    let mut whole = Vec::new();
    while let Some(piece) = next(&mut body, timeout).await? {
        if whole.len() as u64 + piece.len() as u64 > most {
            return Ok(None);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Some(Bytes::from(whole)))
}
