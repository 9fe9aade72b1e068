//! The signatures of an image that lie aside: in a folder or on a web server, as registries.d says.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use image_tool::error::During as _;
use oci_distribution::Reference;

use super::failure::EndpointError;
use crate::client::{ClientError, Registry, Settings, Shelf};
use crate::place::credentials::credential_host;
use crate::place::lookaside::{Lookaside, LookasideError, Store};
use crate::reference::ImageName;

/// The most signatures of one image, as for podman.
pub(crate) const SIGNATURES: usize = 128;

/// More bytes than any signature has: a signed payload is less than a kilobyte.
const LIMIT: usize = 256 << 10;

/// The path of a signature of an image beneath a store, where the first is 1.
pub(crate) fn path(repository: &str, digest: &str, number: usize) -> String {
    format!("{repository}@{}/signature-{number}", digest.replace(':', "="))
}

/// The signatures of the image with a digest: those that lie under its name, and under that which a mirror has for it.
///
/// # Errors
/// [`EndpointError::Lookaside`], and those of requests. One without signatures is no error.
pub async fn kept_aside(
    lookaside: &Lookaside,
    name: &ImageName,
    registry: &Registry,
    digest: &str,
    settings: &Settings,
) -> Result<Vec<Vec<u8>>, EndpointError> {
    let other = registry.reference();
    let is_itself = credential_host(registry.host()) == name.registry() && other.repository() == name.repository();
    let names: Vec<&Reference> = [name.reference()].into_iter().chain((!is_itself).then_some(other)).collect();
    let mut asked: Vec<(Store, &str)> = Vec::new();
    let mut found = Vec::new();
    for name in names {
        let place = (lookaside.store(name)?, name.repository());
        if asked.contains(&place) {
            continue;
        }
        let shelf = match &place.0 {
            Store::Web(url) => Some(Shelf::new(url, settings)?),
            Store::Folder(_) => None,
        };
        for number in 1.. {
            let path = path(name.repository(), digest, number);
            let signature = match (&place.0, &shelf) {
                (_, Some(shelf)) => shelf.file(&path, LIMIT).await?,
                (Store::Folder(folder), _) => file(&folder.join(path))?,
                (Store::Web(_), None) => unreachable!("a web server has a shelf"),
            };
            let Some(signature) = signature else { break };
            if number > SIGNATURES {
                let (name, digest) = (name.to_string(), digest.to_owned());
                return Err(EndpointError::TooManySignatures { name, digest, limit: SIGNATURES });
            }
            found.push(signature);
        }
        asked.push(place);
    }
    Ok(found)
}

fn file(path: &Path) -> Result<Option<Vec<u8>>, EndpointError> {
    let failed = |error| EndpointError::Lookaside(LookasideError::Io(error));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.during("open", path).map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT as u64 + 1).read_to_end(&mut bytes).during("read", path).map_err(failed)?;
    if bytes.len() > LIMIT {
        return Err(ClientError::TooLarge { host: path.display().to_string(), limit: LIMIT }.into());
    }
    Ok(Some(bytes))
}
