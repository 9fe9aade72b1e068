//! Memory that begins where a page does, for what is read from files.
//!
//! The kernel copies from pages. On some processors (AMD's, with `rep movsb`) this takes six times as long if the target begins a
//! few bytes later in its page than the source, and that is where malloc begins whatever is large.

use std::ops::{Deref, DerefMut};

/// The size of a page, or a divisor of it.
const PAGE: usize = 4096;

/// A buffer of zeros at first, which begins with a page.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Self { memory, start, length }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_with_a_page_and_has_its_length() {
        for length in [0, 1, 8192, 1 << 17, 300_000] {
            let mut buffer = Buffer::new(length);
            assert_eq!((buffer.as_ptr() as usize % PAGE, buffer.len()), (0, length));
            buffer.fill(1);
            assert_eq!(&buffer[..], &vec![1; length]);
        }
    }
}
