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

use bytes::Bytes;
use jiff::Timestamp;
use oci_distribution::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::{RegistryToken, RegistryTokenType};
use oci_distribution::{Reference, RegistryOperation};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tracing::{debug, info};

use crate::auth::{self, Challenge, Token};
use crate::credentials::{CredentialStore, Credentials};
use crate::mirror::{Endpoint, Security};
use crate::reference::DOCKER_HUB;
use crate::retry::{Retry, retry_after};

mod error;
mod tls;

pub use error::ClientError;
pub(crate) use error::{innermost, message_of};

const USER_AGENT: &str = concat!("registry-tool/", env!("CARGO_PKG_VERSION"));
/// Manifests, and the pages of lists: distribution-spec asks registries to take manifests of 4 MiB.
const DOCUMENT_LIMIT: usize = 4 << 20;
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

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

/// A manifest or an index as a registry gave it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its media type, as the answer's header said.
    pub media_type: Option<String>,
    /// Its digest, as the answer's header said; nothing is verified yet.
    pub digest: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
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
        let mut failure = None;
        for &(scheme, is_verified) in attempts {
            match Self::greet(endpoint, settings, scheme, is_verified).await {
                Ok((http, base, challenge)) => {
                    let credentials = match &known {
                        Known::Stored => {
                            let host = credential_host(endpoint.host());
                            settings.credentials.find(host, endpoint.reference.repository())?
                        }
                        Known::Given(credentials) => Some(credentials.clone()),
                    };
                    let oci = tls::crate_client(endpoint.host(), scheme, is_verified, settings)?;
                    let registry = Self {
                        http,
                        oci,
                        base,
                        reference: endpoint.reference.clone(),
                        challenge: RwLock::new(challenge),
                        credentials,
                        tokens: Mutex::default(),
                        retry: settings.retry,
                    };
                    registry.introduce().await;
                    return Ok(registry);
                }
                Err(error) => {
                    debug!(host = endpoint.host(), scheme, %error, "no registry");
                    // The first attempt's reason is the one that tells: a refused connection is refused twice.
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.expect("every kind of endpoint has an attempt"))
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
                // A registry that never answered is not asked again: the next mirror may be there.
                Err(error) => return Err(ClientError::from_connection(host, &error)),
            };
            match settings.retry.wait(attempt, asked) {
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
                hint: "it speaks TLS".into(),
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

    /// Proves to the registry that the credentials hold.
    ///
    /// # Errors
    /// [`ClientError::Denied`] if they do not.
    pub async fn check_credentials(&self) -> Result<(), ClientError> {
        let url = self.url("v2/")?;
        let response = self.request(Access::Account, true, |http| http.get(url.clone())).await?;
        self.expect(response, "/v2/", &[StatusCode::OK]).await.map(drop)
    }

    /// A manifest or index by tag or digest; its size is limited, its digest not verified yet.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and as for any request.
    pub async fn manifest(&self, reference: &str) -> Result<Document, ClientError> {
        let response = self.manifest_request(Method::GET, reference).await?;
        let (media_type, digest) = manifest_headers(response.headers());
        let bytes = read_limited(response, DOCUMENT_LIMIT, self.host()).await?.into();
        Ok(Document { media_type, digest, bytes })
    }

    /// The digest of a manifest from the answer's head alone; `None` if the registry does not say.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub async fn manifest_digest(&self, reference: &str) -> Result<Option<String>, ClientError> {
        let response = self.manifest_request(Method::HEAD, reference).await?;
        Ok(manifest_headers(response.headers()).1)
    }

    async fn manifest_request(&self, method: Method, reference: &str) -> Result<Response, ClientError> {
        let path = format!("v2/{}/manifests/{reference}", self.reference.repository());
        let url = self.url(&path)?;
        let build = |http: &reqwest::Client| http.request(method.clone(), url.clone()).header("Accept", MANIFEST_TYPES);
        let response = self.request(Access::Pull, true, build).await?;
        self.expect(response, &self.name_with(reference), &[StatusCode::OK]).await
    }

    /// Puts a manifest under a tag or digest; the digest that the registry says it has.
    ///
    /// # Errors
    /// As for any request.
    pub async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Option<String>, ClientError> {
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.reference.repository()))?;
        let content_type = HeaderValue::from_str(media_type).map_err(|_| ClientError::Protocol {
            host: self.host().to_owned(),
            reason: format!("{media_type:?} is no media type"),
        })?;
        let build = |http: &reqwest::Client| {
            http.put(url.clone()).header("Content-Type", content_type.clone()).body(bytes.clone())
        };
        let response = self.request(Access::Push, true, build).await?;
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.expect(response, &self.name_with(reference), &accepted).await?;
        Ok(manifest_headers(response.headers()).1)
    }

    /// Deletes a manifest by digest, or a tag where the registry can.
    ///
    /// # Errors
    /// As for any request.
    pub async fn delete_manifest(&self, reference: &str) -> Result<(), ClientError> {
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.reference.repository()))?;
        let response = self.request(Access::Delete, true, |http| http.delete(url.clone())).await?;
        let accepted = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.expect(response, &self.name_with(reference), &accepted).await.map(drop)
    }

    /// Whether the repository has a blob of this size.
    ///
    /// # Errors
    /// As for any request.
    pub async fn has_blob(&self, digest: &str, size: u64) -> Result<bool, ClientError> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.reference.repository()))?;
        let response = self.request(Access::Push, true, |http| http.head(url.clone())).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let response = self.expect(response, digest, &[StatusCode::OK]).await?;
        let length = response.headers().get("Content-Length").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(length.is_none_or(|length: u64| length == size))
    }

    /// A blob's bytes from `offset` on, by the crate. The range is asked for even from 0: the crate hashes whole answers, and
    /// the bytes are hashed where they are written already.
    ///
    /// # Errors
    /// Whatever the crate says; asking again is the caller's, who knows how far it came.
    pub async fn blob(&self, digest: &str, offset: u64) -> Result<BlobResponse, ClientError> {
        self.hand_over_token(Access::Pull).await?;
        let answer = self.oci.pull_blob_stream_partial(&self.reference, digest, offset, None).await;
        answer.map_err(|error| ClientError::from_crate(&self.base, self.credentials.as_ref(), digest, error))
    }

    /// Waits as long as the registry wants before it gives `digest` again. The crate's errors carry no headers, so the head
    /// of the blob is asked for here, where `Retry-After` is seen and kept.
    ///
    /// # Errors
    /// The registry's refusal, when attempts are spent.
    pub async fn settle(&self, digest: &str) -> Result<(), ClientError> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.reference.repository()))?;
        self.request(Access::Pull, true, |http| http.head(url.clone())).await.map(drop)
    }

    /// Sends a whole blob in one request, by the crate.
    ///
    /// # Errors
    /// Whatever the crate says.
    pub async fn put_blob<S>(&self, digest: &str, size: u64, body: S) -> Result<(), ClientError>
    where
        S: futures_util::Stream<Item = oci_distribution::errors::Result<Bytes>> + Send + 'static,
    {
        self.hand_over_token(Access::Push).await?;
        let answer = self.oci.push_blob_stream(&self.reference, body, digest, Some(size)).await;
        answer.map(drop).map_err(|error| ClientError::from_crate(&self.base, self.credentials.as_ref(), digest, error))
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

    /// A small JSON document that is no part of the distribution-spec; `None` where the registry has none.
    ///
    /// # Errors
    /// As for any request.
    pub async fn document(&self, url: Url) -> Result<Option<Vec<u8>>, ClientError> {
        // Whoever knows a password with every request wants it here too; a token would name a repository, and there is none.
        let access = if self.challenge() == Some(Challenge::Basic) { Access::Account } else { Access::Anonymous };
        let response = self.request(access, true, |http| http.get(url.clone())).await?;
        if matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        ) {
            return Ok(None);
        }
        let response = self.expect(response, url.path(), &[StatusCode::OK]).await?;
        read_limited(response, DOCUMENT_LIMIT, self.host()).await.map(Some)
    }

    /// A small blob, such as a config, whole and not verified.
    ///
    /// # Errors
    /// As for any request.
    pub async fn small_blob(&self, digest: &str) -> Result<Vec<u8>, ClientError> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.reference.repository()))?;
        let response = self.request(Access::Pull, true, |http| http.get(url.clone())).await?;
        let response = self.expect(response, digest, &[StatusCode::OK]).await?;
        read_limited(response, 2 * DOCUMENT_LIMIT, self.host()).await
    }

    /// The elements of a paginated list: each page's `key`, following `Link` within the registry.
    ///
    /// # Errors
    /// As for any request; [`ClientError::Protocol`] if a page is not what it should be.
    pub async fn list(&self, access: Access<'_>, path: &str, key: &str) -> Result<Vec<String>, ClientError> {
        let invalid = |reason: String| ClientError::Protocol { host: self.host().to_owned(), reason };
        let mut url = self.url(path)?;
        let mut found: Vec<String> = Vec::new();
        // A registry could link in circles; 1,000 pages of 1,000 are more than any has.
        for _ in 0..1000 {
            let response = self.request(access, true, |http| http.get(url.clone())).await?;
            let what = self.name_of(access);
            let response = self.expect(response, &what, &[StatusCode::OK]).await?;
            let next = response.headers().get("Link").and_then(|value| next_link(value.to_str().ok()?));
            let next =
                next.map(|target| url.join(&target)).transpose().map_err(|_| invalid("a Link is no URL".into()))?;
            let body = read_limited(response, DOCUMENT_LIMIT, self.host()).await?;
            let page: serde_json::Value =
                serde_json::from_slice(&body).map_err(|error| invalid(format!("{path}: not JSON: {error}")))?;
            let entries = page.get(key).cloned().unwrap_or_default();
            // `null` is an empty list in Go, which most registries are written in.
            let entries: Option<Vec<String>> =
                serde_json::from_value(entries).map_err(|_| invalid(format!("{path}: {key} is no list of names")))?;
            found.extend(entries.unwrap_or_default());
            match next {
                Some(next) if !self.is_own(&next) => return Err(invalid("a Link leads to another host".into())),
                Some(next) if next != url => url = next,
                _ => return Ok(found),
            }
        }
        Err(invalid(format!("{path}: the list does not end")))
    }

    fn name_of(&self, access: Access<'_>) -> String {
        match access {
            Access::Catalog => "the catalog".to_owned(),
            _ => self.reference.repository().to_owned(),
        }
    }

    fn name_with(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}{separator}{reference}", self.reference.repository())
    }

    /// Whether a URL is at the registry itself, so that it may see our credentials.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn scopes(&self, access: Access<'_>) -> Vec<String> {
        let repository = self.reference.repository();
        match access {
            Access::Pull => vec![format!("repository:{repository}:pull")],
            Access::Push => vec![format!("repository:{repository}:pull,push")],
            Access::Mount(source) => {
                vec![format!("repository:{repository}:pull,push"), format!("repository:{source}:pull")]
            }
            Access::Delete => vec![format!("repository:{repository}:delete,pull")],
            Access::Catalog => vec!["registry:catalog:*".to_owned()],
            Access::Account | Access::Anonymous => Vec::new(),
        }
    }

    /// The `Authorization` header for a request, with a token that is still good.
    async fn authorization(&self, access: Access<'_>) -> Result<Option<HeaderValue>, ClientError> {
        if access == Access::Anonymous {
            return Ok(None);
        }
        let text = match (self.challenge(), &self.credentials) {
            (Some(Challenge::Basic), Some(Credentials::Password { username, password })) => {
                use base64::Engine as _;
                let pair = format!("{username}:{password}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            (Some(Challenge::Basic), Some(Credentials::RegistryToken(token))) => format!("Bearer {token}"),
            (None | Some(Challenge::Basic), _) => return Ok(None),
            (Some(Challenge::Bearer { realm, service }), _) => {
                format!("Bearer {}", self.token(access, &realm, service.as_deref()).await?.secret())
            }
        };
        // A header that no log shows.
        let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Setup {
            reason: format!("{}: the stored login has characters that no header can carry", self.host()),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// After a 401: takes its challenge in, and forgets the token that was refused. Whether asking again makes sense: not if
    /// the same credentials would be sent again.
    async fn learn(&self, access: Access<'_>, headers: &HeaderMap) -> Result<bool, ClientError> {
        let known = self.challenge();
        let Some(challenge) = Challenge::of(headers).or_else(|| known.clone()) else { return Ok(false) };
        let is_new = known.as_ref() != Some(&challenge);
        let is_bearer = matches!(challenge, Challenge::Bearer { .. });
        *self.challenge.write().expect("nobody panics holding it") = Some(challenge);
        if is_new {
            self.introduce().await;
        }
        let refused = self.tokens.lock().await.remove(&self.scopes(access));
        Ok(is_new || (is_bearer && refused.is_some()))
    }

    async fn token(&self, access: Access<'_>, realm: &str, service: Option<&str>) -> Result<Token, ClientError> {
        let scopes = self.scopes(access);
        // Held while fetching, so that many layers that start at once ask for one token and not for many.
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(&scopes).filter(|token| token.is_fresh()) {
            return Ok(token.clone());
        }
        let token = match &self.credentials {
            Some(Credentials::RegistryToken(token)) => Token::lasting(token.clone()),
            credentials => auth::fetch(&self.http, &self.base, realm, service, &scopes, credentials.as_ref()).await?,
        };
        tokens.insert(scopes, token.clone());
        Ok(token)
    }

    /// Gives the crate's client the token that its next request needs.
    async fn hand_over_token(&self, access: Access<'_>) -> Result<(), ClientError> {
        let operation = if access == Access::Pull { RegistryOperation::Pull } else { RegistryOperation::Push };
        let token = match (self.challenge(), &self.credentials) {
            (Some(Challenge::Basic), Some(Credentials::Password { username, password })) => {
                RegistryTokenType::Basic(username.clone(), password.clone())
            }
            (Some(Challenge::Basic), Some(Credentials::RegistryToken(token))) => bearer(token),
            (None | Some(Challenge::Basic), _) => return Ok(()),
            (Some(Challenge::Bearer { realm, service }), _) => {
                bearer(self.token(access, &realm, service.as_deref()).await?.secret())
            }
        };
        // The crate looks at its tokens only for a registry that it has been introduced to.
        self.oci.store_auth_if_needed(self.host(), &RegistryAuth::Anonymous).await;
        self.oci.tokens.insert(&self.reference, operation, token).await;
        Ok(())
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

fn bearer(token: &str) -> RegistryTokenType {
    RegistryTokenType::Bearer(RegistryToken::Token { token: token.to_owned() })
}

fn manifest_headers(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let media_type = text("Content-Type").map(|full| full.split(';').next().unwrap_or_default().trim().to_owned());
    (media_type, text("Docker-Content-Digest"))
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|one| matches!(one.trim(), "rel=next" | "rel=\"next\""));
        is_next.then(|| target.to_owned())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (header, expected) in [
            ("</v2/_catalog?last=b&n=2>; rel=\"next\"", Some("/v2/_catalog?last=b&n=2")),
            ("<a>; rel=prev, <b>; rel=next", Some("b")),
            ("<a>", None),
            ("garbage", None),
        ] {
            assert_eq!(next_link(header).as_deref(), expected, "{header}");
        }
    }
}
