//! What is signed: the digest of an image and the name that it was signed under (containers-signature(5)).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What cosign says that it is.
const KIND: &str = "cosign container image signature";

/// A payload that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The name that was signed.
    pub reference: String,
    /// The digest of the image.
    pub digest: String,
    /// What else was signed, by name.
    pub annotations: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    critical: Critical,
    optional: Option<BTreeMap<String, Value>>,
}

/// Nothing may be critical that is not understood.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Payload {
    /// Reads a payload, whose signature must have been verified: not a byte of it means anything otherwise.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Written { critical, optional } =
            serde_json::from_slice(bytes).map_err(|error| format!("the payload is not valid: {error}"))?;
        if critical.kind != KIND {
            return Err("the payload is not that of an image's signature".to_owned());
        }
        Ok(Self {
            reference: critical.identity.reference,
            digest: critical.image.digest,
            annotations: optional.unwrap_or_default(),
        })
    }

    /// The payload as it is signed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let written = Written {
            critical: Critical {
                identity: Identity { reference: self.reference.clone() },
                image: Image { digest: self.digest.clone() },
                kind: KIND.to_owned(),
            },
            optional: (!self.annotations.is_empty()).then(|| self.annotations.clone()),
        };
        serde_json::to_vec(&written).expect("texts are serialisable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_what_cosign_writes() {
        let annotations = BTreeMap::from([("env".to_owned(), Value::from("prod"))]);
        let mut payload = Payload { reference: "a.b/c".into(), digest: "sha256:1".into(), annotations };
        assert_eq!(Payload::parse(&payload.bytes()), Ok(payload.clone()));
        payload.annotations.clear();
        let expected = r#"{"critical":{"identity":{"docker-reference":"a.b/c"},"image":{"docker-manifest-digest":"sha256:1"},"type":"cosign container image signature"},"optional":null}"#;
        assert_eq!(String::from_utf8(payload.bytes()).unwrap(), expected);
        assert!(Payload::parse(expected.replace("cosign ", "other ").as_bytes()).is_err());
        assert!(Payload::parse(expected.replace("\"type\"", "\"more\":1,\"type\"").as_bytes()).is_err());
        assert!(Payload::parse(b"{}").is_err());
    }
}
