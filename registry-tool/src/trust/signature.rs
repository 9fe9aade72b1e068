//! A signature as cosign attaches it to an image, and what makes it a good one.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::certificate::{Authority, CertificateError};
use super::key::{KeyError, PrivateKey, PublicKey};
use super::payload::{Kind, Payload};

/// The media type of a payload.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";

/// Why an image is not trusted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It has no signature.
    #[error("{digest} is not signed")]
    Unsigned {
        /// The digest of the image.
        digest: String,
    },
    /// It has signatures, none of which is good.
    #[error("{digest}: none of its {} signatures is good: {}", .reasons.len(), tell(.reasons))]
    NoneGood {
        /// The digest of the image.
        digest: String,
        /// What is wrong with each.
        reasons: Vec<String>,
    },
}

fn tell(reasons: &[String]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for reason in reasons {
        if !told.contains(&reason.as_str()) && told.len() < 3 {
            told.push(reason);
        }
    }
    told.join("; ")
}

/// A signature with what it signs.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The payload.
    pub payload: Vec<u8>,
    /// The annotations of the layer that the payload is.
    pub annotations: HashMap<String, String>,
}

impl Signature {
    /// Signs a payload.
    ///
    /// # Errors
    /// [`KeyError::Signing`].
    pub fn make(payload: &Payload, key: &PrivateKey, certificate: Option<(&str, &str)>) -> Result<Self, KeyError> {
        let payload = payload.bytes();
        let mut annotations = HashMap::from([(SIGNATURE.to_owned(), STANDARD.encode(key.sign(&payload)?))]);
        if let Some((certificate, chain)) = certificate {
            annotations.insert(CERTIFICATE.to_owned(), certificate.to_owned());
            if !chain.is_empty() {
                annotations.insert(CHAIN.to_owned(), chain.to_owned());
            }
        }
        Ok(Self { payload, annotations })
    }

    fn annotation(&self, name: &str) -> &str {
        self.annotations.get(name).map_or("", String::as_str)
    }
}

/// Whose signatures count.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    /// Those of these keys.
    pub keys: Vec<PublicKey>,
    /// Those of certificates of this authority.
    pub authority: Option<Authority>,
}

impl Signers {
    /// What a signature says, if it counts and is about the image with this digest.
    ///
    /// # Errors
    /// Why it does not count, as text.
    pub fn check(&self, signature: &Signature, digest: &str) -> Result<Payload, String> {
        let bytes = STANDARD.decode(signature.annotation(SIGNATURE)).unwrap_or_default();
        if bytes.is_empty() {
            return Err("it has no signature in it".to_owned());
        }
        let by_key = self.keys.iter().any(|key| key.signed(&signature.payload, &bytes));
        if !by_key {
            let wrong_key = || "it is not that of a key that is trusted".to_owned();
            let authority = self.authority.as_ref().ok_or_else(wrong_key)?;
            let certificate = signature.annotation(CERTIFICATE);
            if certificate.is_empty() {
                return Err("it has no certificate".to_owned());
            }
            let checked = authority.verify(certificate, signature.annotation(CHAIN), &signature.payload, &bytes);
            checked.map_err(|error: CertificateError| match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            })?;
        }
        let payload = Payload::parse(Kind::Cosign, &signature.payload)?;
        if payload.digest != digest {
            return Err("it is that of another image".to_owned());
        }
        Ok(payload)
    }

    /// What the good ones among the signatures of an image say, where `accept` has the last word.
    ///
    /// # Errors
    /// [`TrustError`] if there is none.
    pub fn good(
        &self,
        signatures: &[Signature],
        digest: &str,
        accept: impl Fn(&Payload) -> Result<(), String>,
    ) -> Result<Vec<Payload>, TrustError> {
        sift(digest, signatures.iter().map(|signature| self.check(signature, digest)), accept)
    }
}

/// The good ones among the signatures of an image, each of which has been checked.
pub(super) fn sift(
    digest: &str,
    checked: impl Iterator<Item = Result<Payload, String>>,
    accept: impl Fn(&Payload) -> Result<(), String>,
) -> Result<Vec<Payload>, TrustError> {
    let (mut good, mut reasons) = (Vec::new(), Vec::new());
    for result in checked {
        match result.and_then(|payload| accept(&payload).map(|()| payload)) {
            Ok(payload) => good.push(payload),
            Err(reason) => reasons.push(reason),
        }
    }
    let digest = digest.to_owned();
    match (good.is_empty(), reasons.is_empty()) {
        (false, _) => Ok(good),
        (true, true) => Err(TrustError::Unsigned { digest }),
        (true, false) => Err(TrustError::NoneGood { digest, reasons }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::trust::key::tests::made;

    #[test]
    fn only_a_trusted_keys_signature_of_this_image_counts() {
        let ((_, key), (_, other)) = (made(), made());
        let annotations = BTreeMap::default();
        let payload = Payload { kind: Kind::Cosign, reference: "a.b/c".into(), digest: "sha256:1".into(), annotations };
        let signature = Signature::make(&payload, &key, None).unwrap();
        let signers = |key: &PrivateKey| Signers { keys: vec![key.public()], authority: None };
        assert_eq!(signers(&key).check(&signature, "sha256:1"), Ok(payload.clone()));
        assert!(signers(&other).check(&signature, "sha256:1").unwrap_err().contains("key"));
        assert!(signers(&key).check(&signature, "sha256:2").unwrap_err().contains("another image"));
        let mut forged = signature.clone();
        forged.payload = String::from_utf8(forged.payload).unwrap().replace("sha256:1", "sha256:2").into_bytes();
        assert!(signers(&key).check(&forged, "sha256:2").unwrap_err().contains("key"));
        let empty = Signature { annotations: HashMap::new(), ..signature.clone() };
        assert!(signers(&key).check(&empty, "sha256:1").is_err());
        let good = signers(&key).good(&[empty.clone(), signature], "sha256:1", |_| Ok(())).unwrap();
        assert_eq!(good.len(), 1);
        assert!(matches!(signers(&key).good(&[], "sha256:1", |_| Ok(())), Err(TrustError::Unsigned { .. })));
        assert!(matches!(signers(&key).good(&[empty], "sha256:1", |_| Ok(())), Err(TrustError::NoneGood { .. })));
    }
}
