//! What a shell offers where an address is expected: folders that lead to a layout, and the names in a layout.

use std::ffi::OsStr;
use std::path::Path;

use clap_complete::CompletionCandidate;

use crate::address::home::Home;
use crate::layout::Layout;

/// The addresses that begin with `word`, as far as they can be told: the names of the layout before its first `:`, else layouts and
/// the folders that may hold one. Nothing is offered, and nothing said, where something cannot be read.
#[must_use]
pub fn addresses(word: &OsStr) -> Vec<CompletionCandidate> {
    let Some(word) = word.to_str() else { return Vec::new() };
    let words = match word.split_once(':') {
        Some(("", _)) => names("", &Home::from_environment().images()),
        Some((layout, _)) => names(layout, Path::new(layout)),
        None if word.is_empty() => {
            let mut words = names("", &Home::from_environment().images());
            words.extend(layouts(word));
            words
        }
        None => layouts(word),
    };
    words.into_iter().filter(|candidate| candidate.starts_with(word)).map(CompletionCandidate::new).collect()
}

/// `layout:NAME` for each name in a layout.
fn names(layout: &str, path: &Path) -> Vec<String> {
    let entries = Layout::open(path).and_then(|layout| layout.index()).and_then(|index| index.entries());
    entries.unwrap_or_default().into_iter().filter_map(|(name, _)| Some(format!("{layout}:{}", name?))).collect()
}

/// The folders beside the one that `word` begins: `LAYOUT:`, or `FOLDER/`.
fn layouts(word: &str) -> Vec<String> {
    let (folder, _) = word.rsplit_once('/').map_or(("", word), |(folder, last)| (&word[..=folder.len()], last));
    let Ok(entries) = std::fs::read_dir(if folder.is_empty() { "." } else { folder }) else { return Vec::new() };
    let mut words: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .filter_map(|path| {
            let end = if path.join("oci-layout").is_file() { ':' } else { '/' };
            Some(format!("{folder}{}{end}", path.file_name()?.to_str()?))
        })
        .collect();
    words.sort();
    words
}
