//! Who we are in a conversation: the registry's challenge, the login, and the tokens that it is exchanged for.
//!
//! A mount needs a token whose scopes are over two repositories.

use std::collections::HashMap;
use std::sync::RwLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::Mutex;

use super::error::ClientError;
use super::retry::Retry;
use crate::place::credentials::Credentials;

mod challenge;
mod token;

pub(super) use challenge::Challenge;
use token::{Token, TokenServer};

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

impl Access<'_> {
    /// The scopes of a token that permits this (distribution-spec, "Token Scope Documentation").
    fn scopes(self, repository: &str) -> Vec<String> {
        match self {
            Self::Pull => vec![format!("repository:{repository}:pull")],
            Self::Push => vec![format!("repository:{repository}:pull,push")],
            Self::Mount(source) => {
                vec![format!("repository:{repository}:pull,push"), format!("repository:{source}:pull")]
            }
            Self::Delete => vec![format!("repository:{repository}:delete,pull")],
            Self::Catalog => vec!["registry:catalog:*".to_owned()],
            Self::Account | Self::Anonymous => Vec::new(),
        }
    }
}

/// What one request carries to prove who we are; either client can send it.
#[derive(Clone)]
pub(super) enum Authorization {
    /// A name and a password.
    Basic {
        /// The account.
        username: String,
        /// Its password.
        password: String,
    },
    /// A token.
    Bearer(String),
}

impl Authorization {
    /// The value of the `Authorization` header, marked so that no log shows it; `None` if no header can carry it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Basic { username, password } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The login of one conversation: for one repository at one registry.
pub(super) struct Login {
    /// The connections of the conversation, over which tokens are fetched too.
    http: reqwest::Client,
    /// The registry's scheme, host and port.
    base: Url,
    /// The registry as errors name it.
    host: String,
    repository: String,
    credentials: Option<Credentials>,
    /// Learnt from the greeting, or from the first 401 of a registry that greets everybody.
    challenge: RwLock<Option<Challenge>>,
    /// By scopes.
    tokens: Mutex<HashMap<Vec<String>, Token>>,
    retry: Retry,
}

/// What a conversation knows of its login when it begins.
pub(super) struct Beginning {
    pub(super) http: reqwest::Client,
    pub(super) base: Url,
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) credentials: Option<Credentials>,
    /// The registry's, from its greeting.
    pub(super) challenge: Option<Challenge>,
    pub(super) retry: Retry,
}

impl Login {
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning { http, base, host, repository, credentials, challenge, retry } = beginning;
        let (challenge, tokens) = (RwLock::new(challenge), Mutex::default());
        Self { http, base, host, repository, credentials, challenge, tokens, retry }
    }

    /// Which authentication the registry demands, as far as it has said so.
    pub(super) fn challenge(&self) -> Option<Challenge> {
        self.challenge.read().expect("nobody panics holding it").clone()
    }

    /// The login that is used, if there is one.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// What a request has to carry, with a token that is still valid; `None` if the registry demands nothing or there is no login.
    pub(super) async fn authorization(&self, access: Access<'_>) -> Result<Option<Authorization>, ClientError> {
        if access == Access::Anonymous {
            return Ok(None);
        }
        Ok(match (self.challenge(), &self.credentials) {
            (Some(Challenge::Basic), Some(Credentials::Password { username, password })) => {
                Some(Authorization::Basic { username: username.clone(), password: password.clone() })
            }
            (Some(Challenge::Basic), Some(Credentials::RegistryToken(token))) => {
                Some(Authorization::Bearer(token.clone()))
            }
            (None | Some(Challenge::Basic), _) => None,
            (Some(Challenge::Bearer { .. }), Some(Credentials::RegistryToken(token))) => {
                Some(Authorization::Bearer(token.clone()))
            }
            (Some(Challenge::Bearer { realm, service }), _) => {
                let token = self.token(access, &realm, service.as_deref()).await?;
                Some(Authorization::Bearer(token.secret().to_owned()))
            }
        })
    }

    /// After a 401: keeps its challenge and forgets the token that was refused. Whether asking again makes sense: not if the same
    /// credentials would be sent again.
    pub(super) async fn learn(&self, access: Access<'_>, headers: &HeaderMap) -> bool {
        let known = self.challenge();
        if access == Access::Anonymous {
            return false;
        }
        let Some(challenge) = Challenge::of(headers).or_else(|| known.clone()) else { return false };
        let is_new = known.as_ref() != Some(&challenge);
        let is_bearer = matches!(challenge, Challenge::Bearer { .. });
        *self.challenge.write().expect("nobody panics holding it") = Some(challenge);
        let refused = self.tokens.lock().await.remove(&access.scopes(&self.repository));
        is_new || (is_bearer && refused.is_some())
    }

    async fn token(&self, access: Access<'_>, realm: &str, service: Option<&str>) -> Result<Token, ClientError> {
        let scopes = access.scopes(&self.repository);
        // Held while fetching, so that many layers that start at once ask for one token and not for many.
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(&scopes).filter(|token| token.is_fresh()) {
            return Ok(token.clone());
        }
        let server = TokenServer::new(realm, service, &self.host)?;
        // Somebody who impersonates a registry must not make us send the password in the clear.
        if self.credentials.is_some() && self.base.scheme() == "https" && !server.is_encrypted() {
            let reason = format!("its token server {realm:?} would get the password unencrypted; not sent");
            return Err(ClientError::protocol(&self.host, reason));
        }
        let mut attempt = 0;
        let token = loop {
            let error = match server.fetch(&self.http, &scopes, self.credentials.as_ref()).await {
                Ok(token) => break token,
                Err(error) => error,
            };
            let wait = self.retry.wait(attempt, None).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error) };
            tokio::time::sleep(wait).await;
            attempt += 1;
        };
        tokens.insert(scopes, token.clone());
        Ok(token)
    }
}
