//! Threads that compress blocks, which come out in the order in which they went in.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What becomes of a block.
type Outcome = io::Result<Vec<u8>>;

/// A block, and where its outcome goes.
type Job<J> = (J, SyncSender<Outcome>);

/// A few threads with work in common. They begin as work comes in.
pub(super) struct Pool<J> {
    work: Arc<dyn Fn(J) -> Outcome + Send + Sync>,
    most: usize,
    jobs: Option<SyncSender<Job<J>>>,
    queue: Arc<Mutex<Receiver<Job<J>>>>,
    pending: VecDeque<Receiver<Outcome>>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static> Pool<J> {
    /// A pool whose threads do this. Its outcome must depend on the block alone, not on those before: a compressor that is used again
    /// may find other matches.
    pub(super) fn new(work: impl Fn(J) -> Outcome + Send + Sync + 'static) -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let (sender, receiver) = sync_channel(most);
        Self {
            work: Arc::new(work),
            most,
            jobs: Some(sender),
            queue: Arc::new(Mutex::new(receiver)),
            pending: VecDeque::new(),
            threads: Vec::new(),
        }
    }

    /// Hands in a block.
    ///
    /// # Errors
    /// A thread could not be started.
    pub(super) fn submit(&mut self, job: J) -> io::Result<()> {
        if self.threads.len() < self.most && self.threads.len() <= self.pending.len() {
            let (work, queue) = (Arc::clone(&self.work), Arc::clone(&self.queue));
            let thread = move || {
                while let Some((job, result)) = queue.lock().ok().and_then(|jobs| jobs.recv().ok()) {
                    // If the stream was abandoned, nobody waits for the result.
                    let _ = result.send(work(job));
                }
            };
            self.threads.push(std::thread::Builder::new().name("compress".into()).spawn(thread)?);
        }
        let (sender, receiver) = sync_channel(1);
        let jobs = self.jobs.as_ref().expect("only a drop takes it");
        jobs.send((job, sender)).map_err(|_| io::Error::other("the compressing threads have ended"))?;
        self.pending.push_back(receiver);
        Ok(())
    }

    /// Whether so much is under way that the next is to be collected first.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() > 2 * self.most
    }

    /// Waits for the block that was handed in first; `None` if none is left.
    pub(super) fn collect(&mut self) -> Option<Outcome> {
        let receiver = self.pending.pop_front()?;
        // A panic shows as a missing block.
        Some(receiver.recv().unwrap_or_else(|_| Err(io::Error::other("a compressing thread has ended"))))
    }
}

impl<J> Drop for Pool<J> {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // It panics only because of a bug, and has printed a message.
            let _ = thread.join();
        }
    }
}
