//! The entries of one layer, put together: which path each gets, which parents it needs, and its data.
//!
//! It knows what lies below only from the tables of [`crate::stage::tree`]: nothing is mounted.

mod unpack;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use image_tool::beneath::Time;
use image_tool::layer::entry::{self, Entry, Kind};
use image_tool::layer::{pack, whiteout};
use rustix::fs::{FileType, Stat};
use sha2::Digest as _;

use super::error::Error;
use super::input::Input;
use super::options::Options;
use crate::source::digests::{Digests, Sha256};
use crate::source::files::{File, Files, Source};
use crate::stage::contents::{Node, NodeKind};
use crate::stage::tree::Tree;

/// Where the data of an entry comes from.
enum Data<'a> {
    None,
    Bytes(&'a [u8]),
    File { files: &'a Files, path: &'a Path, stat: Stat },
    Download(&'a std::fs::File),
}

/// Puts together the entries of one layer.
pub struct Copier<'a, 'b> {
    tree: &'b mut Tree,
    options: &'b Options,
    digests: &'b Digests,
    archive: entry::Writer<pack::Packer>,
    /// Entries to be written, sorted, each once.
    waiting: BTreeMap<PathBuf, (Entry, Data<'a>)>,
    /// Directories that are already in the layer.
    written: HashSet<PathBuf>,
    /// The first name of each file that has several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'a, 'b> Copier<'a, 'b> {
    /// Copies upon `tree`, which is what lies below, into a layer that `packer` writes.
    pub fn new(tree: &'b mut Tree, options: &'b Options, digests: &'b Digests, packer: pack::Packer) -> Self {
        let archive = entry::Writer::new(packer);
        Self {
            tree,
            options,
            digests,
            archive,
            waiting: BTreeMap::new(),
            written: HashSet::new(),
            links: HashMap::new(),
        }
    }

    /// Copies all inputs and ends the archive.
    pub fn copy(mut self, inputs: &'a [Input<'a>]) -> Result<pack::Packer, Error> {
        let several = inputs.len() > 1;
        for input in inputs {
            match input {
                Input::Nothing => drop(self.directory_destination()?),
                Input::Files { files, source, found } => self.files(files, source, found, several)?,
                Input::Bytes { name, bytes, mode } => {
                    let path = self.file_destination(name.as_ref(), several)?;
                    let entry = Entry { size: bytes.len() as u64, ..Entry::new(&path, Kind::File, *mode) };
                    self.file(&path, entry, Data::Bytes(bytes))?;
                }
                Input::Download { name, file, modified, .. } => {
                    let path = self.file_destination(name.as_ref(), several)?;
                    let size = file.metadata().map_err(|source| Error::Read { name: name.clone(), source })?.len();
                    let entry = Entry {
                        size,
                        modified: seconds(modified.unwrap_or(0)),
                        ..Entry::new(&path, Kind::File, 0o600)
                    };
                    self.file(&path, entry, Data::Download(file))?;
                }
                Input::Archive { file, name, .. } => {
                    self.write_waiting()?;
                    self.unpack(file, name)?;
                }
            }
        }
        self.write_waiting()?;
        self.archive.finish().map_err(Error::Write)
    }

    /// The destination directory with links followed, created if it is missing.
    fn directory_destination(&mut self) -> Result<PathBuf, Error> {
        let path = self.tree.resolve(Path::new(&self.options.destination))?;
        self.make_directory(&path)?;
        Ok(path)
    }

    /// The path that a file of that name is copied to.
    fn file_destination(&mut self, name: &Path, several: bool) -> Result<PathBuf, Error> {
        let destination = Path::new(&self.options.destination);
        let resolved = self.tree.resolve(destination)?;
        if self.options.destination.ends_with('/') || several || self.tree.is_directory(&resolved) {
            let directory = self.directory_destination()?;
            return Ok(self.tree.resolve(&directory.join(name))?);
        }
        if let Some(parent) = resolved.parent() {
            self.make_directory(parent)?;
        }
        Ok(resolved)
    }

    fn files(&mut self, files: &'a Files, source: &Source, found: &'a [File], several: bool) -> Result<(), Error> {
        let base = if self.options.parents {
            let mut base = self.directory_destination()?;
            let named: PathBuf = source.named.components().skip(source.pivot).collect();
            base = self.tree.resolve(&base.join(named))?;
            base.parent().map(|parent| self.make_directory(parent)).transpose()?;
            base
        } else if source.directory {
            let destination = &self.options.destination;
            let base = self.tree.resolve(Path::new(destination))?;
            if destination.ends_with('/') {
                self.make_directory(&base)?;
            } else if let Some(parent) = base.parent() {
                self.make_directory(parent)?;
            }
            base
        } else {
            let name = source.named.file_name().unwrap_or_default().to_owned();
            self.file_destination(Path::new(&name), several)?
        };
        for File { below, path, stat } in found {
            let target = if below.as_os_str().is_empty() { base.clone() } else { base.join(below) };
            self.found(files, &target, path, *stat, below.as_os_str().is_empty())?;
        }
        Ok(())
    }

    fn found(&mut self, files: &'a Files, target: &Path, path: &'a Path, stat: Stat, top: bool) -> Result<(), Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let (uid, gid) = match (self.options.owner, self.options.keep_owners) {
            (Some(owner), _) => owner,
            (None, true) => image_tool::layer::owner::Owners::here()
                .in_layer(stat.st_uid, stat.st_gid)
                .unwrap_or((stat.st_uid, stat.st_gid)),
            (None, false) => (0, 0),
        };
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let (kind, data) = match kind {
            FileType::Directory => (Kind::Directory, Data::None),
            FileType::Symlink => (Kind::Symlink(files.read_link(path)?), Data::None),
            FileType::RegularFile => (Kind::File, Data::File { files, path, stat }),
            FileType::Fifo => (Kind::Fifo, Data::None),
            FileType::CharacterDevice => (Kind::Character(device().0, device().1), Data::None),
            FileType::BlockDevice => (Kind::Block(device().0, device().1), Data::None),
            // A socket is of no use without the process that listens on it.
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let mut entry = Entry::new(
            target,
            kind,
            if matches!(data, Data::None) && is_link(&stat) { 0o777 } else { stat.st_mode & 0o7777 },
        );
        (entry.uid, entry.gid) = (uid, gid);
        entry.modified = seconds(stat.st_mtime);
        entry.size = if matches!(entry.kind, Kind::File) { stat.st_size as u64 } else { 0 };
        if entry.kind == Kind::Directory {
            return self.directory(target, entry, top);
        }
        if stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) if self.waiting.contains_key(first) && first.as_path() < target => {
                    entry.kind = Kind::HardLink(first.clone());
                    entry.size = 0;
                    return self.file(target, entry, Data::None);
                }
                // A hard link must come after its target in the archive; otherwise the file is stored twice.
                Some(_) => {}
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), target.to_owned())),
            }
        }
        self.file(target, entry, data)
    }

    /// Adds a directory that is copied.
    fn directory(&mut self, path: &Path, mut entry: Entry, top: bool) -> Result<(), Error> {
        if self.tree.is_directory(path) && (top || path.as_os_str().is_empty()) {
            return Ok(());
        }
        match self.tree.get(path).map(|found| &found.node.kind) {
            Some(NodeKind::Symlink(_)) => {
                return Err(Error::OverOther { path: absolute(path), what: "a symbolic link" });
            }
            Some(NodeKind::File) => return Err(Error::OverOther { path: absolute(path), what: "a file" }),
            _ => {}
        }
        self.check_name(path)?;
        self.parents(path);
        self.adjust(&mut entry);
        self.insert(path, entry, Data::None);
        Ok(())
    }

    /// Adds an entry that is not a directory.
    fn file(&mut self, path: &Path, mut entry: Entry, data: Data<'a>) -> Result<(), Error> {
        if self.tree.is_directory(path) {
            return Err(Error::OverDirectory(absolute(path)));
        }
        self.check_name(path)?;
        self.parents(path);
        if !self.options.keep_owners {
            (entry.uid, entry.gid) = (0, 0);
        }
        self.adjust(&mut entry);
        self.insert(path, entry, data);
        Ok(())
    }

    fn check_name(&self, path: &Path) -> Result<(), Error> {
        match path.file_name().and_then(whiteout::parse) {
            Some(_) => Err(Error::Whiteout(absolute(path))),
            None => Ok(()),
        }
    }

    /// Applies `--chown`, `--chmod` and the latest time.
    fn adjust(&self, entry: &mut Entry) {
        if let Some(owner) = self.options.owner {
            (entry.uid, entry.gid) = owner;
        }
        if let (Some(mode), false) = (&self.options.mode, matches!(entry.kind, Kind::Symlink(_))) {
            entry.mode = mode.apply(entry.mode, entry.kind == Kind::Directory);
        }
        if let Some(epoch) = self.options.epoch {
            entry.modified.seconds = entry.modified.seconds.min(epoch);
        }
    }

    fn insert(&mut self, path: &Path, entry: Entry, data: Data<'a>) {
        let kind = match &entry.kind {
            Kind::Directory => NodeKind::Directory,
            Kind::Symlink(target) => NodeKind::Symlink(target.clone().into_os_string().into_vec()),
            _ => NodeKind::File,
        };
        let Entry { mode, uid, gid, modified, .. } = entry;
        self.tree.add(path, Node { kind, mode, uid, gid, modified, xattrs: Vec::new() });
        self.waiting.insert(path.to_owned(), (entry, data));
    }

    /// Creates `path` and what is above it, unless they are directories already.
    fn make_directory(&mut self, path: &Path) -> Result<(), Error> {
        if !self.tree.is_directory(path) {
            if self.tree.get(path).is_some() {
                return Err(Error::OverOther { path: absolute(path), what: "a file" });
            }
            if let Some(parent) = path.parent() {
                self.make_directory(parent)?;
            }
            self.check_name(path)?;
            self.parents(path);
            let (uid, gid) = self.options.owner.unwrap_or((0, 0));
            let modified = seconds(self.options.epoch.unwrap_or(0));
            self.insert(path, Entry { uid, gid, modified, ..Entry::new(path, Kind::Directory, 0o755) }, Data::None);
        }
        Ok(())
    }

    /// Repeats the directories above `path` as they are: a program that applies this layer alone would invent their
    /// modes and owners.
    fn parents(&mut self, path: &Path) {
        for parent in path.ancestors().skip(1).take_while(|parent| !parent.as_os_str().is_empty()) {
            if self.waiting.contains_key(parent) || self.written.contains(parent) {
                break;
            }
            let mut entry = Entry::new(parent, Kind::Directory, 0o755);
            if let Some(found) = self.tree.get(parent) {
                let Node { mode, uid, gid, modified, xattrs, .. } = found.node.clone();
                entry = Entry { mode, uid, gid, modified: Time { nanoseconds: 0, ..modified }, xattrs, ..entry };
            }
            self.waiting.insert(parent.to_owned(), (entry, Data::None));
        }
    }

    fn write_waiting(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 17];
        for (path, (entry, data)) in std::mem::take(&mut self.waiting) {
            match data {
                Data::None => self.archive.entry(&entry).map_err(Error::Write)?,
                Data::Bytes(bytes) => self.archive.file(&entry, bytes).map_err(Error::Write)?,
                Data::File { files, path, stat } => {
                    let mut file = files.open(path)?;
                    self.archive.entry(&entry).map_err(Error::Write)?;
                    let digest = self.stream(&mut file, entry.size, &mut buffer, path)?;
                    self.digests.put(&stat, digest);
                }
                Data::Download(mut file) => {
                    io::Seek::rewind(&mut file)
                        .map_err(|source| Error::Read { name: path.display().to_string(), source })?;
                    self.archive.entry(&entry).map_err(Error::Write)?;
                    self.stream(&mut file, entry.size, &mut buffer, &path)?;
                }
            }
            if entry.kind == Kind::Directory {
                self.written.insert(path);
            }
        }
        Ok(())
    }

    /// Writes exactly `size` bytes into the archive and returns their digest.
    fn stream(&mut self, file: &mut impl Read, size: u64, buffer: &mut [u8], path: &Path) -> Result<Sha256, Error> {
        let mut hasher = sha2::Sha256::new();
        let mut left = size;
        loop {
            let count = match file.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Read { name: path.display().to_string(), source }),
            };
            if count as u64 > left || (count == 0 && left > 0) {
                return Err(Error::Changed(path.to_owned()));
            }
            if count == 0 {
                return Ok(hasher.finalize().into());
            }
            hasher.update(&buffer[..count]);
            self.archive.write_all(&buffer[..count]).map_err(Error::Write)?;
            left -= count as u64;
        }
    }
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn seconds(seconds: i64) -> Time {
    Time { seconds, nanoseconds: 0 }
}

fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
