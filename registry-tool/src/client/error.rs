//! What can go wrong with a registry, in words that name the host and the way out.

use std::time::Duration;

use image_tool::error::Io;
use reqwest::StatusCode;
use thiserror::Error;

use super::retry;
use crate::place::credentials::{CredentialError, credential_host};

/// Why a registry did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made.
    #[error("{host}: {reason}")]
    Unreachable {
        /// Host and port that were tried.
        host: String,
        /// The system's reason.
        reason: String,
    },
    /// There is a server, but TLS with it fails.
    #[error("{host}: {reason} ({hint})")]
    Tls {
        /// Host and port that were tried.
        host: String,
        /// What TLS said.
        reason: String,
        /// What to configure so that it works.
        hint: String,
    },
    /// The registry, or its token server, refuses us.
    #[error("{host}: {reason} ({hint})")]
    Denied {
        /// The name under which the registry's login is stored.
        host: String,
        /// The registry's words.
        reason: String,
        /// The command that may help.
        hint: String,
    },
    /// There is no such thing.
    #[error("{host}: {what}: not found")]
    NotFound {
        /// The registry's host and port.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// A status that the request does not allow for.
    #[error("{host}: {what}: {}", describe(*status, .message.as_deref(), *.retry_after))]
    Status {
        /// The registry's host and port, or its token server's.
        host: String,
        /// What was asked for.
        what: String,
        /// The status that came back.
        status: StatusCode,
        /// The registry's words, if it had any.
        message: Option<String>,
        /// How long the registry asks to be left alone, if that is longer than we wait.
        retry_after: Option<Duration>,
    },
    /// The connection broke or fell silent.
    #[error("{host}: {reason}")]
    Cut {
        /// The registry's host and port.
        host: String,
        /// What the connection reported.
        reason: String,
    },
    /// The answer is not one that the distribution-spec allows.
    #[error("{host}: {reason}")]
    Protocol {
        /// The registry's host and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than its kind may be.
    #[error("{host}: answer of more than {limit} bytes refused")]
    TooLarge {
        /// The registry's host and port.
        host: String,
        /// The largest answer of this kind, in bytes.
        limit: usize,
    },
    /// This machine's configuration does not permit a connection.
    #[error("{reason}")]
    Setup {
        /// The setting, and what is wrong with it.
        reason: String,
    },
    /// A certificate of certs.d cannot be read.
    #[error(transparent)]
    Io(#[from] Io),
    /// Credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

fn describe(status: StatusCode, message: Option<&str>, retry_after: Option<Duration>) -> String {
    let mut text = match status {
        StatusCode::TOO_MANY_REQUESTS => "too many requests".to_owned(),
        status => format!("HTTP status {status}"),
    };
    if let Some(message) = message {
        text = format!("{text}: {message}");
    }
    if let Some(wait) = retry_after {
        text = format!("{text} (try again in {} s)", wait.as_secs());
    }
    text
}

impl ClientError {
    /// A refusal, with the command that may help: one to a login that is stored, or one to somebody unknown.
    pub(super) fn denied(host: &str, has_login: bool, message: Option<String>) -> Self {
        let host = credential_host(host);
        let reason = message.unwrap_or_else(|| "access denied".to_owned());
        let hint = if has_login {
            format!("the stored login was refused; registry-tool login {host}")
        } else {
            // Without a login, registries deny access to what does not exist, too.
            format!("registry-tool login {host}, or there is no such repository")
        };
        Self::Denied { host: host.to_owned(), reason, hint }
    }

    pub(super) fn status(host: &str, what: &str, status: StatusCode, message: Option<String>) -> Self {
        Self::Status { host: host.to_owned(), what: what.to_owned(), status, message, retry_after: None }
    }

    /// Adds that the registry wants a longer wait than we grant.
    pub(super) fn asked_to_wait(mut self, asked: Option<Duration>) -> Self {
        if let Self::Status { retry_after, .. } = &mut self {
            *retry_after = asked.filter(|asked| *asked > retry::LONGEST_WAIT);
        }
        self
    }

    pub(super) fn cut(host: &str, error: &reqwest::Error) -> Self {
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        Self::Cut { host: host.to_owned(), reason }
    }

    pub(super) fn protocol(host: &str, reason: impl Into<String>) -> Self {
        Self::Protocol { host: host.to_owned(), reason: reason.into() }
    }

    /// Why a first request failed.
    pub(super) fn from_connection(host: &str, error: &reqwest::Error) -> Self {
        if !error.is_connect() && !error.is_timeout() {
            return Self::cut(host, error);
        }
        let reason = innermost(error);
        let host = host.to_owned();
        let lower = reason.to_lowercase();
        // A server without TLS answers the handshake with text, or with nothing.
        let is_text = lower.contains("corrupt message") || lower.contains("invalidcontenttype");
        if is_text || lower.contains("handshake eof") {
            let reason = if is_text { "it speaks plain http" } else { "it broke off the TLS handshake" };
            let hint = format!(
                "for plain http, if you trust the network, list {host:?} under insecure-registries in /etc/docker/daemon.json \
                 or as insecure in registries.conf"
            );
            return Self::Tls { reason: reason.into(), hint, host };
        }
        if lower.contains("certificate") {
            let hint = format!("put its authority's certificate into /etc/docker/certs.d/{host}/ca.crt");
            return Self::Tls { reason, hint, host };
        }
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { reason };
        Self::Unreachable { host, reason }
    }

    /// Whether asking the same registry again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Cut { .. } => true,
            Self::Status { status, .. } => retry::is_transient(*status),
            _ => false,
        }
    }

    /// Whether the registry answered that there is no such thing.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The last error of a chain: the one that says what happened, where those before say what was being done.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    // hyper wraps the system's error in one whose source is hidden behind get_ref.
    if let Some(inner) = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        return if inner.source().is_some() { innermost(inner) } else { inner.to_string() };
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_command_that_helps() {
        let error = ClientError::denied("registry-1.docker.io", false, Some("unauthorized".into())).to_string();
        assert_eq!(error, "docker.io: unauthorized (registry-tool login docker.io, or there is no such repository)");
    }
}
