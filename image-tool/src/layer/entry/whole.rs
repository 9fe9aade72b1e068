//! A sparse file with its holes.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use super::{Entry, Reader};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The whole content of a file: the data of the last entry of a [`Reader`], and zeros for the holes between its pieces.
pub struct Whole<'a, R> {
    reader: &'a mut Reader<R>,
    /// What is left: how many bytes, and whether they are data.
    left: VecDeque<(u64, bool)>,
}

impl<'a, R: BufRead> Whole<'a, R> {
    /// The content of `entry`, which `reader` has just returned.
    pub fn new(reader: &'a mut Reader<R>, entry: &Entry) -> Self {
        let mut left = VecDeque::new();
        let mut end = 0;
        for (offset, length) in entry.sparse.as_deref().unwrap_or(&[(0, entry.size)]) {
            left.extend([(offset - end, false), (*length, true)]);
            end = offset + length;
        }
        left.push_back((entry.size - end, false));
        left.retain(|(length, _)| *length > 0);
        Self { reader, left }
    }
}

impl<R: BufRead> BufRead for Whole<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let Some((length, is_data)) = self.left.front().copied() else { return Ok(&[]) };
        let bytes = if is_data { self.reader.fill_buf()? } else { &ZEROS };
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&bytes[..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, count: usize) {
        if let Some((length, is_data)) = self.left.front_mut() {
            *length -= count as u64;
            if *is_data {
                self.reader.consume(count);
            }
            if *length == 0 {
                self.left.pop_front();
            }
        }
    }
}

impl<R: BufRead> Read for Whole<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{Kind, Writer};
    use super::*;

    #[test]
    fn holes_are_zeros() {
        for pieces in [None, Some(vec![]), Some(vec![(0, 3), (200_000, 2), (200_010, 0)]), Some(vec![(7, 5)])] {
            let entry = Entry { size: 200_010, sparse: pieces, ..Entry::new("a", Kind::File, 0o644) };
            let mut writer = Writer::new(Vec::new());
            writer.entry(&entry).unwrap();
            writer.write_all(&vec![1; entry.stored() as usize]).unwrap();
            let archive = writer.finish().unwrap();
            let mut reader = Reader::new(&archive[..]);
            let read = reader.next_entry().unwrap().unwrap();
            let mut content = Vec::new();
            Whole::new(&mut reader, &read).read_to_end(&mut content).unwrap();
            let mut expected = vec![0; 200_010];
            for (offset, length) in entry.sparse.unwrap_or(vec![(0, 200_010)]) {
                expected[offset as usize..][..length as usize].fill(1);
            }
            assert!(content == expected);
        }
    }
}
