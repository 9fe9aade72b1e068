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
    work.run("config --ref app-arm64 --set-platform linux/arm64 images:busybox").ok();
    work.run("save -o python.tar :python:3.8").ok();
    for (folder, file) in [("rootfs", "rootfs.tar"), ("app", "layer.tar")] {
        let tar = Command::new("tar").args(["-C", folder, "-cf", file, "."]).current_dir(work.0.path()).status();
        assert!(tar.unwrap().success());
    }
    work
}

#[test]
fn the_examples_in_help_work() {
    let stage = stage();
    let help = stage.run("--help").ok();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let tool = Path::new(env!("CARGO_BIN_EXE_image-tool")).parent().unwrap();
    for command in commands.map(|line| line.split_whitespace().next().unwrap()).filter(|command| *command != "help") {
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
            if matches!(command, "mount" | "unmount") && !rustix::process::geteuid().is_root() {
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
