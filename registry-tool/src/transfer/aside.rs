//! A signature of GnuPG's for an image at a registry, put where podman and skopeo put it: into a folder, aside from the registry.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use image_tool::error::{During as _, Io};
use thiserror::Error;

use super::beside::BesideError;
use super::sign::subjects;
use crate::place::lookaside::{Lookaside, LookasideError};
use crate::question::lookaside::{SIGNATURES, path};
use crate::question::round::Round;
use crate::reference::ImageName;
use crate::trust::gpg::{GpgError, Signer};
use crate::trust::payload::{Kind, Payload};

/// What to sign, and with which key.
pub struct Order<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// The name that is signed, if it is not the image's.
    pub identity: Option<&'a ImageName>,
    /// The key.
    pub signer: Signer<'a>,
    /// Whether each image of an index is signed too.
    pub is_recursive: bool,
    /// The file that the signature becomes, instead of one where registries.d says.
    pub output: Option<&'a Path>,
}

/// Why an image was not signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AsideError {
    /// The image, or its registry.
    #[error(transparent)]
    Beside(#[from] BesideError),
    /// There is no folder for signatures.
    #[error(transparent)]
    Lookaside(#[from] LookasideError),
    /// The key cannot sign.
    #[error(transparent)]
    Gpg(#[from] GpgError),
    /// The signature cannot be written.
    #[error(transparent)]
    Io(#[from] Io),
    /// No reader would look at one more.
    #[error("{}: {SIGNATURES} signatures are there, and nobody reads more", folder.display())]
    Full {
        /// The folder with the signatures.
        folder: PathBuf,
    },
}

/// Signs an image; returns its digest. Signatures that it has already are kept.
///
/// # Errors
/// [`AsideError`].
pub async fn sign(order: &Order<'_>, round: Round<'_>) -> Result<String, AsideError> {
    let name = order.name;
    let folder = match order.output {
        Some(_) => None,
        None => Some(Lookaside::read()?.folder(name.reference())?),
    };
    let (_, digests) = subjects(name, order.is_recursive, round).await?;
    let creator = concat!("registry-tool ", env!("CARGO_PKG_VERSION"));
    for digest in &digests {
        let payload = Payload {
            kind: Kind::Atomic,
            reference: reference(order.identity.unwrap_or(name)),
            digest: digest.clone(),
            annotations: BTreeMap::from([("creator".to_owned(), creator.into())]),
        };
        let signature = order.signer.sign(&payload.bytes())?;
        match (&folder, order.output) {
            (Some(folder), _) => add(&folder.join(path(name.repository(), digest, 1)), &signature)?,
            (None, Some(output)) => std::fs::write(output, &signature).during("write", output)?,
            (None, None) => unreachable!("without a file there is a folder"),
        }
    }
    Ok(digests.into_iter().next().expect("the image itself is the first"))
}

/// The name that is signed: with its tag, else with its digest. podman knows no name with both.
fn reference(name: &ImageName) -> String {
    let repository = format!("{}/{}", name.registry(), name.repository());
    match (name.tag(), name.digest()) {
        (Some(tag), _) => format!("{repository}:{tag}"),
        (None, Some(digest)) => format!("{repository}@{digest}"),
        (None, None) => repository,
    }
}

/// Writes a signature after those that are there, where `first` is the path of the first. Readers see it whole or not at all.
fn add(first: &Path, signature: &[u8]) -> Result<(), AsideError> {
    let folder = first.parent().expect("a signature is in a folder");
    std::fs::create_dir_all(folder).during("create", folder)?;
    // Whoever serves the folder is somebody else.
    let permissions = std::fs::Permissions::from_mode(0o644);
    let file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder);
    let mut file = file.during("write in", folder)?;
    file.write_all(signature).and_then(|()| file.as_file().sync_all()).during("write", file.path())?;
    for number in 1..=SIGNATURES {
        let path = folder.join(format!("signature-{number}"));
        file = match file.persist_noclobber(&path) {
            Ok(_) => return Ok(()),
            Err(failed) if failed.error.kind() == std::io::ErrorKind::AlreadyExists => failed.file,
            Err(failed) => return Err(Io::new("write", &path, failed.error).into()),
        };
    }
    Err(AsideError::Full { folder: folder.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_signed_has_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (name, expected) in [
            ("python".to_owned(), "docker.io/library/python:latest".to_owned()),
            ("a.b/c:1".to_owned(), "a.b/c:1".to_owned()),
            (format!("a.b/c@{digest}"), format!("a.b/c@{digest}")),
            (format!("a.b/c:1@{digest}"), "a.b/c:1".to_owned()),
        ] {
            assert_eq!(reference(&name.parse().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn signatures_are_added_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("app@sha256=1/signature-1");
        for text in [&b"a"[..], b"b", b"c"] {
            add(&first, text).unwrap();
        }
        assert_eq!(std::fs::read(&first).unwrap(), b"a");
        assert_eq!(std::fs::read(first.with_file_name("signature-3")).unwrap(), b"c");
        assert_eq!(std::fs::read_dir(first.parent().unwrap()).unwrap().count(), 3);
        for number in 4..=SIGNATURES {
            std::fs::write(first.with_file_name(format!("signature-{number}")), "x").unwrap();
        }
        let error = add(&first, b"d").unwrap_err().to_string();
        assert!(error.contains("128 signatures are there"), "{error}");
        assert_eq!(std::fs::read_dir(first.parent().unwrap()).unwrap().count(), SIGNATURES);
    }
}
