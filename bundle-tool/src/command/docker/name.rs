//! The names of docker's commands: short forms, the groups' forms of the same, and those that cannot be without a daemon.

use std::ffi::OsString;

use super::line::Wrong;

/// A command that was called.
#[derive(Debug)]
pub(super) struct Name<'a> {
    /// The name under which docker describes it, such as `ps` for `container ls`.
    pub(super) path: &'static str,
    /// The name as it was typed.
    pub(super) typed: String,
    /// The words after it.
    pub(super) rest: &'a [OsString],
}

/// The commands that stand alone.
const PLAIN: [&str; 40] = [
    "attach", "build", "commit", "cp", "create", "diff", "events", "exec", "export", "history", "images", "import",
    "info", "inspect", "kill", "load", "login", "logout", "logs", "pause", "port", "ps", "pull", "push", "rename",
    "restart", "rm", "rmi", "run", "save", "search", "start", "stats", "stop", "tag", "top", "unpause", "update",
    "version", "wait",
];

/// A group's name, twice, and its commands with their names in docker's descriptions.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// The groups.
const GROUPS: [Group; 10] = [
    (
        "container",
        "container",
        &[
            ("attach", "attach"),
            ("commit", "commit"),
            ("cp", "cp"),
            ("create", "create"),
            ("diff", "diff"),
            ("exec", "exec"),
            ("export", "export"),
            ("inspect", "container inspect"),
            ("kill", "kill"),
            ("logs", "logs"),
            ("ls", "ps"),
            ("list", "ps"),
            ("ps", "ps"),
            ("pause", "pause"),
            ("port", "port"),
            ("prune", "container prune"),
            ("rename", "rename"),
            ("restart", "restart"),
            ("rm", "rm"),
            ("remove", "rm"),
            ("run", "run"),
            ("start", "start"),
            ("stats", "stats"),
            ("stop", "stop"),
            ("top", "top"),
            ("unpause", "unpause"),
            ("update", "update"),
            ("wait", "wait"),
        ],
    ),
    (
        "image",
        "image",
        &[
            ("build", "build"),
            ("history", "history"),
            ("import", "import"),
            ("inspect", "image inspect"),
            ("load", "load"),
            ("ls", "images"),
            ("list", "images"),
            ("prune", "image prune"),
            ("pull", "pull"),
            ("push", "push"),
            ("rm", "rmi"),
            ("remove", "rmi"),
            ("save", "save"),
            ("tag", "tag"),
        ],
    ),
    (
        "network",
        "network",
        &[
            ("connect", "network connect"),
            ("create", "network create"),
            ("disconnect", "network disconnect"),
            ("inspect", "network inspect"),
            ("ls", "network ls"),
            ("list", "network ls"),
            ("prune", "network prune"),
            ("rm", "network rm"),
            ("remove", "network rm"),
        ],
    ),
    (
        "volume",
        "volume",
        &[
            ("create", "volume create"),
            ("inspect", "volume inspect"),
            ("ls", "volume ls"),
            ("list", "volume ls"),
            ("prune", "volume prune"),
            ("rm", "volume rm"),
            ("remove", "volume rm"),
        ],
    ),
    ("system", "system", &[("df", "system df"), ("events", "events"), ("info", "info"), ("prune", "system prune")]),
    ("builder", "builder", &[("build", "build"), ("prune", "builder prune")]),
    (
        "buildx",
        "buildx",
        &[
            ("b", "buildx build"),
            ("build", "buildx build"),
            ("inspect", "buildx inspect"),
            ("ls", "buildx ls"),
            ("prune", "builder prune"),
            ("version", "buildx version"),
        ],
    ),
    (
        "context",
        "context",
        &[
            ("inspect", "context inspect"),
            ("ls", "context ls"),
            ("list", "context ls"),
            ("show", "context show"),
            ("use", "context use"),
        ],
    ),
    ("manifest", "manifest", &[("inspect", "manifest inspect")]),
    ("plugin", "plugin", &[("ls", "plugin ls"), ("list", "plugin ls")]),
];

