//! Where a file is cut into chunks.
//!
//! eStargz has chunks of one size. For zstd:chunked the content decides, by the rolling sum of bup over 64 bytes, as in
//! containers/storage: a byte that is put in at the beginning of a file moves all chunks and changes one, and whoever has the
//! others from another image need not fetch them. Long runs of zeros are chunks of their own, which are not fetched at all.

use std::io::{self, BufRead};
use std::ops::Range;

/// The window of the sum.
const WINDOW: usize = 64;
/// What is added to each byte, so that zeros count.
const OFFSET: u32 = 31;
/// A chunk ends where so many bits of the sum are set: after 64 KiB in the mean.
const MASK: u32 = (1 << 16) - 1;
/// The smallest chunk that ends by the sum. Without it, a file could be made to end one at each byte.
const LEAST: usize = 1 << 10;
/// The shortest run of zeros that is a chunk.
const HOLE: usize = 1 << 10;
/// How many of the largest chunks are read at once where chunks are mostly smaller.
const AHEAD: usize = 4;

/// How a file is cut.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Into chunks of one size.
    Even,
    /// As its content has it.
    Content,
}

/// Cuts files. The buffer is used for one after the other.
pub(super) struct Cutter {
    rule: Rule,
    /// The largest chunk.
    most: usize,
    buffer: Vec<u8>,
    start: usize,
}

impl Cutter {
    pub(super) fn new(rule: Rule, most: usize) -> Self {
        Self { rule, most, buffer: Vec::new(), start: 0 }
    }

    /// Reads enough of a file for the next chunk.
    pub(super) fn fill(&mut self, content: &mut impl BufRead) -> io::Result<()> {
        if self.buffer.len() - self.start >= self.most {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let room = match self.rule {
            Rule::Even => self.most,
            Rule::Content => self.most * AHEAD,
        };
        while self.buffer.len() < room {
            let bytes = content.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len().min(room - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..count]);
            content.consume(count);
        }
        Ok(())
    }

    /// The next chunk of what has been read, and whether it is all zeros; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Option<(Range<usize>, bool)> {
        let left = &self.buffer[self.start..];
        let left = &left[..left.len().min(self.most)];
        if left.is_empty() {
            self.buffer.clear();
            self.start = 0;
            return None;
        }
        let (length, is_hole) = match self.rule {
            Rule::Even => (left.len(), false),
            Rule::Content => by_content(left),
        };
        let range = self.start..self.start + length;
        self.start = range.end;
        Some((range, is_hole))
    }

    /// What has been read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }
}

/// The length of the first chunk of `bytes`, and whether it is all zeros.
fn by_content(bytes: &[u8]) -> (usize, bool) {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    if zeros >= HOLE {
        return (zeros, true);
    }
    let (mut sum, mut zeros) = (Sum::new(), 0);
    for (place, byte) in bytes.iter().enumerate() {
        sum.roll(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        if zeros == HOLE {
            return (place + 1 - HOLE, false);
        }
        if place + 1 >= LEAST && sum.is_end() {
            return (place + 1, false);
        }
    }
    (bytes.len(), false)
}

/// The sum of the last bytes, and the sum of these sums.
struct Sum {
    once: u32,
    twice: u32,
    window: [u8; WINDOW],
    place: usize,
}

impl Sum {
    /// The sum of a window of zeros.
    fn new() -> Self {
        let window = WINDOW as u32;
        Self { once: window * OFFSET, twice: window * (window - 1) * OFFSET, window: [0; WINDOW], place: 0 }
    }

    fn roll(&mut self, byte: u8) {
        let old = u32::from(std::mem::replace(&mut self.window[self.place], byte));
        self.place = (self.place + 1) % WINDOW;
        self.once = self.once.wrapping_add(byte.into()).wrapping_sub(old);
        self.twice = self.twice.wrapping_add(self.once).wrapping_sub(WINDOW as u32 * (old + OFFSET));
    }

    fn is_end(&self) -> bool {
        self.twice & MASK == MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(next).collect()
    }

    fn chunks(rule: Rule, most: usize, mut bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let mut cutter = Cutter::new(rule, most);
        let mut chunks = Vec::new();
        loop {
            cutter.fill(&mut bytes).unwrap();
            let Some((range, is_hole)) = cutter.next() else { return chunks };
            chunks.push((cutter.bytes()[range].to_vec(), is_hole));
        }
    }

    fn joined(chunks: &[(Vec<u8>, bool)]) -> Vec<u8> {
        chunks.iter().flat_map(|(bytes, _)| bytes.clone()).collect()
    }

    #[test]
    fn even_chunks_have_one_size_but_the_last() {
        let bytes = noise(10_000);
        let even = chunks(Rule::Even, 4096, &bytes);
        assert_eq!(even.iter().map(|(bytes, _)| bytes.len()).collect::<Vec<_>>(), [4096, 4096, 1808]);
        assert_eq!(joined(&even), bytes);
        assert!(chunks(Rule::Even, 4096, &[]).is_empty());
    }

    #[test]
    fn a_byte_put_in_changes_one_chunk() {
        let bytes = noise(2_000_000);
        let before = chunks(Rule::Content, 4 << 20, &bytes);
        assert!(before.len() > 15 && joined(&before) == bytes, "{}", before.len());
        let after = chunks(Rule::Content, 4 << 20, &[b"x", &bytes[..]].concat());
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(new <= 2, "{new} of {}", after.len());
    }

    #[test]
    fn zeros_are_chunks_and_no_content_makes_tiny_ones() {
        let bytes = [&noise(5000)[..], &[0; 5000], &noise(3000), &[0; 500], b"end"].concat();
        let cut = chunks(Rule::Content, 1 << 20, &bytes);
        assert_eq!(joined(&cut), bytes);
        assert_eq!(cut.iter().map(|(bytes, is_hole)| (bytes.len(), *is_hole)).collect::<Vec<_>>()[1], (5000, true));
        for byte in 0..=255 {
            let cut = chunks(Rule::Content, 8192, &vec![byte; 40_000]);
            assert!(cut.len() <= 40 && joined(&cut).len() == 40_000, "{byte}: {}", cut.len());
            assert_eq!(cut[0].1, byte == 0);
        }
    }
}
