//! What is printed and written after a build.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use build_tool::build::Outcome;
use bundle_tool::option::boolean;
use image_tool::address::name;
use image_tool::program::caller::caller;
use image_tool::program::pipe;
use serde_json::{Map, json};

/// Prints the image's address and the paths that were written, each on a line. As a command of docker's, the program says what that
/// does: with --quiet the image's ID, and else nothing, or where `DOCKER_BUILDKIT=0` asks for the builder before BuildKit, its last lines.
pub(super) fn print(outcome: &Outcome, quiet: bool) -> Result<()> {
    if caller().is_some() {
        let lines = match (image_id(outcome), quiet) {
            (Some(id), true) => vec![id],
            (Some(id), false) if is_classic() => classic(&id, &outcome.names),
            _ => Vec::new(),
        };
        return lines.iter().try_for_each(|line| pipe::print_line(line));
    }
    let address = outcome.address.iter().map(ToString::to_string);
    for line in address.chain(outcome.paths.iter().cloned()) {
        pipe::print_line(&line)?;
    }
    Ok(())
}

/// Whether docker would not use BuildKit.
fn is_classic() -> bool {
    std::env::var("DOCKER_BUILDKIT").is_ok_and(|value| boolean::parse(&value) == Ok(false))
}

/// What docker's builder before BuildKit ends with. Programs look for these words.
fn classic(id: &str, names: &[String]) -> Vec<String> {
    let digits = id.rsplit(':').next().unwrap_or_default();
    let tagged = names.iter().map(|own| {
        let (repository, tag) = name::familiar(own);
        format!("Successfully tagged {repository}:{tag}")
    });
    std::iter::once(format!("Successfully built {}", &digits[..digits.len().min(12)])).chain(tagged).collect()
}

/// Writes the image's ID: its config's digest, or for several platforms that of the index.
pub(super) fn id(path: &Path, outcome: &Outcome) -> Result<()> {
    fs::write(path, image_id(outcome).unwrap_or_default()).with_context(|| format!("--iidfile {}", path.display()))
}

/// Removes the file of an earlier build.
pub(super) fn no_id(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("--iidfile {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn image_id(outcome: &Outcome) -> Option<String> {
    let index = outcome.descriptor.as_ref().map(|descriptor| descriptor.digest());
    outcome.config.as_ref().or(index).map(ToString::to_string)
}

/// Writes what buildx writes of a build, under its names.
pub(super) fn metadata(path: &Path, outcome: &Outcome) -> Result<()> {
    let mut members = Map::new();
    if let Some(config) = &outcome.config {
        members.insert("containerimage.config.digest".into(), config.to_string().into());
    }
    if let Some(descriptor) = &outcome.descriptor {
        members.insert("containerimage.descriptor".into(), json!(descriptor));
        members.insert("containerimage.digest".into(), descriptor.digest().to_string().into());
        if !outcome.names.is_empty() {
            members.insert("image.name".into(), outcome.names.join(",").into());
        }
    }
    let text = serde_json::to_string_pretty(&members).context("metadata")? + "\n";
    fs::write(path, text).with_context(|| format!("--metadata-file {}", path.display()))
}
