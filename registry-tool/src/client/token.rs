//! What is sent to convince the registry, by us and by the crate.

use oci_distribution::RegistryOperation;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::{RegistryToken, RegistryTokenType};
use reqwest::header::{HeaderMap, HeaderValue};

use super::{Access, ClientError, Registry};
use crate::client::auth::{self, Challenge, Token};
use crate::place::credentials::Credentials;

impl Registry {
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
    pub(super) async fn authorization(&self, access: Access<'_>) -> Result<Option<HeaderValue>, ClientError> {
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
    pub(super) async fn learn(&self, access: Access<'_>, headers: &HeaderMap) -> Result<bool, ClientError> {
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
            credentials => {
                let mut attempt = 0;
                loop {
                    let fetched =
                        auth::fetch(&self.http, &self.base, realm, service, &scopes, credentials.as_ref()).await;
                    match fetched {
                        Ok(token) => break token,
                        Err(error) => {
                            let wait = self.retry.wait(attempt, None).filter(|_| error.is_transient());
                            let Some(wait) = wait else { return Err(error) };
                            tokio::time::sleep(wait).await;
                            attempt += 1;
                        }
                    }
                }
            }
        };
        tokens.insert(scopes, token.clone());
        Ok(token)
    }

    /// Gives the crate's client the token that its next request needs.
    pub(super) async fn hand_over_token(&self, access: Access<'_>) -> Result<(), ClientError> {
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

fn bearer(token: &str) -> RegistryTokenType {
    RegistryTokenType::Bearer(RegistryToken::Token { token: token.to_owned() })
}
