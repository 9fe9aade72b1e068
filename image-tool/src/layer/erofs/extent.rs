//! The data of a regular file as chunks of equal size, each a piece of a device, a hole, or blocks of the image's own.
//!
//! A chunk is a power of two of blocks and lies in one piece. A plain file is a single chunk. A sparse one has chunks so small that
//! each of its pieces begins with one. A piece that does not begin at a block of its archive is copied into the image; no common
//! program writes such archives, but the format allows them.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::disk::HOLE;
use super::{BLOCK, Device, Error};
use crate::layer::entry::Entry;

/// The largest chunk, two to the power of this many blocks.
const LARGEST: u8 = 31;
/// The most chunks of one file.
const CHUNKS: u64 = 1 << 20;

/// Where consecutive blocks of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Hole,
    /// From this block of the device.
    Device(u64),
    /// Among the file's own blocks in the image, from this one.
    Own(u64),
}

/// Consecutive blocks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: u64,
    count: u64,
    from: From,
}

/// A stored piece of a file, and where it is in the device.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    length: u64,
    place: u64,
}

/// The data of a file.
pub(super) struct Extents {
    device: usize,
    blocks: u64,
    runs: Vec<Run>,
    /// How many blocks of its own it has in the image.
    own: u64,
}

impl Extents {
    /// Finds the data of a file that begin at `offset` of the device of that number.
    pub(super) fn new(entry: &Entry, device: usize, offset: u64, devices: &[Device<'_>]) -> Result<Self, Error> {
        let unfit = |what| Error::Unfit { path: PathBuf::from(entry.path.file_name().unwrap_or_default()), what };
        let stored = entry.stored().checked_next_multiple_of(BLOCK);
        let end = stored.and_then(|stored| offset.checked_add(stored));
        let is_there = devices.get(device).is_some_and(|device| end.is_some_and(|end| end <= device.size));
        if !is_there || !offset.is_multiple_of(BLOCK) || i64::try_from(entry.size).is_err() {
            return Err(unfit("data beyond its archive"));
        }
        let blocks = entry.size.div_ceil(BLOCK);
        let mut extents = Self { device, blocks, runs: Vec::new(), own: 0 };
        if entry.sparse.is_none() {
            extents.push(blocks, From::Device(offset / BLOCK));
            return Ok(extents);
        }
        let mut next = 0;
        for Piece { offset, length, place } in pieces(entry, offset).filter(|piece| piece.length > 0) {
            let end = offset.checked_add(length).filter(|end| *end <= entry.size && offset >= next);
            next = end.ok_or_else(|| unfit("a map of pieces that overlap"))?;
            let first = (offset / BLOCK).max(extents.covered());
            extents.push(first - extents.covered(), From::Hole);
            let last = next.div_ceil(BLOCK);
            // Whole blocks of the archive, or up to the end of the file, where the kernel shows nothing of what follows.
            let whole = if next == entry.size { last } else { next / BLOCK };
            let is_aligned = offset % BLOCK == 0 && place % BLOCK == 0 && first == offset / BLOCK;
            if is_aligned && whole > first {
                extents.push(whole - first, From::Device(place / BLOCK));
            }
            let count = last - extents.covered();
            extents.push(count, From::Own(extents.own));
            extents.own += count;
        }
        extents.push(blocks - extents.covered(), From::Hole);
        if extents.blocks >> extents.bits() > CHUNKS {
            return Err(unfit("a sparse file with so many pieces"));
        }
        Ok(extents)
    }

    fn covered(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.start + run.count)
    }

    fn push(&mut self, count: u64, from: From) {
        if count > 0 {
            let start = self.covered();
            self.runs.push(Run { start, count, from });
        }
    }

