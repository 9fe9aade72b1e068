//! What one file says of a registry: the keys and entries of `auths`, and which helper is named for it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::reference::DOCKER_HUB;

/// The key under which docker stores Docker Hub's credentials, from the days of the first protocol.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name of the account.
        username: String,
        /// The secret, which may be an access token.
        password: String,
    },
    /// An OAuth2 refresh token, which docker calls an identity token.
    IdentityToken(String),
    /// A bearer token to be sent as it is (`registrytoken`).
    RegistryToken(String),
}

impl Credentials {
    /// The account, where one is known.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::IdentityToken(_) | Self::RegistryToken(_) => None,
        }
    }
}

/// Without the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password {{ username: {username:?}, .. }}"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(..)"),
        }
    }
}

/// The helper for a registry: its own, or the one for all.
pub(super) fn helper_for<'a>(document: &'a Map<String, Value>, registry: &str) -> Option<&'a str> {
    let own = document.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
        helpers.iter().find(|(key, _)| host_of(key) == registry).and_then(|(_, name)| name.as_str())
    });
    own.or_else(|| document.get("credsStore").and_then(Value::as_str)).filter(|name| !name.is_empty())
}

/// The name under which a host's credentials are stored, and by which people know it: `docker.io` for each of Docker Hub's.
#[must_use]
pub fn credential_host(host: &str) -> &str {
    if matches!(host, "registry-1.docker.io" | "index.docker.io") { DOCKER_HUB } else { host }
}

/// docker's and helpers' name for a registry.
pub(super) fn server_key(registry: &str) -> String {
    if registry == DOCKER_HUB { HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// The host of a key such as `https://index.docker.io/v1/`, `quay.io/team` or `localhost:5000`.
pub(super) fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    credential_host(rest.split('/').next().unwrap_or(rest))
}

/// Whether a key goes beyond the host, as only podman's do: `quay.io/team`, but not `https://host/v1/`.
pub(super) fn key_has_repository(key: &str) -> bool {
    !key.contains("://")
        && key.split_once('/').is_some_and(|(_, path)| !matches!(path, "" | "v1" | "v1/" | "v2" | "v2/"))
}

/// The entry whose key covers the most of `registry/repository`.
pub(super) fn longest_entry<'a>(
    document: &'a Map<String, Value>,
    registry: &str,
    repository: &str,
) -> Option<&'a Value> {
    let auths = document.get("auths")?.as_object()?;
    let whole = format!("{registry}/{repository}");
    let covered = |key: &str| {
        if host_of(key) != registry {
            None
        } else if key_has_repository(key) {
            let rest = whole.strip_prefix(key.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then_some(key.len())
        } else {
            // All spellings of the host alone are equal, but the plain one is the newest.
            Some(usize::from(key == registry))
        }
    };
    let fitting = auths.iter().filter_map(|(key, entry)| Some((covered(key)?, entry)));
    fitting.max_by_key(|(length, _)| *length).map(|(_, entry)| entry)
}

pub(super) fn decode(entry: &Value) -> Result<Option<Credentials>, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|value| !value.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::IdentityToken(token.to_owned())));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::RegistryToken(token.to_owned())));
    }
    if let Some(auth) = text("auth") {
        // Files made by base64(1) have line ends in it, which Go's decoder passes over.
        let auth: String = auth.chars().filter(|char| !matches!(char, '\r' | '\n')).collect();
        let decoded = STANDARD.decode(auth).map_err(|_| "auth is not base64".to_owned())?;
        let decoded = String::from_utf8(decoded).map_err(|_| "auth is not UTF-8".to_owned())?;
        let (username, password) = decoded.split_once(':').ok_or("auth is not base64 of user:password")?;
        // docker pads with zero bytes; it trims them on reading, too.
        let password = password.trim_end_matches('\0');
        return Ok(Some(Credentials::Password { username: username.into(), password: password.into() }));
    }
    match (text("username"), text("password")) {
        (Some(username), Some(password)) => {
            Ok(Some(Credentials::Password { username: username.into(), password: password.into() }))
        }
        _ => Ok(None),
    }
}

pub(super) fn encode(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        }
        Credentials::IdentityToken(token) => json!({ "auth": STANDARD.encode("<token>:"), "identitytoken": token }),
        Credentials::RegistryToken(token) => json!({ "registrytoken": token }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn an_entry_never_panics(text in "\\PC{0,60}", key in "(auth|identitytoken|username|password|x)") {
            let _ = decode(&json!({ key: text.clone() }));
            let mut document = Map::new();
            document.insert("auths".into(), json!({ text: {"auth": "YTpi"} }));
            let _ = longest_entry(&document, "quay.io", "team/app");
        }

        #[test]
        fn line_ends_in_an_entry_do_not_matter(place in 0usize..9) {
            let mut auth = "dTpwYXNz".to_owned();
            auth.insert_str(place.min(auth.len()), "\r\n");
            let kept = Credentials::Password { username: "u".into(), password: "pass".into() };
            proptest::prop_assert_eq!(decode(&json!({ "auth": auth })), Ok(Some(kept)));
        }

        #[test]
        fn a_password_comes_back_as_it_was_kept(username in "[^:\\x00]{1,20}", secret in "[^\\x00]{1,40}") {
            let kept = Credentials::Password { username, password: secret };
            proptest::prop_assert_eq!(decode(&encode(&kept)), Ok(Some(kept)));
        }
    }
}
