//! containers-policy.json(5): which images must be signed on this machine, and which are rejected.
//!
//! What it demands of `sigstoreSigned` and `signedBy` images is said here and verified where they are fetched. An image that must have
//! a signature of another kind is refused unless a person says otherwise (`--disable-content-trust`); one that the policy rejects is
//! always refused. A machine without the file trusts every registry, as docker does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image_tool::error::{During as _, Io};
use oci_distribution::Reference;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::configuration;
use super::lookaside::{Lookaside, LookasideError};
use super::scope::scopes;
use crate::reference::ImageName;
use crate::trust::certificate::Authority;
use crate::trust::key::PublicKey;
use crate::trust::keyring::Keyring;
use crate::trust::signature::Signers;

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
    /// The image must be signed, in a way that is not verified here.
    #[error(
        "{name}: {} requires {what}, which cannot be verified (--disable-content-trust pulls without verification)",
        path.display()
    )]
    Unverifiable {
        /// The whole name of the image.
        name: String,
        /// The requirement, as the policy names it: `sigstoreSigned with fulcio`, for example.
        what: String,
        /// The path of the policy.
        path: PathBuf,
    },
    /// A requirement is not valid, or what it names.
    #[error("{}: {kind}: {reason}", path.display())]
    Requirement {
        /// The path of the policy, or of a file that it names.
        path: PathBuf,
        /// The kind of requirement.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It is not known where signatures lie.
    #[error(transparent)]
    Lookaside(#[from] LookasideError),
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

/// A requirement, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
    key_type: Option<String>,
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    pki: Option<Authorities>,
    signed_identity: Option<Identity>,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

/// Certificates of one's own (`pki`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Authorities {
    ca_roots_path: Option<PathBuf>,
    ca_roots_data: Option<String>,
    ca_intermediates_path: Option<PathBuf>,
    ca_intermediates_data: Option<String>,
    subject_email: Option<String>,
    subject_hostname: Option<String>,
}

/// Which name must have been signed (containers-policy.json(5), "signedIdentity").
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Identity {
    /// The name of the image, tag or digest and all.
    MatchExact,
    /// The name of the image, or any of its repository if the image is named by its digest.
    #[default]
    MatchRepoDigestOrExact,
    /// Any of the image's repository.
    MatchRepository,
    /// This name.
    ExactReference {
        /// The name.
        docker_reference: String,
    },
    /// Any of this repository.
    ExactRepository {
        /// The repository.
        docker_repository: String,
    },
    /// As [`Self::MatchRepoDigestOrExact`], of an image under another name.
    RemapIdentity {
        /// What the image's name begins with.
        prefix: String,
        /// What the signed one begins with.
        signed_prefix: String,
    },
}

impl Identity {
    /// Whether a signature of `signed` is one of the image `name`.
    #[must_use]
    pub fn fits(&self, signed: &str, name: &ImageName) -> bool {
        let Ok(signed) = signed.parse::<ImageName>() else { return false };
        let repository = |name: &ImageName| format!("{}/{}", name.registry(), name.repository());
        let is_same = |other: &ImageName| repository(&signed) == repository(other);
        // A tag that nobody wrote is none.
        let exact = |other: &ImageName| {
            is_same(other)
                && !signed.has_default_tag()
                && signed.digest() == other.digest()
                && signed.tag() == other.tag()
        };
        let usual = |other: &ImageName| if other.digest().is_some() { is_same(other) } else { exact(other) };
        match self {
            Self::MatchExact => exact(name),
            Self::MatchRepoDigestOrExact => usual(name),
            Self::MatchRepository => is_same(name),
            Self::ExactReference { docker_reference } => docker_reference.parse().is_ok_and(|wanted| exact(&wanted)),
            Self::ExactRepository { docker_repository } => {
                docker_repository.parse().is_ok_and(|wanted| is_same(&wanted))
            }
            Self::RemapIdentity { prefix, signed_prefix } => {
                let whole = name.to_string();
                match whole.strip_prefix(prefix.as_str()) {
                    Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '@']) => {
                        format!("{signed_prefix}{rest}").parse().is_ok_and(|wanted| usual(&wanted))
                    }
                    _ => usual(name),
                }
            }
        }
    }
}

