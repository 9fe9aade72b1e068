//! What is written before its place in the blob is known: in memory while it is small, then in a file without a name.

use std::io::{self, BufWriter, Seek};

use tempfile::SpooledTempFile;

use crate::address::digest::{Digest, Hashed};

/// How much stays in memory.
const MEMORY: usize = 16 << 20;

/// Bytes in the making.
pub(super) type Spool = Hashed<BufWriter<SpooledTempFile>>;

/// Bytes to be read from the beginning.
pub(super) struct Spooled {
    pub(super) file: SpooledTempFile,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

pub(super) fn begin() -> Spool {
    Hashed::new(BufWriter::new(tempfile::spooled_tempfile(MEMORY)))
}

pub(super) fn end(spool: Spool) -> io::Result<Spooled> {
    let (file, digest, size) = spool.finish();
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Spooled { file, digest, size })
}
