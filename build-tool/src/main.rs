//! build-tool: a Dockerfile and its context to an OCI image.

mod command;

use std::process::ExitCode;

use build_tool::{build, dockerfile};
use image_tool::program;
use image_tool::program::caller::caller;

use crate::command::{Arguments, TOOL};

/// The error in the words of docker's builder, where the docker command was called and programs look for them.
fn dockers(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(build::Error::Dockerfile(dockerfile::Error { line: line @ 1.., problem, .. })) if caller().is_some() => {
            anyhow::anyhow!("dockerfile parse error line {line}: {problem}")
        }
        _ => error,
    }
}

fn main() -> ExitCode {
    let run = |arguments: Arguments| {
        program::log(arguments.verbose);
        arguments.command.run().map_err(dockers)
    };
    TOOL.run(Arguments::read(), run, |error| match error.downcast_ref::<build::Error>() {
        // As a shell sees a program that a signal ended.
        Some(build::Error::Interrupted(signal)) => 128 + *signal as u8,
        _ => 1,
    })
}
