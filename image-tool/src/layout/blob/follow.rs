//! Reading a blob while it is being written: what reads it works while the rest is still on its way.
//!
//! The writer tells how far it is, and the reader reads the file behind it. What it reads is not verified yet.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far a writer is.
#[derive(Debug, Default)]
struct State {
    size: u64,
    /// Nothing more will come, or what came is not the blob.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end. Dropped, it tells its reader that nothing more will come.
#[derive(Debug, Default)]
pub(super) struct Leader(Option<Arc<Shared>>);

impl Leader {
    /// A reader of the file, which has `size` bytes now and `whole` at its end. One that was there before gets an error.
    pub(super) fn follow(&mut self, file: File, size: u64, whole: u64) -> Follower {
        self.end();
        let shared = Arc::new(Shared { state: Mutex::new(State { size, is_over: false }), changed: Condvar::new() });
        self.0 = Some(Arc::clone(&shared));
        Follower { file, shared, position: 0, whole }
    }

    pub(super) fn at(&self, size: u64) {
        if let Some(shared) = &self.0 {
            shared.state().size = size;
            shared.changed.notify_all();
        }
    }

    /// What was written is discarded, or nothing more is.
    pub(super) fn end(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.state().is_over = true;
            shared.changed.notify_all();
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads a blob that is being written, to its end; waits where it is not written yet.
#[derive(Debug)]
pub struct Follower {
    file: File,
    shared: Arc<Shared>,
    position: u64,
    whole: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.whole {
            return Ok(0);
        }
        let written = {
            let mut state = self.shared.state();
            while state.size <= self.position && !state.is_over {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // What is whole can be read though its writer has gone.
            if state.is_over && state.size < self.whole {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob did not arrive"));
            }
            state.size
        };
        let count = usize::try_from(written.saturating_sub(self.position)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_reader_waits_for_what_is_written() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        let mut leader = Leader::default();
        let mut follower = leader.follow(file.try_clone().unwrap(), 3, 6);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            follower.read_to_string(&mut text).map(|_| text)
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!reader.is_finished());
        file.write_all(b"two").unwrap();
        leader.at(6);
        drop(leader);
        assert_eq!(reader.join().unwrap().unwrap(), "onetwo");
    }

    #[test]
    fn a_reader_of_what_is_given_up_fails() {
        for restart in [false, true] {
            let mut leader = Leader::default();
            let mut follower = leader.follow(tempfile::tempfile().unwrap(), 0, 6);
            let reader = std::thread::spawn(move || follower.read(&mut [0; 9]));
            if restart {
                leader.end();
            } else {
                drop(leader);
            }
            assert_eq!(reader.join().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
