//! A runtime's list on standard input, for the commands that show containers as they are.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use bundle_tool::container::status::{self, Container};
use image_tool::address::home::Home;

/// A list of ten thousand containers is smaller.
const LIMIT: u64 = 256 << 20;

/// All containers, newest first. `command` is what the user typed, for errors.
pub(super) fn containers(home: &Home, command: &str) -> anyhow::Result<Vec<Container>> {
    let usage = || format!("run-tool list --format json | bundle-tool {command}");
    if io::stdin().is_terminal() {
        bail!("standard input is a terminal ({})", usage());
    }
    let mut json = Vec::new();
    io::stdin().lock().take(LIMIT).read_to_end(&mut json).context("read standard input")?;
    if json.iter().all(u8::is_ascii_whitespace) {
        bail!("standard input is empty ({})", usage());
    }
    let states =
        status::read_list(&json).context("standard input is not a runtime's list (run-tool list --format json)")?;
    Ok(status::join(&home.bundles(), states)?)
}

/// The containers as far as they can be known: without a list, none of them runs.
pub(super) fn containers_or_bundles(home: &Home, command: &str) -> anyhow::Result<Vec<Container>> {
    if io::stdin().is_terminal() { Ok(status::join(&home.bundles(), Vec::new())?) } else { containers(home, command) }
}

/// The container that a word means: by its name, its id or the first digits of its id.
pub(super) fn find<'a>(all: &'a [Container], word: &str) -> anyhow::Result<Option<&'a Container>> {
    let name = word.strip_prefix('/').unwrap_or(word);
    if let Some(found) = all.iter().find(|container| container.name() == name || container.id() == word) {
        return Ok(Some(found));
    }
    let mut found = all.iter().filter(|container| container.is(word));
    match (found.next(), found.count()) {
        (found, 0) => Ok(found),
        (_, more) => bail!("{word}: {} ids begin with these digits (give more of them)", more + 1),
    }
}
