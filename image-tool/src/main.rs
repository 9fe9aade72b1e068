//! image-tool: inspects and changes OCI image layouts.

mod command;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::command::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.log();
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if image_tool::pipe::is_stdout_closed(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone, the exit status is all that can be told.
            let _ = writeln!(io::stderr(), "image-tool: {}", image_tool::show::human::plain(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
