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
use crate::source::archive;
use crate::source::digests::{self, Digests, Sha256};
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
    /// The first name that an input gives to each file with several, by device and inode.
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
        for input in inputs {
            self.links.clear();
            match input {
                Input::Nothing => drop(self.directory_destination()?),
                Input::Files { files, source, found } => self.files(files, source, found)?,
                Input::Parents { files, found } => self.parents_of(files, found)?,
                Input::Repository(repository) => {
                    let tree = repository.tree()?;
                    self.directory(&tree.files, &tree.found)?;
                }
                Input::Bytes { name, bytes, mode } => {
                    let path = self.file_destination(name.as_ref())?;
                    let entry = Entry { size: bytes.len() as u64, ..Entry::new(&path, Kind::File, *mode) };
                    self.file(&path, entry, Data::Bytes(bytes))?;
                }
                Input::Download { remote, unpack } => {
                    let (download, url) = (remote.get()?, remote.shown());
                    let failed = |source| Error::Read { name: url.clone(), source };
                    if *unpack && archive::is_archive(&download.file).map_err(failed)? {
                        self.unpack(&download.file, &url)?;
                        continue;
                    }
                    let path = self.file_destination(remote.name().as_ref())?;
                    let size = download.file.metadata().map_err(failed)?.len();
                    let modified = seconds(download.modified.unwrap_or(0));
                    let entry = Entry { size, modified, ..Entry::new(&path, Kind::File, 0o600) };
                    self.file(&path, entry, Data::Download(&download.file))?;
                }
                Input::Archive { file, name, .. } => self.unpack(file, name)?,
            }
        }
        self.write_waiting()?;
        self.archive.finish().map_err(Error::Write)
    }

    /// The destination directory with links followed, created if it is missing.
    fn directory_destination(&mut self) -> Result<PathBuf, Error> {
        let path = self.tree.resolve(Path::new(&self.options.destination))?;
        self.make_directory(&path, self.options.made())?;
        Ok(path)
    }

    /// The path that a file of that name is copied to. A link of that name in a directory is replaced, not followed.
    fn file_destination(&mut self, name: &Path) -> Result<PathBuf, Error> {
        let resolved = self.tree.resolve(Path::new(&self.options.destination))?;
        if self.options.destination.ends_with('/') || self.tree.is_directory(&resolved) {
            let directory = self.directory_destination()?;
            return Ok(directory.join(name.file_name().unwrap_or_default()));
        }
        if let Some(parent) = resolved.parent() {
            self.make_directory(parent, self.options.made())?;
        }
        Ok(resolved)
    }

    fn files(&mut self, files: &'a Files, source: &Source, found: &'a [File]) -> Result<(), Error> {
        if source.directory {
            return self.directory(files, found);
        }
        for File { path, stat, .. } in found {
            let target = self.file_destination(Path::new(source.named.file_name().unwrap_or_default()))?;
            self.found(files, &target, path, *stat)?;
        }
        Ok(())
    }

    /// Copies what is in a directory; the first of `found` is the directory itself.
    fn directory(&mut self, files: &'a Files, found: &'a [File]) -> Result<(), Error> {
        let base = self.tree.resolve(Path::new(&self.options.destination))?;
        let made = self.options.made();
        // The destination is made like any other directory, but has the time of its source.
        let modified = found.first().map_or(made.modified, |top| seconds(self.options.latest(top.stat.st_mtime)));
        if let Some(parent) = base.parent() {
            self.make_directory(parent, made.clone())?;
        }
        self.make_directory(&base, Made { modified, ..made })?;
        for File { below, path, stat, .. } in found.iter().skip(1) {
            self.found(files, &base.join(below), path, *stat)?;
        }
        Ok(())
    }

    /// Copies what `--parents` has found, and the directories on the way there.
    fn parents_of(&mut self, files: &'a Files, found: &'a [File]) -> Result<(), Error> {
        for File { below, path, stat, way } in found {
            if below.as_os_str().is_empty() {
                self.directory_destination()?;
                continue;
            }
            let base = self.tree.resolve(Path::new(&self.options.destination))?;
            let target = base.join(below);
            if *way && self.tree.is_directory(&target) {
                self.set_mode(&target, stat.st_mode & 0o7777);
            } else {
                self.found(files, &target, path, *stat)?;
            }
        }
        Ok(())
    }

    /// Gives an existing directory another mode; all else stays.
    fn set_mode(&mut self, path: &Path, mode: u32) {
        let Some(node) = self.tree.get(path).map(|found| found.node.clone()) else { return };
        if node.mode != mode {
            self.parents(path);
            let Node { uid, gid, modified, xattrs, .. } = node;
            let entry = Entry { uid, gid, modified, xattrs, ..Entry::new(path, Kind::Directory, mode) };
            self.insert(path, entry, Data::None);
        }
    }

    fn found(&mut self, files: &'a Files, target: &Path, path: &'a Path, stat: Stat) -> Result<(), Error> {
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
            // A socket is of no use without the process that listens on it; as in BuildKit, an empty file takes its place.
            FileType::Socket => (Kind::File, Data::None),
            FileType::Unknown => return Ok(()),
        };
        let mut entry = Entry::new(
            target,
            kind,
            if matches!(data, Data::None) && is_link(&stat) { 0o777 } else { stat.st_mode & 0o7777 },
        );
        (entry.uid, entry.gid) = (uid, gid);
        entry.modified = seconds(stat.st_mtime);
        entry.size = if matches!(data, Data::File { .. }) { stat.st_size as u64 } else { 0 };
        if entry.kind == Kind::Directory {
            return self.directory_entry(target, entry);
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
    fn directory_entry(&mut self, path: &Path, mut entry: Entry) -> Result<(), Error> {
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
        entry.modified.seconds = self.options.latest(entry.modified.seconds);
    }

    fn insert(&mut self, path: &Path, entry: Entry, data: Data<'a>) {
        let kind = match &entry.kind {
            Kind::Directory => NodeKind::Directory,
            Kind::Symlink(target) => NodeKind::Symlink(target.clone().into_os_string().into_vec()),
            _ => NodeKind::File,
        };
        let Entry { mode, uid, gid, modified, .. } = entry;
        self.tree.add(path, Node { kind, mode, uid, gid, modified, xattrs: Vec::new() });
        if let Some((_, old)) = self.waiting.insert(path.to_owned(), (entry, data)) {
            self.rescue(path, old);
        }
    }

    /// Gives the data of a file that was replaced to the first of its hard links; the others lead there now.
    fn rescue(&mut self, replaced: &Path, data: Data<'a>) {
        let links = |entry: &Entry| matches!(&entry.kind, Kind::HardLink(target) if target == replaced);
        let Data::File { stat, .. } = &data else { return };
        let size = stat.st_size as u64;
        let mut heir: Option<PathBuf> = None;
        let mut data = Some(data);
        for (path, (entry, place)) in self.waiting.iter_mut().filter(|(_, (entry, _))| links(entry)) {
            match &heir {
                Some(heir) => entry.kind = Kind::HardLink(heir.clone()),
                None => {
                    (entry.kind, entry.size) = (Kind::File, size);
                    *place = data.take().expect("there is one heir");
                    heir = Some(path.clone());
                }
            }
        }
    }

    /// Creates `path` and what is above it, unless they are directories already.
    fn make_directory(&mut self, path: &Path, made: Made) -> Result<(), Error> {
        if !self.tree.is_directory(path) {
            if self.tree.get(path).is_some() {
                return Err(Error::OverOther { path: absolute(path), what: "a file" });
            }
            if let Some(parent) = path.parent() {
                self.make_directory(parent, made.clone())?;
            }
            self.check_name(path)?;
            self.parents(path);
            let Made { mode, owner: (uid, gid), modified } = made;
            self.insert(path, Entry { uid, gid, modified, ..Entry::new(path, Kind::Directory, mode) }, Data::None);
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
        for (path, (mut entry, data)) in std::mem::take(&mut self.waiting) {
            match data {
                Data::None => self.archive.entry(&entry).map_err(Error::Write)?,
                Data::Bytes(bytes) => self.archive.file(&entry, bytes).map_err(Error::Write)?,
                Data::File { files, path, stat } => {
                    let mut file = files.open(path)?;
                    let capability = digests::capability(&file).map_err(|error| files.io("read", path, error))?;
                    entry.xattrs.extend(capability.clone().map(|value| (digests::CAPABILITY.into(), value)));
                    self.archive.entry(&entry).map_err(Error::Write)?;
                    let content = self.stream(&mut file, entry.size, &mut buffer, path)?;
                    self.digests.put(&stat, digests::with_capability(content, capability.as_deref()));
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

/// What directories that are made get.
#[derive(Clone)]
struct Made {
    mode: u32,
    owner: (u32, u32),
    modified: Time,
}

impl Options {
    fn made(&self) -> Made {
        Made { mode: self.made_mode(), owner: self.owner.unwrap_or((0, 0)), modified: seconds(self.epoch.unwrap_or(0)) }
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
