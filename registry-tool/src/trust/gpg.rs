//! Signatures that GnuPG makes, as skopeo and podman have it make them.
//!
//! Secret keys stay where people keep them: in gpg's folder, behind its agent, on a card. Only gpg is started, and only to sign; what
//! it made is verified without it ([`super::keyring`]).

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use thiserror::Error;

/// Why there is no signature.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GpgError {
    /// It is not installed.
    #[error("gpg is needed to sign with {key}, and is not installed (Debian's package gpg)")]
    Missing {
        /// The key.
        key: String,
    },
    /// It could not be started, or not be spoken to.
    #[error("gpg")]
    Start(#[source] std::io::Error),
    /// It does not sign.
    #[error("gpg does not sign with {key}: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// Its last words.
        reason: String,
    },
}

/// A key in gpg's folder.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// Its fingerprint, or whatever else gpg finds it by.
    pub key: &'a str,
    /// The file whose first line is its passphrase; otherwise gpg's agent asks for it.
    pub passphrase: Option<&'a Path>,
}

impl Signer<'_> {
    /// Signs a text: a message that holds both.
    ///
    /// # Errors
    /// [`GpgError`].
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, GpgError> {
        let mut command = Command::new("gpg");
        // Whatever its configuration says otherwise: bytes, and no other kind of signature.
        command.args(["--batch", "--quiet", "--no-armor", "--no-textmode", "--output", "-", "--local-user", self.key]);
        if let Some(file) = self.passphrase {
            command.args(["--pinentry-mode", "loopback", "--passphrase-file"]).arg(file);
        }
        command.arg("--sign").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let key = || self.key.to_owned();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => GpgError::Missing { key: key() },
            _ => GpgError::Start(error),
        })?;
        let given = child.stdin.take().expect("it is piped").write_all(text);
        let ended = child.wait_with_output().map_err(GpgError::Start)?;
        if !ended.status.success() || ended.stdout.is_empty() {
            let said = String::from_utf8_lossy(&ended.stderr);
            let mut lines = said.lines().rev().map(|line| line.trim_start_matches("gpg: ").trim());
            let reason = lines.find(|line| !line.is_empty()).unwrap_or("it says nothing").to_owned();
            return Err(GpgError::Refused { key: key(), reason });
        }
        given.map_err(GpgError::Start)?;
        Ok(ended.stdout)
    }
}
