//! Asking the places that may have something, one after the other, until one answers.

use tracing::info;

use super::failure::{EndpointError, Nowhere};
use crate::client::{Registry, Settings};
use crate::place::credentials::credential_host;
use crate::place::mirror::{MirrorError, Mirrors};
use crate::reference::ImageName;

/// The places to ask, and how.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// Which places may have a name.
    pub mirrors: &'a Mirrors,
    /// How conversations with them are held.
    pub settings: &'a Settings,
}

/// What ends an attempt at one place.
pub(crate) enum Failure<E> {
    /// This place has failed; the next one is asked.
    Here(EndpointError),
    /// No other place can help.
    Everywhere(E),
}

impl<E, F: Into<EndpointError>> From<F> for Failure<E> {
    fn from(error: F) -> Self {
        Self::Here(error.into())
    }
}

impl Round<'_> {
    /// Makes an attempt at each place in order, until one succeeds.
    ///
    /// A name may have several meanings, and each several places. `allow` may forbid a meaning before its places are asked; what it
    /// says otherwise is handed to each attempt.
    ///
    /// # Errors
    /// [`Nowhere`], with what each place said; or whatever ended the round early.
    pub(crate) async fn first<T, A, E: From<MirrorError> + From<Nowhere>>(
        &self,
        noun: &'static str,
        name: &ImageName,
        allow: impl Fn(&ImageName) -> Result<A, E>,
        attempt: impl AsyncFn(Registry, &ImageName, &A) -> Result<T, Failure<E>>,
    ) -> Result<T, E> {
        let mut failures = Vec::new();
        for meaning in self.mirrors.resolve(name) {
            let allowed = allow(&meaning)?;
            for endpoint in self.mirrors.pull_endpoints(meaning.reference())? {
                let answer = match Registry::connect(&endpoint, self.settings).await {
                    Ok(registry) => attempt(registry, &meaning, &allowed).await,
                    Err(error) => Err(error.into()),
                };
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Everywhere(error)) => return Err(error),
                    Err(Failure::Here(error)) => {
                        info!(host = endpoint.host(), error = error.line(), "not from here");
                        failures.push((credential_host(endpoint.host()).to_owned(), error));
                    }
                }
            }
        }
        Err(Nowhere { name: name.typed().to_owned(), noun, failures }.into())
    }
}
