//! A blob alone, without a layout: from a registry to any writer, and from a file to a registry.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::sync::Arc;

use image_tool::address::digest::{self, Digest, Hasher};
use oci_spec::image::{Descriptor, MediaType};
use thiserror::Error;
use tokio::sync::watch;
use tracing::info;

use super::download::PROGRESS;
use super::event::nobody;
use super::growth::Growth;
use super::upload::{Sending, UploadError, send};
use crate::client::{ClientError, Registry};

/// Blobs larger than this many bytes are sent in chunks.
const CHUNK: u64 = 128 << 20;

/// Why a blob was not read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The registry or the network failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What came is not the blob.
    #[error("blob {digest}")]
    Unsound {
        /// The digest of the blob.
        digest: Digest,
        /// How it differs.
        source: digest::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes a blob as it arrives; after a broken connection from where it broke. Only in the end it is known whether it was the blob.
///
/// # Errors
/// [`ReadError`]. What has been written then is not the blob.
pub async fn read(registry: &Registry, digest: &Digest, output: &mut dyn Write) -> Result<(), ReadError> {
    let unsound = |source| ReadError::Unsound { digest: digest.clone(), source };
    let mut hasher = Hasher::of(digest).map_err(unsound)?;
    let (mut written, mut attempt) = (0, 0);
    loop {
        let before = written;
        match append(registry, digest, &mut written, &mut Hashed { hasher: &mut hasher, output: &mut *output }).await {
            Ok(()) => break,
            Err(ReadError::Client(error)) if error.is_transient() => {
                if written >= before + PROGRESS {
                    attempt = 0;
                }
                let Some(wait) = registry.retry().wait(attempt, None) else { return Err(error.into()) };
                info!(%digest, %error, ?wait, "asking again");
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
    let actual = hasher.finish();
    if actual == *digest { Ok(()) } else { Err(unsound(digest::Error::Mismatch { expected: digest.clone(), actual })) }
}

struct Hashed<'a> {
    hasher: &'a mut Hasher,
    output: &'a mut dyn Write,
}

/// One request from byte `written` on.
async fn append(
    registry: &Registry,
    digest: &Digest,
    written: &mut u64,
    hashed: &mut Hashed<'_>,
) -> Result<(), ReadError> {
    let mut body = registry.blob(digest.as_ref(), *written).await?;
    // What is written already comes again where a registry knows no ranges.
    let mut skipped = if body.is_whole() { *written } else { 0 };
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        let again = usize::try_from(skipped).unwrap_or(usize::MAX).min(chunk.len());
        skipped -= again as u64;
        let new = &chunk[again..];
        hashed.hasher.update(new);
        hashed.output.write_all(new)?;
        *written += new.len() as u64;
    }
    Ok(())
}

/// The descriptor of what a reader gives, which is copied into a file without a name: only then its digest is known.
///
/// # Errors
/// Those of reading, and of the folder for temporary files.
pub fn spool(input: &mut dyn Read) -> io::Result<(Descriptor, File)> {
    let mut file = tempfile::tempfile()?;
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        size += count as u64;
    }
    file.rewind()?;
    Ok((Descriptor::new(MediaType::Other("application/octet-stream".into()), size, hasher.finish()), file))
}

/// Sends a file whose descriptor is known, unless the repository has the blob.
///
/// # Errors
/// [`UploadError`].
pub async fn write(registry: &Registry, descriptor: &Descriptor, file: File) -> Result<(), UploadError> {
    if registry.has_blob(descriptor.digest().as_ref(), descriptor.size()).await? {
        return Ok(());
    }
    let (_, growth) = watch::channel(Growth::sound(Arc::new(file), descriptor.size()));
    send(registry, descriptor, growth, &Sending { chunk: CHUNK, watcher: nobody() }).await
}
