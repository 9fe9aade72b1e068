//! Removing a container with its network, mounts and files.

use std::path::Path;

use image_tool::address::home::Home;
use image_tool::layer::cache::Cache;
use image_tool::layer::stack;

use super::joined;
use crate::bundle::{self, Bundle, Used, annotation, name};
use crate::journal;
use crate::network;
use crate::network::state::Networks;
use crate::rootfs;
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
    if !force && let Some(pid) = bundle.occupant() {
        return Err(bundle::Error::Running { path: bundle.path().to_owned(), pid }.into());
    }
    if let Some(id) = bundle.annotation(annotation::ID).filter(|id| name::is_id(id)) {
        Networks::of_host().down(id)?;
        joined::release(id);
    }
    let used = bundle.volumes();
    let own: Vec<String> = used.iter().filter(|used| used.anonymous).map(|used| used.name.clone()).collect();
    bundle::remove(&home.bundles(), bundle, force)?;
    stack::sweep(&Cache::of(home));
    journal::record_bundle(home, "destroy", bundle, &bundle.name(), &[]);
    unmount_unused(home, &used)?;
    if volumes || bundle.annotation(annotation::RM) == Some("true") {
        let store = Store::new(home.volumes());
        for name in own {
            match store.remove(&name, || users_of_volume(&home.bundles(), &name)) {
                // Other containers may share it (`--volumes-from`); the last of them removes it.
                Ok(())
                | Err(Error::Volume(
                    volume::Error::NoVolume(_) | volume::Error::InUse { .. } | volume::Error::Claimed(_),
                )) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Unmounts the file systems of volumes that no bundle uses any more.
fn unmount_unused(home: &Home, used: &[Used]) -> Result<(), Error> {
    let store = Store::new(home.volumes());
    for volume in used.iter().filter_map(|used| store.open(&used.name).ok()) {
        if !volume.about.options.is_empty() && users_of_volume(&home.bundles(), &volume.name)?.is_empty() {
            store.unmount(&volume)?;
        }
    }
    Ok(())
}

/// Removes what is left of a container whose bundle has no config.json any more, by its name or path: its network, mounts and files.
/// Returns whether there was anything.
pub fn remove_lost(home: &Home, text: &str, force: bool) -> Result<bool, Error> {
    let place = bundle::place(&home.bundles(), text);
    if !force
        && rootfs::is_mounted(&place.join("rootfs"))
        && let Some(pid) = bundle::occupant(&place.join("rootfs"))
    {
        return Err(bundle::Error::Running { path: place, pid }.into());
    }
    let network = Networks::of_host().down_lost(&place, text)?;
    joined::release_lost(&place);
    let files = bundle::remove_unfinished(&home.bundles(), text)?;
    stack::sweep(&Cache::of(home));
    Ok(network || files)
}

/// The names of the bundles that use a volume.
pub fn users_of_volume(bundles: &Path, name: &str) -> Result<Vec<String>, Error> {
    let all = Bundle::list(bundles)?;
    Ok(all.iter().filter(|bundle| bundle.volumes().iter().any(|used| used.name == name)).map(Bundle::name).collect())
}
