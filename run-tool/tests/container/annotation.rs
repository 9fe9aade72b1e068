//! crun's annotations (`run.oci.…`).

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::bundle::Bundle;

/// Runs a command with the supplementary groups 7 and 8, and returns what it prints.
fn with_groups(mut command: Command) -> String {
    let tool = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let folder = command.get_current_dir().unwrap().to_owned();
    command = Command::new("setpriv");
    command.args(["--groups", "7,8", "--"]).arg(tool).args(arguments).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn programs_keep_the_callers_groups_if_annotated() {
    for (value, expected) in [(None, "1000 9"), (Some("0"), "1000 9"), (Some("1"), "1000 7 8")] {
        let mut bundle = Bundle::with(&["id", "-G"], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [9]});
            if let Some(value) = value {
                config["annotations"] = json!({"run.oci.keep_original_groups": value});
            }
        });
        assert_eq!(with_groups(bundle.command(&["run", &bundle.id()])), expected, "{value:?}");
        bundle.config["process"]["args"] = json!(["sleep", "1000"]);
        bundle.store();
        bundle.good(&["run", "--detach", &bundle.id()]);
        let words = ["exec", &bundle.id(), "id", "-G"];
        assert_eq!(with_groups(bundle.command(&words)), expected, "exec, {value:?}");
        bundle.good(&["delete", "--force", &bundle.id()]);
    }
}

#[test]
fn the_output_of_all_hooks_is_appended_to_the_annotated_files() {
    const KINDS: [&str; 6] =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mut bundle = Bundle::new(&["true"]);
    let (out, err) = (bundle.path().join("out"), bundle.path().join("err"));
    let hook = |kind: &str| {
        let script = format!("echo {kind}; echo no {kind} >&2");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}])
    };
    bundle.config["hooks"] = KINDS.iter().map(|kind| ((*kind).to_owned(), hook(kind))).collect();
    bundle.config["annotations"] = json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err});
    bundle.store();
    let id = bundle.id();
    bundle.good(&["create", &id]);
    bundle.good(&["start", &id]);
    bundle.good(&["delete", "--force", &id]);
    let lines = |path| {
        let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        // The program's own hook and the one after `start` run at the same time.
        lines[3..5].sort_unstable_by_key(|line| line.contains("poststart"));
        lines
    };
    assert_eq!(lines(&out), KINDS);
    assert_eq!(lines(&err), KINDS.map(|kind| format!("no {kind}")));
    bundle.config["annotations"] = json!({"run.oci.hooks.stdout": "/nonexistent/out"});
    bundle.store();
    let text = bundle.bad(&["run", &id]).1;
    assert!(text.contains("annotation run.oci.hooks.stdout: open /nonexistent/out: no such file"), "{text}");
    assert!(bundle.bad(&["state", &id]).1.contains("container does not exist"));
}

#[test]
fn an_unknown_system_call_in_a_profile_is_an_error_if_annotated() {
    let mut bundle = Bundle::with(&["true"], |config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO"}]
        });
    });
    let id = bundle.id();
    bundle.good(&["run", &id]);
    bundle.config["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1"});
    bundle.store();
    let text = bundle.bad(&["run", &id]).1;
    assert!(text.contains("unknown system call \\\"nosuchcall\\\""), "{text}");
    bundle.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["mkdir"]);
    bundle.store();
    bundle.good(&["run", &id]);
}

#[test]
fn an_unknown_type_of_context_is_an_error() {
    let bundle = Bundle::with(&["true"], |config| {
        config["annotations"] = json!({"run.oci.mount_context_type": "size"});
    });
    let text = bundle.bad(&["run", &bundle.id()]).1;
    assert!(text.contains("annotation run.oci.mount_context_type: \\\"size\\\" is not a context type"), "{text}");
}
