//! Errors in the words of docker's daemon, which programs look for, where the docker command was called.

use anyhow::anyhow;
use bundle_tool::bundle::{self, Bundle, annotation};
use bundle_tool::container::{self, ConnectionError};
use bundle_tool::volume;
use image_tool::address::home::Home;
use image_tool::program::caller::caller;

/// The error as docker tells it, if it has words of its own for it.
pub(crate) fn words(error: anyhow::Error) -> anyhow::Error {
    if caller().is_none() {
        return error;
    }
    let home = Home::from_environment();
    let id = |name: &str| {
        let bundle = Bundle::find(&home.bundles(), name).ok()?;
        bundle.annotation(annotation::ID).map(str::to_owned)
    };
    if let Some(bundle::Error::NameInUse { name, path }) = error.chain().find_map(of_bundle) {
        // A container that is being created has no id yet that could be read.
        let folder = || path.file_name().map(|name| name.to_string_lossy().into_owned());
        let holder = id(name).or_else(folder).unwrap_or_default();
        return anyhow!(
            "Error response from daemon: Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        );
    }
    match error.downcast_ref() {
        Some(volume::Error::InUse { volume, bundle }) => {
            let holder = id(bundle).unwrap_or_else(|| bundle.clone());
            anyhow!("Error response from daemon: remove {volume}: volume is in use - [{holder}]")
        }
        _ => error,
    }
}

fn of_bundle<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a bundle::Error> {
    if let Some(container::Error::Bundle(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(ConnectionError::Bundle(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}
