//! Reading an archive entry by entry, with the bytes of the headers as they are.

use std::io::{self, BufRead, Read};

use super::{BLOCK, Error, Unfit};
use crate::layer::entry::{Entry, Reader};
use crate::layer::limit::Limits;

/// The most bytes between two files' contents. The reader itself refuses extended headers that are much smaller than this.
const MOST: usize = 4 << 20;

/// An entry, and the bytes before its content.
pub(super) struct Step {
    pub(super) entry: Entry,
    /// What is behind the content of the entry before.
    pub(super) padding: Vec<u8>,
    /// The headers of the entry.
    pub(super) header: Vec<u8>,
}

/// The bytes behind the last entry's content, up to where the reader stopped.
pub(super) struct Rest {
    pub(super) padding: Vec<u8>,
    /// The blocks of zeros that it has read.
    pub(super) header: Vec<u8>,
}

/// Goes through an archive.
pub(super) struct Walk<R> {
    reader: Reader<Recorded<R>>,
    limit: u64,
    count: u64,
    /// How many bytes follow the content of the last entry.
    padding: usize,
}

impl<R: BufRead> Walk<R> {
    pub(super) fn new(archive: R, limits: Limits) -> Self {
        let recorded = Recorded { inner: archive, record: Vec::new(), is_on: true };
        Self { reader: Reader::new(recorded), limit: limits.entries(), count: 0, padding: 0 }
    }

    /// The next entry. Its content is in the [`Self::reader`], and must be read to its end.
    pub(super) fn next(&mut self) -> Result<Option<Step>, Error> {
        self.reader.inner_mut().is_on = true;
        let Some(entry) = self.reader.next_entry()? else { return Ok(None) };
        self.reader.inner_mut().is_on = false;
        self.count += 1;
        if self.count > self.limit {
            return Err(Error::TooMany { limit: self.limit });
        }
        let (padding, header) = self.taken()?;
        self.padding = (entry.stored().wrapping_neg() % BLOCK as u64) as usize;
        Ok(Some(Step { entry, padding, header }))
    }

    /// The reader of the last entry's content.
    pub(super) fn reader(&mut self) -> &mut Reader<Recorded<R>> {
        &mut self.reader
    }

    /// Reads the last entry's content for nothing.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        io::copy(&mut self.reader, &mut io::sink()).map_err(crate::layer::entry::Error::from)?;
        Ok(())
    }

    /// What is behind the last entry, once there is no other.
    pub(super) fn into_rest(mut self) -> Result<(Rest, R), Error> {
        let (padding, header) = self.taken()?;
        Ok((Rest { padding, header }, self.reader.into_inner().inner))
    }

    fn taken(&mut self) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let mut padding = std::mem::take(&mut self.reader.inner_mut().record);
        if padding.len() > MOST {
            return Err(Unfit::Global.into());
        }
        let header = padding.split_off(self.padding.min(padding.len()));
        Ok((padding, header))
    }
}

/// A stream that keeps what is read from it, within bounds.
pub(super) struct Recorded<R> {
    inner: R,
    record: Vec<u8>,
    is_on: bool,
}

impl<R: BufRead> BufRead for Recorded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if self.is_on && self.record.len() <= MOST {
            // What is consumed is in the buffer, so this returns it without reading; an error would have come before.
            if let Ok(bytes) = self.inner.fill_buf() {
                self.record.extend_from_slice(&bytes[..count.min(bytes.len())]);
            }
        }
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
