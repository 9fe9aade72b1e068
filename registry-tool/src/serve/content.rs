//! What an answer consists of: nothing, a document in memory, or a blob that is read while it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};

use super::stream::BlobStream;

/// An answer to a request.
pub(super) type Answer = Response<Content>;

/// The body of an answer.
pub(super) enum Content {
    /// No bytes.
    Empty,
    /// All bytes at once.
    Whole(Bytes),
    /// A blob, or a part of it.
    Blob(Box<BlobStream>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Blob(stream) => stream.poll_next(context).map(|next| next.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Blob(stream) => stream.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Blob(stream) => stream.left(),
        })
    }
}

/// An answer without a body.
pub(super) fn status(status: StatusCode) -> Answer {
    let mut answer = Answer::new(Content::Empty);
    *answer.status_mut() = status;
    answer
}

/// An answer that says where something is. The path is of this server, so that it is right behind any proxy.
pub(super) fn located(code: StatusCode, path: &str) -> Answer {
    let mut answer = status(code);
    set(&mut answer, LOCATION, path);
    answer
}

/// A document. `HEAD` gets the headers alone.
pub(super) fn document(media_type: &str, bytes: Bytes, is_head: bool) -> Answer {
    let length = bytes.len();
    let mut answer = Answer::new(if is_head { Content::Empty } else { Content::Whole(bytes) });
    set(&mut answer, CONTENT_TYPE, media_type);
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

/// Sets a header, unless the text, which may be a stranger's, cannot be the value of one.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
