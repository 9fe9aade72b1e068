//! The syntax of a layer's archive: reading and writing tar entries.
//!
//! The crate `tar` knows the fields of a header. The rest is here, because layers are not trusted: the extended headers
//! of one entry are limited (`tar` would read a long name of ten gigabytes into memory), a PAX value may contain any
//! byte (`tar` splits records at newlines, which are common in `security.capability`), all formats of sparse files that
//! GNU tar writes are supported, and file data is handed out from the buffer of the caller without a copy.
//!
//! Where implementations of tar disagree, this one follows Go's `archive/tar`, which docker, podman, containerd and
//! BuildKit use: global headers are skipped, and links and devices have no data whatever their size says. The room knows
//! only the times of `beneath`.

mod aside;
mod pax;
mod read;
mod whole;
mod write;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::beneath::Time;

pub(in crate::layer) use self::aside::Aside;
pub use self::read::Reader;
pub use self::whole::Whole;
pub use self::write::Writer;

const BLOCK: usize = 512;
/// The limit for all extended headers of one entry, as in Go.
const EXTENDED: u64 = 1 << 20;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is truncated.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// The checksum of a header is wrong: a damaged archive, or none at all.
    #[error("at byte {offset}: not a tar header")]
    Checksum {
        /// The offset in the archive.
        offset: u64,
    },
    /// A field of a header is invalid.
    #[error("entry {path:?}: bad {field}")]
    Field {
        /// The name of the entry, as far as it is known.
        path: PathBuf,
        /// The name of the field.
        field: &'static str,
    },
    /// An entry has a type that layers cannot have.
    #[error("entry {path:?}: unknown type {kind:?}")]
    Kind {
        /// The name of the entry.
        path: PathBuf,
        /// The type flag.
        kind: char,
    },
    /// The extended headers are larger than any real ones.
    #[error("at byte {offset}: extended headers of more than {EXTENDED} bytes")]
    TooLarge {
        /// The offset in the archive.
        offset: u64,
    },
    /// Data follows the end of the archive, which other readers might take for more entries.
    #[error("at byte {offset}: data after the end of the archive")]
    Trailing {
        /// The offset in the archive.
        offset: u64,
    },
    /// The stream could not be read or written.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
            Self::Truncated
        } else {
            Self::Io(error)
        }
    }
}

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A hard link to a file of the image.
    HardLink(PathBuf),
    /// A symbolic link with its target.
    Symlink(PathBuf),
    /// A character device with major and minor number.
    Character(u32, u32),
    /// A block device with major and minor number.
    Block(u32, u32),
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
}

/// The device by which overlayfs marks a deletion. In a layer it means one too: made as a file, it would hide others as soon as an
/// overlay lies on it.
pub const WHITEOUT: Kind = Kind::Character(0, 0);

/// An entry of an archive, without the data of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as in the archive.
    pub path: PathBuf,
    /// The type.
    pub kind: Kind,
    /// Permission bits, including setuid, setgid and sticky.
    pub mode: u32,
    /// The user ID.
    pub uid: u32,
    /// The group ID.
    pub gid: u32,
    /// The modification time.
    pub modified: Time,
    /// The size of a regular file in bytes; for a sparse file, with its holes.
    pub size: u64,
    /// Extended attributes, name and value.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// The offset and length of each piece of data in a sparse file; the rest are holes.
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry that belongs to root, without time or attributes.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, kind: Kind, mode: u32) -> Self {
        let time = Time::default();
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            modified: time,
            size: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// How many bytes of data follow the header: without the holes of a sparse file.
    #[must_use]
    pub fn stored(&self) -> u64 {
        match (&self.kind, &self.sparse) {
            (Kind::File, Some(pieces)) => pieces.iter().map(|(_, length)| length).sum(),
            (Kind::File, None) => self.size,
            _ => 0,
        }
    }
}

