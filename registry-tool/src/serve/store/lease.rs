//! What garbage collection must leave alone: blobs that have arrived and that no manifest names yet, and uploads in progress.
//!
//! While there are any, the lock of the layout's writers is held, and `image-tool gc` says that the layout is in use. What nobody
//! comes back to is given up, so that one client that went away does not hold the layout for ever.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use image_tool::address::digest::{self, Digest};
use image_tool::layout::{Error, Layout, Writer};

/// The lease of one layout.
pub(in crate::serve) struct Lease {
    layout: Layout,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    writer: Option<Writer>,
    /// Digests and names of uploads, and when a client last asked for them.
    held: HashMap<String, Instant>,
    /// Blobs that clients have deleted and that are still there.
    forgotten: HashSet<String>,
}

impl Lease {
    pub(super) fn new(layout: Layout, patience: Duration) -> Self {
        Self { layout, patience, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a blob or an upload from now on, and gives the writer for it. Waits while garbage is collected.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(in crate::serve) fn hold(&self, name: &str) -> Result<Writer, Error> {
        let mut state = self.state();
        let writer = match &state.writer {
            Some(writer) => writer.clone(),
            None => state.writer.insert(self.layout.writer()?).clone(),
        };
        state.held.insert(name.to_owned(), Instant::now());
        Ok(writer)
    }

    /// Ends it for some, because an image now uses them or because they are gone.
    pub(in crate::serve) fn release<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut state = self.state();
        for name in names {
            state.held.remove(name);
        }
        state.let_go();
    }

    /// Gives up what nobody has asked for in a while.
    pub(super) fn expire(&self) {
        let mut state = self.state();
        let patience = self.patience;
        state.held.retain(|_, since| since.elapsed() < patience);
        state.let_go();
    }

    /// Whether nothing is held.
    pub(super) fn is_idle(&self) -> bool {
        self.state().writer.is_none()
    }

    /// Hides a blob that is to be removed.
    pub(super) fn forget(&self, digest: &Digest) {
        let mut state = self.state();
        state.held.remove(digest.as_ref());
        state.forgotten.insert(digest.to_string());
        state.let_go();
    }

    /// Shows a blob again, because somebody has brought it once more.
    pub(in crate::serve) fn recall(&self, digest: &str) {
        self.state().forgotten.remove(digest);
    }

    pub(in crate::serve) fn is_forgotten(&self, digest: &Digest) -> bool {
        self.state().forgotten.contains(digest.as_ref())
    }

    pub(super) fn forgotten(&self) -> Vec<Digest> {
        self.state().forgotten.iter().filter_map(|text| digest::parse(text).ok()).collect()
    }
}

impl State {
    fn let_go(&mut self) {
        if self.held.is_empty() {
            self.writer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_in_use_while_something_waits_for_its_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        let lease = Lease::new(layout.clone(), Duration::from_secs(60));
        let writer = lease.hold("one").unwrap();
        lease.hold("two").unwrap();
        drop(writer);
        lease.release(["one"]);
        lease.expire();
        assert!(matches!(layout.lock_blobs(), Err(Error::Busy { .. })));
        lease.release(["two"]);
        assert!(layout.lock_blobs().is_ok() && lease.is_idle());
    }

    #[test]
    fn what_nobody_comes_back_to_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        let lease = Lease::new(layout.clone(), Duration::ZERO);
        drop(lease.hold("one").unwrap());
        lease.expire();
        assert!(layout.lock_blobs().is_ok());
    }
}
