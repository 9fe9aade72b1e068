//! An open conversation: connecting, and the one way in which requests are made.

use oci_distribution::Reference;
use oci_distribution::errors::OciErrorCode;
use reqwest::header::HeaderMap;
use reqwest::{Request, RequestBuilder, Response, StatusCode, Url};
use tracing::{debug, info};

use super::answer::Refusal;
use super::auth::{Access, Beginning, Challenge, Login};
use super::error::ClientError;
use super::greeting::{Greeting, greet};
use super::retry::{self, Retry};
use super::settings::Settings;
use crate::place::credentials::credential_host;
use crate::place::mirror::Endpoint;

/// An open conversation with a registry about one repository.
pub struct Registry {
    http: reqwest::Client,
    /// The registry's scheme, host and port.
    base: Url,
    reference: Reference,
    login: Login,
    retry: Retry,
}

impl Registry {
    /// Opens a conversation: finds out whether the registry speaks TLS or plain http, and which authentication it demands.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Tls`], and errors of credentials.
    pub async fn connect(endpoint: &Endpoint, settings: &Settings) -> Result<Self, ClientError> {
        // A mirror that fails is asked only once more: the next place is there for that.
        let times = if endpoint.is_mirror { settings.retry.times.min(1) } else { settings.retry.times };
        let retry = Retry { times, ..settings.retry };
        let Greeting { http, base, challenge } = greet(endpoint, settings, retry).await?;
        let (host, repository) = (endpoint.host(), endpoint.reference.repository());
        let credentials = settings.credentials.find(credential_host(host), repository)?;
        let reference = endpoint.reference.clone();
        let login = Login::new(Beginning {
            http: http.clone(),
            base: base.clone(),
            host: host.to_owned(),
            repository: repository.to_owned(),
            credentials,
            challenge,
            retry,
        });
        Ok(Self { http, base, reference, login, retry })
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

    /// When to ask again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Makes a request with the proof that `access` needs, and again where that may help: once with a fresh token after a 401,
    /// and after a 408, 429, 5xx or a cut connection while attempts last.
    ///
    /// Every other status is the caller's. `may_repeat` is false for what must not be done twice.
    ///
    /// # Errors
    /// [`ClientError::Denied`], [`ClientError::Cut`], [`ClientError::Status`] of the last attempt.
    pub(super) async fn request(
        &self,
        access: Access<'_>,
        may_repeat: bool,
        build: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, ClientError> {
        let (mut attempt, mut has_learnt) = (0, false);
        loop {
            let request = self.authorized(access, &build).await?;
            let path = request.url().path().to_owned();
            let (asked, error) = match self.execute(request).await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && self.is_own(response.url()) => {
                    if !has_learnt && self.login.learn(access, response.headers()).await {
                        has_learnt = true;
                        continue;
                    }
                    return Err(self.answered(
                        &path,
                        StatusCode::UNAUTHORIZED,
                        Refusal::read(response, self.host()).await,
                    ));
                }
                Ok(response) if may_repeat && retry::is_transient(response.status()) => {
                    let (status, asked) = (response.status(), retry::asked_wait(response.headers()));
                    (asked, self.answered(&path, status, Refusal::read(response, self.host()).await))
                }
                Ok(response) => return Ok(response),
                Err(error) if may_repeat => (None, error),
                Err(error) => return Err(error),
            };
            let Some(wait) = self.retry.wait(attempt, asked) else { return Err(error.asked_to_wait(asked)) };
            info!(host = self.host(), %error, ?wait, "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// The request with its `Authorization`, if it goes to the registry itself.
    async fn authorized(
        &self,
        access: Access<'_>,
        build: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Request, ClientError> {
        let authorization = self.login.authorization(access).await?;
        let mut request = build(&self.http).build().map_err(|error| ClientError::cut(self.host(), &error))?;
        if let Some(authorization) = authorization
            && self.is_own(request.url())
        {
            let value = authorization.header().ok_or_else(|| ClientError::Setup {
                reason: format!("{}: the stored login has characters that no header can carry", self.host()),
            })?;
            request.headers_mut().insert("Authorization", value);
        }
        Ok(request)
    }

    async fn execute(&self, request: Request) -> Result<Response, ClientError> {
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.map_err(|error| ClientError::cut(self.host(), &error))?;
        debug!(host = self.host(), %method, path, status = %response.status());
        Ok(response)
    }

    /// Turns an answer of an unexpected status into its error.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Denied`], [`ClientError::Status`].
    pub(super) async fn expect(
        &self,
        response: Response,
        what: &str,
        wanted: &[StatusCode],
    ) -> Result<Response, ClientError> {
        let status = response.status();
        if wanted.contains(&status) {
            return Ok(response);
        }
        Err(self.answered(what, status, Refusal::read(response, self.host()).await))
    }

    /// The error that a refusal means.
    pub(super) fn answered(&self, what: &str, status: StatusCode, refusal: Refusal) -> ClientError {
        let message = refusal.message;
        match meaning(status, refusal.code.as_ref()) {
            StatusCode::NOT_FOUND => ClientError::NotFound { host: self.host().to_owned(), what: what.to_owned() },
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                ClientError::denied(self.host(), self.login.credentials().is_some(), message)
            }
            status => ClientError::status(self.host(), what, status, message),
        }
    }

    /// Which authentication the registry demands, as far as it has said so.
    pub(super) fn challenge(&self) -> Option<Challenge> {
        self.login.challenge()
    }

    /// The URL of a path beneath the registry.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if the path is not valid.
    pub(super) fn url(&self, path: &str) -> Result<Url, ClientError> {
        let invalid = |_| ClientError::protocol(self.host(), format!("{path:?} is not a valid path of a URL"));
        self.base.join(path).map_err(invalid)
    }

    /// The URL of something in the repository, such as `manifests/latest`.
    ///
    /// # Errors
    /// As [`Registry::url`].
    pub(super) fn repository_url(&self, path: &str) -> Result<Url, ClientError> {
        self.url(&format!("v2/{}/{path}", self.reference.repository()))
    }

    /// The target of a `Location`.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if there is none.
    pub(super) fn location(&self, response: &Response) -> Result<Url, ClientError> {
        location_of(response.headers(), response.url()).ok_or_else(|| {
            ClientError::protocol(
                self.host(),
                "the response lacks the Location header that the distribution-spec requires",
            )
        })
    }

    /// Whether a URL is at the registry itself, so that it may see our credentials.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }
}

/// The status that a refusal means. The code is the spec's, while statuses are often those of a gateway or of a general handler: of
/// a client's errors (4xx) the code decides, if it says one of these things.
fn meaning(status: StatusCode, code: Option<&OciErrorCode>) -> StatusCode {
    use OciErrorCode::{BlobUnknown, ManifestUnknown, NameUnknown, Toomanyrequests};
    match code {
        _ if !status.is_client_error() => status,
        Some(Toomanyrequests) => StatusCode::TOO_MANY_REQUESTS,
        Some(BlobUnknown | ManifestUnknown | NameUnknown) => StatusCode::NOT_FOUND,
        _ => status,
    }
}

/// The target of a `Location`, relative to the URL of the answer that it came with, which after redirects is another than that of
/// the request (RFC 9110, 10.2.2). `None` if there is none.
pub(super) fn location_of(headers: &HeaderMap, at: &Url) -> Option<Url> {
    let location = headers.get("Location")?;
    let mut url = at.join(String::from_utf8_lossy(location.as_bytes()).trim()).ok()?;
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_refusal_decides_what_a_clients_error_means() {
        use OciErrorCode::{Denied, ManifestUnknown, Toomanyrequests, Unsupported};
        for (status, code, expected) in [
            (400, Some(ManifestUnknown), 404),
            (403, Some(Toomanyrequests), 429),
            (404, Some(Denied), 404),
            (405, Some(Unsupported), 405),
            (404, None, 404),
            (503, Some(Denied), 503),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(meaning(status, code.as_ref()).as_u16(), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn a_location_is_relative_in_every_form() {
        let at: Url = "http://a.b:5000/v2/x/blobs/uploads/?from=y".parse().unwrap();
        for (location, expected) in [
            ("https://c.d/u1?s=%2F#end", Some("https://c.d/u1?s=%2F")),
            ("//c.d:1/u1", Some("http://c.d:1/u1")),
            ("/v2/u1", Some("http://a.b:5000/v2/u1")),
            ("u1", Some("http://a.b:5000/v2/x/blobs/uploads/u1")),
            ("./u1?a=b", Some("http://a.b:5000/v2/x/blobs/uploads/u1?a=b")),
            ("../../u1", Some("http://a.b:5000/v2/x/u1")),
            (" u1 ", Some("http://a.b:5000/v2/x/blobs/uploads/u1")),
            ("?state=1", Some("http://a.b:5000/v2/x/blobs/uploads/?state=1")),
            ("http://[", None),
        ] {
            let headers = HeaderMap::from_iter([(reqwest::header::LOCATION, location.parse().unwrap())]);
            assert_eq!(location_of(&headers, &at).map(String::from).as_deref(), expected, "{location}");
        }
        assert_eq!(location_of(&HeaderMap::new(), &at), None);
    }
}
