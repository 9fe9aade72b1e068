//! Why places did not answer: the failure of each, and the one line that reports them all.

use image_tool::layout;
use thiserror::Error;

use super::manifest::ManifestError;
use crate::client::ClientError;
use crate::place::lookaside::LookasideError;
use crate::trust::signature::TrustError;

/// Why one place gave nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The registry or the network.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A manifest that cannot be believed.
    #[error("{host}")]
    Manifest {
        /// The registry's host and port.
        host: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A blob that is not what its digest promises.
    #[error("{host}")]
    Blob {
        /// The registry's host and port.
        host: String,
        /// How it differs.
        source: layout::Error,
    },
    /// The registry ends a blob early, however often it is asked.
    #[error("{host}: layer {digest}: expected {expected} bytes, got {actual}")]
    Truncated {
        /// The registry's host and port.
        host: String,
        /// The blob's digest.
        digest: String,
        /// Its size in bytes.
        expected: u64,
        /// How many bytes arrived.
        actual: u64,
    },
    /// The image is not signed as it must be.
    #[error("{host}")]
    Untrusted {
        /// The registry's host and port.
        host: String,
        /// What its signatures lack.
        source: TrustError,
    },
    /// It is not known where the image's signatures lie, or they cannot be read.
    #[error(transparent)]
    Lookaside(#[from] LookasideError),
    /// Nobody gives one image that many.
    #[error("{name}: {digest} has more than {limit} signatures")]
    TooManySignatures {
        /// The whole name of the image.
        name: String,
        /// Its digest.
        digest: String,
        /// How many it may have.
        limit: usize,
    },
    /// The registry has lost a part of the image.
    #[error(transparent)]
    Incomplete(ClientError),
    /// The image is for other platforms.
    #[error("{host}: no image for {wanted} ({})", has(.offered))]
    NoPlatform {
        /// The registry's host and port.
        host: String,
        /// The platform that was wanted.
        wanted: String,
        /// Those that there are.
        offered: Vec<String>,
    },
}

/// What there is for other platforms.
fn has(offered: &[String]) -> String {
    if offered.is_empty() {
        return "its index names no platform".to_owned();
    }
    format!("it has {}; --platform chooses another", offered.join(", "))
}

impl EndpointError {
    /// Whether the place answered that it has no such thing.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_absence())
    }

    /// Whether what came is not what its digest says.
    pub(crate) fn is_damage(&self) -> bool {
        use super::manifest::ManifestError;
        matches!(
            self,
            Self::Manifest { source: ManifestError::Unsound { .. } | ManifestError::Claim { .. }, .. }
                | Self::Blob { .. }
        )
    }

    /// The error with its causes, on one line: it is reported among others, where nobody walks its chain.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            line.push_str(&format!(": {source}"));
            next = source.source();
        }
        line
    }
}

/// None of the places that may have something gave it.
#[derive(Debug, Error)]
#[error("{name}: {}", tell(noun, .failures))]
pub struct Nowhere {
    /// What was asked about, as it was typed.
    pub name: String,
    /// What it is: `image` or `repository`.
    pub noun: &'static str,
    /// The host of each place that was asked, and why it gave nothing.
    pub failures: Vec<(String, EndpointError)>,
}

/// What each place said, on one line; if none has it, only that, and which places were tried.
fn tell(noun: &str, failures: &[(String, EndpointError)]) -> String {
    if !failures.is_empty() && failures.iter().all(|(_, error)| error.is_absence()) {
        let hosts: Vec<&str> = failures.iter().map(|(host, _)| host.as_str()).collect();
        return format!("no such {noun} (tried {})", hosts.join(", "));
    }
    let one = |(host, error): &(String, EndpointError)| {
        if error.is_absence() { format!("no such {noun} at {host}") } else { error.line() }
    };
    failures.iter().map(one).collect::<Vec<_>>().join("; ")
}
