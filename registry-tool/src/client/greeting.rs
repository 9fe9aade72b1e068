//! The first request to a registry: whether it speaks TLS or plain http, and which authentication it demands.

use reqwest::{StatusCode, Url};
use tracing::{debug, info};

use super::auth::Challenge;
use super::error::ClientError;
use super::retry::{self, Retry};
use super::settings::Settings;
use super::transport::Transport;
use crate::place::mirror::{Endpoint, Security};

/// What the greeting showed.
pub(super) struct Greeting {
    /// Connections as the registry is reached.
    pub(super) http: reqwest::Client,
    /// The registry's scheme, host and port.
    pub(super) base: Url,
    /// Which authentication it demands, if it said so already.
    pub(super) challenge: Option<Challenge>,
}

/// Greets a registry in each way that its security allows, until one is answered.
///
/// # Errors
/// [`ClientError::Unreachable`], [`ClientError::Tls`], or what else the first way ended in.
pub(super) async fn greet(endpoint: &Endpoint, settings: &Settings, retry: Retry) -> Result<Greeting, ClientError> {
    let mut round = 0;
    loop {
        let error = match greet_each_way(endpoint, settings, retry).await {
            Ok(greeting) => return Ok(greeting),
            Err(error) => error,
        };
        // One that cannot be reached is not asked again: the next place may be there. One that hung up may be busy.
        let wait = retry.wait(round, None).filter(|_| matches!(error, ClientError::Cut { .. }));
        let Some(wait) = wait else { return Err(error) };
        tokio::time::sleep(wait).await;
        round += 1;
    }
}

async fn greet_each_way(endpoint: &Endpoint, settings: &Settings, retry: Retry) -> Result<Greeting, ClientError> {
    let ways: &[(&str, bool)] = match endpoint.security {
        Security::Verified => &[("https", true)],
        Security::Insecure => &[("https", false), ("http", false)],
        Security::Loopback => &[("http", false), ("https", false)],
        Security::Plain => &[("http", false)],
    };
    let mut failure = None;
    for &(scheme, is_verified) in ways {
        let transport = Transport::new(endpoint.host(), scheme, is_verified, settings);
        let error = match transport {
            Ok(transport) => match greet_through(transport, retry).await {
                Ok(greeting) => return Ok(greeting),
                // What is configured wrongly for one way says more than that another does not lead there.
                Err(error @ ClientError::Setup { .. }) => return Err(error),
                Err(error) => error,
            },
            Err(error) => return Err(error),
        };
        debug!(host = endpoint.host(), scheme, %error, "no registry");
        // The first way's reason says most: a refused connection is refused twice.
        failure.get_or_insert(error);
    }
    Err(failure.expect("every kind of endpoint has a way"))
}

/// `GET /v2/`, without credentials.
async fn greet_through(transport: Transport, retry: Retry) -> Result<Greeting, ClientError> {
    let host = transport.host.as_str();
    let base = Url::parse(&format!("{}://{host}/", transport.scheme))
        .map_err(|_| ClientError::protocol(host, "not a valid host"))?;
    let http = transport.http_client()?;
    let url = base.join("v2/").expect("a constant path");
    let mut attempt = 0;
    let response = loop {
        let response =
            http.get(url.clone()).send().await.map_err(|error| ClientError::from_connection(host, &error))?;
        if !retry::is_transient(response.status()) {
            break response;
        }
        let asked = retry::asked_wait(response.headers());
        match retry.wait(attempt, asked) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(ClientError::status(host, "/v2/", response.status(), None).asked_to_wait(asked)),
        }
        attempt += 1;
    };
    let status = response.status();
    let challenge = Challenge::of(response.headers());
    if transport.scheme == "http" && status == StatusCode::BAD_REQUEST {
        // What Go's and nginx's TLS servers answer to plain http.
        return Err(ClientError::Tls {
            host: host.to_owned(),
            reason: "it answers plain http with 400 Bad Request".into(),
            hint: "it speaks TLS: write https:// for a mirror".into(),
        });
    }
    info!(host, scheme = transport.scheme, %status, "registry found");
    Ok(Greeting { http, base, challenge })
}
