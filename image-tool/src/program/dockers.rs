//! Errors in docker's words, where the docker command was called: programs look for these.
//!
//! What the client of docker finds is `Error: `, what its daemon says `Error response from daemon: `, and which of them finds what
//! differs from command to command.

use crate::address::Address;
use crate::address::name;
use crate::layout;
use crate::program::caller::caller;

/// What docker's daemon says, as a message of the command that was called.
#[must_use]
pub fn daemon(text: &str) -> String {
    format!("Error response from daemon: {text}")
}

/// What docker's daemon says of a filter that it does not know, `KEY`, or of a value, `KEY=VALUE`.
#[must_use]
pub fn invalid_filter(filter: &str) -> String {
    format!("Invalid filter '{filter}'")
}

/// The error as docker tells it, if it is one of a layout's for which docker has words of its own.
#[must_use]
pub fn words(error: anyhow::Error) -> anyhow::Error {
    let missing = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(layout::Error::NoSuchImage { address }) => Some(address),
        _ => None,
    });
    match (caller(), missing) {
        (Some(caller), Some(address)) => anyhow::anyhow!(no_image(address, &caller)),
        _ => error,
    }
}

/// What docker says of an image that there is not.
#[must_use]
pub fn no_image(address: &Address, caller: &str) -> String {
    let typed = address.to_string();
    let typed = typed.strip_prefix(':').unwrap_or(&typed);
    let tagged = || match address.reference() {
        Some(reference) if address.digest().is_none() => name::short(reference.as_str()),
        _ => typed.to_owned(),
    };
    match caller {
        "docker push" => format!("An image does not exist locally with the tag: {}", name::familiar(typed).0),
        "docker tag" | "docker history" | "docker run" => daemon(&format!("No such image: {}", tagged())),
        "docker create" => format!("No such image: {}", tagged()),
        "docker save" => daemon(&format!("No such image: {typed}")),
        _ => format!("No such image: {typed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_missing_is_told_as_each_command_of_docker_does() {
        for (caller, address, said) in [
            ("docker push", ":a:1", "An image does not exist locally with the tag: a"),
            ("docker tag", ":a", "Error response from daemon: No such image: a:latest"),
            ("docker history", ":a:1", "Error response from daemon: No such image: a:1"),
            ("docker save", ":a", "Error response from daemon: No such image: a"),
            ("docker create", ":a", "No such image: a:latest"),
            ("docker rmi", ":a", "No such image: a"),
        ] {
            assert_eq!(no_image(&address.parse().unwrap(), caller), said, "{caller}");
        }
    }
}