/// A signature that an image must have.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Whose, and where it is.
    pub by: By,
    /// Of which name.
    pub identity: Identity,
}

/// Whose signature an image must have.
#[derive(Clone, Debug)]
pub enum By {
    /// One that is kept at the registry, as cosign does.
    Sigstore(Signers),
    /// One of GnuPG's that is kept aside, as podman and skopeo do.
    Gpg(Keyring, Lookaside),
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

    /// Asks whether an image may be pulled, and which signatures it must have for that. `is_trusted` says that a person accepts it
    /// without them.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn check(&self, reference: &Reference, is_trusted: bool) -> Result<Vec<Demand>, PolicyError> {
        let Some((path, document)) = &self.document else { return Ok(Vec::new()) };
        let mut demands = Vec::new();
        for requirement in document.requirements(reference) {
            let name = reference.to_string();
            match requirement.kind.as_str() {
                "insecureAcceptAnything" => {}
                "reject" => return Err(PolicyError::Rejected { name, path: path.clone() }),
                _ if is_trusted => {}
                kind @ ("sigstoreSigned" | "signedBy") => {
                    if let Some(what) = requirement.strange() {
                        let what = format!("{kind} with {what}");
                        return Err(PolicyError::Unverifiable { name, what, path: path.clone() });
                    }
                    let by = match kind {
                        "signedBy" => By::Gpg(requirement.keyring(path)?, Lookaside::read()?),
                        _ => By::Sigstore(requirement.signers(path)?),
                    };
                    let identity = requirement.signed_identity.clone().unwrap_or_default();
                    demands.push(Demand { by, identity });
                }
                kind => {
                    return Err(PolicyError::Unverifiable { name, what: kind.to_owned(), path: path.clone() });
                }
            }
        }
        Ok(demands)
    }
}

impl Requirement {
    /// What is not understood, and may demand more than is verified: Fulcio's and Rekor's fields, for example.
    fn strange(&self) -> Option<String> {
        let is_gpg = self.kind == "signedBy";
        let foreign = [
            ("keyDatas", is_gpg && self.key_datas.is_some()),
            ("pki", is_gpg && self.pki.is_some()),
            ("keyType", !is_gpg && self.key_type.is_some()),
        ];
        let foreign = foreign.into_iter().find_map(|(name, is_there)| is_there.then(|| name.to_owned()));
        let other_keys = || {
            let kind = self.key_type.as_ref().filter(|kind| *kind != "GPGKeys")?;
            Some(format!("keyType {kind:?}"))
        };
        foreign.or_else(|| self.other.keys().next().cloned()).or_else(other_keys)
    }

    /// The keys of GnuPG whose signature is demanded.
    fn keyring(&self, path: &Path) -> Result<Keyring, PolicyError> {
        let wrong =
            |path: &Path, reason: String| PolicyError::Requirement { path: path.into(), kind: "signedBy", reason };
        if self.key_type.is_none() {
            return Err(wrong(path, "keyType is missing (GPGKeys)".into()));
        }
        let said = [self.key_path.is_some(), self.key_paths.is_some(), self.key_data.is_some()];
        if said.into_iter().filter(|is_said| *is_said).count() != 1 {
            return Err(wrong(path, "expected exactly one of keyPath, keyPaths and keyData".into()));
        }
        let mut keyring = Keyring::default();
        for file in self.key_path.iter().chain(self.key_paths.iter().flatten()) {
            let bytes = std::fs::read(file).during("read", file)?;
            keyring.add(&bytes).map_err(|error| wrong(file, error.to_string()))?;
        }
        if let Some(data) = &self.key_data {
            let bytes = STANDARD.decode(data).map_err(|_| wrong(path, "keyData is not base64".into()))?;
            keyring.add(&bytes).map_err(|error| wrong(path, format!("keyData: {error}")))?;
        }
        if keyring.is_empty() {
            return Err(wrong(path, "keyPaths names no file".into()));
        }
        Ok(keyring)
    }

