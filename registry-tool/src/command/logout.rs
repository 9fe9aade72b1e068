//! `registry-tool logout`.

use clap::Args;
use registry_tool::place::credentials::{CredentialError, CredentialStore};
use registry_tool::reference::RegistryHost;

use super::login::say;

/// Log out from a registry: forget its credentials.
#[derive(Args)]
pub(crate) struct Logout {
    /// The registry.
    #[arg(default_value = "docker.io")]
    registry: RegistryHost,
}

impl Logout {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match CredentialStore::from_environment().erase(self.registry.as_str()) {
            Ok(()) => say(&format!("Removing login credentials for {}", self.registry)),
            // As docker: what was wanted is so, and that is no failure.
            Err(CredentialError::NotLoggedIn(host)) => say(&format!("Not logged in to {host}")),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
