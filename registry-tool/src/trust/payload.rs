//! What is signed: the digest of an image and the name that it was signed under (containers-signature(5)).
//!
//! The JSON is that of "simple signing" wherever the signature is kept; what it calls itself differs. With GnuPG's signatures a
//! payload is read as podman reads it: no field more, none less, and none twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What a payload says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// cosign's.
    Cosign,
    /// That of podman, skopeo and GnuPG.
    Atomic,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Cosign => "cosign container image signature",
            Self::Atomic => "atomic container signature",
        }
    }
}

/// A payload that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Which form it has.
    pub kind: Kind,
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

/// The same, read as podman does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exact {
    critical: Critical,
    optional: Fields,
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

/// Fields of which none stands twice, the known ones of their types.
struct Fields(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = BTreeMap<String, Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    let is_right = match name.as_str() {
                        "creator" => value.is_string(),
                        "timestamp" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
                        _ => true,
                    };
                    if !is_right {
                        return Err(A::Error::custom(format!("optional field `{name}` has another type")));
                    }
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                    fields.insert(name, value);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Once).map(Self)
    }
}

impl Payload {
    /// Reads a payload, whose signature must have been verified: not a byte of it means anything otherwise.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, String> {
        let read = match kind {
            Kind::Cosign => serde_json::from_slice(bytes),
            Kind::Atomic => serde_json::from_slice(bytes)
                .map(|Exact { critical, optional: Fields(fields) }| Written { critical, optional: Some(fields) }),
        };
        let Written { critical, optional } = read.map_err(|error| format!("the payload is not valid: {error}"))?;
        if critical.kind != kind.name() {
            return Err("the payload is not that of an image's signature".to_owned());
        }
        Ok(Self {
            kind,
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
                kind: self.kind.name().to_owned(),
            },
            // cosign writes null for none, podman demands an object.
            optional: (self.kind == Kind::Atomic || !self.annotations.is_empty()).then(|| self.annotations.clone()),
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
        let mut payload =
            Payload { kind: Kind::Cosign, reference: "a.b/c".into(), digest: "sha256:1".into(), annotations };
        let parse = |bytes: &[u8]| Payload::parse(Kind::Cosign, bytes);
        assert_eq!(parse(&payload.bytes()), Ok(payload.clone()));
        payload.annotations.clear();
        let expected = r#"{"critical":{"identity":{"docker-reference":"a.b/c"},"image":{"docker-manifest-digest":"sha256:1"},"type":"cosign container image signature"},"optional":null}"#;
        assert_eq!(String::from_utf8(payload.bytes()).unwrap(), expected);
        assert!(parse(expected.replace("cosign ", "other ").as_bytes()).is_err());
        assert!(parse(expected.replace("\"type\"", "\"more\":1,\"type\"").as_bytes()).is_err());
        assert!(parse(b"{}").is_err());
    }

    #[test]
    fn podmans_payload_has_exactly_its_fields() {
        let good = r#"{"critical":{"identity":{"docker-reference":"a.b/c:1"},"image":{"docker-manifest-digest":"sha256:1"},"type":"atomic container signature"},"optional":{"creator":"x","timestamp":1}}"#;
        let parse = |text: &str| Payload::parse(Kind::Atomic, text.as_bytes());
        let payload = parse(good).unwrap();
        assert_eq!((payload.reference.as_str(), payload.digest.as_str()), ("a.b/c:1", "sha256:1"));
        assert_eq!(String::from_utf8(payload.bytes()).unwrap(), good);
        assert!(parse(&good.replace("\"timestamp\":1", "\"new\":[1]")).is_ok(), "optional fields may be others");
        for (from, to) in [
            ("atomic ", "cosign "),
            ("atomic container", "atomic image"),
            ("\"type\"", "\"more\":1,\"type\""),
            ("\"optional\"", "\"more\":{},\"optional\""),
            (",\"optional\":{\"creator\":\"x\",\"timestamp\":1}", ""),
            ("{\"creator\":\"x\",\"timestamp\":1}", "null"),
            ("\"docker-reference\":\"a.b/c:1\"", "\"docker-reference\":\"a.b/c:1\",\"docker-reference\":\"a.b/c:2\""),
            ("\"docker-reference\":\"a.b/c:1\"", "\"docker-reference\":\"a.b/c:1\",\"tag\":\"2\""),
            ("\"docker-reference\":\"a.b/c:1\"", ""),
            ("\"docker-manifest-digest\"", "\"Docker-manifest-digest\""),
            ("\"image\"", "\"image\":{\"docker-manifest-digest\":\"sha256:2\"},\"image\""),
            ("\"creator\":\"x\"", "\"creator\":\"x\",\"creator\":\"y\""),
            ("\"creator\":\"x\"", "\"creator\":1"),
            ("\"timestamp\":1", "\"timestamp\":1.5"),
            ("\"timestamp\":1}}", "\"timestamp\":1}}{}"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }
}