    /// The keys and certificates of which one must have signed, in cosign's way.
    fn signers(&self, path: &Path) -> Result<Signers, PolicyError> {
        let wrong = |path: &Path, reason: String| PolicyError::Requirement {
            path: path.into(),
            kind: "sigstoreSigned",
            reason,
        };
        let mut signers = Signers::default();
        for file in self.key_path.iter().chain(self.key_paths.iter().flatten()) {
            let text = text(file)?;
            signers.keys.push(PublicKey::parse(&text).map_err(|error| wrong(file, error.to_string()))?);
        }
        for data in self.key_data.iter().chain(self.key_datas.iter().flatten()) {
            let text = decoded(data).ok_or_else(|| wrong(path, "keyData is not base64".into()))?;
            signers.keys.push(PublicKey::parse(&text).map_err(|error| wrong(path, error.to_string()))?);
        }
        if let Some(pki) = &self.pki {
            let either = |file: &Option<PathBuf>, data: &Option<String>| match (file, data) {
                (Some(file), _) => text(file),
                (None, Some(data)) => decoded(data).ok_or_else(|| wrong(path, "a certificate is not base64".into())),
                (None, None) => Ok(String::new()),
            };
            let roots = either(&pki.ca_roots_path, &pki.ca_roots_data)?;
            let intermediates = either(&pki.ca_intermediates_path, &pki.ca_intermediates_data)?;
            let identities = [&pki.subject_email, &pki.subject_hostname];
            let mut identities = identities.into_iter().flatten();
            let identity = match (identities.next(), identities.next()) {
                (Some(identity), None) => identity.clone(),
                (None, _) => return Err(wrong(path, "pki needs subjectEmail or subjectHostname".into())),
                (Some(_), Some(_)) => {
                    return Err(wrong(path, "pki has both subjectEmail and subjectHostname, give one".into()));
                }
            };
            let authority = Authority::new(&roots, &intermediates, Some(identity));
            signers.authority = Some(authority.map_err(|error| wrong(path, format!("pki: {error}")))?);
        }
        if signers.keys.is_empty() && signers.authority.is_none() {
            return Err(wrong(path, "it names no key (keyPath, keyPaths, keyData, keyDatas or pki)".into()));
        }
        Ok(signers)
    }
}

fn text(path: &Path) -> Result<String, PolicyError> {
    Ok(std::fs::read_to_string(path).during("read", path)?)
}

