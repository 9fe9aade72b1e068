//! Connections: TLS, certificates of certs.d, proxies.

use std::path::{Path, PathBuf};

use oci_distribution::client::{Certificate, CertificateEncoding};
use reqwest::{NoProxy, Proxy};

use super::{ClientError, Settings, USER_AGENT, crate_config};
use crate::place::mirror::is_loopback;

/// The client for the requests that we make ourselves.
pub(super) fn http_client(
    host: &str,
    scheme: &str,
    is_verified: bool,
    settings: &Settings,
) -> Result<reqwest::Client, ClientError> {
    install_provider();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .referer(false)
        // A redirect from TLS to plain http would let anybody on the way write the manifests that a tag means.
        .https_only(is_verified && scheme == "https")
        .no_proxy()
        .tls_danger_accept_invalid_certs(!is_verified);
    let proxies = Proxies::from_environment();
    let invalid = |error: reqwest::Error| ClientError::Setup { reason: super::innermost(&error) };
    if !is_loopback(host) {
        let exceptions = || NoProxy::from_string(&proxies.exceptions);
        if let Some(url) = &proxies.http {
            builder = builder.proxy(Proxy::http(url).map_err(invalid)?.no_proxy(exceptions()));
        }
        if let Some(url) = &proxies.https {
            builder = builder.proxy(Proxy::https(url).map_err(invalid)?.no_proxy(exceptions()));
        }
    }
    if is_verified && scheme == "https" {
        let mut certificates = Vec::new();
        for (path, pem) in authorities(host)? {
            let parsed = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| ClientError::Setup { reason: format!("{}: no PEM certificate", path.display()) })?;
            certificates.extend(parsed);
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(invalid)
}

/// The crate's client, made as ours is.
pub(super) fn crate_client(
    host: &str,
    scheme: &str,
    is_verified: bool,
    settings: &Settings,
) -> Result<oci_distribution::Client, ClientError> {
    let mut config = crate_config(scheme, is_verified, settings);
    // Without a proxy of its own the crate's client would take the environment's, for the loopback network too.
    let proxies = Proxies::from_environment();
    (config.http_proxy, config.https_proxy) = (proxies.http, proxies.https);
    config.no_proxy = Some(proxies.exceptions);
    if is_verified && scheme == "https" {
        let certificate = |(_, data)| Certificate { encoding: CertificateEncoding::Pem, data };
        config.extra_root_certificates = authorities(host)?.into_iter().map(certificate).collect();
    }
    oci_distribution::Client::try_from(config).map_err(|error| ClientError::Setup { reason: super::innermost(&error) })
}

fn install_provider() {
    // The second and later calls fail, because there is one: that is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The proxies that curl's variables name, lower case first as there.
struct Proxies {
    http: Option<String>,
    https: Option<String>,
    exceptions: String,
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
                    let data = std::fs::read(&path)
                        .map_err(|error| ClientError::Setup { reason: format!("read {}: {error}", path.display()) })?;
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
