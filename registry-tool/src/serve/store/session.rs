//! Uploads in progress, each with an identifier that nobody can guess.
//!
//! What has arrived is in a file of the layout, so that a client can go on after the server was restarted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use image_tool::layout::{BlobWriter, Error, Layout};
use uuid::Uuid;

use super::lease::Lease;

/// An upload, for one request at a time. It is empty once the upload has ended.
pub(in crate::serve) type Session = Arc<tokio::sync::Mutex<Option<BlobWriter>>>;

/// The uploads of one layout.
pub(in crate::serve) struct Sessions {
    layout: Layout,
    patience: Duration,
    open: Mutex<HashMap<String, (Session, Instant)>>,
}

impl Sessions {
    pub(super) fn new(layout: Layout, patience: Duration) -> Self {
        Self { layout, patience, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, (Session, Instant)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload; returns its identifier.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(in crate::serve) fn begin(&self, lease: &Lease) -> Result<(String, Session), Error> {
        let id = Uuid::new_v4().to_string();
        let upload = match lease.hold(&id)?.start_upload(&id) {
            Ok(upload) => upload,
            Err(error) => {
                lease.release([id.as_str()]);
                return Err(error);
            }
        };
        let session = Arc::new(tokio::sync::Mutex::new(Some(upload)));
        self.open().insert(id.clone(), (Arc::clone(&session), Instant::now()));
        Ok((id, session))
    }

    /// An upload by its identifier, if there is one, perhaps from before a restart.
    ///
    /// # Errors
    /// [`Error::Busy`] if another server has it, [`Error::Io`].
    pub(in crate::serve) fn find(&self, id: &str, lease: &Lease) -> Result<Option<Session>, Error> {
        if Uuid::try_parse(id).is_err() {
            return Ok(None);
        }
        let mut open = self.open();
        if let Some((session, since)) = open.get_mut(id) {
            *since = Instant::now();
            lease.hold(id)?;
            return Ok(Some(Arc::clone(session)));
        }
        let found = lease.hold(id)?.continue_upload(id);
        let Ok(Some(upload)) = found else {
            lease.release([id]);
            return found.map(|_| None);
        };
        let session = Arc::new(tokio::sync::Mutex::new(Some(upload)));
        open.insert(id.to_owned(), (Arc::clone(&session), Instant::now()));
        Ok(Some(session))
    }

    /// Forgets an upload that has ended.
    pub(in crate::serve) fn end(&self, id: &str, lease: &Lease) {
        self.open().remove(id);
        lease.release([id]);
    }

    /// How many there are.
    pub(in crate::serve) fn count(&self) -> usize {
        self.open().len()
    }

    /// Gives up the uploads that nobody has continued in a while, those of former servers too.
    pub(super) fn expire(&self, lease: &Lease) {
        let late: Vec<(String, Session)> = {
            let open = self.open();
            let late = open.iter().filter(|(_, (_, since))| since.elapsed() >= self.patience);
            late.map(|(id, (session, _))| (id.clone(), Arc::clone(session))).collect()
        };
        for (id, session) in late {
            // One that a request holds is in use, however slowly.
            let Ok(mut held) = session.try_lock() else { continue };
            if let Some(upload) = held.take() {
                upload.cancel();
            }
            self.end(&id, lease);
        }
        let open = self.open();
        // What cannot be listed is tried again.
        for upload in self.layout.uploads().unwrap_or_default() {
            let is_late = upload.changed.elapsed().is_ok_and(|age| age >= self.patience);
            if is_late && !open.contains_key(&upload.name) {
                self.layout.drop_upload(&upload.name);
            }
        }
    }
}
