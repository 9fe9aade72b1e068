//! A conversation with one registry, on the `oci-distribution` crate.
//!
//! The crate's client streams blobs down ([`Registry::blob`]) and up ([`Registry::put_blob`]): the bulk of the bytes. It is
//! told which token to use, and asked again when it fails. Around it stands what it lacks: the choice between TLS and plain
//! http, tokens that name several repositories and expire, one more try after a 401, 429, 5xx or a cut connection, and
//! answers whose size is limited and whose headers count (`Retry-After`, `Link`, `Range`, `Location`): those requests are
//! made with reqwest, of which the crate itself is made ([`Registry::request`]).
//!
//! TLS is rustls with ring: the crate is built without a provider so that the choice is ours, and ring needs neither cmake
//! nor a C++ compiler where aws-lc-rs does, and is as fast at what a pull does (AES-GCM).
//!
//! Credentials: the `Authorization` header is put on requests to the registry's own scheme, host and port only; reqwest
//! takes it off when a redirect leads elsewhere, and an upload's `Location` elsewhere never gets it (CVE-2020-15157).

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::Duration;

use jiff::Timestamp;
use oci_distribution::Reference;
use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::sync::Mutex;
use tracing::{debug, info};

use crate::client::auth::{Challenge, Token};
use crate::client::retry::{Retry, retry_after};
use crate::place::credentials::{CredentialStore, Credentials};
use crate::place::mirror::{Endpoint, Security};
use crate::reference::DOCKER_HUB;

mod auth;
mod blob;
mod document;
mod error;
pub mod retry;
mod tls;
mod token;

use document::DOCUMENT_LIMIT;
pub use document::Document;
pub use error::ClientError;
pub(crate) use error::{innermost, message_of};

const USER_AGENT: &str = concat!("registry-tool/", env!("CARGO_PKG_VERSION"));
/// What does not depend on the registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where credentials come from.
    pub credentials: CredentialStore,
    /// When to ask again.
    pub retry: Retry,
    /// How long a connection may take to be made.
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

/// What a request needs permission for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// Reading the repository.
    Pull,
    /// Writing it.
    Push,
    /// Writing it, and reading another one that a blob is mounted from.
    Mount(&'a str),
    /// Deleting from it.
    Delete,
    /// Listing the repositories.
    Catalog,
    /// Nothing but having an account.
    Account,
    /// Nothing at all: no credentials are sent.
    Anonymous,
}

/// An open conversation with a registry about one repository.
pub struct Registry {
    http: reqwest::Client,
    oci: oci_distribution::Client,
    base: Url,
    reference: Reference,
    /// Learnt from the greeting, or from the first 401 of a registry that greets everybody.
    challenge: RwLock<Option<Challenge>>,
    credentials: Option<Credentials>,
    tokens: Mutex<HashMap<Vec<String>, Token>>,
    retry: Retry,
}

impl Registry {
    /// Opens a conversation: finds out whether the registry speaks TLS or plain http, and what it wants to be convinced by.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Tls`], and errors of credentials.
    pub async fn connect(endpoint: &Endpoint, settings: &Settings) -> Result<Self, ClientError> {
        Self::connect_as(endpoint, settings, Known::Stored).await
    }

