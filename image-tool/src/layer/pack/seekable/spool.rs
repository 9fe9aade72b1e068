//! What is written before its place in the blob is known: in memory while it is small, then in a file without a name.

use std::io::{self, BufWriter, Seek, Write};

use tempfile::SpooledTempFile;

use crate::address::digest::{Digest, Hasher};

/// How much stays in memory.
const MEMORY: usize = 16 << 20;

/// Bytes in the making.
pub(super) struct Spool {
    file: BufWriter<SpooledTempFile>,
    hasher: Hasher,
    size: u64,
}

/// Bytes to be read from the beginning.
pub(super) struct Spooled {
    pub(super) file: SpooledTempFile,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        let file = BufWriter::new(tempfile::spooled_tempfile(MEMORY));
        Self { file, hasher: Hasher::sha256(), size: 0 }
    }

    pub(super) fn finish(self) -> io::Result<Spooled> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Spooled { file, digest: self.hasher.finish(), size: self.size })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
