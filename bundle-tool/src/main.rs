//! bundle-tool: an OCI image to an OCI runtime bundle, and its writable layer back to an image.

mod command;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = match command::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return command::usage(&error),
    };
    command::log_to_stderr(arguments.verbose);
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if image_tool::pipe::is_stdout_closed(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed nobody can be told, and the status still says it.
            let _ = writeln!(io::stderr(), "bundle-tool: {error:#}");
            command::status(&error)
        }
    }
}
