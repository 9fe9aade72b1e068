//! One layout as it is served: what it holds ([`catalog`]), whether that is sound ([`check`]), what is kept from garbage collection
//! meanwhile ([`lease`]), and what is on its way in ([`session`]).
//!
//! The layout on disk is the truth, and others may change it at any moment. What is remembered here is either checked against the
//! disk before it is used, or named by a digest. The room knows nothing of HTTP.

pub(super) mod catalog;
mod check;
pub(super) mod lease;
pub(super) mod session;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use image_tool::address::digest::Digest;
use image_tool::layout::{Error, Layout};
use oci_spec::image::{Descriptor, MediaType};

use self::catalog::Catalog;
use self::check::Checks;
use self::lease::Lease;
use self::session::Sessions;

/// What tells one state of a file from the next: device, inode, size, times of its content and of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self(metadata.dev(), metadata.ino(), metadata.size(), (metadata.mtime(), metadata.mtime_nsec()), changed)
    }
}

/// A layout that is served.
pub(in crate::serve) struct Store {
    layout: Layout,
    /// Whether the layout stands for a repository itself, so that its refs may be tags alone.
    is_repository: bool,
    catalog: Mutex<Option<(Stamp, Arc<Catalog>)>>,
    checks: Checks,
    /// What garbage collection must leave alone.
    pub(in crate::serve) lease: Lease,
    /// What is on its way in.
    pub(in crate::serve) sessions: Sessions,
}

impl Store {
    /// Serves a layout. Uploads that a former server left are found again, for `patience`.
    pub(in crate::serve) fn new(layout: Layout, is_repository: bool, patience: Duration) -> Self {
        Self {
            lease: Lease::new(layout.clone(), patience),
            sessions: Sessions::new(layout.clone(), patience),
            layout,
            is_repository,
            catalog: Mutex::default(),
            checks: Checks::default(),
        }
    }

    pub(in crate::serve) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The ref of a tag of a repository in this layout. Familiar names are those that the other tools show.
    pub(in crate::serve) fn reference(repository: &str, tag: &str) -> String {
        if repository.is_empty() { tag.to_owned() } else { format!("{repository}:{tag}") }
    }

    /// What the layout holds now.
    ///
    /// # Errors
    /// As [`Layout::index`].
    pub(in crate::serve) fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        let mut held = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.layout.path().join("index.json");
        // A file that is not there is reported by whoever reads it.
        let stamp = std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        if let (Some(now), Some((then, catalog))) = (stamp, &*held)
            && now == *then
        {
            return Ok(Arc::clone(catalog));
        }
        let former = held.take().map(|(_, catalog)| catalog);
        let catalog = Arc::new(Catalog::read(&self.layout, self.is_repository, former.as_deref())?);
        // The stamp is older than what was read: if the file was replaced in between, it is read once more than needed.
        *held = stamp.map(|stamp| (stamp, Arc::clone(&catalog)));
        Ok(catalog)
    }

    /// Forgets what the layout held, after it was changed here: two changes within a tick of the clock have equal stamps.
    pub(in crate::serve) fn has_changed(&self) {
        let mut held = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamp, _)) = &mut *held {
            stamp.2 = u64::MAX;
        }
    }

    /// A blob and its descriptor, if clients may see it.
    ///
    /// One that no image uses is leased first: the client may build on what it is told.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(in crate::serve) fn blob(&self, digest: &Digest) -> Result<Option<(Descriptor, File)>, Error> {
        if !self.catalog()?.uses(digest) {
            if self.lease.is_forgotten(digest) || self.open(digest)?.is_none() {
                return Ok(None);
            }
            self.lease.hold(digest.as_ref())?;
        }
        self.open(digest)
    }

    fn open(&self, digest: &Digest) -> Result<Option<(Descriptor, File)>, Error> {
        let path = self.layout.path().join(Layout::blob_path(digest));
        let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(None) };
        let descriptor = Descriptor::new(MediaType::Other(OCTETS.into()), metadata.len(), digest.clone());
        match self.layout.open_blob(&descriptor) {
            Ok(file) => Ok(Some((descriptor, file))),
            Err(Error::MissingBlob { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a blob that no image uses; returns whether there was one. If the layout is being written to, it is only hidden from
    /// clients, and removed later.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(in crate::serve) fn forget(&self, digest: &Digest) -> Result<bool, Error> {
        if self.lease.is_forgotten(digest) || self.open(digest)?.is_none() {
            return Ok(false);
        }
        self.lease.forget(digest);
        self.sweep();
        Ok(true)
    }

    /// Removes what was forgotten, if nobody writes to the layout, and gives up what has waited too long.
    pub(in crate::serve) fn sweep(&self) {
        self.sessions.expire(&self.lease);
        self.lease.expire();
        let forgotten = self.lease.forgotten();
        if forgotten.is_empty() || !self.lease.is_idle() {
            return;
        }
        // Whoever writes may count on the blob: then it stays, and is tried again.
        let Ok(_lock) = self.layout.lock_blobs() else { return };
        self.has_changed();
        let Ok(catalog) = self.catalog() else { return };
        for digest in forgotten {
            if !catalog.uses(&digest) && !catalog.is_partial() {
                let path = self.layout.path().join(Layout::blob_path(&digest));
                if let Err(error) = remove(&path) {
                    tracing::warn!("remove {}: {error}", path.display());
                }
            }
            self.lease.recall(digest.as_ref());
        }
    }
}

/// The media type of bytes of which nothing is known.
pub(in crate::serve) const OCTETS: &str = "application/octet-stream";

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
