//! The commands with which run-tool documents itself; help does not list them.
//!
//! The rendering is image-tool's, whose files are modules here as well: run-tool links no sibling.

use anyhow::{Context as _, Result};
use clap::Subcommand;

#[expect(unreachable_pub, reason = "in image_tool the module is public")]
#[path = "../../../image-tool/src/program/completion.rs"]
mod completion;
#[expect(unreachable_pub, reason = "in image_tool the module is public")]
#[path = "../../../image-tool/src/program/manual.rs"]
mod manual;

use manual::Manual;

const MANUAL: Manual = Manual {
    statuses: &[
        ("0", "Success."),
        ("N", "run, exec and restore in the foreground: the status of the container's program."),
        ("128+N", "Its program was ended by the signal N."),
        ("1", "The command failed, or the command line is wrong."),
        ("255", "exec failed before its program ran."),
    ],
    environment: &[
        ("XDG_RUNTIME_DIR", "The state of containers of an ordinary user is kept in run-tool below this folder."),
        ("NOTIFY_SOCKET", "The socket that is told when the container is ready (sd_notify(3))."),
        ("LISTEN_FDS, LISTEN_PID", "Sockets that are handed on to the container (sd_listen_fds(3))."),
        ("DBUS_SYSTEM_BUS_ADDRESS", "The bus that reaches systemd, with --systemd-cgroup."),
    ],
    files: &[
        ("config.json", "The configuration of a bundle (runtime-spec config.md)."),
        ("/run/run-tool/ID/state.json", "The state of a container; /run/runc if the program is called as runc."),
        ("/etc/criu/runc.conf", "Options for criu."),
    ],
    related: &["bundle-tool", "image-tool", "build-tool", "registry-tool", "runc"],
};

/// What packages install and shells call.
#[derive(Debug, Subcommand)]
pub(super) enum Document {
    /// Manual pages.
    Man(manual::Man),
    /// A shell's script.
    Completions(completion::Completions),
    /// What that script calls.
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