/// Commands that cannot be, and why.
pub(super) const IMPOSSIBLE: [(&str, &str); 8] = [
    ("swarm", "there is no daemon that could join a swarm"),
    ("node", "there is no swarm"),
    (
        "service",
        "there is no swarm (docker run -d --restart always, or bundle-tool unit for one that outlives a reboot)",
    ),
    ("stack", "there is no swarm"),
    ("secret", "there is no swarm (docker run -v FILE:/run/secrets/NAME:ro)"),
    ("config", "there is no swarm (docker run -v FILE:/NAME:ro)"),
    ("checkpoint", "run-tool checkpoint and restore do this, and take a container by its name"),
    ("trust", "docker's notary is not supported (signatures are checked by /etc/containers/policy.json)"),
];

/// Options that mean nothing here: what the classic builder did with its containers and their limits, which BuildKit ignores too, signatures
/// (which a policy asks for), intermediate images, of which there are none, and a pause while the changes of a container are read.
pub(super) const MEANINGLESS: [(&str, &str); 17] = [
    ("build", "rm"),
    ("build", "force-rm"),
    ("build", "compress"),
    ("build", "disable-content-trust"),
    ("build", "cpu-period"),
    ("build", "cpu-quota"),
    ("build", "cpu-shares"),
    ("build", "cpuset-cpus"),
    ("build", "cpuset-mems"),
    ("build", "memory"),
    ("build", "memory-swap"),
    ("build", "isolation"),
    ("commit", "pause"),
    ("commit", "no-pause"),
    ("push", "disable-content-trust"),
    ("images", "all"),
    ("rmi", "no-prune"),
];

impl<'a> Name<'a> {
    /// Finds the command at the head of the words.
    pub(super) fn find(words: &'a [OsString]) -> Result<Self, Wrong> {
        let refuse = |message: String| Wrong { message, status: 1 };
        let word = words[0].to_string_lossy().into_owned();
        if let Some(path) = PLAIN.into_iter().find(|known| *known == word) {
            return Ok(Self { path, typed: word, rest: &words[1..] });
        }
        if let Some((_, why)) = IMPOSSIBLE.iter().find(|(known, _)| *known == word) {
            return Err(refuse(format!("docker: {word}: {why}")));
        }
        let Some((_, group, commands)) = GROUPS.iter().find(|(known, ..)| *known == word) else {
            return Err(refuse(format!("docker: '{word}' is not a docker command.\nSee 'docker --help'")));
        };
        let second = words.get(1).map(|second| second.to_string_lossy().into_owned()).unwrap_or_default();
        if second.is_empty() || second.starts_with('-') {
            return Ok(Self { path: group, typed: word, rest: &words[1..] });
        }
        match commands.iter().find(|(known, _)| *known == second) {
            Some((_, path)) => Ok(Self { path, typed: format!("{word} {second}"), rest: &words[2..] }),
            None if word == "plugin" => {
                Err(refuse(format!("docker: plugin {second}: there is no daemon that could load plugins")))
            }
            None if word == "context" || word == "buildx" => {
                Err(refuse(format!("docker: {word} {second}: there is no daemon, and so one {word} only, default")))
            }
            None => {
                Err(refuse(format!("docker: '{word} {second}' is not a docker command.\nSee 'docker {word} --help'")))
            }
        }
    }
}

/// Whether a tool has the command under docker's own options, and reads its words itself.
pub(super) fn is_read_elsewhere(path: &str) -> bool {
    ["run", "create", "exec", "ps", "inspect", "container inspect", "image inspect"].contains(&path)
}

/// The names in docker's descriptions.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let grouped = GROUPS
        .iter()
        .flat_map(|(_, group, commands)| std::iter::once(*group).chain(commands.iter().map(|(_, path)| *path)));
    PLAIN.into_iter().chain(grouped)
}
