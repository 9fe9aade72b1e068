//! Digests, the names of blobs, and readers that verify them.
//!
//! The type is [`oci_spec::image::Digest`]. Only the algorithms that image-spec descriptor.md registers are supported:
//! sha256 and sha512.

use std::io::{self, Read, Write};

pub use oci_spec::image::Digest;
use oci_spec::image::DigestAlgorithm;
use sha2::Digest as _;

use crate::beneath::page::Buffer;

/// What is wrong with a digest or with the bytes that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not `algorithm:hex`.
    #[error("{text:?} is not a valid digest (sha256: and 64 hex digits)")]
    Malformed {
        /// The text, at most 80 characters of it.
        text: String,
    },
    /// The algorithm is neither sha256 nor sha512.
    #[error("digest algorithm {algorithm} is not supported (use sha256 or sha512)")]
    Unsupported {
        /// The name of the algorithm.
        algorithm: String,
    },
    /// The bytes have another digest.
    #[error("expected {expected}, got {actual}")]
    Mismatch {
        /// The expected digest.
        expected: Digest,
        /// The digest of the bytes that were read.
        actual: Digest,
    },
    /// The number of bytes is not the expected one.
    #[error("expected {expected} bytes, got {actual}")]
    Size {
        /// The expected size in bytes.
        expected: u64,
        /// The actual size in bytes; if there were too many, how many had been read when this was noticed.
        actual: u64,
    },
}

/// Parses a digest, and rejects one that this crate cannot verify.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::Unsupported`].
pub fn parse(text: &str) -> Result<Digest, Error> {
    let digest = Digest::try_from(text).map_err(|_| Error::Malformed { text: text.chars().take(80).collect() })?;
    Hasher::of(&digest)?;
    Ok(digest)
}

/// The sha256 digest of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    hasher.finish()
}

/// The first twelve hex digits, as docker prints IDs.
#[must_use]
pub fn short(digest: &Digest) -> &str {
    let hex = digest.digest();
    hex.get(..12).unwrap_or(hex)
}

/// A running digest.
#[derive(Clone)]
pub struct Hasher(Algorithm);

#[derive(Clone)]
enum Algorithm {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher for sha256, the algorithm of everything that the tools write.
    #[must_use]
    pub fn sha256() -> Self {
        Self(Algorithm::Sha256(sha2::Sha256::new()))
    }

    /// A hasher for the algorithm of `digest`.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn of(digest: &Digest) -> Result<Self, Error> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Ok(Self::sha256()),
            DigestAlgorithm::Sha512 => Ok(Self(Algorithm::Sha512(sha2::Sha512::new()))),
            other => Err(Error::Unsupported { algorithm: other.to_string() }),
        }
    }

    /// A hasher for an algorithm by its name, sha256 or sha512.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn named(algorithm: &str) -> Result<Self, Error> {
        match algorithm {
            "sha256" => Ok(Self::sha256()),
            "sha512" => Ok(Self(Algorithm::Sha512(sha2::Sha512::new()))),
            other => Err(Error::Unsupported { algorithm: other.chars().take(80).collect() }),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Algorithm::Sha256(hasher) => hasher.update(bytes),
            Algorithm::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes that were added.
    #[must_use]
    pub fn finish(self) -> Digest {
        let text = match self.0 {
            Algorithm::Sha256(hasher) => format!("sha256:{}", hex(&hasher.finalize())),
            Algorithm::Sha512(hasher) => format!("sha512:{}", hex(&hasher.finalize())),
        };
        Digest::try_from(text).expect("an algorithm and the hex of its output are a digest")
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// A stream that is hashed and counted as it is written, with sha256.
pub struct Hashed<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Hashed<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::sha256(), size: 0 }
    }

    /// What was written to, with the digest and the number of all bytes.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A reader that fails at its end unless the bytes have the expected digest and size.
///
/// The failure is an [`io::Error`] of kind `InvalidData` with an [`Error`] inside. Too many bytes are noticed before
/// they are handed out. Whoever stops before the end has verified nothing.
pub struct Verifier<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    size: u64,
    read: u64,
}

impl<R: Read> Verifier<R> {
    /// Reads `inner`, which should have `size` bytes and the digest `expected`.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn new(inner: R, expected: &Digest, size: u64) -> Result<Self, Error> {
        Ok(Self { inner, hasher: Some(Hasher::of(expected)?), expected: expected.clone(), size, read: 0 })
    }

    /// Reads the rest, to reach the verdict.
    ///
    /// # Errors
    /// The error of reading, or an [`Error`] inside it.
    pub fn finish(mut self) -> io::Result<()> {
        let mut buffer = Buffer::new(1 << 17);
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Verifier<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        if self.read > self.size || (count == 0 && self.read < self.size) {
            return Err(invalid(Error::Size { expected: self.size, actual: self.read }));
        }
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
        } else if let Some(hasher) = self.hasher.take() {
            let actual = hasher.finish();
            if actual != self.expected {
                return Err(invalid(Error::Mismatch { expected: self.expected.clone(), actual }));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(result: io::Result<()>) -> Error {
        *result.unwrap_err().into_inner().unwrap().downcast::<Error>().unwrap()
    }

    #[test]
    fn only_sha256_and_sha512_with_their_full_length_are_digests() {
        assert!(parse(&format!("sha256:{}", "a".repeat(64))).is_ok());
        assert!(parse(&format!("sha512:{}", "0".repeat(128))).is_ok());
        for text in ["", "sha256:", "sha256:abc", "a".repeat(64).as_str(), &format!("sha256:{}", "A".repeat(64))] {
            assert!(matches!(parse(text), Err(Error::Malformed { .. })), "{text}");
        }
        assert!(matches!(parse(&format!("sha384:{}", "0".repeat(96))), Err(Error::Unsupported { .. })));
        assert!(matches!(parse("md5:0123"), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn a_verifier_tells_short_long_and_wrong_bytes_apart() {
        let digest = sha256(b"hello");
        assert!(Verifier::new(&b"hello"[..], &digest, 5).unwrap().finish().is_ok());
        let verdict = |bytes: &'static [u8]| error_of(Verifier::new(bytes, &digest, 5).unwrap().finish());
        assert_eq!(verdict(b"hell"), Error::Size { expected: 5, actual: 4 });
        assert_eq!(verdict(b"hello!"), Error::Size { expected: 5, actual: 6 });
        assert!(matches!(verdict(b"hallo"), Error::Mismatch { .. }));
    }

    proptest::proptest! {
        #[test]
        fn any_chunking_gives_the_same_digest(bytes: Vec<u8>, chunk in 1usize..40) {
            let mut hasher = Hasher::sha256();
            bytes.chunks(chunk).for_each(|piece| hasher.update(piece));
            proptest::prop_assert_eq!(hasher.finish(), sha256(&bytes));
        }
    }
}
