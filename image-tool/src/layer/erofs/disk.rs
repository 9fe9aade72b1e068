//! The structures on disk, little-endian.

use super::BLOCK;
use crate::layer::entry::{Entry, Kind};

/// Where the superblock begins.
pub(super) const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_SIZE: u64 = 128;
/// The size of a device's slot in the table, which begins at a multiple of it.
const SLOT: u64 = 128;
/// Where the table of devices begins.
pub(super) const SLOTS: u64 = SUPERBLOCK + SUPERBLOCK_SIZE;
/// The number of a node on disk counts in units of this size.
pub(super) const UNIT: u64 = 32;
/// The size of an inode, without attributes and what is inline.
pub(super) const INODE: u64 = 64;
/// The size of the index of a chunk, and what it is aligned to.
pub(super) const INDEX: u64 = 8;
/// The block address of a hole.
pub(super) const HOLE: u32 = u32::MAX;

const MAGIC: u32 = 0xe0f5_e1e2;
const BLOCK_BITS: u8 = 9;
const CHECKSUM: u32 = 0x1;
const MTIME: u32 = 0x2;
const CHUNKED_FILE: u32 = 0x4;
const DEVICE_TABLE: u32 = 0x8;
/// Of the format field of a chunk-based inode: that there are indexes, which name devices.
const INDEXES: u16 = 0x20;

/// Where the inodes begin, behind the table of devices.
pub(super) fn inodes(devices: usize) -> u64 {
    (SLOTS + devices as u64 * SLOT).next_multiple_of(BLOCK)
}

/// What the superblock says.
pub(super) struct Superblock {
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// The size in blocks.
    pub(super) blocks: u32,
    /// The block in which the shared attributes begin.
    pub(super) attributes: u32,
    pub(super) uuid: [u8; 16],
}

/// Everything before the inodes: an empty kilobyte, the superblock, and the table of devices, each with its tag and its size
/// in blocks.
pub(super) fn head(superblock: &Superblock, devices: &[(&str, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; SUPERBLOCK as usize];
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((CHECKSUM | MTIME).to_le_bytes());
    bytes.extend([BLOCK_BITS, 0]);
    bytes.extend(superblock.root.to_le_bytes());
    bytes.extend(superblock.inodes.to_le_bytes());
    // The time of the image, seconds and nanoseconds: there is no clock in it.
    bytes.extend([0; 12]);
    bytes.extend(superblock.blocks.to_le_bytes());
    // Nodes are counted from the start of the image.
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(superblock.attributes.to_le_bytes());
    bytes.extend(superblock.uuid);
    bytes.extend([0; 16]);
    let features = if devices.is_empty() { CHUNKED_FILE } else { CHUNKED_FILE | DEVICE_TABLE };
    bytes.extend(features.to_le_bytes());
    bytes.extend(0u16.to_le_bytes());
    bytes.extend((devices.len() as u16).to_le_bytes());
    bytes.extend(((SLOTS / SLOT) as u16).to_le_bytes());
    bytes.resize(SLOTS as usize, 0);
    for (tag, blocks) in devices {
        let start = bytes.len();
        bytes.extend(tag.bytes().take(64));
        bytes.resize(start + 64, 0);
        bytes.extend(blocks.to_le_bytes());
        bytes.resize(start + SLOT as usize, 0);
    }
    bytes.resize(inodes(devices.len()) as usize, 0);
    let checksum = crc32c(&bytes[SUPERBLOCK as usize..][..BLOCK as usize]);
    bytes[SUPERBLOCK as usize + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// How the data of an inode are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In consecutive blocks.
    Plain { block: u32 },
    /// The last, partial block behind the inode, those before it in consecutive blocks.
    Inline { block: u32 },
    /// In chunks of two to the power of this many blocks, whose indexes follow the inode.
    Chunks { bits: u8 },
}

/// An inode.
pub(super) struct Inode<'a> {
    pub(super) entry: &'a Entry,
    pub(super) layout: Layout,
    pub(super) size: u64,
    pub(super) links: u32,
    /// A number other than the one by place, for programs that know only 32 bits.
    pub(super) number: u32,
    /// The size of its attributes on disk.
    pub(super) attributes: u64,
}

impl Inode<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let entry = self.entry;
        let (layout, place) = match self.layout {
            Layout::Plain { block } => (0, block),
            Layout::Inline { block } => (2, block),
            Layout::Chunks { bits } => (4, u32::from(INDEXES | u16::from(bits))),
        };
        let place = match entry.kind {
            Kind::Character(major, minor) | Kind::Block(major, minor) => device(major, minor),
            _ => place,
        };
        let mut bytes = Vec::with_capacity(INODE as usize);
        bytes.extend((1u16 | layout << 1).to_le_bytes());
        bytes.extend(attribute_units(self.attributes).to_le_bytes());
        bytes.extend(mode(entry).to_le_bytes());
        bytes.extend(0u16.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(place.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(entry.uid.to_le_bytes());
        bytes.extend(entry.gid.to_le_bytes());
        bytes.extend(entry.modified.seconds.to_le_bytes());
        bytes.extend(entry.modified.nanoseconds.to_le_bytes());
        bytes.extend(self.links.to_le_bytes());
        bytes.resize(INODE as usize, 0);
        bytes
    }
}

/// Attributes are counted in words behind a header of three, which counts as one.
fn attribute_units(size: u64) -> u16 {
    if size == 0 { 0 } else { ((size - 12) / 4 + 1) as u16 }
}

/// Type and permissions. Linux gives all links the same.
fn mode(entry: &Entry) -> u16 {
    let permissions = (entry.mode & 0o7777) as u16;
    match entry.kind {
        Kind::File | Kind::HardLink(_) => 0o100_000 | permissions,
        Kind::Directory => 0o40_000 | permissions,
        Kind::Symlink(_) => 0o120_777,
        Kind::Character(..) => 0o20_000 | permissions,
        Kind::Block(..) => 0o60_000 | permissions,
        Kind::Fifo => 0o10_000 | permissions,
    }
}

/// The number of an entry's type in a directory.
pub(super) fn kind(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::File | Kind::HardLink(_) => 1,
        Kind::Directory => 2,
        Kind::Character(..) => 3,
        Kind::Block(..) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// The kernel's number of a device (`new_encode_dev`).
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// Whether the number of a device is one that the kernel has.
pub(super) fn is_device(major: u32, minor: u32) -> bool {
    major < 1 << 12 && minor < 1 << 20
}

/// CRC-32C as the kernel computes it, without the last inversion.
fn crc32c(bytes: &[u8]) -> u32 {
    static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    !CRC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros, and of ones; the RFC inverts the result.
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn the_structures_have_their_sizes() {
        let superblock = Superblock { root: 1, inodes: 2, blocks: 3, attributes: 4, uuid: [5; 16] };
        assert_eq!(head(&superblock, &[]).len(), 1536);
        assert_eq!(head(&superblock, &[("a", 1); 3]).len(), 1536);
        assert_eq!(head(&superblock, &[("a", 1); 4]).len(), 2048);
        let entry = Entry::new("", Kind::Character(1, 3), 0o666);
        let layout = Layout::Plain { block: 0 };
        let inode = Inode { entry: &entry, layout, size: 0, links: 1, number: 1, attributes: 12 };
        assert_eq!(inode.bytes().len(), 64);
        assert_eq!(&inode.bytes()[16..20], [3, 1, 0, 0]);
        assert_eq!((device(0xfff, 0xf_ffff), device(8, 257)), (0xffff_ffff, 0x0010_0801));
    }
}
