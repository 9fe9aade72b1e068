//! bundle-tool: an OCI image to an OCI runtime bundle, and its writable layer back to an image.

mod command;

use std::process::ExitCode;

use image_tool::program;

use crate::command::{Arguments, TOOL};

fn main() -> ExitCode {
    let run = |arguments: Arguments| {
        program::log(arguments.verbose);
        arguments.command.run().map_err(command::dockers::words)
    };
    let arguments = program::parse::<Arguments>(std::env::args_os());
    if let Some(status) = arguments.as_ref().err().and_then(command::miscounted) {
        return ExitCode::from(status);
    }
    TOOL.run(arguments, run, command::status)
}
