//! registry-tool: images between registries and layouts.

mod command;

use std::process::ExitCode;

use image_tool::program;

use crate::command::{Arguments, TOOL};

fn main() -> ExitCode {
    let run = |arguments: Arguments| {
        program::log(arguments.verbose);
        arguments.command.run().map_err(command::dockers::words)
    };
    TOOL.run(program::parse(std::env::args_os()), run, |_| 1)
}
