//! How connections to one host are made: TLS, the authorities of certs.d, proxies, timeouts. Both clients are built from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use image_tool::error::During as _;
use reqwest::{NoProxy, Proxy};

use super::error::{ClientError, innermost};
use super::settings::{Settings, USER_AGENT};
use crate::place::mirror::is_loopback;

/// Everything that is decided about connections to a host.
pub(super) struct Transport {
    /// Host and port.
    pub(super) host: String,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Whether the host's certificate must be one that is trusted.
    pub(super) is_verified: bool,
    /// PEM files of certificate authorities that are trusted for this host alone, with their paths.
    pub(super) authorities: Vec<(PathBuf, Vec<u8>)>,
    pub(super) proxies: Proxies,
    pub(super) connect_timeout: Duration,
    /// How long a connection may be silent.
    pub(super) read_timeout: Duration,
}

impl Transport {
    /// Reads what is configured for a host.
    ///
    /// # Errors
    /// [`ClientError::Io`], [`ClientError::Setup`].
    pub(super) fn new(
        host: &str,
        scheme: &'static str,
        is_verified: bool,
        settings: &Settings,
    ) -> Result<Self, ClientError> {
        // The second and later calls fail, because there is a provider: that is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            host: host.to_owned(),
            scheme,
            is_verified,
            authorities: if is_verified && scheme == "https" { authorities(host)? } else { Vec::new() },
            proxies: Proxies::from_environment(),
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
        })
    }

    /// The client for the requests that we make ourselves.
    pub(super) fn http_client(&self) -> Result<reqwest::Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .referer(false)
            // A redirect from TLS to plain http would let anybody on the way write the manifests that a tag means.
            .https_only(self.is_verified && self.scheme == "https")
            .no_proxy()
            .tls_danger_accept_invalid_certs(!self.is_verified);
        let invalid = |error: reqwest::Error| ClientError::Setup { reason: innermost(&error) };
        if !is_loopback(&self.host) {
            let exceptions = || NoProxy::from_string(&self.proxies.exceptions);
            if let Some(url) = &self.proxies.http {
                builder = builder.proxy(Proxy::http(url).map_err(invalid)?.no_proxy(exceptions()));
            }
            if let Some(url) = &self.proxies.https {
                builder = builder.proxy(Proxy::https(url).map_err(invalid)?.no_proxy(exceptions()));
            }
        }
        let mut certificates = Vec::new();
        for (path, pem) in &self.authorities {
            let parsed = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|_| ClientError::Setup { reason: format!("{}: not a PEM certificate", path.display()) })?;
            certificates.extend(parsed);
        }
        builder.tls_certs_merge(certificates).build().map_err(invalid)
    }
}

/// The proxies that curl's variables name, lower case first as there.
pub(super) struct Proxies {
    /// For plain http.
    pub(super) http: Option<String>,
    /// For TLS.
    pub(super) https: Option<String>,
    /// Hosts that are reached without one: always the loopback network.
    pub(super) exceptions: String,
}

impl Proxies {
    fn from_environment() -> Self {
        let variable = |name: &str| {
            let lower = std::env::var(name).ok().filter(|value| !value.is_empty());
            lower.or_else(|| std::env::var(name.to_uppercase()).ok().filter(|value| !value.is_empty()))
        };
        let all = variable("all_proxy");
        let exceptions = ["localhost,127.0.0.0/8,::1".to_owned()].into_iter().chain(variable("no_proxy"));
        Self {
            http: variable("http_proxy").or_else(|| all.clone()),
            https: variable("https_proxy").or(all),
            exceptions: exceptions.collect::<Vec<_>>().join(","),
        }
    }
}

/// The authorities (`*.crt`) that docker's and podman's certs.d have for a host.
///
/// Client certificates beside them are refused: the crate's client cannot show one, so blobs would fail where manifests
/// had not.
fn authorities(host: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, ClientError> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let folders = [Path::new("/etc/containers/certs.d").to_owned(), Path::new("/etc/docker/certs.d").to_owned()];
    let user = home.map(|home| home.join(".config/containers/certs.d"));
    let mut found = Vec::new();
    for folder in user.into_iter().chain(folders) {
        let folder = folder.join(host);
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let data = std::fs::read(&path).during("read", &path)?;
                    found.push((path, data));
                }
                Some("cert" | "key") => {
                    let reason = format!("{}: client certificates are not supported", path.display());
                    return Err(ClientError::Setup { reason });
                }
                _ => {}
            }
        }
    }
    Ok(found)
}
