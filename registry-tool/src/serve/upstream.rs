//! The registries that are mirrored: conversations with them, held open, and what their answers mean for clients of this one.
//!
//! Each is asked itself. The mirrors that this machine's configuration names are not: one of them may be this very server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use oci_distribution::errors::OciErrorCode;

use super::failure::Failure;
use crate::client::{ClientError, Registry, Settings};
use crate::place::mirror::Mirrors;
use crate::question::failure::EndpointError;
use crate::reference::{ImageName, RegistryHost};

/// How long a conversation is held open. Its connections close earlier if nothing is said.
const AGE: Duration = Duration::from_secs(300);

/// How many conversations are held open.
const OPEN: usize = 256;

/// Conversations by registry and repository, and since when.
type Open = HashMap<(String, String), (Instant, Arc<Registry>)>;

/// What is mirrored, and how.
pub struct Upstream {
    hosts: Vec<RegistryHost>,
    places: Mirrors,
    settings: Settings,
    open: Mutex<Open>,
}

impl Upstream {
    /// Mirrors these registries, the first of which is meant by names that do not say which.
    #[must_use]
    pub fn new(hosts: Vec<RegistryHost>, places: Mirrors, settings: Settings) -> Self {
        Self { hosts, places, settings, open: Mutex::default() }
    }

    /// The registry that is meant where none is named.
    pub(super) fn first(&self) -> Option<&str> {
        self.hosts.first().map(RegistryHost::as_str)
    }

    /// Whether a registry is mirrored.
    pub(super) fn has(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.as_str() == host)
    }

    /// The conversation about a name, to ask in.
    ///
    /// # Errors
    /// What the client is told about it.
    pub(super) async fn about(&self, name: &ImageName) -> Result<Arc<Registry>, Failure> {
        let registry = self.registry(name).await;
        self.judge(name, registry)
    }

    /// What a client is told of an answer.
    pub(super) fn judge<T>(&self, name: &ImageName, answer: Result<T, impl Into<EndpointError>>) -> Result<T, Failure> {
        answer.map_err(|error| {
            let error = error.into();
            if !error.is_absence() {
                tracing::warn!("mirror {name}: {}", error.line());
                // Perhaps the login has changed, or the address.
                self.open().remove(&key(name));
            }
            meaning(name, &error)
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn registry(&self, name: &ImageName) -> Result<Arc<Registry>, EndpointError> {
        if let Some((since, registry)) = self.open().get(&key(name))
            && since.elapsed() < AGE
        {
            return Ok(Arc::clone(registry));
        }
        let setup = |error: crate::place::mirror::MirrorError| ClientError::Setup { reason: error.to_string() };
        let mut endpoint = self.places.push_endpoint(name.reference()).map_err(setup)?;
        // A client waits for the answer: rather none soon than one after minutes.
        endpoint.is_mirror = true;
        let registry = Arc::new(Registry::connect(&endpoint, &self.settings).await?);
        let mut open = self.open();
        if open.len() >= OPEN {
            open.clear();
        }
        open.insert(key(name), (Instant::now(), Arc::clone(&registry)));
        Ok(registry)
    }
}

fn key(name: &ImageName) -> (String, String) {
    (name.registry().to_owned(), name.repository().to_owned())
}

/// What a client is told of a registry that did not give what was asked for.
fn meaning(name: &ImageName, error: &EndpointError) -> Failure {
    let host = name.registry();
    let EndpointError::Client(client) = error else {
        return bad(format!("{host} sent what is not right"));
    };
    match client {
        ClientError::NotFound { .. } => {
            Failure::missing(OciErrorCode::ManifestUnknown, format!("{host} has no such thing"))
        }
        ClientError::Denied { .. } => {
            let message = format!("{host} refuses this to the mirror, or has no such repository");
            Failure::new(StatusCode::FORBIDDEN, OciErrorCode::Denied, message)
        }
        ClientError::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after, .. } => {
            let message = format!("{host} has been asked too much");
            let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, OciErrorCode::Toomanyrequests, message);
            let seconds = retry_after.map_or(60, |wait| wait.as_secs());
            failure.with(RETRY_AFTER, HeaderValue::from(seconds))
        }
        _ => bad(format!("{host} does not answer as it should")),
    }
}

fn bad(message: String) -> Failure {
    Failure::new(StatusCode::BAD_GATEWAY, OciErrorCode::Other("UNKNOWN".into()), message)
}
