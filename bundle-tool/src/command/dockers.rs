//! Errors in the words of docker's daemon, which programs look for, where the docker command was called.

use anyhow::anyhow;
use bundle_tool::bundle::{self, Bundle, annotation};
use bundle_tool::container::{self, ConnectionError};
use bundle_tool::network;
use bundle_tool::volume;
use image_tool::address::home::Home;
use image_tool::layout;
use image_tool::program::caller::caller;
use image_tool::program::dockers;

/// The error as docker tells it, if it has words of its own for it.
pub(crate) fn words(error: anyhow::Error) -> anyhow::Error {
    let Some(caller) = caller() else { return error };
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
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(container::Error::Layout(layout::Error::NoSuchImage { address })) => {
            return anyhow!(dockers::no_image(address, &caller));
        }
        Some(container::Error::User { source, .. }) => return anyhow!(dockers::daemon(&source.to_string())),
        Some(container::Error::NoNetwork(network::Error::NoNetwork { name })) => return no_network(name),
        _ => {}
    }
    if let Some(network::Error::Overlap { .. }) = error.downcast_ref() {
        return anyhow!(dockers::daemon("Pool overlaps with other one on this address space"));
    }
    let said = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(volume::Error::InUse { volume, bundle }), _) => {
            let holder = id(bundle).unwrap_or_else(|| bundle.clone());
            format!("remove {volume}: volume is in use - [{holder}]")
        }
        (Some(volume::Error::NoVolume(name)), _) => return anyhow!("No such volume: {name}"),
        (_, Some(ConnectionError::NotConnected { container, network })) if exists(&home, network) => {
            let container = id(container).unwrap_or_else(|| container.clone());
            format!("container {container} is not connected to network {network}")
        }
        (_, Some(ConnectionError::Network(network::Error::Connected { network, container }))) => {
            format!("endpoint with name {container} already exists in network {network}")
        }
        (
            _,
            Some(
                ConnectionError::NotConnected { network: name, .. }
                | ConnectionError::Network(network::Error::NoNetwork { name }),
            ),
        ) => return no_network(name),
        _ => return error,
    };
    anyhow!(dockers::daemon(&said))
}

fn exists(home: &Home, network: &str) -> bool {
    ["host", "none"].contains(&network) || container::conflist(home, network).is_ok()
}

fn no_network(name: &str) -> anyhow::Error {
    anyhow!(dockers::daemon(&format!("network {name} not found")))
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
