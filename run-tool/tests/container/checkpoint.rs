//! checkpoint and restore with the real criu. If criu does not support this kernel (`criu check`), the container must survive the
//! failure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::bundle::{Bundle, cgroups, eventually};

/// Starts a container without files of the harness as its streams: criu cannot save files outside the container.
fn run(bundle: &Bundle) {
    let mut command = bundle.command(&["run", "--detach", &bundle.id()]);
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
}

#[test]
fn a_container_is_saved_and_deleted_or_goes_on_running() {
    let bundle = Bundle::new(&["sh", "-c", "while :; do sleep 0.1; done"]);
    let id = bundle.id();
    run(&bundle);
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
fn invalid_checkpoints_are_refused_before_criu_runs() {
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
    // The folder for the images has been created, but is empty.
    assert_eq!(fs::read_dir(bundle.path().join("checkpoint")).unwrap().count(), 0);
}

#[test]
fn the_given_criu_is_used() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let criu = bundle.path().join("other-criu");
    let script = format!("#!/bin/sh\necho \"$1\" >>{}/asked\nexec criu \"$@\"\n", bundle.path().display());
    fs::write(&criu, script).unwrap();
    fs::set_permissions(&criu, fs::Permissions::from_mode(0o755)).unwrap();
    run(&bundle);
    // It runs once for its version and once for the dump, which may fail.
    bundle.tool(&["--criu", "./other-criu", "checkpoint", "--manage-cgroups-mode", "ignore", &id]);
    assert_eq!(fs::read_to_string(bundle.path().join("asked")).unwrap(), "swrk\nswrk\n");
    // The path is relative to the caller's directory, not to the bundle.
    bundle.good(&["delete", "--force", &id]);
    fs::remove_file(bundle.path().join("asked")).unwrap();
    let path = bundle.path().to_str().unwrap();
    let from = format!("..{}{path}/other-criu", "/..".repeat(path.matches('/').count() + 5));
    let state = bundle.path().join("state");
    let mut command = Command::new(env!("CARGO_BIN_EXE_run-tool"));
    command.arg("--root").arg(state).args(["--criu", &from, "restore", "--detach", "--bundle", path, &id]);
    let output =
        command.args(["--image-path", &format!("{path}/checkpoint")]).current_dir("/usr/share").output().unwrap();
    assert!(fs::read_to_string(bundle.path().join("asked")).is_ok_and(|asked| asked.contains("swrk")), "{output:?}");
}

#[test]
fn a_container_is_restored_or_leaves_nothing() {
    let bundle = Bundle::new(&["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.1; done"]);
    let bundle = Bundle::with(&[], |config| {
        config["process"]["args"] = bundle.config["process"]["args"].clone();
        config["root"]["readonly"] = false.into();
    });
    let id = bundle.id();
    let count = || fs::read_to_string(bundle.rootfs().join("tmp/count")).unwrap_or_default().trim().parse::<u32>();
    let modes = ["--manage-cgroups-mode", "ignore"];
    if Command::new("criu").arg("check").output().expect("package criu").status.success() {
        run(&bundle);
        eventually("the container counts", || count().is_ok_and(|count| count > 2));
        bundle.good(&[&["checkpoint"], &modes[..], &[&id]].concat());
        let before = count().unwrap();
        bundle.good(&[&["restore", "--detach", "--pid-file", "pid"], &modes[..], &[&id]].concat());
        // The program goes on counting where it was.
        eventually("it goes on", || count().is_ok_and(|count| count > before));
        assert_eq!(bundle.status(), "running");
        assert_eq!(bundle.good(&["exec", &id, "echo", "ok"]), "ok\n");
        return;
    }
    // Without images, or with unreadable ones, no container is left, and no mount or group of one.
    let (_, message) = bundle.bad(&["restore", "--detach", &id]);
    assert!(message.contains("checkpoint: no such file or directory"), "{message}");
    fs::create_dir(bundle.path().join("checkpoint")).unwrap();
    fs::write(bundle.path().join("checkpoint/descriptors.json"), "[\"/dev/null\",\"/dev/null\",\"/dev/null\"]")
        .unwrap();
    let (_, message) = bundle.bad(&[&["restore", "--detach"], &modes[..], &[&id]].concat());
    assert!(message.contains("criu failed: type RESTORE"), "{message}");
    assert_eq!(bundle.good(&["list", "-q"]), "");
    assert_eq!(cgroups(&id), Vec::<std::path::PathBuf>::new());
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(bundle.path().to_str().unwrap()));
}
