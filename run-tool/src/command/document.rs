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

use manual::Manual;

const MANUAL: Manual = Manual {
    statuses: &[
        ("0", "Success."),
        ("N", "run, exec and restore in the foreground, and attach: the exit status of the container's program."),
        ("128+N", "The container's program was killed by signal N."),
        ("1", "The command failed, or the command line is not valid."),
        ("2", "The command line of attach, healthcheck, logs, stop or wait is not valid."),
        ("3", "There is no such command."),
        ("255", "exec failed before its program started."),
    ],
    environment: &[
        (
            "XDG_RUNTIME_DIR",
            "For users other than root, the state of containers is kept in the folder run-tool in this one.",
        ),
        ("NOTIFY_SOCKET", "systemd's socket. run-tool passes the container's readiness on to it (sd_notify(3))."),
        ("LISTEN_FDS, LISTEN_PID", "Sockets from systemd that the container inherits (sd_listen_fds(3))."),
        ("DBUS_SYSTEM_BUS_ADDRESS", "The D-Bus address of systemd, for --systemd-cgroup."),
    ],
    files: &[
        ("config.json", "The configuration of a bundle, as the runtime spec defines it."),
        (
            "/run/run-tool/ID/state.json",
            "The state of a container, in runc's format. Called as runc, the program uses /run/runc.",
        ),
        ("/etc/criu/runc.conf", "Options for criu, unless the annotation org.criu.config names another file."),
    ],
    related: &["bundle-tool", "image-tool", "build-tool", "registry-tool", "runc"],
};

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
