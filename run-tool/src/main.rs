//! An OCI runtime: runc's command line, state, log and exit codes, on libcontainer's types and parts.
//!
//! A command finds its container (`container`), or plans one from a configuration (`process`). One clone becomes the
//! container's process (`init`, `exec`), which makes the file system around itself (`rootfs`), takes on its restrictions
//! (`program`) and executes. There is a single thread, from beginning to end.

mod attach;
mod beneath;
mod capability;
mod cgroup;
mod channel;
mod checkpoint;
mod command;
mod config;
mod container;
mod criu;
mod error;
mod exec;
mod features;
mod hook;
mod init;
mod journal;
mod label;
mod launch;
mod log;
mod logs;
mod monitor;
mod mountinfo;
mod namespace;
mod netdev;
mod notify;
mod plan;
mod process;
mod procfs;
mod program;
mod rdt;
mod restore;
mod rlimit;
mod rootfs;
mod seal;
mod seccomp;
mod signal;
mod state;
mod supervise;
mod syscall;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::run() {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            if let Some(error) = failure.error.chain().find_map(|cause| cause.downcast_ref::<process::NotExecuted>()) {
                // What the container's own process would have said.
                log::plain(&error.to_string());
                return ExitCode::from(failure.status);
            }
            if !failure.error.is::<command::StdoutClosed>() {
                log::fatal(&format!("{:#}", failure.error));
                return ExitCode::from(failure.status);
            }
            ExitCode::SUCCESS
        }
    }
}
