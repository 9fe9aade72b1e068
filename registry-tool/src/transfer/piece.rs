//! Pieces of files on their way to the network. Their memory is used again and again: it need be neither found nor cleared for each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use image_tool::beneath::page::Buffer;

/// How much is read at once: enough that the system calls do not count, little enough that a thousand connections fit into memory.
pub(crate) const PIECE: usize = 128 << 10;

/// How many pieces are kept for those to come.
const KEPT: usize = 32;

static FREE: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

/// A piece of a file. Its memory goes back when whoever sends it has done so.
pub(crate) struct Piece {
    buffer: Option<Buffer>,
    length: usize,
}

impl Piece {
    /// What `read` gives, of which `length` bytes are wanted at most.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn read<E>(length: usize, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Self, E> {
        let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = kept.unwrap_or_else(|| Buffer::new(PIECE));
        let length = read(&mut buffer[..length.min(PIECE)])?;
        Ok(Self { buffer: Some(buffer), length })
    }

    /// What a file has from an offset on.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn at(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        Self::read(length, |memory| {
            loop {
                match file.read_at(memory, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return result,
                }
            }
        })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.length])
    }
}

impl From<Piece> for Bytes {
    fn from(piece: Piece) -> Self {
        Self::from_owner(piece)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.extend(self.buffer.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_piece_has_nothing_of_the_one_before() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"first and second").unwrap();
        for (offset, length, expected) in
            [(0, 16, "first and second"), (10, 3, "sec"), (10, 1 << 20, "second"), (16, 9, "")]
        {
            let piece = Bytes::from(Piece::at(&file, offset, length).unwrap());
            assert_eq!(piece, expected);
        }
    }
}
