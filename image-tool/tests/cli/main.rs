//! The command line: what each subcommand prints, its exit status and its errors.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod append;
mod artifact;
mod change;
mod convert;
mod examples;
mod limits;
mod list;
mod save;
mod seekable;
mod show;
mod tag;
mod terminal;
mod tree;
mod unpack;
mod verify;
mod work;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::work::Work;

#[test]
fn a_command_line_that_is_wrong_exits_with_2() {
    let work = Work::new();
    for words in ["", "frobnicate", "tag images:busybox", "show", "save", "list --nope", "unpack images:x"] {
        let run = work.run(words);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
    }
    assert!(work.run("--help").ok().contains("Usage: image-tool"));
    work.run("man pages").ok();
    for page in ["image-tool", "image-tool-list"] {
        let text = fs::read_to_string(work.path("pages").join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {} 1", page.to_uppercase())), "{text}");
    }
    let script = work.run("completions bash").ok();
    assert!(script.lines().any(|line| line.starts_with("complete ") && line.ends_with(" image-tool")), "{script}");
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    let work = Work::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_image-tool"))
        .args(["save", "images:python:3.8"])
        .current_dir(work.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(Path::new("/dev/full").exists());
    let full = Command::new(env!("CARGO_BIN_EXE_image-tool"))
        .args(["show", "images:python:3.8"])
        .current_dir(work.0.path())
        .stdout(fs::File::create("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8(full.stderr).unwrap().contains("No space left"));
}
