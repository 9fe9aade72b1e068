//! Tokens, and the server that a registry sends us to for one (distribution-spec, "Token Authentication").

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;

use crate::client::answer::{Refusal, read_limited};
use crate::client::error::{ClientError, innermost};
use crate::place::credentials::Credentials;

const CLIENT_ID: &str = "registry-tool";
/// Token servers answer with a few kilobytes at most.
const ANSWER_LIMIT: usize = 1 << 20;
/// The life of a token whose server does not say (distribution-spec, token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A bearer token and how long it is valid.
#[derive(Clone)]
pub(super) struct Token {
    value: String,
    expires: Instant,
}

impl Token {
    /// The token itself, which no log may show.
    pub(super) fn secret(&self) -> &str {
        &self.value
    }

    /// Whether it will still be valid when a request arrives.
    pub(super) fn is_fresh(&self) -> bool {
        self.expires > Instant::now()
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where a registry's tokens come from.
pub(super) struct TokenServer<'a> {
    url: Url,
    /// The registry's name there, if its challenge gave one.
    service: Option<&'a str>,
    /// The registry, for errors.
    registry: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// In seconds.
    expires_in: Option<f64>,
}

impl<'a> TokenServer<'a> {
    /// The token server of a challenge.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if the realm is not a URL of http or https.
    pub(super) fn new(realm: &str, service: Option<&'a str>, registry: &'a str) -> Result<Self, ClientError> {
        match Url::parse(realm) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self { url, service, registry }),
            _ => {
                let reason = format!("its token server {realm:?} is not a valid http or https URL");
                Err(ClientError::protocol(registry, reason))
            }
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Asks for a token with these scopes.
    ///
    /// # Errors
    /// [`ClientError::Denied`] if the server refuses, and as for any request.
    pub(super) async fn fetch(
        &self,
        http: &reqwest::Client,
        scopes: &[String],
        credentials: Option<&Credentials>,
    ) -> Result<Token, ClientError> {
        let request = match credentials {
            Some(Credentials::IdentityToken(token)) => self.exchange(http, scopes, token),
            Some(Credentials::Password { username, password }) => {
                http.get(self.query(scopes, Some(username))).basic_auth(username, Some(password))
            }
            Some(Credentials::RegistryToken(_)) | None => http.get(self.query(scopes, None)),
        };
        let response = request.send().await.map_err(|error| ClientError::Unreachable {
            host: self.url.authority().to_owned(),
            reason: format!("token server of {}: {}", self.registry, innermost(&error)),
        })?;
        self.read(response, credentials.is_some()).await
    }

    /// The URL of a `GET`.
    fn query(&self, scopes: &[String], account: Option<&str>) -> Url {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .extend_pairs(self.service.map(|service| ("service", service)))
            .extend_pairs(scopes.iter().map(|scope| ("scope", scope)))
            .extend_pairs(account.map(|account| ("account", account)))
            .append_pair("client_id", CLIENT_ID);
        url
    }

    /// The `POST` that exchanges a refresh token (distribution-spec, "OAuth2 Token Authentication").
    fn exchange(&self, http: &reqwest::Client, scopes: &[String], refresh_token: &str) -> RequestBuilder {
        // Url writes forms; reqwest's own feature for them would be one dependency more.
        let mut form = Url::parse("form:").expect("a constant URL");
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("refresh_token", refresh_token)
            .extend_pairs(self.service.map(|service| ("service", service)));
        let body = form.query().unwrap_or_default().to_owned();
        http.post(self.url.clone()).header("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    async fn read(&self, response: Response, has_login: bool) -> Result<Token, ClientError> {
        let host = self.url.authority();
        let status = response.status();
        let body = read_limited(response, ANSWER_LIMIT, host).await?;
        if matches!(status.as_u16(), 400 | 401 | 403) {
            return Err(ClientError::denied(self.registry, has_login, Refusal::of(&body).message));
        }
        if !status.is_success() {
            return Err(ClientError::status(host, "token", status, Refusal::of(&body).message));
        }
        let nothing = |what| ClientError::protocol(self.registry, format!("its token server {host} gave {what}"));
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| nothing("no token"))?;
        // Servers in Go write the fields that they do not use as null or empty.
        let value = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let value = value.ok_or_else(|| nothing("an empty token"))?;
        let life =
            answer.expires_in.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs_f64(seconds.clamp(60.0, 86_400.0)));
        // A tenth earlier: the token must still be valid when the request arrives.
        Ok(Token { value, expires: Instant::now() + life.mul_f64(0.9) })
    }
}