/// A path as in archives, without a leading `/`.
#[must_use]
pub fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::ffi::OsStr;
    use std::io::{Read, Write};
    use std::os::unix::ffi::OsStrExt;

    use tar::Header;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let mut data = Vec::new();
            reader.read_to_end(&mut data)?;
            entries.push((entry, data));
        }
        Ok(entries)
    }

    fn write_all(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.entry(entry).unwrap();
            writer.write_all(data).unwrap();
        }
        writer.finish().unwrap()
    }

    fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
        let name = || proptest::collection::vec("[a-zé]{1,90}", 1..5).prop_map(|parts| PathBuf::from(parts.join("/")));
        let kind = prop_oneof![
            4 => Just(Kind::File),
            1 => Just(Kind::Directory),
            1 => Just(Kind::Fifo),
            1 => name().prop_map(Kind::Symlink),
            1 => name().prop_map(Kind::HardLink),
            1 => (0u32..0x1f_ffff, 0u32..0x1f_ffff).prop_map(|(major, minor)| Kind::Block(major, minor)),
        ];
        let xattrs =
            proptest::collection::btree_map("user\\.[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..40), 0..3);
        let time = (any::<i32>(), 0u32..1_000_000_000)
            .prop_map(|(s, nanoseconds)| Time { seconds: i64::from(s) * 9, nanoseconds });
        let data = proptest::collection::vec(any::<u8>(), 0..1500);
        (name(), kind, 0u32..0o10000, 0..u32::MAX, 0..u32::MAX, time, xattrs, data).prop_map(
            |(path, kind, mode, uid, gid, modified, xattrs, data)| {
                let data = if kind == Kind::File { data } else { Vec::new() };
                let xattrs = xattrs.into_iter().map(|(key, value)| (key.into(), value)).collect();
                let entry =
                    Entry { mode, uid, gid, modified, size: data.len() as u64, xattrs, ..Entry::new(path, kind, 0) };
                (entry, data)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(any_entry(), 0..6)) {
            let bytes = write_all(&entries);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            let mut read = read_all(&bytes).unwrap();
            for (entry, _) in &mut read {
                let path = entry.path.as_os_str().as_bytes();
                entry.path = OsStr::from_bytes(path.strip_suffix(b"/").unwrap_or(path)).into();
            }
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..3000), start in 0usize..3, entry in any_entry()) {
            let mut archive = write_all(&[entry]);
            archive.truncate(start * BLOCK);
            archive.append(&mut bytes);
            let _ = read_all(&archive);
        }

        #[test]
        fn a_changed_byte_is_an_error_or_another_archive(entry in any_entry(), place: prop::sample::Index, value: u8) {
            let mut archive = write_all(&[entry]);
            let place = place.index(archive.len());
            archive[place] = value;
            let _ = read_all(&archive);
        }
    }

    #[test]
    fn headers_without_end_are_refused() {
        for kind in [b'x', b'L', b'K', b'g'] {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[156] = kind;
            header.set_size(10 << 30);
            header.set_cksum();
            assert!(matches!(read_all(header.as_bytes()), Err(Error::TooLarge { .. })), "{}", char::from(kind));
        }
    }

    #[test]
    fn a_second_archive_behind_the_first_is_refused() {
        let archive = write_all(&[(Entry::new("a", Kind::Fifo, 0), Vec::new())]);
        let hidden = [&archive[..BLOCK * 2], &archive[..]].concat();
        assert!(matches!(read_all(&hidden), Err(Error::Trailing { .. })));
        assert_eq!(read_all(&archive[..BLOCK]).unwrap().len(), 1, "an end that is not marked");
    }

    #[test]
    fn the_sparse_formats_of_gnu_tar_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("sparse")).unwrap();
        let mut whole = vec![0; 3_000_000];
        for place in [0usize, 131_072, 1_000_000, 2_999_990] {
            std::os::unix::fs::FileExt::write_all_at(&file, b"data", place as u64).unwrap();
            whole[place..place + 4].copy_from_slice(b"data");
        }
        file.set_len(3_000_000).unwrap();
        for format in [
            &["--format=gnu"][..],
            &["--format=posix", "--sparse-version=0.0"],
            &["--format=posix", "--sparse-version=0.1"],
            &["--format=posix", "--sparse-version=1.0"],
        ] {
            let output = std::process::Command::new("tar")
                .args(format)
                .args(["--sparse", "-cf", "-", "sparse"])
                .current_dir(folder.path())
                .output()
                .unwrap();
            let entries = read_all(&output.stdout).unwrap();
            let [(entry, data)] = &entries[..] else { panic!("{format:?}: {entries:?}") };
            assert_eq!((entry.path.to_str(), entry.size), (Some("sparse"), 3_000_000), "{format:?}");
            let mut expanded = vec![0; 3_000_000];
            let mut rest = &data[..];
            for (offset, length) in entry.sparse.as_ref().unwrap() {
                let (piece, after) = rest.split_at(*length as usize);
                expanded[*offset as usize..][..piece.len()].copy_from_slice(piece);
                rest = after;
            }
            assert!(rest.is_empty() && expanded == whole, "{format:?}");
            // What is written again is read again, by GNU tar too.
            let again = write_all(&entries);
            assert!(read_all(&again).unwrap() == entries && again.len() < 300_000, "{format:?}");
            let place = tempfile::tempdir().unwrap();
            let mut child = std::process::Command::new("tar")
                .args(["-xf", "-"])
                .current_dir(place.path())
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&again).unwrap();
            assert!(child.wait().unwrap().success(), "{format:?}");
            assert!(std::fs::read(place.path().join("sparse")).unwrap() == whole, "{format:?}");
        }
    }

    #[test]
    fn a_sparse_file_has_the_name_and_attributes_of_any_other() {
        let mut entry = Entry { size: 1 << 40, ..Entry::new("é".repeat(90), Kind::File, 0o4755) };
        entry.sparse = Some(vec![(4096, 3), (1 << 39, 0)]);
        entry.xattrs = vec![("user.x".into(), b"1\n2".to_vec())];
        entry.modified = Time { seconds: 7, nanoseconds: 9 };
        let entries = [(entry, b"abc".to_vec())];
        let bytes = write_all(&entries);
        assert_eq!(bytes.len() % BLOCK, 0);
        assert_eq!(read_all(&bytes).unwrap(), entries);
        let many = Entry { sparse: Some((0..200_000).map(|n| (n * 2, 0)).collect()), ..entries[0].0.clone() };
        assert!(Writer::new(Vec::new()).entry(&many).is_err(), "no reader accepts so many");
    }
}
