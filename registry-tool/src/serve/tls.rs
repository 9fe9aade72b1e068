//! The certificate that a server shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use thiserror::Error;

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

/// The settings for a certificate, with those that vouch for it, and its key, both in PEM.
///
/// # Errors
/// [`TlsError`].
pub fn settings(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
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
