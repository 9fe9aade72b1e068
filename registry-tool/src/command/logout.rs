//! `registry-tool logout`.

use clap::{Args, ValueHint};
use image_tool::program::say;
use registry_tool::place::credentials::{CredentialError, CredentialStore};
use registry_tool::reference::RegistryHost;

/// Log out of a registry.
///
/// Removes the credentials that `registry-tool login` stored, from docker's config.json or the credential helper that it names.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool logout
  registry-tool logout quay.io")]
pub(crate) struct Logout {
    /// Host of the registry.
    #[arg(default_value = "docker.io", value_hint = ValueHint::Hostname)]
    registry: RegistryHost,
}

impl Logout {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match CredentialStore::from_environment().erase(self.registry.as_str()) {
            Ok(()) => say(&format!("Removing login credentials for {}", self.registry)),
            // As with docker, this is not a failure: nobody is logged in afterwards.
            Err(CredentialError::NotLoggedIn(host)) => say(&format!("Not logged in to {host}")),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
