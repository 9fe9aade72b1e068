//! Errors in docker's words, where the docker command was called: programs look for these.

use anyhow::anyhow;
use image_tool::layout;
use image_tool::program::caller::{self, caller};
use image_tool::program::dockers::{daemon, no_image};
use registry_tool::client::ClientError;
use registry_tool::question::failure::{EndpointError, Nowhere};
use registry_tool::reference::ImageName;
use registry_tool::transfer::pull::PullError;
use registry_tool::transfer::push::PushError;

/// The error as docker tells it, if it has words of its own for it.
pub(crate) fn words(error: anyhow::Error) -> anyhow::Error {
    let Some(caller) = caller() else { return error };
    let said = match (error.downcast_ref::<PullError>(), error.downcast_ref::<PushError>()) {
        (Some(PullError::Nowhere(nowhere)), _) => pull(nowhere),
        (_, Some(PushError::Layout(layout::Error::NoSuchImage { address }))) => Some(no_image(address, &caller)),
        (_, Some(PushError::Client { source, .. })) => push(source),
        _ => error.chain().find_map(|cause| unreachable(cause.downcast_ref()?)).map(|text| daemon(&text)),
    };
    said.map_or(error, |said| anyhow!(said))
}

/// The image's own registry is asked last, and what it says is what docker tells.
fn pull(nowhere: &Nowhere) -> Option<String> {
    let name: ImageName = nowhere.name.parse().ok()?;
    let (_, error) = nowhere.failures.last()?;
    let said = match error {
        error if error.is_absence() => {
            format!("manifest for {} not found: manifest unknown: manifest unknown", name.familiar())
        }
        EndpointError::Client(error @ ClientError::Denied { .. }) => format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': denied: {}",
            name.familiar_repository(),
            caller::words(&error.to_string())
        ),
        EndpointError::Client(error) => unreachable(error)?,
        _ => return None,
    };
    Some(daemon(&said))
}

fn push(error: &ClientError) -> Option<String> {
    match error {
        error @ ClientError::Denied { .. } => {
            let more = caller::words(&error.to_string());
            Some(format!("denied: requested access to the resource is denied: {more}"))
        }
        error => unreachable(error),
    }
}

/// A registry that cannot be reached, as Go's client tells it.
fn unreachable(error: &ClientError) -> Option<String> {
    let ClientError::Unreachable { host, reason } = error else { return None };
    let reason = match reason.to_lowercase() {
        text if text.contains("lookup") => format!("dial tcp: lookup {host}: no such host"),
        text if text.contains("connection refused") => format!("dial tcp {host}: connect: connection refused"),
        _ => reason.clone(),
    };
    Some(format!("Get \"https://{host}/v2/\": {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pull_comes_upon_is_told_as_docker_does() {
        let unreachable = |reason: &str| {
            EndpointError::Client(ClientError::Unreachable { host: "r.example".into(), reason: reason.into() })
        };
        let absent =
            || EndpointError::Client(ClientError::NotFound { host: "r.example".into(), what: "manifest".into() });
        let denied = || {
            let (host, reason, hint) =
                ("r.example".into(), "unauthorized".into(), "registry-tool login r.example".into());
            EndpointError::Client(ClientError::Denied { host, reason, hint })
        };
        for (failures, said) in [
            (vec![absent()], "manifest for r.example/a:latest not found: manifest unknown: manifest unknown"),
            (
                vec![absent(), unreachable("failed to lookup address information: Name or service not known")],
                "Get \"https://r.example/v2/\": dial tcp: lookup r.example: no such host",
            ),
            (
                vec![unreachable("Connection refused (os error 111)")],
                "Get \"https://r.example/v2/\": dial tcp r.example: connect: connection refused",
            ),
            (
                vec![denied()],
                "pull access denied for r.example/a, repository does not exist or may require 'docker login': denied: r.example: unauthorized (docker login r.example)",
            ),
        ] {
            let failures = failures.into_iter().map(|error| ("r.example".to_owned(), error)).collect();
            let nowhere = Nowhere { name: "r.example/a".into(), noun: "image", failures };
            assert_eq!(pull(&nowhere), Some(daemon(said)));
        }
    }
}
