//! checkpoint, with the real criu. Where that does not know the kernel (`criu check`), the container must outlive its failure.

use std::fs;
use std::process::Command;

use crate::bundle::Bundle;

#[test]
fn a_container_is_saved_and_gone_or_goes_on() {
    let bundle = Bundle::new(&["sh", "-c", "while :; do sleep 0.1; done"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let works = Command::new("criu").arg("check").output().expect("package criu").status.success();
    let arguments = ["checkpoint", "--image-path", "images", "--work-path", "work", "--manage-cgroups-mode", "ignore"];
    let output = bundle.tool(&[&arguments[..], &[&id]].concat());
    assert!(bundle.path().join("images/descriptors.json").exists(), "{output:?}");
    if works {
        assert!(output.status.success(), "{output:?}");
        assert!(bundle.path().join("images/inventory.img").exists());
        assert_eq!(bundle.good(&["list", "-q"]), "");
    } else {
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("--- Quoting \\\"work/dump.log\\\""), "{message}");
        assert!(message.contains("criu failed: type DUMP"), "{message}");
        assert_eq!(bundle.status(), "running");
    }
}

#[test]
fn what_cannot_be_saved_is_refused_before_criu_is_asked() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let refused = |arguments: &[&str], words: &str| {
        let (status, message) = bundle.bad(&[&["checkpoint"], arguments, &[id.as_str()]].concat());
        assert!(status == 1 && message.contains(words), "{arguments:?}: {message}");
    };
    refused(&[], "container does not exist");
    bundle.good(&["create", &id]);
    refused(&[], "Container cannot be checkpointed in created state");
    bundle.good(&["start", &id]);
    refused(&["--parent-path", "/x"], "--parent-path must be relative");
    refused(&["--parent-path", "missing"], "invalid --parent-path: stat");
    refused(&["--page-server", "nowhere"], "Use --page-server ADDRESS:PORT to specify page server");
    refused(&["--page-server", "[::1]:x"], "Invalid port number");
    refused(&["--empty-ns", "pid"], "namespace \\\"pid\\\" is not supported");
    refused(&["--manage-cgroups-mode", "some"], "invalid manage-cgroups-mode value");
    let mut command = bundle.command(&["checkpoint", &id]);
    let output = command.env("PATH", bundle.path()).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("CRIU version check failed: exec: \\\"criu\\\": executable file not found"), "{message}");
    assert_eq!(bundle.status(), "running");
    // The folder for the images is there by now, and nothing in it.
    assert_eq!(fs::read_dir(bundle.path().join("checkpoint")).unwrap().count(), 0);
}