    /// As [`Registry::connect`], with credentials that are not kept yet.
    ///
    /// # Errors
    /// As [`Registry::connect`].
    pub async fn connect_as(endpoint: &Endpoint, settings: &Settings, known: Known) -> Result<Self, ClientError> {
        let attempts: &[(&str, bool)] = match endpoint.security {
            Security::Verified => &[("https", true)],
            Security::Insecure => &[("https", false), ("http", false)],
            Security::Loopback => &[("http", false), ("https", false)],
            Security::Plain => &[("http", false)],
        };
        let mut round = 0;
        let (http, base, challenge, is_verified) = 'rounds: loop {
            let mut failure = None;
            for &(scheme, is_verified) in attempts {
                match Self::greet(endpoint, settings, scheme, is_verified).await {
                    Ok((http, base, challenge)) => break 'rounds (http, base, challenge, is_verified),
                    Err(error) => {
                        debug!(host = endpoint.host(), scheme, %error, "no registry");
                        // The first attempt's reason is the one that tells: a refused connection is refused twice.
                        failure.get_or_insert(error);
                    }
                }
            }
            let error = failure.expect("every kind of endpoint has an attempt");
            // One that cannot be reached is not asked again: the next place may be there. One that hung up may be busy.
            let wait = patience(endpoint, settings).wait(round, None);
            let Some(wait) = wait.filter(|_| matches!(error, ClientError::Cut { .. })) else { return Err(error) };
            tokio::time::sleep(wait).await;
            round += 1;
        };
        let credentials = match known {
            Known::Stored => {
                settings.credentials.find(credential_host(endpoint.host()), endpoint.reference.repository())?
            }
            Known::Given(credentials) => Some(credentials),
        };
        let registry = Self {
            http,
            oci: tls::crate_client(endpoint.host(), base.scheme(), is_verified, settings)?,
            base,
            reference: endpoint.reference.clone(),
            challenge: RwLock::new(challenge),
            credentials,
            tokens: Mutex::default(),
            retry: patience(endpoint, settings),
        };
        registry.introduce().await;
        Ok(registry)
    }

    /// `GET /v2/`, without credentials.
    async fn greet(
        endpoint: &Endpoint,
        settings: &Settings,
        scheme: &str,
        is_verified: bool,
    ) -> Result<(reqwest::Client, Url, Option<Challenge>), ClientError> {
        let host = endpoint.host();
        let protocol = |reason: &str| ClientError::Protocol { host: host.to_owned(), reason: reason.to_owned() };
        let base = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| protocol("not a host"))?;
        let http = tls::http_client(host, scheme, is_verified, settings)?;
        let url = base.join("v2/").expect("a constant path");
        let mut attempt = 0;
        let response = loop {
            let result = http.get(url.clone()).send().await;
            let (asked, error) = match result {
                Ok(response) if is_transient(response.status()) => {
                    let asked = wait_asked(response.headers());
                    (asked, ClientError::status(host, "/v2/", response.status(), &[]))
                }
                Ok(response) => break response,
                Err(error) => return Err(ClientError::from_connection(host, &error)),
            };
            match patience(endpoint, settings).wait(attempt, asked) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error.asked_to_wait(asked)),
            }
            attempt += 1;
        };
        let status = response.status();
        let challenge = Challenge::of(response.headers());
        if scheme == "http" && status == StatusCode::BAD_REQUEST {
            // What Go's and nginx's TLS servers answer to plain http.
            return Err(ClientError::Tls {
                host: host.to_owned(),
                reason: "it answers plain http with 400 Bad Request".into(),
                hint: "it speaks TLS: write https:// for a mirror".into(),
            });
        }
        info!(host, scheme, %status, "registry found");
        Ok((http, base, challenge))
    }

    /// Tells the crate who we are, for the case that it must fetch a token itself.
    async fn introduce(&self) {
        let auth = match (self.challenge(), &self.credentials) {
            (None, _) | (_, Some(Credentials::IdentityToken(_))) => return,
            (Some(_), Some(Credentials::Password { username, password })) => {
                RegistryAuth::Basic(username.clone(), password.clone())
            }
            (Some(_), Some(Credentials::RegistryToken(token))) => RegistryAuth::Bearer(token.clone()),
            (Some(_), None) => RegistryAuth::Anonymous,
        };
        self.oci.store_auth_if_needed(self.reference.registry(), &auth).await;
    }

    /// The registry's host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.reference.registry()
    }

    /// The name that the conversation is about, as the registry knows it.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Whether the registry asked for credentials when it was greeted.
    #[must_use]
    pub fn wants_credentials(&self) -> bool {
        self.challenge().is_some()
    }

    fn challenge(&self) -> Option<Challenge> {
        self.challenge.read().expect("nobody panics holding it").clone()
    }

    /// When to ask again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Makes a request with the token for `access`, and again where that may help: once with a fresh token after a 401, and
    /// after a 408, 429, 5xx or a cut connection while attempts last.
    ///
    /// Every other status is the caller's. `may_repeat` is false for what must not be done twice.
    ///
    /// # Errors
    /// [`ClientError::Denied`], [`ClientError::Cut`], [`ClientError::Status`] of the last attempt.
    pub async fn request(
        &self,
        access: Access<'_>,
        may_repeat: bool,
        build: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
        let mut attempt = 0;
        let mut has_learnt = false;
        loop {
            let authorization = self.authorization(access).await?;
            let mut request = build(&self.http).build().map_err(|error| ClientError::cut(self.host(), &error))?;
            if self.is_own(request.url())
                && let Some(value) = &authorization
            {
                request.headers_mut().insert("Authorization", value.clone());
            }
            let path = request.url().path().to_owned();
            let method = request.method().clone();
            let (asked, error) = match self.http.execute(request).await {
                Ok(response) => {
                    let status = response.status();
                    debug!(host = self.host(), %method, path, %status);
                    if status == StatusCode::UNAUTHORIZED && self.is_own(response.url()) {
                        if !has_learnt && access != Access::Anonymous && self.learn(access, response.headers()).await? {
                            has_learnt = true;
                            continue;
                        }
                        let body = read_limited(response, DOCUMENT_LIMIT, self.host()).await.unwrap_or_default();
                        return Err(ClientError::denied(&self.base, self.credentials.as_ref(), message_of(&body)));
                    }
                    if !is_transient(status) || !may_repeat {
                        return Ok(response);
                    }
                    let asked = wait_asked(response.headers());
                    let body = read_limited(response, DOCUMENT_LIMIT, self.host()).await.unwrap_or_default();
                    (asked, ClientError::status(self.host(), &path, status, &body))
                }
                Err(error) => {
                    let error = ClientError::cut(self.host(), &error);
                    if !may_repeat {
                        return Err(error);
                    }
                    (None, error)
                }
            };
            let Some(wait) = self.retry.wait(attempt, asked) else { return Err(error.asked_to_wait(asked)) };
            info!(host = self.host(), %error, ?wait, "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Turns an answer of an unexpected status into its error.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Denied`], [`ClientError::Status`].
    pub async fn expect(&self, response: Response, what: &str, wanted: &[StatusCode]) -> Result<Response, ClientError> {
        let status = response.status();
        if wanted.contains(&status) {
            return Ok(response);
        }
        let body = read_limited(response, DOCUMENT_LIMIT, self.host()).await.unwrap_or_default();
        Err(match status {
            StatusCode::NOT_FOUND => ClientError::NotFound { host: self.host().to_owned(), what: what.to_owned() },
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                ClientError::denied(&self.base, self.credentials.as_ref(), message_of(&body))
            }
            _ => ClientError::status(self.host(), what, status, &body),
        })
    }

    /// The URL of a path beneath the registry.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if it is none.
    pub fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.base.join(path).map_err(|_| ClientError::Protocol {
            host: self.host().to_owned(),
            reason: format!("{path:?} is no path of a URL"),
        })
    }

    /// A `Location` or `Link` target against the URL that it came with.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if there is none.
    pub fn location(&self, headers: &HeaderMap, at: &Url) -> Result<Url, ClientError> {
        let location = headers.get("Location").and_then(|value| value.to_str().ok());
        location.and_then(|location| at.join(location).ok()).ok_or_else(|| ClientError::Protocol {
            host: self.host().to_owned(),
            reason: "its answer has no Location where the distribution-spec wants one".into(),
        })
    }

    /// Whether a URL is at the registry itself, so that it may see our credentials.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }
}

