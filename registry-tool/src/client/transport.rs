//! How connections to one host are made: TLS, the authorities of certs.d, proxies, timeouts.

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
    /// A PEM file of the certificate that we show to this host, with its path and its key.
    pub(super) identity: Option<(PathBuf, Vec<u8>)>,
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
        let Certificates { authorities, identity } =
            if scheme == "https" { certificates(host)? } else { Certificates::default() };
        Ok(Self {
            host: host.to_owned(),
            scheme,
            is_verified,
            authorities: if is_verified { authorities } else { Vec::new() },
            identity,
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
        if let Some((path, pem)) = &self.identity {
            let identity = reqwest::Identity::from_pem(pem).map_err(|_| ClientError::Setup {
                reason: format!("{}: not a PEM certificate, or its key is not one", path.display()),
            })?;
            builder = builder.identity(identity);
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

/// What docker's and podman's certs.d have for a host.
#[derive(Default)]
struct Certificates {
    authorities: Vec<(PathBuf, Vec<u8>)>,
    identity: Option<(PathBuf, Vec<u8>)>,
}

/// The folders of certs.d, the user's first.
fn folders() -> Vec<PathBuf> {
    let user = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/containers/certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    user.into_iter().chain(system).collect()
}

/// Reads the authorities (`NAME.crt`) and the certificate that we show (`NAME.cert` with `NAME.key`) for a host. The first folder
/// that has one decides.
fn certificates(host: &str) -> Result<Certificates, ClientError> {
    let setup = |path: &Path, reason: &str| ClientError::Setup { reason: format!("{}: {reason}", path.display()) };
    let mut found = Certificates::default();
    for folder in folders() {
        let Ok(entries) = std::fs::read_dir(folder.join(host)) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let mut identities = Vec::new();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let data = std::fs::read(&path).during("read", &path)?;
                    found.authorities.push((path, data));
                }
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.exists() {
                        return Err(setup(&path, "a client certificate without its key (NAME.key beside NAME.cert)"));
                    }
                    let mut data = std::fs::read(&path).during("read", &path)?;
                    data.push(b'\n');
                    data.extend(std::fs::read(&key).during("read", &key)?);
                    identities.push((path, data));
                }
                Some("key") if !path.with_extension("cert").exists() => {
                    return Err(setup(&path, "a key without its client certificate (NAME.cert beside NAME.key)"));
                }
                _ => {}
            }
        }
        if let [_, second, ..] = &identities[..] {
            return Err(setup(&second.0, "a second client certificate for one registry (keep one)"));
        }
        found.identity = found.identity.or(identities.pop());
    }
    Ok(found)
}
