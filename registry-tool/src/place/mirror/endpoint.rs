//! One place that may serve a name, and how it is talked to.

use std::net::IpAddr;

use oci_distribution::Reference;

/// How the connection to an endpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// TLS with a certificate that the system, or certs.d, trusts.
    Verified,
    /// TLS without verification, and plain http where there is no TLS: what docker and podman do for a registry that is
    /// configured insecure.
    Insecure,
    /// Plain http, and TLS without verification where http is refused: the registry is on the loopback network, where only
    /// those can listen who could read our memory anyway. docker tries the same two in the other order; plain http first
    /// spares the common case a failed handshake.
    Loopback,
    /// Plain http only: the configuration says `http://`.
    Plain,
}

/// One place that may serve a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name as this place knows it: its registry is the host to talk to.
    pub reference: Reference,
    /// Whether the connection is encrypted, and verified.
    pub security: Security,
    /// Whether this is a mirror, whose failure leaves the next place to be tried.
    pub is_mirror: bool,
}

impl Endpoint {
    /// The host and port to talk to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.reference.registry()
    }
}

/// Whether `host[:port]` is this machine: docker allows such a registry plain http without being told.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of `host[:port]`, an IPv6 address without its brackets.
#[must_use]
pub(super) fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_registries_may_speak_plain_http() {
        for (host, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("128.0.0.1", false),
            ("localhost.example.com", false),
            ("example.com:5000", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }
}
