//! Certificates that say whose key a signature was made with, verified up to a root that a person trusts.
//!
//! Without a transparency log nobody knows when a signature was made, so a certificate must be valid now.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring as algorithms};

use super::pem;

/// Code signing (RFC 5280, 4.2.1.12), without the head of its DER.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// Subject alternative names (RFC 5280, 4.2.1.6), whole.
const ALTERNATIVE_NAMES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];

/// Why a certificate vouches for nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none, or it is damaged.
    #[error("no certificate in it (PEM)")]
    Missing,
    /// No root that is trusted vouches for it, or it is not valid now or not for this.
    #[error("the certificate is not trusted")]
    Untrusted(#[source] webpki::Error),
    /// It is somebody else's.
    #[error("the certificate is that of {}, not of {wanted}", list(.found))]
    Identity {
        /// Whose it is.
        found: Vec<String>,
        /// Whose it was to be.
        wanted: String,
    },
    /// The signature is not that of the certificate's key.
    #[error("the signature is not that of the certificate's key")]
    Signature,
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// The roots that a person trusts, and whose certificates count.
#[derive(Clone, Debug)]
pub struct Authority {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    /// A mail address, host name or URI in the certificate; anybody's counts if there is none.
    identity: Option<String>,
}

impl Authority {
    /// Trusts the roots in a text, and what the intermediates in another lead from them to, for one identity.
    ///
    /// # Errors
    /// [`CertificateError::Missing`], [`CertificateError::Untrusted`] for a root that is none.
    pub fn new(roots: &str, intermediates: &str, identity: Option<String>) -> Result<Self, CertificateError> {
        let anchor = |root: &CertificateDer<'static>| {
            anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()).map_err(CertificateError::Untrusted)
        };
        let roots = certificates(roots)?.iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
        if roots.is_empty() {
            return Err(CertificateError::Missing);
        }
        Ok(Self { roots, intermediates: certificates(intermediates)?, identity })
    }

    /// Verifies that the owner of a certificate signed a message. Returns who that is.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        certificate: &str,
        chain: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Vec<String>, CertificateError> {
        let own = certificates(certificate)?.into_iter().next().ok_or(CertificateError::Missing)?;
        let intermediates = [self.intermediates.clone(), certificates(chain)?].concat();
        let leaf = EndEntityCert::try_from(&own).map_err(CertificateError::Untrusted)?;
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.roots,
            &intermediates,
            UnixTime::now(),
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            None,
        )
        .map_err(CertificateError::Untrusted)?;
        let names = names(&own);
        if let Some(wanted) = &self.identity
            && !names.contains(wanted)
        {
            return Err(CertificateError::Identity { found: names, wanted: wanted.clone() });
        }
        let kinds = [algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA384, algorithms::ED25519];
        if kinds.iter().any(|kind| leaf.verify_signature(*kind, message, signature).is_ok()) {
            Ok(names)
        } else {
            Err(CertificateError::Signature)
        }
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let sections = pem::sections(text).ok_or(CertificateError::Missing)?;
    let certificates = sections.into_iter().filter(|section| section.label == "CERTIFICATE");
    Ok(certificates.map(|section| CertificateDer::from(section.bytes)).collect())
}

/// The mail addresses, host names and URIs of a certificate that has been verified, so that its form is right. webpki tells all but
/// the mail addresses.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let found = (|| {
        let (_, certificate, _) = element(certificate)?;
        let (_, mut fields, _) = element(certificate)?;
        // The fields before the extensions have other tags.
        let extensions = loop {
            let (tag, value, rest) = element(fields)?;
            if tag == 0xa3 {
                break element(value)?.1;
            }
            fields = rest;
        };
        let mut left = extensions;
        while let Some((_, extension, rest)) = element(left) {
            left = rest;
            let Some(mut after) = extension.strip_prefix(ALTERNATIVE_NAMES) else { continue };
            while let Some((tag, value, rest)) = element(after) {
                after = rest;
                if tag == 0x04 {
                    return Some(element(value)?.1);
                }
            }
        }
        None
    })();
    let mut names = Vec::new();
    let mut left = found.unwrap_or_default();
    while let Some((tag, value, rest)) = element(left) {
        left = rest;
        // rfc822Name, dNSName, uniformResourceIdentifier.
        if matches!(tag, 0x81 | 0x82 | 0x86)
            && let Ok(name) = std::str::from_utf8(value)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The first element of DER: its tag, its value, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}