    /// The size of a chunk, two to the power of this many blocks: the largest at which every run begins with a chunk.
    pub(super) fn bits(&self) -> u8 {
        let whole = self.blocks.next_power_of_two().trailing_zeros();
        let bits = self.runs.iter().skip(1).map(|run| run.start.trailing_zeros()).fold(whole, u32::min);
        (bits as u8).min(LARGEST)
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> u64 {
        self.blocks.div_ceil(1 << self.bits())
    }

    /// How many blocks of its own the file has in the image.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    /// The indexes of the chunks, if the file's own blocks begin at this one of the image.
    pub(super) fn indexes(&self, own: u32) -> Vec<u8> {
        let step = 1 << self.bits();
        let mut bytes = Vec::with_capacity((self.chunks() * super::disk::INDEX) as usize);
        for run in &self.runs {
            for at in (run.start..run.start + run.count).step_by(step) {
                let (device, block) = match run.from {
                    From::Hole => (0, HOLE),
                    // Devices are counted from one; none is the image itself.
                    From::Device(first) => (self.device as u16 + 1, (first + at - run.start) as u32),
                    From::Own(first) => (0, own + (first + at - run.start) as u32),
                };
                bytes.extend(0u16.to_le_bytes());
                bytes.extend(device.to_le_bytes());
                bytes.extend(block.to_le_bytes());
            }
        }
        bytes
    }

    /// Hands out the file's own blocks one by one.
    pub(super) fn copy(
        &self,
        entry: &Entry,
        offset: u64,
        devices: &[Device<'_>],
        mut write: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let own = self.runs.iter().filter(|run| matches!(run.from, From::Own(_)));
        let mut pieces = pieces(entry, offset).filter(|piece| piece.length > 0).peekable();
        for block in own.flat_map(|run| run.start..run.start + run.count) {
            let (start, end) = (block * BLOCK, (block + 1) * BLOCK);
            let mut bytes = [0; BLOCK as usize];
            while pieces.next_if(|piece| piece.offset + piece.length <= start).is_some() {}
            while let Some(piece) = pieces.peek().filter(|piece| piece.offset < end) {
                let (from, to) = (piece.offset.max(start), (piece.offset + piece.length).min(end));
                let target = &mut bytes[(from - start) as usize..(to - start) as usize];
                read(&devices[self.device], target, piece.place + from - piece.offset).map_err(Error::Read)?;
                if to == end {
                    break;
                }
                pieces.next();
            }
            write(&bytes)?;
        }
        Ok(())
    }
}

fn read(device: &Device<'_>, bytes: &mut [u8], place: u64) -> io::Result<()> {
    device.file.read_exact_at(bytes, place)
}

/// The stored pieces of a sparse file whose data begin at `offset`.
fn pieces(entry: &Entry, offset: u64) -> impl Iterator<Item = Piece> {
    entry.sparse.iter().flatten().scan(offset, |place, (offset, length)| {
        let piece = Piece { offset: *offset, length: *length, place: *place };
        *place = place.saturating_add(*length);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::layer::entry::Kind;

    fn sparse(size: u64, map: &[(u64, u64)]) -> Entry {
        Entry { size, sparse: Some(map.to_vec()), ..Entry::new("f", Kind::File, 0) }
    }

    /// The size of the chunks, and the runs.
    type Found = (u8, Vec<(u64, u64, From)>);

    /// The runs of a file whose data begin at the second block of a device.
    fn runs(entry: &Entry) -> Result<Found, Error> {
        let file = tempfile::tempfile().unwrap();
        let device = Device { tag: "", size: 1 << 30, file: &file };
        let extents = Extents::new(entry, 0, BLOCK, &[device])?;
        Ok((extents.bits(), extents.runs.iter().map(|run| (run.start, run.count, run.from)).collect()))
    }

    #[test]
    fn a_plain_file_is_one_chunk() {
        let file = |size| Entry { size, ..Entry::new("f", Kind::File, 0) };
        assert_eq!(runs(&file(1)).unwrap(), (0, vec![(0, 1, From::Device(1))]));
        assert_eq!(runs(&file(5000)).unwrap(), (4, vec![(0, 10, From::Device(1))]));
        assert!(runs(&file(1 << 30)).is_err(), "more than the device has");
        assert!(runs(&file(u64::MAX)).is_err());
    }

    #[test]
    fn a_sparse_file_has_holes_and_what_is_not_aligned_is_copied() {
        for (size, map, expected) in [
            (8192, &[(0, 4096)][..], (3, vec![(0, 8, From::Device(1)), (8, 8, From::Hole)])),
            (
                1 << 40,
                &[(1 << 39, 512)],
                (
                    0,
                    vec![
                        (0, 1 << 30, From::Hole),
                        (1 << 30, 1, From::Device(1)),
                        ((1 << 30) + 1, (1 << 30) - 1, From::Hole),
                    ],
                ),
            ),
            (1024, &[(512, 512)], (0, vec![(0, 1, From::Hole), (1, 1, From::Device(1))])),
            // The last block of the file may be partial, but none before it.
            (700, &[(512, 188)], (0, vec![(0, 1, From::Hole), (1, 1, From::Device(1))])),
            (1024, &[(0, 100)], (0, vec![(0, 1, From::Own(0)), (1, 1, From::Hole)])),
            // The second piece lies behind the hundred bytes of the first.
            (1024, &[(0, 100), (512, 512)], (0, vec![(0, 1, From::Own(0)), (1, 1, From::Own(1))])),
            (512, &[(0, 100), (200, 100)], (0, vec![(0, 1, From::Own(0))])),
            (0, &[], (0, vec![])),
        ] {
            let found = runs(&sparse(size, map));
            if size == 1 << 40 {
                assert!(found.is_err(), "two billion chunks");
            } else {
                assert_eq!(found.unwrap(), expected, "{size} {map:?}");
            }
        }
        assert!(runs(&sparse(100, &[(0, 50), (40, 10)])).is_err());
        assert!(runs(&sparse(100, &[(0, 101)])).is_err());
        assert!(runs(&sparse(100, &[(u64::MAX, 2)])).is_err());
    }

    #[test]
    fn own_blocks_are_put_together_from_their_pieces() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abcdefghij").unwrap();
        file.set_len(1024).unwrap();
        let device = [Device { tag: "", size: 1024, file: &file }];
        let entry = sparse(1500, &[(1, 3), (10, 2), (510, 4), (1499, 1)]);
        let extents = Extents::new(&entry, 0, 0, &device).unwrap();
        let mut blocks: Vec<u8> = Vec::new();
        extents
            .copy(&entry, 0, &device, |block| {
                blocks.extend(block);
                Ok(())
            })
            .unwrap();
        assert_eq!((blocks.len(), extents.own()), (1536, 3));
        let mut expected = vec![0; 1536];
        for (at, text) in [(1, &b"abc"[..]), (10, b"de"), (510, b"fghi"), (1499, b"j")] {
            expected[at..at + text.len()].copy_from_slice(text);
        }
        assert_eq!(blocks, expected);
    }
}
