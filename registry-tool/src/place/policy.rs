//! containers-policy.json(5): which images must be signed on this machine, and which are rejected.
//!
//! Signatures are not verified here, so an image that needs one is refused unless a person says otherwise
//! (`--disable-content-trust`); one that the policy rejects is always refused. A machine without the file trusts every
//! registry, as docker does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image_tool::error::Io;
use oci_distribution::Reference;
use serde::Deserialize;
use thiserror::Error;

use super::configuration;

/// Why the policy cannot be read, or does not allow an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A file is there but cannot be read.
    #[error(transparent)]
    Io(#[from] Io),
    /// The file is not what its format demands.
    #[error("{}", path.display())]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// Where in the file, and what is wrong.
        source: serde_json::Error,
    },
    /// The policy rejects the image.
    #[error("{name}: rejected by {}", path.display())]
    Rejected {
        /// The whole name of the image.
        name: String,
        /// The path of the policy.
        path: PathBuf,
    },
    /// The image must be signed.
    #[error(
        "{name}: {} requires {kind}, and signatures cannot be verified (--disable-content-trust pulls without verification)",
        path.display()
    )]
    Unverifiable {
        /// The whole name of the image.
        name: String,
        /// The requirement, as the policy names it: `signedBy`, for example.
        kind: String,
        /// The path of the policy.
        path: PathBuf,
    },
}

/// The policy of this machine and user.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    document: Option<(PathBuf, Document)>,
}

#[derive(Clone, Debug, Deserialize)]
struct Document {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
}

impl Policy {
    /// Reads the user's policy, else the machine's.
    ///
    /// # Errors
    /// A file that is there must be readable and well-formed: a policy that cannot be read must not count as none.
    pub fn read() -> Result<Self, PolicyError> {
        let user = configuration::user_folder().map(|folder| folder.join("containers/policy.json"));
        for path in user.into_iter().chain(["/etc/containers/policy.json".into()]) {
            if let Some(text) = configuration::read(&path)? {
                return Self::parse(path, &text);
            }
        }
        Ok(Self::default())
    }

    fn parse(path: PathBuf, text: &[u8]) -> Result<Self, PolicyError> {
        match serde_json::from_slice(text) {
            Ok(document) => Ok(Self { document: Some((path, document)) }),
            Err(source) => Err(PolicyError::Syntax { path, source }),
        }
    }

    /// Asks whether an image may be pulled. `is_trusted` says that a person accepts it without its signature.
    ///
    /// # Errors
    /// [`PolicyError::Rejected`], [`PolicyError::Unverifiable`].
    pub fn check(&self, reference: &Reference, is_trusted: bool) -> Result<(), PolicyError> {
        let Some((path, document)) = &self.document else { return Ok(()) };
        for requirement in document.requirements(reference) {
            let name = reference.to_string();
            match requirement.kind.as_str() {
                "insecureAcceptAnything" => {}
                "reject" => return Err(PolicyError::Rejected { name, path: path.clone() }),
                _ if is_trusted => {}
                kind => return Err(PolicyError::Unverifiable { name, kind: kind.to_owned(), path: path.clone() }),
            }
        }
        Ok(())
    }
}

impl Document {
    /// The requirements of the narrowest scope that holds the image.
    fn requirements(&self, reference: &Reference) -> &[Requirement] {
        let Some(scopes) = self.transports.get("docker") else { return &self.default };
        let registry = reference.registry();
        let repository = format!("{registry}/{}", reference.repository());
        let whole = reference.to_string();
        let mut candidates = vec![whole.as_str(), repository.as_str()];
        candidates.extend(repository.match_indices('/').rev().map(|(end, _)| &repository[..end]));
        let found = candidates.into_iter().find_map(|scope| scopes.get(scope));
        let wildcard = || {
            let domains = registry.match_indices('.').map(|(start, _)| format!("*{}", &registry[start..]));
            domains.into_iter().find_map(|scope| scopes.get(&scope))
        };
        found.or_else(wildcard).or_else(|| scopes.get("")).map_or(&self.default, |found| found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_scope_decides() {
        let text = br#"{
            "default": [{"type": "reject"}],
            "transports": {"docker": {
                "": [{"type": "insecureAcceptAnything"}],
                "*.corp.example": [{"type": "reject"}],
                "a.corp.example/team": [{"type": "insecureAcceptAnything"}],
                "a.corp.example/team/secret": [{"type": "signedBy", "keyType": "GPGKeys"}],
                "a.corp.example/team/secret:free": [{"type": "insecureAcceptAnything"}]
            }}
        }"#;
        let policy = Policy::parse("policy.json".into(), text).unwrap();
        for (name, expected) in [
            ("docker.io/library/python:3.8", None),
            ("a.corp.example/other:1", Some("rejected by policy.json")),
            ("b.corp.example/team:1", Some("rejected by policy.json")),
            ("a.corp.example/team/app:1", None),
            ("a.corp.example/team/secret:1", Some("requires signedBy")),
            ("a.corp.example/team/secret:free", None),
        ] {
            let error = policy.check(&name.parse().unwrap(), false).err().map(|error| error.to_string());
            match (error, expected) {
                (None, None) => {}
                (Some(error), Some(reason)) if error.contains(reason) => {}
                (error, _) => panic!("{name}: {error:?}"),
            }
        }
        assert!(policy.check(&"a.corp.example/team/secret:1".parse().unwrap(), true).is_ok());
        assert!(policy.check(&"a.corp.example/other:1".parse().unwrap(), true).is_err());
        assert!(Policy::default().check(&"a/b".parse().unwrap(), false).is_ok());
        assert!(Policy::parse("policy.json".into(), b"{}").is_err());
    }
}
