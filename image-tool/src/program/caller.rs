//! The command that a person typed, where it is not the tool's own: the docker command is a script over the tools.
//!
//! `$OCI_CALLER` names it (`docker run`). Messages then begin with its name, hints name its commands, and a wrong command line is told
//! in docker's words with docker's exit status. `$OCI_PARENT` is the process of that script, if the tool is to end when it is killed.
//! run-tool, which links no sibling, has this file as a module of its own: it knows nothing but the standard library and rustix.

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

/// The command that a person typed, such as `docker run`; `None`: the tool itself.
#[must_use]
pub fn caller() -> Option<String> {
    std::env::var("OCI_CALLER").ok().filter(|name| !name.is_empty())
}

/// Ends this process by SIGTERM when the script that has started it is killed, if `$OCI_PARENT` names that. It would live on otherwise, with
/// the streams of whoever has called the script and waits for their end.
pub fn end_with_script() {
    let named = std::env::var("OCI_PARENT").ok().and_then(|text| text.parse().ok());
    let Some(script) = named.and_then(Pid::from_raw) else { return };
    // What the script has become, or what its children start, has other parents.
    if getppid() == Some(script)
        && set_parent_process_death_signal(Some(Signal::TERM)).is_ok()
        && getppid() != Some(script)
    {
        // It has ended meanwhile.
        let _ = kill_process(getpid(), Signal::TERM);
    }
}

/// Commands of the tools that hints name, and docker's in their place.
const HINTS: [(&str, &str); 9] = [
    ("registry-tool pull ", "docker pull "),
    ("registry-tool login ", "docker login "),
    ("bundle-tool delete ", "docker rm "),
    ("bundle-tool network ", "docker network "),
    ("bundle-tool ps -a", "docker ps -a"),
    ("bundle-tool volume ", "docker volume "),
    ("image-tool list", "docker images"),
    ("run-tool list", "docker ps -a"),
    ("run-tool logs ", "docker logs "),
];

/// A message of a tool as one of docker's: with the hint at its end in docker's words, or without it, and with images by name.
#[must_use]
pub fn words(message: &str) -> String {
    let message = message.strip_prefix(':').unwrap_or(message);
    let Some((before, hint)) = message.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) else {
        return message.to_owned();
    };
    let is_ours = |text: &str| {
        ["image", "bundle", "build", "registry", "run"].iter().any(|tool| text.contains(&format!("{tool}-tool")))
    };
    if !is_ours(hint) {
        return message.to_owned();
    }
    let translated = HINTS.iter().fold(hint.to_owned(), |text, (ours, dockers)| text.replace(ours, dockers));
    if is_ours(&translated) { before.to_owned() } else { format!("{before} ({translated})") }
}

/// A message as a line of the command that was called. What is in docker's own words stands as docker prints it.
#[must_use]
pub fn line(caller: &str, message: &str) -> String {
    if message.starts_with(DOCKERS[0]) && caller == "docker run" {
        // docker's client makes a sentence of it.
        format!("docker: {}.", message.trim_end_matches('.'))
    } else if DOCKERS.iter().any(|words| message.starts_with(words)) {
        message.to_owned()
    } else if message.starts_with("No such ") {
        format!("Error: {message}")
    } else {
        format!("{}: {}", caller.split(' ').next().unwrap_or_default(), words(message))
    }
}

/// What docker's errors begin with that are not its client's.
const DOCKERS: [&str; 10] = [
    "Error response from daemon: ",
    "OCI runtime exec failed: ",
    "You cannot attach to a ",
    "An image does not exist locally ",
    "Get \"http",
    "denied: ",
    "lstat ",
    "Error: ",
    "template parsing error: ",
    "Error parsing format: ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_words_stand_as_they_are() {
        for (message, shown) in [
            ("No such network: x", "Error: No such network: x"),
            ("Error response from daemon: x", "Error response from daemon: x"),
            ("OCI runtime exec failed: exec failed: x", "OCI runtime exec failed: exec failed: x"),
            ("a: broken (image-tool verify a)", "docker: a: broken"),
        ] {
            assert_eq!(line("docker network rm", message), shown);
        }
        assert_eq!(line("docker run", "Error response from daemon: x"), "docker: Error response from daemon: x.");
    }

    #[test]
    fn hints_name_the_commands_that_a_person_has() {
        for (message, shown) in [
            (":nope: no such image (registry-tool pull nope)", "nope: no such image (docker pull nope)"),
            (
                "x: name in use by /b (bundle-tool delete x, or another --name)",
                "x: name in use by /b (docker rm x, or another --name)",
            ),
            ("a: broken (image-tool verify a)", "a: broken"),
            ("a (b)", "a (b)"),
            ("plain", "plain"),
        ] {
            assert_eq!(words(message), shown, "{message}");
        }
    }
}
