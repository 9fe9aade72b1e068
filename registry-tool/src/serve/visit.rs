//! One request from its arrival to the last byte of its answer, as it is told to whoever keeps a log.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::content::Content;

/// A request that has been answered.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Who asked; unknown behind some sockets.
    pub peer: Option<IpAddr>,
    /// As whom, if that was proved.
    pub user: Option<String>,
    /// The method.
    pub method: String,
    /// The path with its query, as the client wrote it.
    pub target: String,
    /// The client's name for itself.
    pub agent: Option<String>,
    /// Which kind of thing was asked for.
    pub kind: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// How many bytes of its body were sent.
    pub sent: u64,
    /// Whether that was all of it.
    pub is_whole: bool,
    /// How long it took.
    pub took: Duration,
}

/// Who is told of each request once it has been answered.
pub type Watcher = Arc<dyn Fn(&Visit) + Send + Sync>;

/// The body of an answer, which tells of its visit when it ends, however it ends.
pub(super) struct Told {
    content: Content,
    visit: Visit,
    since: Instant,
    watcher: Watcher,
}

impl Told {
    pub(super) fn new(content: Content, visit: Visit, since: Instant, watcher: Watcher) -> Self {
        Self { content, visit, since, watcher }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.content).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.visit.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.visit.is_whole = self.content.is_end_stream();
        self.visit.took = self.since.elapsed();
        (self.watcher)(&self.visit);
    }
}
