//! The certificate that a server shows.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}", .path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{}: no certificate in it (PEM, the server's own first)", .path.display())]
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// The two do not belong together, or are not supported.
    #[error("{} with {}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's path.
        certificate: PathBuf,
        /// The key's path.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate with its key, which may be renewed while it is shown.
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    held: Mutex<(State, TlsAcceptor)>,
}

/// What changes when one of the two files is replaced or written: device, inode, size and time of each.
type State = [Option<(u64, u64, u64, i64, i64)>; 2];

impl Certificate {
    /// Reads a certificate, with those that vouch for it, and its key, both in PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let state = state(certificate, key);
        let acceptor = TlsAcceptor::from(settings(certificate, key)?);
        Ok(Self { certificate: certificate.into(), key: key.into(), held: Mutex::new((state, acceptor)) })
    }

    /// Reads the files again. If they are not right, what was known before is shown further.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn renew(&self) -> Result<(), TlsError> {
        let now = state(&self.certificate, &self.key);
        let read = settings(&self.certificate, &self.key);
        let mut held = self.held();
        // Also of what is not right: it is reported once.
        held.0 = now;
        held.1 = TlsAcceptor::from(read?);
        Ok(())
    }

    /// As [`Self::renew`], if one of the files has changed.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn renew_if_changed(&self) -> Result<(), TlsError> {
        let is_changed = self.held().0 != state(&self.certificate, &self.key);
        if is_changed { self.renew() } else { Ok(()) }
    }

    /// What new connections are taken through.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.held().1.clone()
    }

    fn held(&self) -> MutexGuard<'_, (State, TlsAcceptor)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(certificate: &Path, key: &Path) -> State {
    [certificate, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
    })
}

fn settings(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path, source| TlsError::File { path: path.into(), source };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|source| file(certificate, source))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: certificate.into() });
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| file(key, source))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret));
    let pair = |source| TlsError::Pair { certificate: certificate.into(), key: key.into(), source };
    let mut settings = made.map_err(pair)?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}
