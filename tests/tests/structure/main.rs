//! The house keeps its shape: no circles between modules, few and well-named rooms, files of a size to read in one go, and
//! nothing in the repository that does not belong there.

mod circle;
mod made_up;
mod rules;
mod source;
mod tracked;

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{TOOLS, repository};

use crate::source::{Crate, Files};

/// The rooms that one crate's top floor may have.
const ROOMS: usize = 12;

/// The lines that one file of a crate's `src` may have.
const LINES: usize = 600;

fn read(tool: &str) -> Crate {
    let folder = repository().join(tool).join("src");
    let mut files = Files::new();
    gather(&folder, &folder, &mut files);
    Crate::read(tool, files)
}

fn gather(root: &Path, folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Applies one rule to every tool.
fn holds(rule: impl Fn(&Crate) -> Vec<String>) {
    let complaints: Vec<_> = TOOLS.iter().flat_map(|tool| rule(&read(tool))).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn has_no_circle(tool: &str) {
    let circles = circle::circles(&read(tool));
    assert!(circles.is_empty(), "{}", circles.join("\n\n"));
}

#[test]
fn image_tool_has_no_circle() {
    has_no_circle("image-tool");
}

#[test]
fn registry_tool_has_no_circle() {
    has_no_circle("registry-tool");
}

#[test]
fn bundle_tool_has_no_circle() {
    has_no_circle("bundle-tool");
}

#[test]
fn build_tool_has_no_circle() {
    has_no_circle("build-tool");
}

#[test]
fn run_tool_has_no_circle() {
    has_no_circle("run-tool");
}

#[test]
fn a_top_floor_has_few_rooms() {
    holds(|of| rules::top_floor(of, ROOMS));
}

#[test]
fn rooms_with_a_folder_tell_what_they_own() {
    holds(rules::heads);
}

#[test]
fn rooms_are_named_after_what_they_hold() {
    holds(rules::names);
}

#[test]
fn files_can_be_read_in_one_go() {
    holds(|of| rules::lengths(of, LINES));
}

#[test]
fn every_file_is_compiled() {
    holds(rules::unreached);
}

/// The system calls, and what runs before anything is initialised: the entry point and the name of `main`.
#[test]
fn only_known_files_are_unsafe() {
    let unsafe_files = |tool: &&'static str| {
        let tool = *tool;
        rules::unsafe_files(&read(tool)).into_iter().map(move |file| format!("{tool}/{file}"))
    };
    let files: Vec<_> = TOOLS.iter().flat_map(unsafe_files).collect();
    assert_eq!(files, ["run-tool/entry.rs", "run-tool/kernel/syscall.rs", "run-tool/main.rs"]);
}

#[test]
fn only_what_belongs_here_is_tracked() {
    // An unpacked archive has no list of tracked files, and nothing in it can be tracked wrongly.
    if !repository().join(".git").exists() {
        return;
    }
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    let strays: Vec<_> = listed.split_terminator('\0').filter(|path| !tracked::belongs(path)).collect();
    assert!(strays.is_empty(), "stray files, or kinds of files that tracked.rs does not know: {strays:?}");
}
