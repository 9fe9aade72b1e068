//! What is copied, and which of its properties belong to a step's key.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;

use super::error::Error;
use super::options::Options;
use super::repository::Repository;
use crate::cache::KeyBuilder;
use crate::source::digests::{Digests, Sha256};
use crate::source::download::Remote;
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
    /// What a source of `--parents` means, in a tree of files.
    Parents {
        /// The tree.
        files: &'a Files,
        /// What is copied, and the directories on the way there; paths are below the destination.
        found: Vec<File>,
    },
    /// A URL. It is fetched only if its content is needed.
    Download {
        /// The URL.
        remote: Remote<'a>,
        /// Whether an archive is unpacked.
        unpack: bool,
    },
    /// A git repository. It is fetched only if its files are needed.
    Repository(Repository<'a>),
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

/// Adds to a key what distinguishes these inputs: names, types, modes and contents. Times belong to it only if
/// `SOURCE_DATE_EPOCH` is set: then a layer must not depend on what was copied before.
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
            Input::Download { remote, unpack } => {
                key.add("download").add(remote.name()).add(remote.digest()?.to_string()).add([u8::from(*unpack)]);
                if options.epoch.is_some() {
                    key.add(options.latest(remote.get()?.modified.unwrap_or(0)).to_le_bytes());
                }
            }
            Input::Repository(Repository { pin, keep_git_dir, .. }) => {
                let address = &pin.address;
                key.add("repository").add(&pin.commit).add(&address.folder);
                key.add([u8::from(*keep_git_dir), u8::from(address.submodules), u8::from(address.checkout_time)]);
                // Then the remote and the name of the branch are in `.git`.
                key.add(if *keep_git_dir {
                    format!("{} {}", address.shown(), address.reference)
                } else {
                    String::new()
                });
            }
            Input::Archive { digest, .. } => {
                key.add("archive").add(digest);
            }
            Input::Files { files, source, found } => {
                // The name of a file counts if it becomes part of the destination.
                let named = source.named.file_name().filter(|_| !source.directory).unwrap_or_default();
                key.add("files").add(named.as_bytes());
                if add_files(key, files, found, options, digests, read)?.is_none() {
                    return Ok(None);
                }
            }
            Input::Parents { files, found } => {
                key.add("parents");
                if add_files(key, files, found, options, digests, read)?.is_none() {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(()))
}

/// Adds what was found in a tree of files.
fn add_files(
    key: &mut KeyBuilder,
    files: &Files,
    found: &[File],
    options: &Options,
    digests: &Digests,
    read: bool,
) -> Result<Option<()>, Error> {
    key.add((found.len() as u64).to_le_bytes());
    // Which files are one is a part of the layer.
    let mut links: HashMap<(u64, u64), u64> = HashMap::new();
    for (number, file) in found.iter().enumerate() {
        let File { below, path, stat, way } = file;
        key.add(below.as_os_str().as_bytes()).add(stat.st_mode.to_le_bytes()).add([u8::from(*way)]);
        if options.keep_owners {
            key.add(stat.st_uid.to_le_bytes()).add(stat.st_gid.to_le_bytes());
        }
        if options.epoch.is_some() {
            key.add(options.latest(stat.st_mtime).to_le_bytes());
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            key.add(links.entry((stat.st_dev, stat.st_ino)).or_insert(number as u64).to_le_bytes());
        }
        match kind {
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
