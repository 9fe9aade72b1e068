//! `list`: the containers whose state is under the root, as a table or as JSON.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, bail};
use clap::Args;

use super::global::Global;
use super::healthcheck;
use super::stdout::{print, print_json};
use crate::container::{Container, Description, Status};
use crate::container::{exit, health, state};
use crate::kernel::error::Fails;
use crate::kernel::log;
use crate::kernel::plain::plain;

/// List containers.
///
/// Lists the containers whose state is kept under --root.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Format of the output.
    #[arg(short, long, value_name = "table|json", default_value = "table")]
    format: String,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let containers = containers(global)?;
        if self.quiet {
            return print(&containers.iter().map(|container| format!("{}\n", container.id)).collect::<String>());
        }
        match self.format.as_str() {
            "table" => print(&table(&containers)),
            // Go encodes a nil slice as null.
            "json" if containers.is_empty() => print("null\n"),
            "json" => print_json(&(serde_json::to_string(&containers)? + "\n")),
            _ => bail!("invalid format option"),
        }
    }
}

fn containers(global: &Global) -> Result<Vec<Description>> {
    let entries = match fs::read_dir(&global.root) {
        // Nothing has been created there yet, be it the default folder or another.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.fails(|| format!("open {}", global.root.display()))?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| state::check_id(name).is_ok())
        .collect();
    names.sort_unstable();
    let mut owners = HashMap::new();
    let mut described = Vec::new();
    for name in names {
        // Another command may delete it meanwhile.
        let folder = global.root.join(&name);
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        let container = match Container::load(&global.root, &name) {
            Ok(container) => container,
            Err(_) if !folder.exists() => continue,
            Err(error) => {
                // The others are still listed.
                log::say(&format!("load container {name}: {error:#}"));
                continue;
            }
        };
        let mut description = container.describe();
        description.owner = owners.entry(metadata.uid()).or_insert_with_key(|uid| owner(*uid)).clone();
        let annotations = container.state.annotations();
        let check = annotations.get("org.oci-tools.healthcheck").and_then(|value| value.as_str());
        if healthcheck::interval(check).is_ok_and(|check| check.is_some()) {
            description.health_checks = health::results(&container.folder);
            if description.status == Status::Running.name() {
                description.health = Some(health::status(description.health_checks.as_ref()));
            }
        }
        let restarts = exit::restarts(&container.folder);
        description.restart_count = restarts.count;
        if description.status == Status::Stopped.name() {
            description.exit = exit::of(&container.folder);
            description.restarting = exit::is_restarting(&container.folder);
        } else {
            description.earlier = exit::earlier(&container.folder);
        }
        described.push(description);
    }
    Ok(described)
}

/// The name of a user, or `#UID`.
fn owner(uid: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 2 && fields[2].parse() == Ok(uid))
        .map_or_else(|| format!("#{uid}"), |fields| fields[0].to_owned())
}

/// The table, with columns as runc's tabwriter sets them: at least 12 wide, with three spaces between them.
fn table(containers: &[Description]) -> String {
    let mut rows: Vec<[String; 6]> = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(containers.iter().map(|container| {
        [
            plain(&container.id),
            container.pid.to_string(),
            container.status.to_owned(),
            plain(&container.bundle),
            plain(&container.created),
            container.owner.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}
