//! The examples in help work as they stand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::work::Work;

/// A folder with everything that the examples mention, and stubs of other programs that they call.
fn stage() -> Work {
    let work = Work::new();
    for folder in ["bin", "rootfs", "old", "new", "app", "tmp"] {
        fs::create_dir(work.path(folder)).unwrap();
    }
    fs::write(work.path("new/file"), "new").unwrap();
    fs::write(work.path("rootfs/file"), "file").unwrap();
    for (name, script) in [
        ("docker", "if [ \"$1\" = load ]; then exec cat >/dev/null; else exec image-tool save :python:3.8; fi"),
        ("jq", "exec cat >/dev/null"),
    ] {
        let path = work.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in [":python:3.8", ":app", ":busybox", ":a", ":b", "images:x", "images:old", "images:older"] {
        work.run(&format!("tag images:python:3.8 {name}")).ok();
    }
    work.run("tag images:busybox images:app-amd64").ok();
    for architecture in ["arm64", "riscv64"] {
        let words = format!("config --ref app-{architecture} --set-platform linux/{architecture} images:busybox");
        work.run(&words).ok();
    }
    work.run("index create :multi images:app-amd64 images:app-arm64").ok();
    work.run("save -o python.tar :python:3.8").ok();
    for (folder, file) in [("rootfs", "rootfs.tar"), ("app", "layer.tar")] {
        let tar = Command::new("tar").args(["-C", folder, "-cf", file, "."]).current_dir(work.0.path()).status();
        assert!(tar.unwrap().success());
    }
    work
}

/// The commands that a help lists; a command with commands of its own stands for these.
fn commands(stage: &Work, path: &str) -> Vec<String> {
    let help = stage.run(&format!("{path} --help")).ok();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What is indented deeper continues a line.
    let names = listed
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help");
    let mut all = Vec::new();
    for name in names {
        let command = format!("{path} {name}").trim_start().to_owned();
        let within = commands(stage, &command);
        if within.is_empty() { all.push(command) } else { all.extend(within) }
    }
    all
}

#[test]
fn the_examples_in_help_work() {
    let stage = stage();
    let tool = Path::new(env!("CARGO_BIN_EXE_image-tool")).parent().unwrap();
    for command in commands(&stage, "") {
        let help = stage.run(&format!("{command} --help")).ok();
        let examples: Vec<&str> = help.lines().skip_while(|line| *line != "Examples:").skip(1).collect();
        assert!(!examples.is_empty(), "{command} has no example");
        for example in examples {
            let work = Work(tempfile::tempdir().unwrap());
            let copy = Command::new("cp").arg("-a").arg(stage.path(".")).arg(work.0.path()).status();
            assert!(copy.unwrap().success());
            if command == "unpack" {
                fs::remove_dir_all(work.path("rootfs")).unwrap();
            }
            if example.contains("--uid-map") && !rustix::process::geteuid().is_root() {
                continue;
            }
            if matches!(command.as_str(), "mount" | "unmount") && !rustix::process::geteuid().is_root() {
                continue;
            }
            // What is mounted at /mnt is gone with the shell.
            let mut shell = Command::new(if command.ends_with("mount") { "unshare" } else { "sh" });
            if command.ends_with("mount") {
                shell.args(["--mount", "sh"]);
            }
            let mounted = if example.contains(" unmount ") { "image-tool mount :python:3.8 /mnt\n" } else { "" };
            shell
                .args(["-ec", &format!("{mounted}{example}")])
                .current_dir(work.0.path())
                .env("OCI_HOME", work.path("home"));
            let path = std::env::var("PATH").unwrap();
            shell.env("PATH", format!("{}:{}:{path}", work.path("bin").display(), tool.display()));
            let output = shell.env_remove("OCI_LAYOUT").env_remove("SOURCE_DATE_EPOCH").output().unwrap();
            assert!(output.status.success(), "{example}: {output:?}");
        }
    }
}
