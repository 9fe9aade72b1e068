//! Materials: what a build took from outside its cache and its context, which its provenance tells.

use std::collections::BTreeMap;

use crate::dockerfile::mount::{Kind, Mount};
use crate::run::network::Network;

/// What was taken so far, by all stages, whether the steps came from the cache or not.
#[derive(Debug, Default)]
pub struct Materials {
    /// The digests of images, by name and platform; the name of one in a layout begins with [`LAYOUT`](crate::source::place::LAYOUT).
    pub images: BTreeMap<(String, String), String>,
    /// The digests of what ADD fetched, by its address without a password: `sha256:HEX`, or `sha1:HEX` for a commit.
    pub fetched: BTreeMap<String, String>,
    /// The ids of secrets that commands asked for, and whether all could do without.
    pub secrets: BTreeMap<String, bool>,
    /// The same for agents of ssh.
    pub agents: BTreeMap<String, bool>,
    /// Whether a command had a network.
    pub network: bool,
}

impl Materials {
    /// Notes what a command is given.
    pub fn command(&mut self, mounts: &[Mount], network: Network) {
        self.network |= network != Network::None;
        for mount in mounts {
            let (asked, id, required) = match &mount.kind {
                Kind::Secret { id, required, .. } => (&mut self.secrets, id, *required),
                Kind::Ssh { id, required, .. } => (&mut self.agents, id, *required),
                _ => continue,
            };
            *asked.entry(id.clone()).or_insert(true) &= !required;
        }
    }
}