fn decoded(data: &str) -> Option<String> {
    STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

impl Document {
    /// The requirements of the narrowest scope that holds the image.
    fn requirements(&self, reference: &Reference) -> &[Requirement] {
        let Some(scopes) = self.transports.get("docker") else { return &self.default };
        let found = self::scopes(reference).iter().find_map(|scope| scopes.get(scope));
        found.or_else(|| scopes.get("")).map_or(&self.default, |found| found)
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
                "a.corp.example/team/secret": [{"type": "signedBy", "keyType": "X509Certificates"}],
                "a.corp.example/team/secret:free": [{"type": "insecureAcceptAnything"}]
            }}
        }"#;
        let policy = Policy::parse("policy.json".into(), text).unwrap();
        for (name, expected) in [
            ("docker.io/library/python:3.8", None),
            ("a.corp.example/other:1", Some("rejected by policy.json")),
            ("b.corp.example/team:1", Some("rejected by policy.json")),
            ("a.corp.example/team/app:1", None),
            ("a.corp.example/team/secret:1", Some("requires signedBy with keyType")),
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

    #[test]
    fn a_demand_that_is_not_understood_is_not_met() {
        let key = STANDARD.encode("x");
        for (requirement, said) in [
            (r#"{"type":"sigstoreSigned"}"#.to_owned(), "names no key"),
            (format!(r#"{{"type":"sigstoreSigned","keyData":"{key}"}}"#), "no public key"),
            (r#"{"type":"sigstoreSigned","keyData":"?"}"#.to_owned(), "not base64"),
            (r#"{"type":"sigstoreSigned","keyPath":"/nowhere/key.pub"}"#.to_owned(), "/nowhere/key.pub"),
            (r#"{"type":"sigstoreSigned","rekorPublicKeyPath":"x"}"#.to_owned(), "with rekorPublicKeyPath"),
            (r#"{"type":"sigstoreSigned","fulcio":{}}"#.to_owned(), "with fulcio"),
            (r#"{"type":"sigstoreSigned","pki":{"subjectEmail":"a@b"}}"#.to_owned(), "no certificate"),
            (r#"{"type":"sigstoreSigned","pki":{}}"#.to_owned(), "needs subjectEmail"),
            (r#"{"type":"sigstoreSigned","keyType":"GPGKeys"}"#.to_owned(), "with keyType"),
            (r#"{"type":"signedBy","keyType":"GPGKeys"}"#.to_owned(), "signedBy: expected exactly one of"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"a","keyData":"b"}"#.to_owned(), "exactly one of"),
            (r#"{"type":"signedBy","keyPath":"a"}"#.to_owned(), "signedBy: keyType is missing"),
            (r#"{"type":"signedBy","keyType":"X509","keyPath":"a"}"#.to_owned(), r#"signedBy with keyType "X509""#),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nowhere/k"}"#.to_owned(), "/nowhere/k"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyPaths":[]}"#.to_owned(), "names no file"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyData":"?"}"#.to_owned(), "not base64"),
            (format!(r#"{{"type":"signedBy","keyType":"GPGKeys","keyData":"{key}"}}"#), "no OpenPGP public key"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyData":"mQ=="}"#.to_owned(), "keyData: "),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyDatas":[]}"#.to_owned(), "signedBy with keyDatas"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","pki":{}}"#.to_owned(), "signedBy with pki"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"a","newField":1}"#.to_owned(), "with newField"),
            (r#"{"type":"new"}"#.to_owned(), "requires new"),
        ] {
            let policy = Policy::parse("policy.json".into(), format!("{{\"default\":[{requirement}]}}").as_bytes());
            let error = policy.unwrap().check(&"a/b".parse().unwrap(), false).unwrap_err();
            let line = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            assert!(line.contains(said), "{requirement}: {line}");
        }
    }

    #[test]
    fn the_name_that_was_signed_is_the_images() {
        let exact = |reference: &str| Identity::ExactReference { docker_reference: reference.into() };
        let repository = |name: &str| Identity::ExactRepository { docker_repository: name.into() };
        let remap = Identity::RemapIdentity { prefix: "m.c/x".into(), signed_prefix: "a.b/y".into() };
        let digest = format!("a.b/c@sha256:{}", "0".repeat(64));
        use Identity::{MatchExact, MatchRepoDigestOrExact, MatchRepository};
        for (identity, signed, name, fits) in [
            (MatchExact, "a.b/c:1", "a.b/c:1", true),
            (MatchExact, "a.b/c", "a.b/c:1", false),
            (MatchExact, "a.b/c", "a.b/c", false),
            (MatchRepoDigestOrExact, "a.b/c:1", "a.b/c:1", true),
            (MatchRepoDigestOrExact, "a.b/c", "a.b/c:1", false),
            (MatchRepoDigestOrExact, "a.b/c", digest.as_str(), true),
            (MatchRepository, "a.b/c", "a.b/c:1", true),
            (MatchRepository, "index.docker.io/library/c", "c:1", true),
            (MatchRepository, "a.b/d", "a.b/c:1", false),
            (exact("o.p/q:2"), "o.p/q:2", "a.b/c:1", true),
            (exact("o.p/q:2"), "a.b/c:1", "a.b/c:1", false),
            (repository("o.p/q"), "o.p/q", "a.b/c:1", true),
            (remap.clone(), "a.b/y/z:1", "m.c/x/z:1", true),
            (remap.clone(), "m.c/x/z:1", "m.c/x/z:1", false),
            (remap, "m.c/xx:1", "m.c/xx:1", true),
            (MatchRepository, "not a name", "a.b/c:1", false),
        ] {
            assert_eq!(identity.fits(signed, &name.parse().unwrap()), fits, "{identity:?} {signed} {name}");
        }
    }
}
