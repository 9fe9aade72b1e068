//! Examples for the help and the manual page of each command.
//!
//! They are kept apart from the commands because only help and manuals need them: a start of a container builds its command line
//! without them.

use clap::Command;

const PROGRAM: &str = "\
Examples:
  bundle-tool create --bundle py :python:3.8 | run-tool run --bundle - py1
  run-tool spec --bundle box
  run-tool list";

/// Each command with its examples. The text follows the long help, and the manual page has it as its EXAMPLES.
const EXAMPLES: [(&str, &str); 22] = [
    (
        "attach",
        "\
Examples:
  run-tool attach web
  run-tool attach --no-stdin --sig-proxy=false web
  run-tool attach --detach-keys ctrl-x web",
    ),
    (
        "checkpoint",
        "\
Examples:
  run-tool checkpoint --image-path saved web
  run-tool checkpoint --leave-running --tcp-established --image-path saved web
  run-tool --criu /opt/criu/sbin/criu checkpoint --image-path saved web",
    ),
    (
        "create",
        "\
Examples:
  run-tool create --bundle py py1
  run-tool create --bundle py --pid-file py1.pid py1
  run-tool create --bundle py --console-socket console.sock py1",
    ),
    (
        "delete",
        "\
Examples:
  run-tool delete web
  run-tool delete -f web",
    ),
    (
        "events",
        "\
Examples:
  run-tool events --stats web
  run-tool events --interval 1s web",
    ),
    (
        "exec",
        "\
Examples:
  run-tool exec --tty web sh
  run-tool exec --user 1000:1000 --cwd /tmp --env LANG=C web id
  run-tool exec --detach --pid-file job.pid web sleep 100",
    ),
    (
        "features",
        "\
Examples:
  run-tool features
  run-tool features | grep seccomp",
    ),
    (
        "healthcheck",
        "\
Examples:
  run-tool healthcheck web
  run-tool healthcheck --show web",
    ),
    (
        "kill",
        "\
Examples:
  run-tool kill web
  run-tool kill web KILL
  run-tool kill web 1",
    ),
    (
        "list",
        "\
Examples:
  run-tool list
  run-tool list --quiet
  run-tool list --format json | bundle-tool ps",
    ),
    (
        "logs",
        "\
Examples:
  run-tool logs web
  run-tool logs --follow --tail 10 web
  run-tool logs --timestamps --since 10m web",
    ),
    (
        "pause",
        "\
Examples:
  run-tool pause web
  run-tool resume web",
    ),
    (
        "ps",
        "\
Examples:
  run-tool ps web
  run-tool ps --format json web
  run-tool ps web -o pid,args",
    ),
    (
        "restore",
        "\
Examples:
  run-tool restore --bundle web --image-path saved web
  run-tool restore --detach --bundle web --image-path saved web",
    ),
    (
        "resume",
        "\
Examples:
  run-tool pause web
  run-tool resume web",
    ),
    (
        "run",
        "\
Examples:
  run-tool run --bundle py py1
  bundle-tool create --bundle py :python:3.8 | run-tool run --bundle - py1
  run-tool run --detach --log-driver json-file --log-opt max-size=10m --bundle web web",
    ),
    (
        "spec",
        "\
Examples:
  run-tool spec
  run-tool spec --bundle box
  run-tool spec --rootless",
    ),
    (
        "start",
        "\
Examples:
  run-tool create --bundle py py1
  run-tool start py1",
    ),
    (
        "state",
        "\
Examples:
  run-tool state web
  run-tool state web | grep status",
    ),
    (
        "stop",
        "\
Examples:
  run-tool stop web
  run-tool stop --time 60 web db
  run-tool stop --signal INT web",
    ),
    (
        "update",
        "\
Examples:
  run-tool update --memory 512m --pids-limit 100 web
  run-tool update --cpu-quota 50000 --cpu-period 100000 web
  run-tool update --resources limits.json web",
    ),
    (
        "wait",
        "\
Examples:
  run-tool wait web
  run-tool wait web db",
    ),
];

/// Adds the examples to the whole command line.
pub(super) fn add(command: Command) -> Command {
    command.after_long_help(PROGRAM).mut_subcommands(|command| {
        match EXAMPLES.iter().find(|(name, _)| *name == command.get_name()) {
            Some((_, text)) => command.after_long_help(*text),
            None => command,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_examples_that_parse() {
        let command = add(super::super::Arguments::command());
        let shown: Vec<_> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        assert_eq!(shown.len(), EXAMPLES.len());
        for command in shown.into_iter().chain([&command]) {
            let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let lines = text.strip_prefix("Examples:\n").unwrap_or_else(|| panic!("{}: {text}", command.get_name()));
            for line in lines.lines() {
                let line = line.strip_prefix("  ").unwrap_or_else(|| panic!("{line:?} is not indented"));
                for part in line.split(" | ").filter(|part| part.starts_with("run-tool ")) {
                    let parsed = super::super::Arguments::command().try_get_matches_from(part.split(' '));
                    assert!(parsed.is_ok(), "{part}: {}", parsed.unwrap_err());
                }
            }
        }
    }
}
