//! What does not depend on the registry.

use std::time::Duration;

use super::retry::Retry;
use crate::place::credentials::CredentialStore;

pub(super) const USER_AGENT: &str = concat!("registry-tool/", env!("CARGO_PKG_VERSION"));

/// How conversations are held, whichever registry they are with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where credentials come from.
    pub credentials: CredentialStore,
    /// When to ask again.
    pub retry: Retry,
    /// How long it may take to establish a connection.
    pub connect_timeout: Duration,
    /// How long a connection may be silent.
    pub read_timeout: Duration,
}

impl Settings {
    /// The usual ones, with the credentials of the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            credentials: CredentialStore::from_environment(),
            retry: Retry::default(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
        }
    }
}
