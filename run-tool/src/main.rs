//! An OCI runtime: runc's command line, state, log and exit codes, with libcontainer's types for the configuration.
//!
//! A command finds its container (`container`), or creates one (`create`) from a configuration (`spec`). One clone becomes the
//! container's process (`create::init`, `create::exec`), which sets up the file system around itself (`rootfs`), takes on its
//! restrictions (`program`) and executes. `supervise` watches over containers while they run. run-tool has a single thread.
#![cfg_attr(all(not(test), target_env = "gnu"), no_main)]

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

/// The program, as glibc calls it. Rust's own start, which this leaves out, also reads `/proc/self/maps` and allocates a stack for a report
/// of an overflow of the other one: a tenth of the CPU time of a short command. With another C library the arguments are known to that
/// start alone.
#[cfg(all(not(test), target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library calls the function of this name")]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    run().into()
}

#[cfg(any(test, not(target_env = "gnu")))]
fn main() -> std::process::ExitCode {
    run().into()
}

/// Runs the command. Returns the exit status.
fn run() -> u8 {
    if kernel::descriptor::open_missing_streams().is_err() {
        return 1;
    }
    kernel::syscall::ignore_broken_pipes();
    command::run().unwrap_or_else(|failure| report(&failure))
}

/// Reports a failure. Returns the exit status.
fn report(failure: &command::Failure) -> u8 {
    let error = &failure.error;
    if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<create::NotExecuted>()) {
        // runc prints this message plainly, because there the container's own process writes it.
        kernel::log::bare(&error.to_string());
    } else if error.is::<supervise::client::Escaped>() {
        // docker's words, as they are.
        kernel::log::bare(&supervise::client::Escaped.to_string());
    } else if error.is::<command::StdoutClosed>() {
        return 0;
    } else if failure.ours {
        kernel::log::ours(&format!("{error:#}"));
    } else {
        kernel::log::fatal(&format!("{error:#}"));
    }
    failure.status
}
