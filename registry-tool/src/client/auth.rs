//! Tokens: the answer to a registry's `WWW-Authenticate` challenge (distribution-spec "Token Authentication").
//!
//! The crate's own way has no scopes over two repositories (which a mount needs), no identity tokens, no `expires_in`, and
//! drops the reason when a token is refused; so tokens are fetched here and handed to it.

use std::fmt;
use std::time::{Duration, Instant};

use http_auth::parser::ChallengeParser;
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;

use crate::client::{ClientError, innermost, read_limited};
use crate::place::credentials::Credentials;

const CLIENT_ID: &str = "registry-tool";
/// Token servers answer with a few kilobytes at most.
const ANSWER_LIMIT: usize = 1 << 20;
/// What a token is good for if its server does not say (distribution-spec, token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// How a registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// Where the token server is.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge of an answer; of several, a bearer's.
    #[must_use]
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in ChallengeParser::new(text).filter_map(Result::ok) {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    return Some(Self::Bearer { realm, service: parameter("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// A bearer token and how long it is good for.
#[derive(Clone)]
pub(crate) struct Token {
    value: String,
    expires: Instant,
}

impl Token {
    /// The token itself.
    pub(crate) fn secret(&self) -> &str {
        &self.value
    }

    /// A token that was configured rather than fetched.
    pub(crate) fn lasting(value: String) -> Self {
        Self { value, expires: Instant::now() + Duration::from_secs(24 * 60 * 60) }
    }

    /// Whether it will hold for the length of a request's beginning.
    #[must_use]
    pub(crate) fn is_fresh(&self) -> bool {
        self.expires > Instant::now()
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// Asks a token server for a token.
///
/// # Errors
/// [`ClientError::Denied`] if it refuses, and as for any request.
pub(crate) async fn fetch(
    http: &reqwest::Client,
    registry: &Url,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credentials: Option<&Credentials>,
) -> Result<Token, ClientError> {
    let host = registry.authority().to_owned();
    let protocol = |reason: String| ClientError::Protocol { host: host.clone(), reason };
    let mut url = Url::parse(realm).map_err(|_| protocol(format!("its token server {realm:?} is no URL")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(protocol(format!("its token server {realm:?} is no http or https URL")));
    }
    // Whoever answers in the place of a registry must not get a password sent in the clear.
    if credentials.is_some() && registry.scheme() == "https" && url.scheme() == "http" {
        return Err(protocol(format!("its token server {realm:?} would get the password unencrypted; not sent")));
    }
    let realm_host = url.authority().to_owned();
    let request = match credentials {
        Some(Credentials::IdentityToken(token)) => {
            let joined = scopes.join(" ");
            let mut form = vec![
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT_ID),
                ("scope", joined.as_str()),
                ("refresh_token", token.as_str()),
            ];
            form.extend(service.map(|service| ("service", service)));
            // Url writes forms; reqwest's own feature for them would be one dependency more.
            let mut encoder = Url::parse("form:").expect("a constant URL");
            encoder.query_pairs_mut().extend_pairs(form);
            let body = encoder.query().unwrap_or_default().to_owned();
            http.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(body)
        }
        other => {
            {
                let mut query = url.query_pairs_mut();
                query.extend_pairs(service.map(|service| ("service", service)));
                query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
                if let Some(Credentials::Password { username, .. }) = other {
                    query.append_pair("account", username);
                }
                query.append_pair("client_id", CLIENT_ID);
            }
            match other {
                Some(Credentials::Password { username, password }) => {
                    http.get(url).basic_auth(username, Some(password))
                }
                _ => http.get(url),
            }
        }
    };
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        host: realm_host.clone(),
        reason: format!("token server of {host}: {}", innermost(&error)),
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = read_limited(response, ANSWER_LIMIT, &realm_host).await?;
    if matches!(status.as_u16(), 400 | 401 | 403) {
        return Err(ClientError::denied(registry, credentials, crate::client::message_of(&body)));
    }
    if !status.is_success() {
        return Err(ClientError::status(&realm_host, "token", status, &body));
    }
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| protocol(format!("its token server {realm_host} gave no token")))?;
    let value = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if value.is_empty() {
        return Err(protocol(format!("its token server {realm_host} gave an empty token")));
    }
    let life = answer.expires_in.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs(seconds.clamp(60, 86_400)));
    // A tenth earlier: the token must still hold when the request arrives.
    Ok(Token { value, expires: Instant::now() + life.mul_f64(0.9) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_bearer_challenge_is_preferred_to_a_basic_one() {
        let bearer = |service: Option<&str>| {
            Some(Challenge::Bearer { realm: "https://auth.example/token".into(), service: service.map(Into::into) })
        };
        for (values, expected) in [
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["Bearer realm=\"https://auth.example/token\",service=\"reg\""], bearer(Some("reg"))),
            (vec!["bearer Realm=\"https://auth.example/token\""], bearer(None)),
            (vec!["Basic realm=\"x\"", "Bearer realm=\"https://auth.example/token\""], bearer(None)),
            (vec!["Bearer error=\"invalid_token\""], None),
            (vec!["Digest realm=\"x\""], None),
            (vec![], None),
        ] {
            assert_eq!(challenge(&values), expected, "{values:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_challenge_never_panics(text in "[ -~]{0,120}") {
            let _ = challenge(&[&text]);
        }
    }
}
