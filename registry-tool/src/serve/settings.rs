//! What whoever runs the server decides.

use std::time::Duration;

/// The limits and rules of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether nothing can be pushed or deleted.
    pub is_read_only: bool,
    /// Whether an image may be pushed that lacks blobs.
    pub is_sparse: bool,
    /// The largest blob that can be pushed, in bytes.
    pub max_blob: Option<u64>,
    /// How many connections are served at once; others wait.
    pub max_connections: usize,
    /// How long a connection may be silent: before a request, within its body, or taking no more of an answer.
    pub timeout: Duration,
    /// For how long it is believed which image a tag of a mirrored registry has.
    pub trust: Duration,
    /// How long requests in progress may go on once the server is to stop.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_read_only: false,
            is_sparse: false,
            max_blob: None,
            max_connections: 512,
            timeout: Duration::from_secs(60),
            trust: Duration::ZERO,
            grace: Duration::from_secs(10),
        }
    }
}
