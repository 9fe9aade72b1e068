//! A blob while it arrives or is verified: how far that is, for whoever reads it meanwhile, and a reader that waits for what is not
//! there yet.
//!
//! The download, or the verification, tells how far it is, and readers read the file behind it. What they read is not verified yet.
//! Who sends it on keeps the last byte back until the blob is known to be sound, so that nobody takes it for the blob if it is not.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use image_tool::address::digest::Verifier;
use image_tool::beneath::page::Buffer;
use image_tool::layout::BlobWriter;
use oci_spec::image::Descriptor;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How far a blob has come.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// The file that it is written to, once there is one; another one where the download begins anew.
    pub file: Option<Arc<File>>,
    /// How many bytes are there.
    pub size: u64,
    /// Whether it ended well, once it has ended.
    pub end: Option<bool>,
}

impl Growth {
    /// A blob in the making. Without a descriptor to spare it has no file, and readers wait until all is there.
    pub(super) fn of(blob: &BlobWriter) -> Self {
        Self { file: blob.view().ok().map(Arc::new), size: blob.size(), end: None }
    }

    /// A blob that lies in this file, of which nothing has been verified yet.
    pub(crate) fn unverified(file: Arc<File>) -> Self {
        Self { file: Some(file), size: 0, end: None }
    }

    /// A blob that lies in this file, and is sound.
    pub(crate) fn sound(file: Arc<File>, size: u64) -> Self {
        Self { file: Some(file), size, end: Some(true) }
    }

    /// How many bytes from `offset` on may be sent: of the `total` of the blob the last one only when it is known to be sound.
    ///
    /// # Errors
    /// As [`Self::size_of`].
    pub(crate) fn ready(&self, file: &Arc<File>, offset: u64, total: u64) -> io::Result<u64> {
        let there = self.size_of(file)?;
        let ready = if self.end == Some(true) { total } else { there.min(total.saturating_sub(1)) };
        Ok(ready.saturating_sub(offset))
    }

    /// How many bytes are there of this file.
    ///
    /// # Errors
    /// If that will not become the blob.
    pub fn size_of(&self, file: &Arc<File>) -> io::Result<u64> {
        let is_same = self.file.as_ref().is_some_and(|current| Arc::ptr_eq(current, file));
        if !is_same || self.end == Some(false) {
            return Err(gone());
        }
        Ok(self.size)
    }
}

/// Verifies the blob that `news` tells of, and tells how far that is: those who send the blob meanwhile follow. Not for a thread that
/// serves the network.
///
/// # Errors
/// Those of [`Verifier`], and what `go_on` says before each step.
pub(crate) fn verify(
    news: &watch::Sender<Growth>,
    descriptor: &Descriptor,
    mut go_on: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let result = (|| {
        let file = news.borrow().file.clone().ok_or_else(gone)?;
        let mut reader = Verifier::new(file, descriptor.digest(), descriptor.size()).map_err(io::Error::other)?;
        let mut buffer = Buffer::new(1 << 17);
        loop {
            go_on()?;
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => news.send_modify(|growth| growth.size += count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })();
    news.send_modify(|growth| growth.end = Some(result.is_ok()));
    result
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the blob did not arrive whole")
}

/// Reads a blob that is arriving, to its end; waits where it is not there yet. Not for a thread that serves the network.
pub(super) struct Follower {
    growth: watch::Receiver<Growth>,
    file: Arc<File>,
    position: u64,
    whole: u64,
    runtime: Handle,
}

impl Follower {
    /// A reader of a blob of `whole` bytes; `None` if it has no file.
    pub(super) fn new(growth: watch::Receiver<Growth>, whole: u64) -> Option<Self> {
        let file = growth.borrow().file.clone()?;
        Some(Self { growth, file, position: 0, whole, runtime: Handle::current() })
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.whole || buffer.is_empty() {
            return Ok(0);
        }
        let there = loop {
            let there = self.growth.borrow_and_update().size_of(&self.file)?;
            if there > self.position {
                break there;
            }
            self.runtime.block_on(self.growth.changed()).map_err(|_| gone())?;
        };
        let count = usize::try_from(there - self.position).unwrap_or(usize::MAX).min(buffer.len());
        match self.file.read_at(&mut buffer[..count], self.position)? {
            // It was begun anew in this moment.
            0 => Err(gone()),
            count => {
                self.position += count as u64;
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::runtime::Runtime;

    use super::*;

    /// A blob of six bytes of which three are there, and what reads it.
    fn half(runtime: &Runtime) -> (File, watch::Sender<Growth>, Follower) {
        let _inside = runtime.enter();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        let view = Some(Arc::new(file.try_clone().unwrap()));
        let news = watch::Sender::new(Growth { file: view, size: 3, end: None });
        let follower = Follower::new(news.subscribe(), 6).unwrap();
        (file, news, follower)
    }

    fn read(mut follower: Follower) -> std::thread::JoinHandle<io::Result<String>> {
        std::thread::spawn(move || {
            let mut text = String::new();
            follower.read_to_string(&mut text).map(|_| text)
        })
    }

    #[test]
    fn a_reader_waits_for_what_arrives() {
        let runtime = Runtime::new().unwrap();
        let (mut file, news, follower) = half(&runtime);
        let reader = read(follower);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!reader.is_finished());
        file.write_all(b"two").unwrap();
        news.send_modify(|growth| growth.size = 6);
        // What is whole can be read though nobody tells of it any more.
        drop(news);
        assert_eq!(reader.join().unwrap().unwrap(), "onetwo");
    }

    #[test]
    fn a_reader_of_what_is_given_up_fails() {
        let given_up: [fn(&watch::Sender<Growth>); 4] = [
            |_| {},
            |news| news.send_modify(|growth| growth.end = Some(false)),
            |news| {
                news.send_replace(Growth { file: Some(Arc::new(tempfile::tempfile().unwrap())), size: 6, end: None });
            },
            |news| {
                news.send_modify(|growth| {
                    growth.file.as_ref().unwrap().set_len(0).unwrap();
                    growth.size = 6;
                });
            },
        ];
        let runtime = Runtime::new().unwrap();
        for (number, give_up) in given_up.into_iter().enumerate() {
            let (_file, news, follower) = half(&runtime);
            let reader = read(follower);
            give_up(&news);
            drop(news);
            let error = reader.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{number}");
        }
    }
}
