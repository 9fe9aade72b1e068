//! What holds for every room of the house beside the arrows: how many there are, what they are called, how long they are,
//! what they say about themselves, and where unsafe code may be. Each rule answers with its complaints.

use proc_macro2::{TokenStream, TokenTree};

use crate::source::{Crate, Module};

/// The rooms on a crate's top floor, those of the library and those of the program.
pub(crate) fn top_floor(of: &Crate, most: usize) -> Vec<String> {
    let mut rooms: Vec<_> = of.modules.iter().filter(|module| module.path.len() == 1).map(room).collect();
    rooms.sort();
    rooms.dedup();
    if rooms.len() <= most {
        return Vec::new();
    }
    vec![format!("{}: {} rooms on the top floor, {most} at most: {}", of.name, rooms.len(), rooms.join(", "))]
}

/// A room with a folder tells what it owns and what it may know.
pub(crate) fn heads(of: &Crate) -> Vec<String> {
    let with_folder = of.modules.iter().filter(|module| module.has_folder && !module.path.is_empty());
    with_folder
        .filter(|module| sentences(&module.head) < 2)
        .map(|module| format!("{}: {}: the head comment has fewer than two sentences", of.name, module.file))
        .collect()
}

/// Names that say nothing of what is inside.
pub(crate) fn names(of: &Crate) -> Vec<String> {
    const REFUSED: [&str; 6] = ["utils", "common", "helpers", "misc", "types", "manager"];
    let refused = of.modules.iter().filter(|module| module.path.last().is_some_and(|name| REFUSED.contains(&&**name)));
    refused.map(|module| format!("{}: {}: name it after what it holds", of.name, room(module))).collect()
}

pub(crate) fn lengths(of: &Crate, most: usize) -> Vec<String> {
    let lines = of.files.iter().map(|(file, text)| (file, text.lines().count()));
    lines
        .filter(|(_, lines)| *lines > most)
        .map(|(file, lines)| format!("{}: {file}: {lines} lines, {most} at most", of.name))
        .collect()
}

/// Files that no `mod` leads to, and which nobody compiles.
pub(crate) fn unreached(of: &Crate) -> Vec<String> {
    let unreached = of.files.keys().filter(|file| !of.reached.contains(*file));
    unreached.map(|file| format!("{}: {file}: no `mod` leads to it", of.name)).collect()
}

/// The files with unsafe code.
pub(crate) fn unsafe_files(of: &Crate) -> Vec<String> {
    let parse = |file: &str, text: &str| text.parse::<TokenStream>().unwrap_or_else(|error| panic!("{file}: {error}"));
    of.files.iter().filter(|(file, text)| holds_unsafe(parse(file, text))).map(|(file, _)| file.clone()).collect()
}

fn holds_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "unsafe",
        TokenTree::Group(group) => holds_unsafe(group.stream()),
        _ => false,
    })
}

/// How many sentences a text has: full stops that end it or have a space after them.
fn sentences(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.trim_end_matches([')', '`', '"']).ends_with('.')).count()
}

fn room(module: &Module) -> String {
    module.path.join("::")
}
