//! What is copied, and which of its properties belong to a step's key.

use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;

use super::error::Error;
use super::options::Options;
use crate::cache::KeyBuilder;
use crate::source::digests::{Digests, Sha256};
use crate::source::files::{File, Files, Source};

/// One source of a copy.
#[derive(Debug)]
pub enum Input<'a> {
    /// Nothing: only the destination is created, if it is missing.
    Nothing,
    /// A source in a tree of files.
    Files {
        /// The tree.
        files: &'a Files,
        /// The source as COPY names it.
        source: Source,
        /// The source itself and everything below it.
        found: Vec<File>,
    },
    /// The body of a heredoc.
    Bytes {
        /// The file's name in a destination that is a directory.
        name: String,
        /// The file's content.
        bytes: Vec<u8>,
        /// The file's mode without `--chmod`.
        mode: u32,
    },
    /// A file that was downloaded.
    Download {
        /// The file's name in a destination that is a directory.
        name: String,
        /// The content, in an unnamed file.
        file: std::fs::File,
        /// The content's digest.
        digest: Vec<u8>,
        /// The server's `Last-Modified`, in seconds since 1970.
        modified: Option<i64>,
    },
    /// An archive to be unpacked.
    Archive {
        /// The archive, compressed or not.
        file: std::fs::File,
        /// The archive's digest, as it is stored.
        digest: Vec<u8>,
        /// The archive's path or URL, for errors.
        name: String,
    },
}

/// Adds to a key what distinguishes these inputs: names, types, modes and contents, but not times.
///
/// Returns `None` if a file's digest is not known and `read` is false.
pub fn add_to_key(
    key: &mut KeyBuilder,
    inputs: &[Input<'_>],
    options: &Options,
    digests: &Digests,
    read: bool,
) -> Result<Option<()>, Error> {
    key.add((inputs.len() as u64).to_le_bytes());
    for input in inputs {
        match input {
            Input::Nothing => {}
            Input::Bytes { name, bytes, mode } => {
                key.add("bytes").add(name).add(bytes).add(mode.to_le_bytes());
            }
            Input::Download { name, digest, .. } => {
                key.add("download").add(name).add(digest);
            }
            Input::Archive { digest, .. } => {
                key.add("archive").add(digest);
            }
            Input::Files { files, source, found } => {
                key.add("files").add((found.len() as u64).to_le_bytes());
                // The name counts if it becomes part of the destination.
                let named = if options.parents {
                    source.named.as_os_str()
                } else {
                    source.named.file_name().unwrap_or_default()
                };
                key.add((source.pivot as u64).to_le_bytes());
                key.add(if source.directory && !options.parents { &b""[..] } else { named.as_bytes() });
                for file in found {
                    let File { below, path, stat } = file;
                    key.add(below.as_os_str().as_bytes()).add(stat.st_mode.to_le_bytes());
                    if options.keep_owners {
                        key.add(stat.st_uid.to_le_bytes()).add(stat.st_gid.to_le_bytes());
                    }
                    match FileType::from_raw_mode(stat.st_mode) {
                        FileType::RegularFile => {
                            let Some(digest) = digest_of(file, files, digests, read)? else { return Ok(None) };
                            key.add(digest);
                        }
                        FileType::Symlink => {
                            key.add(files.read_link(path)?.as_os_str().as_bytes());
                        }
                        FileType::CharacterDevice | FileType::BlockDevice => {
                            key.add(stat.st_rdev.to_le_bytes());
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    Ok(Some(()))
}

/// The digest of a file's content; `None` if it is not known and `read` is false.
fn digest_of(file: &File, files: &Files, digests: &Digests, read: bool) -> Result<Option<Sha256>, Error> {
    let File { path, stat, .. } = file;
    if !read {
        return Ok(digests.get(stat));
    }
    let open = || files.open(path).map_err(io::Error::other);
    Ok(Some(digests.of(stat, open).map_err(|source| files.io("read", path, source))?))
}
