//! An OCI runtime: runc's command line, state, log and exit codes, with libcontainer's types for the configuration.
//!
//! A command finds its container (`container`), or creates one (`create`) from a configuration (`spec`). One clone becomes the
//! container's process (`create::init`, `create::exec`), which sets up the file system around itself (`rootfs`), takes on its
//! restrictions (`program`) and executes. `supervise` watches over containers while they run. run-tool has a single thread.

mod cgroup;
mod checkpoint;
mod command;
mod container;
mod create;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod entry;
mod kernel;
mod program;
mod rootfs;
mod spec;
mod supervise;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::run() {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            if let Some(error) = failure.error.chain().find_map(|cause| cause.downcast_ref::<create::NotExecuted>()) {
                // runc prints this message plainly, because there the container's own process writes it.
                kernel::log::bare(&error.to_string());
                return ExitCode::from(failure.status);
            }
            if failure.error.is::<supervise::client::Escaped>() {
                // docker's words, as they are.
                kernel::log::bare(&supervise::client::Escaped.to_string());
                return ExitCode::from(failure.status);
            }
            if !failure.error.is::<command::StdoutClosed>() {
                if failure.ours {
                    kernel::log::ours(&format!("{:#}", failure.error));
                    return ExitCode::from(failure.status);
                }
                kernel::log::fatal(&format!("{:#}", failure.error));
                return ExitCode::from(failure.status);
            }
            ExitCode::SUCCESS
        }
    }
}
