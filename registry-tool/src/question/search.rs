//! Searching for images: by the search of docker's first protocol, which Docker Hub and some registries still answer; where
//! nobody does, in the registry's own list of repositories.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::info;

use super::query::catalog;
use crate::client::{ClientError, Registry, Settings};
use crate::place::mirror::{Endpoint, MirrorError, Mirrors, Security};
use crate::reference::{DOCKER_HUB, RegistryHost};
use oci_distribution::Reference;

/// The host of Docker Hub's search.
const HUB_SEARCH: &str = "index.docker.io";

/// One repository that matches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Found {
    /// The name by which it can be pulled.
    #[serde(default)]
    pub name: String,
    /// The description that its owner wrote.
    #[serde(default)]
    pub description: String,
    /// How many users have starred it.
    #[serde(default)]
    pub star_count: u64,
    /// Whether it is one of Docker's official images.
    #[serde(default)]
    pub is_official: bool,
    /// Whether Docker Hub built it from its sources.
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Found>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// No place answered.
    #[error("search {term}: {}", reasons(.failures))]
    Nowhere {
        /// The search term.
        term: String,
        /// Why each place gave no answer.
        failures: Vec<ClientError>,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

fn reasons(failures: &[ClientError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Searches for `term` at Docker Hub, or at the registry whose host the term begins with.
///
/// Mirrors of Docker Hub are asked first. A search is worth more than a list: lists are only searched if neither the mirrors nor
/// Docker Hub itself have a search.
///
/// # Errors
/// [`SearchError::Nowhere`] if nobody answers.
pub async fn search(term: &str, limit: u8, mirrors: &Mirrors, settings: &Settings) -> Result<Vec<Found>, SearchError> {
    let (host, query) = split(term);
    let mut failures = Vec::new();
    let mut listed = Vec::new();
    for endpoint in places(&host, mirrors)? {
        let answer = match Registry::connect(&endpoint, settings).await {
            Ok(registry) => match ask(&registry, query, limit).await {
                Ok(None) => {
                    listed.push(registry);
                    continue;
                }
                other => other,
            },
            Err(error) => Err(error),
        };
        match answer {
            Ok(Some(found)) => return Ok(sorted(found)),
            Ok(None) => {}
            Err(error) => failures.push(error),
        }
    }
    for registry in listed {
        info!(host = registry.host(), "no search here, looking through the catalog");
        match catalog(&registry).await {
            Ok(names) => {
                let mut found = filter(&names, query, &host);
                found.truncate(usize::from(limit));
                return Ok(found);
            }
            Err(error) => failures.push(error),
        }
    }
    Err(SearchError::Nowhere { term: term.to_owned(), failures })
}

/// Splits `localhost:5000/word` into the host and the word.
fn split(term: &str) -> (String, &str) {
    if let Some((host, word)) = term.split_once('/')
        && (host.contains(['.', ':']) || host == "localhost")
        && let Ok(host) = host.parse::<RegistryHost>()
    {
        return (host.as_str().to_owned(), word);
    }
    (DOCKER_HUB.to_owned(), term)
}

fn places(host: &str, mirrors: &Mirrors) -> Result<Vec<Endpoint>, MirrorError> {
    if host != DOCKER_HUB {
        return Ok(vec![mirrors.host_endpoint(host)?]);
    }
    let any = Reference::with_tag(DOCKER_HUB.into(), "library/any".into(), "latest".into());
    let mut places = mirrors.pull_endpoints(&any)?;
    if let Some(hub) =
        places.last_mut().filter(|endpoint| endpoint.security == Security::Verified && !endpoint.is_mirror)
        && hub.host() == "registry-1.docker.io"
    {
        hub.reference = Reference::with_tag(HUB_SEARCH.into(), "library/any".into(), "latest".into());
    }
    Ok(places)
}

/// The registry's search; `None` if it has none.
async fn ask(registry: &Registry, query: &str, limit: u8) -> Result<Option<Vec<Found>>, ClientError> {
    let parameters = [("q", query), ("n", &limit.to_string())];
    let Some(body) = registry.document("v1/search", &parameters).await? else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| ClientError::Protocol {
        host: registry.host().to_owned(),
        reason: format!("its answer to the search is not valid: {error}"),
    })?;
    let mut found = answer.results;
    found.truncate(usize::from(limit));
    Ok(Some(found))
}

/// As docker shows them: the most stars first, equals as they came.
fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|one| std::cmp::Reverse(one.star_count));
    found
}

/// The repositories of a list whose names contain the word. A list has no stars; an official image shows by `library/`.
fn filter(names: &[String], query: &str, host: &str) -> Vec<Found> {
    let query = query.to_lowercase();
    let is_hub = host == DOCKER_HUB;
    let fitting = names.iter().filter(|name| name.to_lowercase().contains(&query));
    // Docker Hub has no repository without a namespace; what else a mirror has cannot be pulled from it by docker's names.
    let fitting = fitting.filter(|name| !is_hub || name.contains('/'));
    let found = fitting.map(|name| {
        let official = name.strip_prefix("library/").filter(|_| is_hub);
        Found {
            name: match official {
                Some(short) => short.to_owned(),
                None if is_hub => name.clone(),
                None => format!("{host}/{name}"),
            },
            description: String::new(),
            star_count: 0,
            is_official: official.is_some(),
            is_automated: false,
        }
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_before_the_word_is_the_registry_to_ask() {
        for (term, expected) in [
            ("python", ("docker.io", "python")),
            ("xag/python", ("docker.io", "xag/python")),
            ("localhost:5000/python", ("localhost:5000", "python")),
            ("quay.io/team/x", ("quay.io", "team/x")),
        ] {
            let (host, word) = split(term);
            assert_eq!((host.as_str(), word), expected, "{term}");
        }
    }

    #[test]
    fn a_list_is_filtered_by_the_word_and_named_so_that_it_can_be_pulled() {
        let names = ["library/python", "python", "xag/pythons", "library/centos"].map(str::to_owned);
        let found: Vec<_> =
            filter(&names, "Python", DOCKER_HUB).into_iter().map(|one| (one.name, one.is_official)).collect();
        assert_eq!(found, [("python".into(), true), ("xag/pythons".into(), false)]);
        assert_eq!(filter(&names, "centos", "h:1")[0].name, "h:1/library/centos");
        assert_eq!(filter(&names, "python", "h:1").len(), 3);
    }
}
