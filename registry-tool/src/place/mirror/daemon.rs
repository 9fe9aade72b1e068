//! dockerd's daemon.json: `registry-mirrors` and `insecure-registries`.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::endpoint::without_port;
use super::error::MirrorError;
use crate::place::configuration;

/// A mirror of Docker Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubMirror {
    /// The mirror's host and port.
    pub(super) host: String,
    /// Whether the URL's scheme is `http`.
    pub(super) is_plain: bool,
}

/// The two lists of daemon.json that concern registries.
#[derive(Clone, Debug, Default)]
pub(super) struct Daemon {
    /// Mirrors of Docker Hub, in the order in which they are tried.
    pub(super) registry_mirrors: Vec<HubMirror>,
    insecure_registries: Vec<Insecure>,
}

#[derive(Clone, Debug)]
enum Insecure {
    Host(String),
    Network { address: IpAddr, bits: u32 },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
}

impl Daemon {
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, MirrorError> {
        for path in paths {
            if let Some(text) = configuration::read(path)? {
                return Self::parse(&text).map_err(|reason| MirrorError::Syntax { path: path.clone(), reason });
            }
        }
        Ok(Self::default())
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii().is_empty() {
            // To dockerd, an empty file is one without settings.
            return Ok(Self::default());
        }
        let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let registry_mirrors = document.registry_mirrors.iter().map(|url| mirror(url)).collect::<Result<_, _>>()?;
        let insecure_registries =
            document.insecure_registries.iter().map(|entry| insecure(entry)).collect::<Result<_, _>>()?;
        Ok(Self { registry_mirrors, insecure_registries })
    }

    /// Whether `host[:port]` is listed, by name or through a network that holds its address.
    #[must_use]
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        let address: Option<IpAddr> = without_port(host).parse().ok();
        self.insecure_registries.iter().any(|entry| match entry {
            Insecure::Host(listed) => listed == host,
            Insecure::Network { address: network, bits } => {
                address.is_some_and(|address| in_network(address, *network, *bits))
            }
        })
    }
}

/// dockerd accepts a scheme and a host, and refuses a path.
fn mirror(url: &str) -> Result<HubMirror, String> {
    let (host, is_plain) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(host), _) => (host, false),
        (_, Some(host)) => (host, true),
        _ => return Err(format!("registry-mirrors: {url:?} is not a valid http:// or https:// URL")),
    };
    let host = host.trim_end_matches('/');
    if let Some((_, host)) = host.rsplit_once('@') {
        // What stands before it may be a password, which belongs in no error.
        return Err(format!(
            "registry-mirrors: the URL of {host} must have no user or password (registry-tool login {host})"
        ));
    }
    if host.is_empty() || host.contains(['/', '?', '#']) || host.chars().any(char::is_whitespace) {
        return Err(format!("registry-mirrors: {url:?} must be a scheme and a host alone"));
    }
    Ok(HubMirror { host: host.to_owned(), is_plain })
}

fn insecure(entry: &str) -> Result<Insecure, String> {
    let bare = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://")).unwrap_or(entry);
    let bare = bare.trim_end_matches('/');
    let Some((address, bits)) = bare.split_once('/') else { return Ok(Insecure::Host(bare.to_owned())) };
    let invalid = || format!("insecure-registries: {entry:?} is neither a host nor a network such as 10.0.0.0/8");
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let bits: u32 = bits.parse().map_err(|_| invalid())?;
    let limit = if address.is_ipv4() { 32 } else { 128 };
    if bits > limit { Err(invalid()) } else { Ok(Insecure::Network { address, bits }) }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_documents_mirrors_are_read() {
        let text = br#"{ "registry-mirrors" : [ "https://registry.docker-cn.com", "http://hub-mirror.c.163.com",
            "https://cr.console.aliyun.com/" ], "log-driver": "local" }"#;
        let daemon = Daemon::parse(text).unwrap();
        let hosts: Vec<_> =
            daemon.registry_mirrors.iter().map(|mirror| (mirror.host.as_str(), mirror.is_plain)).collect();
        assert_eq!(
            hosts,
            [("registry.docker-cn.com", false), ("hub-mirror.c.163.com", true), ("cr.console.aliyun.com", false)]
        );
    }

    #[test]
    fn what_dockerd_refuses_is_refused() {
        for (text, reason) in [
            (r#"{"registry-mirrors": ["mirror.example"]}"#, "not a valid http:// or https:// URL"),
            (r#"{"registry-mirrors": ["https://mirror.example/path"]}"#, "a host alone"),
            (r#"{"registry-mirrors": "https://mirror.example"}"#, "sequence"),
            (r#"{"insecure-registries": ["10.0.0.0/99"]}"#, "neither a host nor a network"),
            (r"{", "EOF"),
        ] {
            let error = Daemon::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Daemon::parse(b" \n").unwrap().registry_mirrors.is_empty());
    }

    #[test]
    fn networks_of_every_width_match() {
        let address: IpAddr = "10.1.2.3".parse().unwrap();
        for (network, bits, expected) in [
            ("10.1.2.3", 32, true),
            ("10.1.2.2", 32, false),
            ("0.0.0.0", 0, true),
            ("10.1.0.0", 16, true),
            ("::", 0, false),
        ] {
            assert_eq!(in_network(address, network.parse().unwrap(), bits), expected, "{network}/{bits}");
        }
    }
}
