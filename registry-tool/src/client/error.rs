//! What can go wrong with a registry, in words that name the host and the way out.

use std::time::Duration;

use oci_distribution::errors::{OciDistributionError, OciErrorCode};
use reqwest::{StatusCode, Url};
use thiserror::Error;

use super::credential_host;
use crate::place::credentials::{CredentialError, Credentials};

/// Why a registry did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection came about.
    #[error("{host}: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// The system's reason.
        reason: String,
    },
    /// There is a server, but TLS with it fails.
    #[error("{host}: {reason} ({hint})")]
    Tls {
        /// The host.
        host: String,
        /// What TLS said.
        reason: String,
        /// The way out.
        hint: String,
    },
    /// The registry, or its token server, refuses us.
    #[error("{host}: {reason} ({hint})")]
    Denied {
        /// The host.
        host: String,
        /// The registry's words.
        reason: String,
        /// The way out.
        hint: String,
    },
    /// There is no such thing.
    #[error("{host}: {what}: not found")]
    NotFound {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// Another status than those that were expected.
    #[error("{host}: {what}: {}{message}", describe(*status))]
    Status {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The status.
        status: StatusCode,
        /// The registry's words, with `: ` before them.
        message: String,
    },
    /// The connection broke or fell silent.
    #[error("{host}: {reason}")]
    Cut {
        /// The host.
        host: String,
        /// How.
        reason: String,
    },
    /// The answer is none that the distribution-spec allows.
    #[error("{host}: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer is larger than its kind may be.
    #[error("{host}: an answer of more than {limit} bytes, refused")]
    TooLarge {
        /// The host.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// This machine's configuration allows no connection.
    #[error("{reason}")]
    Setup {
        /// What is wrong.
        reason: String,
    },
    /// Credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

fn describe(status: StatusCode) -> String {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "too many requests".to_owned(),
        status => format!("HTTP status {status}"),
    }
}

impl ClientError {
    pub(crate) fn denied(registry: &Url, credentials: Option<&Credentials>, message: Option<String>) -> Self {
        let authority = registry.authority();
        let host = credential_host(authority);
        let reason = message.unwrap_or_else(|| "access denied".to_owned());
        let hint = match credentials {
            Some(_) => format!("the stored login was refused; registry-tool login {host}"),
            // Registries answer so for what does not exist, too, to those whom they do not know.
            None => format!("registry-tool login {host}, or there is no such repository"),
        };
        Self::Denied { host: host.to_owned(), reason, hint }
    }

    pub(crate) fn status(host: &str, what: &str, status: StatusCode, body: &[u8]) -> Self {
        let message = message_of(body).map(|message| format!(": {message}")).unwrap_or_default();
        Self::Status { host: host.to_owned(), what: what.to_owned(), status, message }
    }

    /// Adds that the registry wants a longer wait than we grant.
    pub(crate) fn asked_to_wait(mut self, asked: Option<Duration>) -> Self {
        if let (Self::Status { message, .. }, Some(asked)) = (&mut self, asked)
            && asked > crate::client::retry::LONGEST_WAIT
        {
            message.push_str(&format!(" (try again in {} s)", asked.as_secs()));
        }
        self
    }

    pub(crate) fn cut(host: &str, error: &reqwest::Error) -> Self {
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        Self::Cut { host: host.to_owned(), reason }
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

    /// An error of the crate's client.
    pub(super) fn from_crate(
        base: &Url,
        credentials: Option<&Credentials>,
        what: &str,
        error: OciDistributionError,
    ) -> Self {
        let host = base.authority().to_owned();
        let by_status = |code: u16, message: &[u8]| match code {
            401 | 403 => Self::denied(base, credentials, message_of(message)),
            404 => Self::NotFound { host: host.clone(), what: what.to_owned() },
            code => {
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Self::status(&host, what, status, message)
            }
        };
        match error {
            OciDistributionError::UnauthorizedError { .. } => by_status(401, b""),
            OciDistributionError::AuthenticationFailure(message) => by_status(401, message.as_bytes()),
            OciDistributionError::ServerError { code, message, .. } => by_status(code, message.as_bytes()),
            OciDistributionError::RegistryError { envelope, .. } => {
                let first = envelope.errors.first();
                let message = first.map(|error| printable(&error.message)).unwrap_or_default();
                match first.map(|error| &error.code) {
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                        Self::denied(base, credentials, Some(message))
                    }
                    Some(OciErrorCode::Toomanyrequests) => {
                        let message = format!(": {message}");
                        Self::Status { host, what: what.to_owned(), status: StatusCode::TOO_MANY_REQUESTS, message }
                    }
                    Some(
                        OciErrorCode::BlobUnknown
                        | OciErrorCode::NotFound
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::ManifestBlobUnknown,
                    ) => Self::NotFound { host, what: what.to_owned() },
                    _ => Self::Protocol { host, reason: format!("{what}: {message}") },
                }
            }
            OciDistributionError::RequestError(error) => Self::cut(&host, &error),
            other => Self::Protocol { host, reason: format!("{what}: {}", printable(&innermost(&other))) },
        }
    }

    /// Whether asking the same registry again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Cut { .. } => true,
            Self::Status { status, .. } => super::is_transient(*status),
            _ => false,
        }
    }

    /// Whether the registry answered that there is no such thing, or that we may not know.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The last error of a chain: the one that says what happened, where those before say what was being done.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
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

/// The first message of a registry's error document (distribution-spec "Error Codes"), made fit for one line.
pub(crate) fn message_of(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = document.get("errors").and_then(|errors| errors.get(0));
    let text = first
        .and_then(|error| error.get("message").or_else(|| error.get("code")))
        .or_else(|| document.get("details"))
        .or_else(|| document.get("message"))
        .or_else(|| document.get("error_description"))
        .and_then(serde_json::Value::as_str)?;
    let text = printable(text);
    (!text.is_empty()).then_some(text)
}

/// A registry's words without what could disturb a terminal, on one line, and not too many of them.
fn printable(text: &str) -> String {
    let clean: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(200).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_become_one_harmless_line() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"X","message":"no\nway\u001b[31m"}]}"#, Some("no way [31m")),
            (r#"{"errors":[{"code":"X"}]}"#, Some("X")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"errors":[]}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(message_of(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_denial_names_the_command_that_helps() {
        let url = Url::parse("https://registry-1.docker.io/").unwrap();
        let error = ClientError::denied(&url, None, Some("unauthorized".into())).to_string();
        assert_eq!(error, "docker.io: unauthorized (registry-tool login docker.io, or there is no such repository)");
    }
}
