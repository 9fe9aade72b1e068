//! The hidden commands that print manual pages and shell completions.
//!
//! They share the source files of image-tool, which are modules here as well: run-tool links no sibling.

use anyhow::{Context as _, Result};
use clap::Subcommand;

#[expect(unreachable_pub, reason = "in image_tool the module is public")]
#[path = "../../../image-tool/src/program/completion.rs"]
mod completion;
#[expect(unreachable_pub, reason = "in image_tool the module is public")]
#[path = "../../../image-tool/src/program/manual.rs"]
mod manual;
#[expect(unreachable_pub, reason = "in image_tool the module is public")]
#[path = "../../../image-tool/src/program/usage.rs"]
pub(super) mod usage;

use manual::{Entry, Manual};

// `completion` uses it from here, as it does in image_tool.
use crate::kernel::plain::plain;

const MANUAL: Manual = Manual {
    statuses: &[
        Entry::new("0", "Success."),
        Entry::new("1", "The command failed, or the command line is wrong, as runc has it."),
        Entry::new("2", "The command line is wrong.").only(OURS),
        Entry::new("3", "There is no such command.").only(&[]),
        Entry::new("255", "The command failed before the program started.").only(&["exec"]),
        Entry::new("N", "In the foreground: the exit status of the container's program.").only(FOREGROUND),
        Entry::new("128+N", "In the foreground: the container's program was ended by signal N.").only(FOREGROUND),
    ],
    environment: &[
        Entry::new(
            "XDG_RUNTIME_DIR",
            "For users other than root, the state of containers is kept in the subdirectory run-tool of this directory; by \
             default, of /run/user/UID.",
        ),
        Entry::new(
            "NOTIFY_SOCKET",
            "The socket of a service manager, which is told when the container is ready (sd_notify(3)).",
        )
        .only(&["create", "run"]),
        Entry::new("LISTEN_FDS, LISTEN_PID", "Sockets from systemd that the program inherits (sd_listen_fds(3)).")
            .only(&["create", "exec", "run"]),
        Entry::new("DBUS_SYSTEM_BUS_ADDRESS", "The D-Bus address of systemd, for --systemd-cgroup."),
        Entry::new(
            "DBUS_SESSION_BUS_ADDRESS",
            "The D-Bus address of the user's own systemd, for --systemd-cgroup without root.",
        ),
    ],
    files: &[
        Entry::new("config.json", "The configuration of a bundle, as the runtime spec defines it.")
            .only(&["create", "restore", "run", "spec"]),
        Entry::new(
            "/run/run-tool/ID/state.json",
            "The state of a container, in runc's format. If the program is called as runc, it uses /run/runc.",
        ),
        Entry::new(
            "/etc/criu/runc.conf",
            "Options for criu, unless the annotation org.criu.config names another file.",
        )
        .only(&["checkpoint", "restore"]),
    ],
    related: &["build-tool(1)", "bundle-tool(1)", "crun(1)", "image-tool(1)", "registry-tool(1)", "runc(8)"],
};

/// The commands that can end with the status of a program.
const FOREGROUND: &[&str] = &["attach", "exec", "restore", "run"];

/// The commands that runc does not have.
const OURS: &[&str] = &["attach", "healthcheck", "logs", "stop", "wait"];

/// Commands for packagers and shells.
#[derive(Debug, Subcommand)]
pub(super) enum Document {
    /// Write the manual pages.
    Man(manual::Man),
    /// Print a completion script.
    Completions(completion::Completions),
    /// Print candidates, for that script.
    #[command(name = "__complete")]
    Complete(completion::Complete),
}

impl Document {
    pub(super) fn run(self, command: &clap::Command) -> Result<()> {
        let text = match self {
            Self::Man(manual::Man { folder }) => {
                return MANUAL
                    .write(command, &folder)
                    .map_err(|(path, error)| anyhow::Error::new(error).context(path.display().to_string()));
            }
            Self::Completions(completions) => completions.script("run-tool"),
            Self::Complete(complete) => complete.answer(command.clone(), &[]).context("__complete")?,
        };
        super::print(&text)
    }
}
