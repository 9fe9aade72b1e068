//! registry-tool: images between registries and layouts.

mod command;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = command::Arguments::parse();
    command::log_to_stderr(arguments.verbose);
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if image_tool::pipe::is_stdout_closed(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed nobody can be told, and the status still says it.
            let _ = writeln!(io::stderr(), "registry-tool: {error:#}");
            ExitCode::FAILURE
        }
    }
}
