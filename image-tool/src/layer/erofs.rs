//! Writing EROFS: a tree of files whose data lie in other files, the archives of layers.
//!
//! The image holds what a directory listing shows: names, attributes, links. The bytes of regular files stay where they are; an
//! image names their extents in its *devices*, files that are given to the kernel beside it when it is mounted. So an image
//! of twenty-five thousand files takes three megabytes and a tenth of a second.
//!
//! The format is that of Linux (Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h), in its oldest variant that has devices
//! (Linux 5.16): blocks of 512 bytes, as in archives; extended inodes, for nanoseconds and large ids; chunk indexes for regular
//! files; everything else inline behind its inode where it fits in the inode's block. The order on disk is: superblock, table of
//! devices, inodes, shared attributes, blocks. Equal input gives equal bytes.
//!
//! **The kernel parses the result as root and checks little.** So nothing is taken on trust here: names, sizes, counts and
//! numbers of devices are bounded, and what the format cannot express is refused ([`Error`]), not bent. The caller keeps the
//! promise that the kernel does not check: that the devices are the files that were described, in this order.
//!
//! `disk` knows the structures, `attribute` the extended attributes, `folder` the blocks of directories, `extent` the chunks of
//! files, and `plan` what lies where. The room knows `entry` and no file system.

mod attribute;
mod disk;
mod extent;
mod folder;
mod plan;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use self::plan::Plan;
use super::entry::Entry;

/// The size of a block, which is that of archives.
pub(crate) const BLOCK: u64 = 512;
/// The most devices: more than an image may have layers.
pub const DEVICES: usize = 4096;
/// The most bytes of an image.
const BYTES: u64 = 1 << 30;

/// Why a tree cannot be written as an EROFS image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The format, or the kernel, has no place for this.
    #[error("{path:?}: {what} does not fit into an EROFS image")]
    Unfit {
        /// The name in its directory, as far as it is known.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// There is too much of something.
    #[error("too many {what} for an EROFS image")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
    },
    /// The tree is not one. Only a bug of the caller can be the reason.
    #[error("node {number}: {what}")]
    Tree {
        /// The number of the node.
        number: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A device could not be read.
    #[error("read the data of an archive")]
    Read(#[source] io::Error),
    /// The image could not be written.
    #[error("write the EROFS image")]
    Write(#[source] io::Error),
}

/// A file, directory or link: what one or more names stand for.
#[derive(Debug)]
pub struct Node<'a> {
    /// The attributes. The path is not looked at.
    pub entry: &'a Entry,
    /// What it holds.
    pub content: Content<'a>,
}

/// What a node holds beside its attributes.
#[derive(Debug)]
pub enum Content<'a> {
    /// A directory.
    Directory {
        /// The number of the directory above; the root's own for the root.
        parent: usize,
        /// The names in strictly ascending order of their bytes, and the numbers of the nodes that they stand for.
        names: Vec<(&'a OsStr, usize)>,
    },
    /// A regular file.
    File {
        /// The number of the device that has the data.
        device: usize,
        /// The offset of the data there, a multiple of 512; a sparse file's pieces follow each other.
        offset: u64,
    },
    /// A symbolic link, a device or a FIFO, which the entry describes.
    Entry,
}

/// A file that holds data of regular files: the plain archive of a layer.
#[derive(Debug)]
pub struct Device<'a> {
    /// The digest of the content, at most 64 characters; the kernel does not check it.
    pub tag: &'a str,
    /// The size in bytes, a multiple of 512.
    pub size: u64,
    /// The file, from which pieces are copied that do not begin at a block.
    pub file: &'a File,
}

/// Writes an image. The first node is the root; every other one has a name, a directory exactly one. Returns the size in bytes.
///
/// # Errors
/// [`Error`]. What was written by then is of no use.
pub fn write<W: Write>(nodes: &[Node<'_>], devices: &[Device<'_>], uuid: [u8; 16], output: W) -> Result<u64, Error> {
    let plan = Plan::new(nodes, devices)?;
    plan.write(uuid, output)
}

#[cfg(test)]
mod tests;