/// Which credentials a conversation uses.
#[derive(Clone, Debug)]
pub enum Known {
    /// Those that the files and helpers know.
    Stored,
    /// These.
    Given(Credentials),
}

/// A mirror that is out of order is asked once more and no oftener: the next place is there for that.
fn patience(endpoint: &Endpoint, settings: &Settings) -> Retry {
    let times = if endpoint.is_mirror { settings.retry.times.min(1) } else { settings.retry.times };
    Retry { times, ..settings.retry }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

/// The name under which a host's credentials are kept.
#[must_use]
pub fn credential_host(host: &str) -> &str {
    if matches!(host, "registry-1.docker.io" | "index.docker.io") { DOCKER_HUB } else { host }
}

/// A whole answer, unless it is larger than its kind can be.
pub(crate) async fn read_limited(mut response: Response, limit: usize, host: &str) -> Result<Vec<u8>, ClientError> {
    let too_large = || ClientError::TooLarge { host: host.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ClientError::cut(host, &error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The crate's configuration that fits ours.
fn crate_config(scheme: &str, is_verified: bool, settings: &Settings) -> ClientConfig {
    ClientConfig {
        protocol: if scheme == "http" { ClientProtocol::Http } else { ClientProtocol::Https },
        accept_invalid_certificates: !is_verified,
        use_monolithic_push: true,
        platform_resolver: None,
        // Tokens are renewed here, by what their servers say; the crate must not think that it knows better.
        default_token_expiration_secs: 24 * 60 * 60,
        read_timeout: Some(settings.read_timeout),
        connect_timeout: Some(settings.connect_timeout),
        user_agent: USER_AGENT,
        ..ClientConfig::default()
    }
}
