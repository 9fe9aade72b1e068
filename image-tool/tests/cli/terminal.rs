//! Text of an image cannot control a terminal, and is not changed in a pipe.

use std::fs::File;
use std::io::Read;
use std::process::Command;

use image_tool::address::digest;
use oci_spec::image::{Descriptor, MediaType};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use serde_json::json;

use crate::work::{Work, tar};

const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}";

/// Adds an image in which every text is hostile.
fn hostile(work: &Work) {
    let writer = work.layout().writer().unwrap();
    let layer = tar(&[(&format!("dir{HOSTILE}/"), ""), (&format!("dir{HOSTILE}/file"), "data"), ("gone", "gone")]);
    let top = tar(&[(".wh.gone", ""), ("b", "b")]);
    let layers = [&layer, &top].map(|layer| writer.put(MediaType::ImageLayer, layer).unwrap());
    let diff_ids = [&layer, &top].map(|layer| digest::sha256(layer).to_string());
    let config = json!({
        "architecture": "amd64", "os": "linux", "author": HOSTILE,
        "config": {"User": HOSTILE, "Labels": {HOSTILE: HOSTILE}, "Env": [HOSTILE]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": HOSTILE, "comment": HOSTILE}, {"created_by": HOSTILE}],
    });
    let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes()).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": layers});
    let mut manifest: Descriptor = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes()).unwrap();
    manifest.set_annotations(Some([(HOSTILE.to_owned(), HOSTILE.to_owned())].into()));
    writer.publish(&"hostile".parse().unwrap(), manifest).unwrap();
}

/// Runs image-tool with a terminal as standard output and standard error.
fn on_a_terminal(work: &Work, words: &[&str]) -> String {
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&pty).unwrap();
    let name = ptsname(&pty, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-tool"));
    command.args(words).current_dir(work.0.path()).env("OCI_HOME", work.path("home"));
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    // Close our copies of the terminal, so that reading ends with the program.
    drop(command);
    let mut output = Vec::new();
    let _ = File::from(pty).read_to_end(&mut output);
    child.wait().unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn a_terminal_gets_no_control_character_of_an_image() {
    let work = Work::new();
    hostile(&work);
    for words in [
        &["inspect", "images:hostile"][..],
        &["inspect", "-f", "{{.Config.User}}\n{{json .Config}} {{range .Config.Env}}{{.}}{{end}}", "images:hostile"],
        &["history", "images:hostile"],
        &["history", "--no-trunc", "--format", "table {{.CreatedBy}}\t{{.Comment}}", "images:hostile"],
        &["history", "--format", "{{.CreatedBy}}", "images:hostile"],
        &["list", "images"],
        &["list", "--json", "images"],
        &["tree", "images:hostile"],
        &["tree", "--json", "images:hostile"],
        &["tree", "--html", "images:hostile"],
        &["unpack", "--uid-map", "1:1:1", "images:hostile", "out"],
    ] {
        let output = on_a_terminal(&work, words);
        assert!(!output.is_empty(), "{words:?}");
        let bad = output.chars().find(|c| c.is_control() && !"\r\n".contains(*c));
        assert_eq!(bad, None, "{words:?}: {output:?}");
    }
}

#[test]
fn a_pipe_gets_the_values_of_a_template_as_they_are() {
    let work = Work::new();
    hostile(&work);
    assert_eq!(work.run("inspect -f {{.Config.User}} images:hostile").ok(), format!("{HOSTILE}\n"));
    let history = work.run("history --format {{.CreatedBy}} images:hostile").ok();
    assert_eq!(history, format!("{HOSTILE}\n{HOSTILE}\n"));
    let table = work.run("history images:hostile").ok();
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "a table is for people: {table:?}");
}
