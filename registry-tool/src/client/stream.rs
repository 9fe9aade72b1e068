//! Blobs by the crate `oci-client`: its client, its tokens and its errors, all in this file.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use oci_distribution::client::{
    BlobResponse, Certificate, CertificateEncoding, ClientConfig, ClientProtocol, SizedStream,
};
use oci_distribution::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::{RegistryToken, RegistryTokenType};
use oci_distribution::{Reference, RegistryOperation};
use reqwest::StatusCode;

use super::answer::{message_of, printable};
use super::auth::Authorization;
use super::error::{ClientError, innermost};
use super::settings::USER_AGENT;
use super::transport::Transport;
use crate::place::credentials::Credentials;

/// The crate's client, made as ours is.
pub(super) struct Streamer {
    client: oci_distribution::Client,
    reference: Reference,
    /// The login with which the crate fetches a token itself if its cache rejects ours, which looks like a JWT and is not one.
    fallback: RegistryAuth,
}

/// Why the crate's client did not do what was asked, in the terms in which our own requests fail.
pub(super) enum Failure {
    /// The registry answered, and not as hoped.
    Answer {
        status: StatusCode,
        /// The registry's words.
        message: Option<String>,
    },
    /// The connection failed.
    Connection(reqwest::Error),
    /// The answer made no sense.
    Protocol(String),
}

impl Streamer {
    pub(super) fn new(
        transport: &Transport,
        reference: Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Self, ClientError> {
        let authority =
            |(_, data): &(_, Vec<u8>)| Certificate { encoding: CertificateEncoding::Pem, data: data.clone() };
        let config = ClientConfig {
            protocol: if transport.scheme == "http" { ClientProtocol::Http } else { ClientProtocol::Https },
            accept_invalid_certificates: !transport.is_verified,
            extra_root_certificates: transport.authorities.iter().map(authority).collect(),
            use_monolithic_push: true,
            platform_resolver: None,
            // `auth` renews tokens when they expire by their servers' word; the crate must not go by a guess of its own.
            default_token_expiration_secs: 24 * 60 * 60,
            read_timeout: Some(transport.read_timeout),
            connect_timeout: Some(transport.connect_timeout),
            user_agent: USER_AGENT,
            // Without these the crate's client would take the environment's proxies, for the loopback network too.
            http_proxy: transport.proxies.http.clone(),
            https_proxy: transport.proxies.https.clone(),
            no_proxy: Some(transport.proxies.exceptions.clone()),
            ..ClientConfig::default()
        };
        let client = oci_distribution::Client::try_from(config)
            .map_err(|error| ClientError::Setup { reason: innermost(&error) })?;
        let fallback = match credentials {
            Some(Credentials::Password { username, password }) => {
                RegistryAuth::Basic(username.clone(), password.clone())
            }
            Some(Credentials::RegistryToken(token)) => RegistryAuth::Bearer(token.clone()),
            Some(Credentials::IdentityToken(_)) | None => RegistryAuth::Anonymous,
        };
        Ok(Self { client, reference, fallback })
    }

    /// A blob's bytes from `offset` on. The range is asked for even from 0: the crate hashes whole answers, and the bytes are
    /// hashed where they are written already.
    pub(super) async fn get(
        &self,
        digest: &str,
        offset: u64,
        authorization: Option<Authorization>,
    ) -> Result<BlobStream, Failure> {
        self.authorize(RegistryOperation::Pull, authorization).await;
        let answer = self.client.pull_blob_stream_partial(&self.reference, digest, offset, None).await;
        let host = self.reference.registry().to_owned();
        Ok(match answer.map_err(failure)? {
            BlobResponse::Full(body) => BlobStream { host, is_whole: true, body },
            BlobResponse::Partial(body) => BlobStream { host, is_whole: false, body },
        })
    }

    /// Sends a whole blob.
    pub(super) async fn put<S>(
        &self,
        digest: &str,
        size: u64,
        body: S,
        authorization: Option<Authorization>,
    ) -> Result<(), Failure>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        self.authorize(RegistryOperation::Push, authorization).await;
        let body = body.map_err(OciDistributionError::IoError);
        self.client.push_blob_stream(&self.reference, body, digest, Some(size)).await.map(drop).map_err(failure)
    }

    /// Gives the crate's client what its next request has to carry.
    async fn authorize(&self, operation: RegistryOperation, authorization: Option<Authorization>) {
        let token = match authorization {
            None => return,
            Some(Authorization::Basic { username, password }) => RegistryTokenType::Basic(username, password),
            Some(Authorization::Bearer(token)) => RegistryTokenType::Bearer(RegistryToken::Token { token }),
        };
        // The crate looks at its tokens only for a registry that it has been introduced to.
        self.client.store_auth_if_needed(self.reference.registry(), &self.fallback).await;
        self.client.tokens.insert(&self.reference, operation, token).await;
    }
}

fn failure(error: OciDistributionError) -> Failure {
    let answer = |status, message| Failure::Answer { status, message };
    match error {
        OciDistributionError::UnauthorizedError { .. } => answer(StatusCode::UNAUTHORIZED, None),
        OciDistributionError::AuthenticationFailure(message) => {
            answer(StatusCode::UNAUTHORIZED, message_of(message.as_bytes()))
        }
        OciDistributionError::ServerError { code, message, .. } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            answer(status, message_of(message.as_bytes()))
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let first = envelope.errors.first();
            let message = first.map(|error| printable(&error.message)).unwrap_or_default();
            let words = Some(message.clone()).filter(|message| !message.is_empty());
            // The crate keeps the document and drops the status that came with it.
            match first.map(|error| &error.code) {
                Some(OciErrorCode::Unauthorized) => answer(StatusCode::UNAUTHORIZED, words),
                Some(OciErrorCode::Denied) => answer(StatusCode::FORBIDDEN, words),
                Some(OciErrorCode::Toomanyrequests) => answer(StatusCode::TOO_MANY_REQUESTS, words),
                Some(
                    OciErrorCode::BlobUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::ManifestBlobUnknown,
                ) => answer(StatusCode::NOT_FOUND, words),
                _ => Failure::Protocol(message),
            }
        }
        OciDistributionError::RequestError(error) => Failure::Connection(error),
        other => Failure::Protocol(printable(&innermost(&other))),
    }
}

/// A blob's bytes as they arrive, neither complete nor verified.
pub struct BlobStream {
    host: String,
    is_whole: bool,
    body: SizedStream,
}

impl BlobStream {
    /// Whether the registry knows no ranges and begins with the first byte, whatever was asked for.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How many bytes there will be, if the registry says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.body.content_length
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Cut`].
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        match self.body.stream.next().await? {
            Ok(chunk) => Some(Ok(chunk)),
            // The crate found a wrong digest. The caller hashes the blob too, and its error says more.
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<DigestError>()) => None,
            Err(error) => Some(Err(ClientError::Cut { host: self.host.clone(), reason: innermost(&error) })),
        }
    }
}
