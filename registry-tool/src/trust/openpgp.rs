//! OpenPGP (RFC 9580) as far as it is bytes: the keys in a file, and the one signature and the one text in a message.
//!
//! Packets and primitives are the crate pgp's. What counts as a message is narrower here: exactly one signature over exactly one
//! text, perhaps compressed once, and not a packet beside them.

use std::io::Read as _;

use pgp::armor::Dearmor;
use pgp::composed::{Deserializable as _, SignedPublicKey};
use pgp::errors::Error;
use pgp::packet::{LiteralData, Packet, PacketParser, Signature};
use thiserror::Error;

/// More bytes than any payload has.
const TEXT: u64 = 1 << 20;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Why bytes are no keys.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is none in them.
    #[error("no OpenPGP public key in it (gpg --export FINGERPRINT writes one)")]
    Missing,
    /// A key is cut off, or not one.
    #[error("not an OpenPGP public key, or damaged: {0}")]
    Damaged(String),
}

fn damaged(error: impl std::fmt::Display) -> KeyringError {
    KeyringError::Damaged(error.to_string())
}

/// The keys in a file: packets, or blocks of armor with whatever text around them.
pub(super) fn keys(bytes: &[u8]) -> Result<Vec<SignedPublicKey>, KeyringError> {
    let mut keys = Vec::new();
    for block in blocks(bytes)? {
        let packets = packets(&block).map_err(damaged)?;
        // What implementations note beside their keys (GnuPG's old pubring.gpg, for example).
        let own = packets.into_iter().filter(|packet| !matches!(packet, Packet::Trust(_)));
        for key in SignedPublicKey::from_packets(own.map(Ok).peekable()) {
            keys.push(key.map_err(damaged)?);
        }
    }
    if keys.is_empty() { Err(KeyringError::Missing) } else { Ok(keys) }
}

fn blocks(bytes: &[u8]) -> Result<Vec<Vec<u8>>, KeyringError> {
    // Every packet begins with this bit, and no text does (RFC 9580, 4.2).
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(vec![bytes.to_vec()]);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut blocks = Vec::new();
    let mut rest = &text[..];
    while let Some(begin) = rest.find(BEGIN) {
        let length = rest[begin..].find(END).ok_or_else(|| damaged("its block does not end"))? + END.len();
        let (block, after) = rest[begin..].split_at(length);
        let mut bytes = Vec::new();
        Dearmor::new(block.as_bytes()).read_to_end(&mut bytes).map_err(damaged)?;
        blocks.push(bytes);
        rest = after;
    }
    Ok(blocks)
}

/// All packets but those that mean nothing. Unknown ones that may be skipped are (RFC 9580, 4.3).
fn packets(bytes: &[u8]) -> Result<Vec<Packet>, Error> {
    let mut packets = Vec::new();
    for packet in PacketParser::new(bytes) {
        match packet {
            Ok(Packet::Marker(_) | Packet::Padding(_)) => {}
            Ok(packet) => packets.push(packet),
            Err(Error::Unsupported { .. }) => {}
            Err(Error::InvalidPacketContent { source }) if matches!(*source, Error::Unsupported { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(packets)
}

/// A text and its signature, which has not been verified.
pub(super) struct Message {
    pub(super) text: LiteralData,
    pub(super) signature: Signature,
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wrong = || "it is not a signed message of OpenPGP".to_owned();
        let mut packets = packets(bytes).map_err(|_| wrong())?;
        if let [Packet::CompressedData(data)] = &packets[..] {
            let mut inflated = Vec::new();
            let stream = data.decompress().map_err(|_| wrong())?;
            stream.take(TEXT + 1).read_to_end(&mut inflated).map_err(|_| wrong())?;
            if inflated.len() as u64 > TEXT {
                return Err(format!("its text has more than {TEXT} bytes"));
            }
            packets = self::packets(&inflated).map_err(|_| wrong())?;
        }
        let mut packets = packets.into_iter();
        match (packets.next(), packets.next(), packets.next(), packets.next()) {
            // One pass: what the signature will be like, the text, the signature.
            (
                Some(Packet::OnePassSignature(_)),
                Some(Packet::LiteralData(text)),
                Some(Packet::Signature(signature)),
                None,
            )
            | (Some(Packet::Signature(signature)), Some(Packet::LiteralData(text)), None, None) => {
                Ok(Self { text, signature })
            }
            (Some(Packet::Signature(_)), None, ..) => {
                Err("it is a signature without its text (gpg --sign, not --detach-sign)".to_owned())
            }
            _ => Err("it is not one text with one signature".to_owned()),
        }
    }
}
