//! Removing a container with its network, mounts and files.

use std::path::Path;

use image_tool::address::home::Home;

use crate::bundle::annotation;
use crate::bundle::{self, Bundle};
use crate::network;
use crate::network::state::Networks;
use crate::volume::{self, Store};

/// Why a container cannot be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is another module's error, passed on")]
pub enum Error {
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Volume(#[from] volume::Error),
}

/// Removes a bundle with its network. Its anonymous volumes are removed with `volumes`, or if it was created with `--rm`.
///
/// `force` removes it even if a process runs in it. An interrupted removal can be repeated.
pub fn remove(home: &Home, bundle: &Bundle, force: bool, volumes: bool) -> Result<(), Error> {
    if let Some(pid) = bundle.occupant()
        && !force
    {
        return Err(bundle::Error::Running { path: bundle.path().to_owned(), pid }.into());
    }
    if let Some(id) = bundle.annotation(annotation::ID).filter(|id| is_id(id)) {
        Networks::of_host().down(id)?;
    }
    let own: Vec<String> = bundle.volumes().into_iter().filter(|used| used.anonymous).map(|used| used.name).collect();
    bundle::remove(&home.bundles(), bundle, force)?;
    if volumes || bundle.annotation(annotation::RM) == Some("true") {
        let store = Store::new(home.volumes());
        for name in own {
            match store.remove(&name) {
                Ok(()) | Err(volume::Error::NoVolume(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Whether an annotation is a valid id. It becomes part of a path, and config.json may come from anyone.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The names of the bundles that use a volume.
pub fn users_of_volume(bundles: &Path, name: &str) -> Result<Vec<String>, Error> {
    let all = Bundle::list(bundles)?;
    Ok(all.iter().filter(|bundle| bundle.volumes().iter().any(|used| used.name == name)).map(Bundle::name).collect())
}
