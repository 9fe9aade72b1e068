//! Which files the repository may hold: a log, a core, an editor's backup or a patch's leftover is none of them.

use std::path::Path;

use tests::TOOLS;

const TOP: [&str; 11] = [
    ".clippy.toml",
    ".deny.toml",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
];

/// Whether a file, by its path from the repository's root, is of a kind that belongs where it lies.
pub(crate) fn belongs(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    match &parts[..] {
        [file] => TOP.contains(file),
        [".ci", file] => !file.contains('.'),
        ["findings", file] => *file == "README.md" || has_extension(file, &["sh"]),
        // Scripts for people have no extension: they are commands.
        ["tests", file] => *file == "Cargo.toml" || !file.contains('.'),
        ["tests", "fuzz", file] => ["Cargo.toml", "Cargo.lock", ".gitignore"].contains(file),
        ["tests", "src" | "tests", .., file] | ["tests", "fuzz", "src", .., file] => has_extension(file, &["rs"]),
        // What tests build: each folder is a program in another language.
        ["tests", "contexts", _, .., file] => {
            ["Dockerfile", "Makefile", ".dockerignore", "changelog", "control", "rules"].contains(file)
                || has_extension(file, &["c", "go", "html", "js", "json", "py", "rs", "toml", "txt"])
        }
        [tool, file] if TOOLS.contains(tool) => ["Cargo.toml", "README.md", "build.rs", "layout.ld"].contains(file),
        // Templates of the scripts that a shell loads.
        [tool, "src", .., "completion", "bash" | "fish" | "zsh"] if TOOLS.contains(tool) => true,
        [tool, "src", .., file] if TOOLS.contains(tool) => has_extension(file, &["rs", "json", "rules", "tsv", "txt"]),
        [tool, "tests", .., file] if TOOLS.contains(tool) => has_extension(file, &["rs"]),
        _ => false,
    }
}

fn has_extension(file: &str, of: &[&str]) -> bool {
    Path::new(file).extension().is_some_and(|extension| of.iter().any(|one| extension == *one))
}
