//! What is printed and written after a build.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use build_tool::build::Outcome;
use image_tool::program::pipe;
use serde_json::{Map, json};

/// Prints the image's address and the paths that were written, each on a line.
pub(super) fn print(outcome: &Outcome) -> Result<()> {
    let address = outcome.address.iter().map(ToString::to_string);
    for line in address.chain(outcome.paths.iter().cloned()) {
        pipe::print_line(&line)?;
    }
    Ok(())
}

/// Writes the image's ID: its config's digest, or for several platforms that of the index.
pub(super) fn id(path: &Path, outcome: &Outcome) -> Result<()> {
    let index = outcome.descriptor.as_ref().map(|descriptor| descriptor.digest());
    let id = outcome.config.as_ref().or(index).map(ToString::to_string).unwrap_or_default();
    fs::write(path, id).with_context(|| format!("--iidfile {}", path.display()))
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
