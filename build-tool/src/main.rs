//! build-tool: a Dockerfile and its context to an OCI image.

mod command;

use std::process::ExitCode;

use build_tool::build;
use image_tool::program;

use crate::command::{Arguments, TOOL};

fn main() -> ExitCode {
    let run = |arguments: Arguments| {
        program::log(arguments.verbose);
        arguments.command.run()
    };
    TOOL.run(Arguments::read(), run, |error| match error.downcast_ref::<build::Error>() {
        // As a shell sees a program that a signal ended.
        Some(build::Error::Interrupted(signal)) => 128 + *signal as u8,
        _ => 1,
    })
}
