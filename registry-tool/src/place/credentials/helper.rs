//! Credential helpers: programs `docker-credential-NAME` that keep secrets elsewhere.
//!
//! The protocol is docker-credential-helpers': an operation as argument, JSON or the server's name on standard input, JSON
//! on standard output, and a message on standard *output* with status 1 where something is wrong.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::Credentials;

/// Why a credential helper failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HelperError {
    /// It is configured but cannot be started.
    #[error("credential helper docker-credential-{name} (named in docker's config.json)")]
    Start {
        /// The helper's name, without `docker-credential-`.
        name: String,
        /// Why the program could not be started.
        source: std::io::Error,
    },
    /// It reported an error.
    #[error("docker-credential-{name} {operation}: {message}")]
    Failed {
        /// The helper's name, without `docker-credential-`.
        name: String,
        /// `get`, `store` or `erase`.
        operation: &'static str,
        /// The first line of its own message.
        message: String,
    },
    /// A name that could lead outside the search path.
    #[error("{0:?} is not a valid name of a credential helper")]
    Name(String),
}

/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

pub(super) fn get(name: &str, server: &str) -> Result<Option<Credentials>, HelperError> {
    let output = match call(name, "get", server.as_bytes()) {
        Ok(output) => output,
        // The words are docker-credential-helpers' own (credentials/error.go), and all its helpers say them.
        Err(HelperError::Failed { message, .. }) if message.contains("credentials not found") => return Ok(None),
        Err(error) => return Err(error),
    };
    let invalid =
        |_| HelperError::Failed { name: name.into(), operation: "get", message: "its answer is not valid JSON".into() };
    let message: Message = serde_json::from_slice(&output).map_err(invalid)?;
    Ok(match message {
        Message { secret, .. } if secret.is_empty() => None,
        Message { username, secret, .. } if username == TOKEN_USER => Some(Credentials::IdentityToken(secret)),
        Message { username, secret, .. } => Some(Credentials::Password { username, password: secret }),
    })
}

pub(super) fn store(name: &str, server: &str, credentials: &Credentials) -> Result<(), HelperError> {
    let (username, secret) = match credentials {
        Credentials::Password { username, password } => (username.as_str(), password),
        Credentials::IdentityToken(token) | Credentials::RegistryToken(token) => (TOKEN_USER, token),
    };
    let message = Message { server_url: server.into(), username: username.into(), secret: secret.clone() };
    call(name, "store", &serde_json::to_vec(&message).expect("three strings are JSON")).map(drop)
}

pub(super) fn erase(name: &str, server: &str) -> Result<(), HelperError> {
    call(name, "erase", server.as_bytes()).map(drop)
}

fn call(name: &str, operation: &'static str, input: &[u8]) -> Result<Vec<u8>, HelperError> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err(HelperError::Name(name.into()));
    }
    let failed = |source| HelperError::Start { name: name.into(), source };
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(operation)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading gives the reason in its status, which is read below.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    // On failure standard output is the message. It is never a secret: `get` prints one only with status 0.
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let message = line.map_or_else(|| output.status.to_string(), |line| line.chars().take(200).collect());
    Err(HelperError::Failed { name: name.into(), operation, message })
}
