//! The digests of files, remembered by the files' metadata.
//!
//! A file whose device, inode, size, modification and change time are those seen before holds the bytes seen before,
//! since nobody can set a change time. So a build reads nothing of a context that did not change. `builds/digests`
//! holds records of a fixed size, each appended whole; the latest one of a file counts.
//!
//! A digest covers a file's capabilities too, the one extended attribute that is copied: they change with the change time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use rustix::io::Errno;
use sha2::Digest as _;

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// A file's identity: device, inode, size, modification time and change time.
type Identity = [u64; 7];

const RECORD: usize = 7 * 8 + 32;

/// A table with more records than this is started anew.
const LIMIT: usize = 1 << 19;

/// A file that changed less than this many nanoseconds ago could change again without a new time, so later builds do
/// not trust it.
const SETTLE: u64 = 20_000_000;

/// The table of digests.
#[derive(Debug)]
pub struct Digests {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Identity, Sha256>,
    new: Vec<u8>,
}

impl Digests {
    /// Reads the table. One that is missing or damaged counts as empty.
    pub fn open(builds: &Path) -> Self {
        let path = builds.join("digests");
        let bytes = fs::read(&path).unwrap_or_default();
        let mut known = HashMap::with_capacity(bytes.len() / RECORD);
        for record in bytes.chunks_exact(RECORD) {
            let mut identity = Identity::default();
            for (field, bytes) in identity.iter_mut().zip(record.chunks_exact(8)) {
                *field = u64::from_le_bytes(bytes.try_into().expect("chunks are of eight bytes"));
            }
            known.insert(identity, record[56..].try_into().expect("a record ends in 32 bytes"));
        }
        if bytes.len() / RECORD > LIMIT {
            // Today's files are hashed once more; last year's are gone.
            known.clear();
            let _ = fs::remove_file(&path);
        }
        Self { path, state: Mutex::new(State { known, new: Vec::new() }) }
    }

    /// The digest of the file that `stat` describes, if it was seen before.
    pub fn get(&self, stat: &Stat) -> Option<Sha256> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.get(&identity(stat)).copied()
    }

    /// Remembers the digest of what was read from a file; `stat` must have been taken before the reading.
    pub fn put(&self, stat: &Stat, digest: Sha256) {
        let identity = identity(stat);
        let changed = (stat.st_ctime as u64).saturating_mul(1_000_000_000) + stat.st_ctime_nsec;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.known.insert(identity, digest);
        if now < changed + SETTLE {
            return;
        }
        for field in &identity {
            state.new.extend_from_slice(&field.to_le_bytes());
        }
        state.new.extend_from_slice(&digest);
    }

    /// The digest of a file, from the table or by reading it.
    pub fn of(&self, stat: &Stat, open: impl FnOnce() -> io::Result<File>) -> io::Result<Sha256> {
        if let Some(digest) = self.get(stat) {
            return Ok(digest);
        }
        let mut file = open()?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        let digest = with_capability(hasher.finalize().into(), capability(&file)?.as_deref());
        self.put(stat, digest);
        Ok(digest)
    }

    /// Appends what is new to the table. What cannot be written is hashed again by the next build.
    pub fn save(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let new = std::mem::take(&mut state.new);
        if !new.is_empty() {
            let _ = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)
                .and_then(|mut file| file.write_all(&new));
        }
    }
}

/// The attribute that holds a file's capabilities.
pub const CAPABILITY: &str = "security.capability";

/// The capabilities of an open file, as the attribute stores them.
pub fn capability(file: &File) -> io::Result<Option<Vec<u8>>> {
    // The largest version, 3, has 24 bytes.
    let mut value = [0; 64];
    match rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        // There are none, or the file system has no attributes, or they are for the root of another user namespace.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The digest of a file with that content and those capabilities.
pub fn with_capability(content: Sha256, capability: Option<&[u8]>) -> Sha256 {
    match capability {
        None => content,
        Some(capability) => sha2::Sha256::new().chain_update(content).chain_update(capability).finalize().into(),
    }
}

fn identity(stat: &Stat) -> Identity {
    [
        stat.st_dev,
        stat.st_ino,
        stat.st_size as u64,
        stat.st_mtime as u64,
        stat.st_mtime_nsec,
        stat.st_ctime as u64,
        stat.st_ctime_nsec,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_did_not_change_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let stat = rustix::fs::stat(&path).unwrap();
        let digests = Digests::open(folder.path());
        let first = digests.of(&stat, || File::open(&path)).unwrap();
        digests.save();
        let digests = Digests::open(folder.path());
        assert_eq!(digests.of(&stat, || panic!("it is known")).unwrap(), first);
        fs::write(&path, "two").unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        assert_ne!(digests.of(&stat, || File::open(&path)).unwrap(), first);
    }

    #[test]
    fn what_changed_just_now_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let digests = Digests::open(folder.path());
        fs::write(&path, "one").unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        digests.put(&stat, [0; 32]);
        digests.save();
        assert_eq!(Digests::open(folder.path()).get(&stat), None, "by a later build, that is");
    }
}
