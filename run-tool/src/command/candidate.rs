//! What a shell offers for a value: container ids, signals, capabilities, folders and words.
//!
//! clap can keep these with each argument, but then every start would pay for them. They are added only when the command line is
//! built for a shell (`__complete`) or for the manual.

use std::fs;
use std::path::Path;

use clap::{Arg, Command, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use crate::kernel::signal;
use crate::program::capability;

/// Options whose value is one of a few words. clap does not check them, because runc's own messages refuse other words.
const WORDS: [(&str, &[&str]); 7] = [
    ("empty_ns", &["network"]),
    ("format", &["table", "json"]),
    ("log_driver", &["json-file", "file", "journald", "none"]),
    ("log_format", &["text", "json"]),
    ("log_opt", &["max-size=", "max-file=", "path=", "tag="]),
    ("manage_cgroups_mode", &["soft", "full", "strict", "ignore"]),
    ("rootless", &["true", "false", "auto"]),
];

/// Paths for which clap's default, any file or folder, is not the best.
const PATHS: [(&str, ValueHint); 6] = [
    ("bundle", ValueHint::DirPath),
    ("criu", ValueHint::ExecutablePath),
    // A path in the container.
    ("cwd", ValueHint::Other),
    ("image_path", ValueHint::DirPath),
    ("root", ValueHint::DirPath),
    ("work_path", ValueHint::DirPath),
];

/// Commands whose operand is the id of a container that does not exist yet.
const NEW: [&str; 3] = ["create", "restore", "run"];

/// Adds the candidates to the whole command line.
pub(super) fn add(command: Command) -> Command {
    command.mut_args(described).mut_subcommands(|command| {
        let new = NEW.contains(&command.get_name());
        command.mut_args(|argument| match argument.get_id().as_str() {
            "id" | "ids" if !new => argument.add(ArgValueCandidates::new(|| ids(&super::global::default_root().0))),
            _ => described(argument),
        })
    })
}

fn described(argument: Arg) -> Arg {
    let id = argument.get_id().as_str();
    if !argument.get_action().takes_values() {
        return argument;
    }
    if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == id) {
        return argument.add(ArgValueCandidates::new(|| words.iter().map(CompletionCandidate::new).collect()));
    }
    if let Some((_, hint)) = PATHS.iter().find(|(known, _)| *known == id) {
        return argument.value_hint(*hint);
    }
    match id {
        "cap" => argument.add(ArgValueCandidates::new(|| {
            capability::NAMES.iter().map(|name| CompletionCandidate::new(format!("CAP_{name}"))).collect()
        })),
        "signal" => argument.add(ArgValueCandidates::new(|| signal::names().map(CompletionCandidate::new).collect())),
        _ => argument,
    }
}

/// The containers whose state is in a folder: its subfolders, without run-tool's own (`~seccomp`). None if it cannot be read.
fn ids(root: &Path) -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with(['~', '.']))
        .collect();
    names.sort_unstable();
    names.into_iter().map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let words: Vec<_> = line.split(' ').map(Into::into).collect();
        let last = words.len() - 1;
        let mut command = add(super::super::Arguments::command());
        let found = clap_complete::engine::complete(&mut command, words, last, None).unwrap();
        found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn values_are_offered_by_option() {
        for (line, expected) in [
            ("run-tool --log-format j", "json"),
            ("run-tool list --format t", "table"),
            ("run-tool run --log-driver jo", "journald"),
            ("run-tool checkpoint --manage-cgroups-mode s", "soft strict"),
            ("run-tool exec --cap CAP_SYS_PT", "CAP_SYS_PTRACE"),
            ("run-tool kill web SIGTE", "SIGTERM"),
            ("run-tool stop --signal SIGQ", "SIGQUIT"),
            ("run-tool exec --cwd ", ""),
        ] {
            assert_eq!(offered(line).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn every_entry_names_an_argument() {
        let command = super::super::Arguments::command();
        let commands = || command.get_subcommands().chain([&command]);
        for id in WORDS.iter().map(|(id, _)| id).chain(PATHS.iter().map(|(id, _)| id)) {
            let known = |command: &Command| command.get_arguments().any(|argument| argument.get_id() == id);
            assert!(commands().any(known), "{id}");
        }
        assert!(NEW.iter().all(|name| command.find_subcommand(name).is_some()));
    }

    #[test]
    fn ids_are_the_folders_of_containers() {
        let root = tempfile::tempdir().unwrap();
        for name in ["web", "db", "~seccomp", ".hidden"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("file"), "").unwrap();
        let ids: Vec<_> = ids(root.path()).iter().map(|candidate| candidate.get_value().to_owned()).collect();
        assert_eq!(ids, ["db", "web"]);
        let missing = root.path().join("missing");
        assert!(super::ids(&missing).is_empty() && !missing.exists());
    }
}
