//! The second table of zstd:chunked: all bytes of the archive that are no file's content, in tar-split's form
//! (github.com/vbatts/tar-split). With it the archive is made again, byte for byte, from files that came one by one.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::spool::{self, Spool, Spooled};

/// A file; its content is elsewhere.
const FILE: u8 = 1;
/// Bytes of the archive.
const SEGMENT: u8 = 2;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    payload: Option<String>,
    position: u64,
}

/// A table in the making.
pub(super) struct Split {
    encoder: zstd::stream::write::Encoder<'static, Spool>,
    position: u64,
    size: u64,
}

impl Split {
    pub(super) fn new(level: u8) -> io::Result<Self> {
        let encoder = zstd::stream::write::Encoder::new(spool::begin(), level.into())?;
        Ok(Self { encoder, position: 0, size: 0 })
    }

    /// Adds bytes of the archive: for each entry, its headers and what is before them.
    pub(super) fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line(SEGMENT, None, None, Some(bytes))
    }

    /// Adds an entry, with the size and the sum of its content if it has any.
    pub(super) fn file(&mut self, name: &str, content: Option<(u64, u64)>) -> io::Result<()> {
        let sum = content.map(|(_, sum)| sum.to_be_bytes());
        self.line(FILE, Some(name), content.map(|(size, _)| size), sum.as_ref().map(|sum| &sum[..]))
    }

    fn line(&mut self, kind: u8, name: Option<&str>, size: Option<u64>, payload: Option<&[u8]>) -> io::Result<()> {
        let payload = payload.map(|payload| STANDARD.encode(payload));
        let mut line = serde_json::to_vec(&Line { kind, name, size, payload, position: self.position })?;
        line.push(b'\n');
        self.position += 1;
        self.size += line.len() as u64;
        self.encoder.write_all(&line)
    }

    /// The compressed table, and its size before.
    pub(super) fn finish(self) -> io::Result<(Spooled, u64)> {
        Ok((spool::end(self.encoder.finish()?)?, self.size))
    }
}

/// What tar-split has for each content.
pub(super) struct Sum(crc::Digest<'static, u64>);

/// Go's table for the polynomial of ISO 3309.
static CRC: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_GO_ISO);

impl Default for Sum {
    fn default() -> Self {
        Self(CRC.digest())
    }
}

impl Sum {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> u64 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_go_s() {
        // As Go's hash/crc64 computes them.
        for (text, expected) in
            [("", 0), ("a", 0x3420_0000_0000_0000), ("abc", 0x3776_c420_0000_0000), ("abcdefgh", 0x0e21_b002_d367_76c4)]
        {
            let mut sum = Sum::default();
            sum.update(text.as_bytes());
            assert_eq!(sum.finish(), expected, "{text}");
        }
    }
}
