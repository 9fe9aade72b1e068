//! Containers that runc started before run-tool replaced it: every command of run-tool works with them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, cgroups, eventually};

/// A bundle with a seccomp profile and limits, whose container is created by Debian's runc.
fn by_runc(command: &str) -> Bundle {
    by_runc_below(Some("state"), command)
}

/// The same with runc's root in a folder of the bundle, or with runc's default root.
fn by_runc_below(root: Option<&str>, command: &str) -> Bundle {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
        });
        config["linux"]["resources"] = json!({"pids": {"limit": 50}});
        config["root"]["readonly"] = json!(false);
    });
    let mut runc = Command::new("runc");
    if let Some(root) = root {
        runc.arg("--root").arg(bundle.path().join(root));
    }
    runc.args([command, &bundle.id()]).current_dir(bundle.path());
    if command == "run" {
        runc.arg("--detach");
    }
    // The container inherits the streams and would keep pipes open.
    let null = || fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let status = runc.stdin(null()).stdout(null()).stderr(null()).status().expect("package runc");
    assert!(status.success(), "runc {command}: {status}");
    bundle
}

fn pids_limit(id: &str) -> String {
    let folder = cgroups(id).into_iter().find(|folder| folder.join("pids.max").exists()).unwrap();
    fs::read_to_string(folder.join("pids.max")).unwrap().trim().to_owned()
}

#[test]
fn every_command_works_with_a_running_container_of_runc() {
    let bundle = by_runc("run");
    let id = bundle.id();
    assert_eq!(bundle.status(), "running");
    assert!(bundle.good(&["list"]).contains(&id));
    assert_eq!(bundle.good(&["exec", &id, "echo", "in"]), "in\n");
    assert!(bundle.good(&["ps", &id]).contains("sleep 1000"));
    bundle.good(&["pause", &id]);
    assert_eq!(bundle.status(), "paused");
    bundle.good(&["resume", &id]);
    assert_eq!(pids_limit(&id), "50");
    bundle.good(&["update", "--pids-limit", "33", &id]);
    assert_eq!(pids_limit(&id), "33");
    let stats = bundle.good(&["events", "--stats", &id]);
    assert!(stats.contains(r#""limit":33"#), "{stats}");
    bundle.good(&["kill", &id, "KILL"]);
    bundle.wait_for("stopped");
    bundle.good(&["delete", &id]);
    eventually("its groups are gone", || cgroups(&id).is_empty());
}

#[test]
fn exec_in_a_container_of_runc_keeps_the_restrictions() {
    let bundle = by_runc("run");
    let id = bundle.id();
    let status = "grep -E '^(Seccomp|CapEff|CapBnd|NoNewPrivs):' /proc/self/status";
    let runc = Command::new("runc")
        .arg("--root")
        .arg(bundle.path().join("state"))
        .args(["exec", &id, "sh", "-c", status])
        .output()
        .unwrap();
    let theirs = String::from_utf8(runc.stdout).unwrap();
    assert!(theirs.contains("Seccomp:\t2"), "{theirs}");
    assert_eq!(bundle.good(&["exec", &id, "sh", "-c", status]), theirs);
    let (_, text) = bundle.bad(&["exec", &id, "sh", "-c", "busybox mkdir /made"]);
    assert!(text.contains("Operation not permitted"), "{text}");
    // A process document without capabilities gets those of the container, not all.
    let process = json!({"args": ["sh", "-c", status], "cwd": "/", "env": ["PATH=/bin"], "noNewPrivileges": true});
    let path = bundle.path().join("process.json");
    fs::write(&path, process.to_string()).unwrap();
    assert_eq!(bundle.good(&["exec", "--process", path.to_str().unwrap(), &id]), theirs);
    // If the bundle has lost its profile there is no filter, so exec refuses to run the program.
    fs::write(bundle.path().join("config.json"), {
        let mut config = bundle.config.clone();
        config["linux"].as_object_mut().unwrap().remove("seccomp");
        config.to_string()
    })
    .unwrap();
    let (_, text) = bundle.bad(&["exec", &id, "true"]);
    assert!(text.contains("has no seccomp profile"), "{text}");
    bundle.good(&["delete", "--force", &id]);
}

#[test]
fn a_created_container_of_runc_is_started_and_deleted() {
    let bundle = by_runc("create");
    let id = bundle.id();
    assert_eq!(bundle.status(), "created");
    bundle.good(&["start", &id]);
    assert_eq!(bundle.status(), "running");
    bundle.good(&["delete", "--force", &id]);
    eventually("its groups are gone", || cgroups(&id).is_empty());
    assert!(!bundle.path().join("state").join(&id).exists());
}

#[test]
fn called_as_runc_it_finds_the_containers_of_runc() {
    let bundle = by_runc_below(None, "run");
    symlink(env!("CARGO_BIN_EXE_run-tool"), bundle.path().join("runc")).unwrap();
    let runc = |arguments: &[&str]| {
        let output = Command::new("./runc").args(arguments).current_dir(bundle.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(runc(&["exec", &bundle.id(), "echo", "in"]), "in\n");
    runc(&["delete", "--force", &bundle.id()]);
    assert!(!runc(&["list", "--quiet"]).contains(&bundle.id()));
}
