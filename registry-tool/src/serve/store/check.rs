//! Whether blobs are what their digests say. Each is read once after its file has changed, however many ask for it meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use image_tool::address::digest::Digest;
use image_tool::error::During as _;
use image_tool::layout::{Error, Layout};
use oci_spec::image::Descriptor;
use tokio::sync::watch;

use super::{Stamp, Store};
use crate::transfer::growth::{Growth, verify};

/// How many blobs are remembered as sound.
const SOUND: usize = 1 << 16;

/// Blobs that are being read, as their files are, and who tells of it.
type Running = HashMap<String, (Stamp, Weak<watch::Sender<Growth>>)>;

/// What is known of blobs, by their digests.
#[derive(Default)]
pub(super) struct Checks {
    /// Those that are sound, as their files were then.
    sound: Mutex<HashMap<String, Stamp>>,
    running: Mutex<Running>,
}

impl Checks {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Whether a blob was verified since its file last changed.
    pub(in crate::serve) fn is_sound(&self, digest: &Digest, file: &File) -> bool {
        let Ok(metadata) = file.metadata() else { return false };
        let sound = self.checks.sound.lock().unwrap_or_else(PoisonError::into_inner);
        sound.get(digest.as_ref()) == Some(&Stamp::of(&metadata))
    }

    /// Remembers that a blob was verified: its file as it was before.
    fn verified(&self, digest: &Digest, stamp: Stamp) {
        let mut sound = self.checks.sound.lock().unwrap_or_else(PoisonError::into_inner);
        if sound.len() >= SOUND {
            sound.clear();
        }
        sound.insert(digest.to_string(), stamp);
    }

    /// Remembers that a blob was verified while it arrived.
    pub(in crate::serve) fn trust(&self, digest: &Digest) {
        if let Ok(Some((_, file))) = self.open(digest)
            && let Ok(metadata) = file.metadata()
        {
            self.verified(digest, Stamp::of(&metadata));
        }
    }

    /// Verifies a blob by a thread of its own, as long as somebody follows; whoever asks for it meanwhile follows too, in the file that
    /// is returned.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(in crate::serve) fn check(
        self: &Arc<Self>,
        descriptor: &Descriptor,
        file: File,
    ) -> Result<(Arc<File>, watch::Receiver<Growth>), Error> {
        let digest = descriptor.digest();
        let path = self.layout().path().join(Layout::blob_path(digest));
        let stamp = Stamp::of(&file.metadata().during("stat", path)?);
        let file = Arc::new(file);
        let news = {
            let mut running = self.checks.running();
            let known = running.get(digest.as_ref()).filter(|(then, _)| *then == stamp);
            if let Some(news) = known.and_then(|(_, news)| news.upgrade()) {
                let growth = news.subscribe();
                let file = growth.borrow().file.clone().unwrap_or(file);
                return Ok((file, growth));
            }
            let news = Arc::new(watch::Sender::new(Growth::unverified(Arc::clone(&file))));
            running.insert(digest.to_string(), (stamp, Arc::downgrade(&news)));
            news
        };
        let growth = news.subscribe();
        let (store, descriptor) = (Arc::clone(self), descriptor.clone());
        tokio::task::spawn_blocking(move || store.carry_out(&news, &descriptor, stamp));
        Ok((file, growth))
    }

    fn carry_out(&self, news: &Arc<watch::Sender<Growth>>, descriptor: &Descriptor, stamp: Stamp) {
        let digest = descriptor.digest();
        let forget = |running: &mut Running| {
            if running.get(digest.as_ref()).is_some_and(|(_, ours)| std::ptr::eq(ours.as_ptr(), Arc::as_ptr(news))) {
                running.remove(digest.as_ref());
            }
        };
        let mut is_left = false;
        let result = verify(news, descriptor, || {
            if news.is_closed() {
                let mut running = self.checks.running();
                // Somebody may have come in this moment, but nobody can from here on.
                if news.is_closed() {
                    forget(&mut running);
                    is_left = true;
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            Ok(())
        });
        match result {
            Ok(()) => self.verified(digest, stamp),
            Err(_) if is_left => return,
            Err(error) => tracing::error!("blob {digest}: {error} (image-tool verify)"),
        }
        forget(&mut self.checks.running());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use oci_spec::image::MediaType;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// A runtime whose only thread for reading is busy until something is sent to it.
    fn busy() -> (Runtime, mpsc::Sender<()>) {
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (go, wait) = mpsc::channel();
        runtime.spawn_blocking(move || wait.recv());
        (runtime, go)
    }

    fn store(folder: &std::path::Path) -> (Arc<Store>, Descriptor) {
        let layout = Layout::create(&folder.join("images")).unwrap();
        let descriptor = layout.writer().unwrap().put(MediaType::ImageLayer, &vec![7; 300_000]).unwrap();
        (Arc::new(Store::new(layout, false, Duration::from_secs(60))), descriptor)
    }

    #[test]
    fn all_who_ask_meanwhile_follow_one_verification() {
        let folder = tempfile::tempdir().unwrap();
        let (store, descriptor) = store(folder.path());
        let (runtime, go) = busy();
        let _inside = runtime.enter();
        let open = || store.layout().open_blob(&descriptor).unwrap();
        let (first, mut growth) = store.check(&descriptor, open()).unwrap();
        let (second, other) = store.check(&descriptor, open()).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(growth.borrow().ready(&first, 0, 300_000).unwrap(), 0);
        // One of them goes away.
        drop(other);
        go.send(()).unwrap();
        runtime.block_on(growth.wait_for(|growth| growth.end.is_some())).unwrap();
        assert_eq!(growth.borrow().ready(&first, 0, 300_000).unwrap(), 300_000);
        // It is remembered in the moment after.
        while !store.is_sound(descriptor.digest(), &first) || !store.checks.running().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn nothing_is_read_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (store, descriptor) = store(folder.path());
        let (runtime, go) = busy();
        let _inside = runtime.enter();
        let file = store.layout().open_blob(&descriptor).unwrap();
        drop(store.check(&descriptor, file).unwrap());
        go.send(()).unwrap();
        while !store.checks.running().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!store.is_sound(descriptor.digest(), &store.layout().open_blob(&descriptor).unwrap()));
    }
}
