//! build-tool: a Dockerfile and its context to an OCI image.

mod command;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::command::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::read();
    arguments.log();
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if image_tool::pipe::is_stdout_closed(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone, the exit status is all that can be told.
            let _ = writeln!(io::stderr(), "build-tool: {}", image_tool::show::human::plain(&format!("{error:#}")));
            match error.downcast_ref::<build_tool::build::Error>() {
                // As a shell sees a program that a signal ended.
                Some(build_tool::build::Error::Interrupted(signal)) => ExitCode::from(128 + *signal as u8),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
