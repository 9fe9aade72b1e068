//! Older kernels, and seccomp profiles of outer containers that forbid newer system calls: whatever runc can run there runs.
//!
//! A filter takes the calls away. It is installed by a program of its own, this test program, which then executes what is to run
//! under it.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups, eventually};

/// The calls that run-tool uses if it can, and the kernel in which they are new.
const NEWER: [(&str, &str); 15] = [
    ("pidfd_send_signal", "5.1"),
    ("open_tree", "5.2"),
    ("move_mount", "5.2"),
    ("fsopen", "5.2"),
    ("fsconfig", "5.2"),
    ("fsmount", "5.2"),
    ("pidfd_open", "5.3"),
    ("clone3", "5.3"),
    ("openat2", "5.6"),
    ("pidfd_getfd", "5.6"),
    ("faccessat2", "5.8"),
    ("close_range", "5.9"),
    ("mount_setattr", "5.12"),
    ("process_mrelease", "5.15"),
    // Not new, but some profiles forbid it.
    ("execveat", "3.19"),
];

/// What the filter is to do, and what is to run under it.
const TASK: &str = "RUN_TOOL_UNDER_A_FILTER";

/// The program that installs the filter. Only `under` starts it.
#[test]
#[ignore = "not a test: the other tests here start it"]
fn install() {
    let task: Value = serde_json::from_str(&std::env::var(TASK).unwrap()).unwrap();
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
    filter.set_ctl_nnp(false).unwrap();
    let action = ScmpAction::Errno(task["errno"].as_i64().unwrap() as i32);
    for call in task["calls"].as_array().unwrap() {
        // A libseccomp that does not know a call cannot be asked to forbid it.
        if let Ok(call) = ScmpSyscall::from_name(call.as_str().unwrap()) {
            filter.add_rule(action, call).unwrap();
        }
    }
    // Linux before 5.11 does not know CLOSE_RANGE_CLOEXEC.
    if task["old_flags"] == true {
        let flag = ScmpArgCompare::new(2, ScmpCompareOp::Equal, 4);
        let call = ScmpSyscall::from_name("close_range").unwrap();
        filter.add_rule_conditional(ScmpAction::Errno(libc::EINVAL), call, &[flag]).unwrap();
    }
    filter.load().unwrap();
    let words: Vec<&str> = task["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    panic!("{}", Command::new(words[0]).args(&words[1..]).env_remove(TASK).exec());
}

fn under(filter: &Value, words: &[&str]) -> Command {
    let mut task = filter.clone();
    task["words"] = json!(words);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "older::install", "--nocapture", "--test-threads=1"]);
    command.env(TASK, task.to_string());
    command
}

/// Runs run-tool under a filter. Its output follows that of the program that installs the filter.
fn tool(bundle: &Bundle, filter: &Value, arguments: &[&str]) -> Output {
    let state = bundle.path().join("state");
    let words = [&[env!("CARGO_BIN_EXE_run-tool"), "--root", state.to_str().unwrap()][..], arguments].concat();
    let file = || tempfile::tempfile().unwrap();
    let (out, err) = (file(), file());
    let mut command = under(filter, &words);
    command.current_dir(bundle.path()).stdin(std::process::Stdio::null());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let status = command.status().unwrap();
    let read = |mut file: std::fs::File| {
        use std::io::{Read, Seek};
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Output { status, stdout: read(out), stderr: read(err) }
}

/// A container with one of each: a mask, a read-only path, bind mounts with flags, a tmpfs with content, hooks, devices, a sysctl, a
/// seccomp profile and a user.
fn rich(config: &mut Value, marks: &std::path::Path) {
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    config["root"]["readonly"] = json!(true);
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 121},
        {"names": ["faccessat2"], "action": "SCMP_ACT_ERRNO"}]});
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}));
    mounts.push(json!({"destination": "/etc/hosts", "source": "/etc/hosts", "type": "bind",
        "options": ["rbind", "ro", "rprivate"]}));
    mounts.push(json!({"destination": "/shared", "source": ".", "type": "bind",
        "options": ["bind", "nosuid", "nodev", "noexec", "noatime", "rslave"]}));
    let hook =
        |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} >>{}", marks.display())]}]);
    config["hooks"] =
        json!({"createRuntime": hook("created"), "poststart": hook("started"), "poststop": hook("stopped")});
}

const SEEN: &str = "cat /etc/passwd | grep -c user; cat /proc/kcore | wc -c; echo x 2>/dev/null >/proc/sys/kernel/hostname || echo ro; \
    cat /proc/sys/net/ipv4/ip_forward; mkdir /tmp/x 2>/dev/null; echo $?; id -u; \
    grep -o ' /shared [a-z,]*' /proc/self/mountinfo | tr ',' '\\n' | grep -E 'nosuid|nodev|noexec|noatime' | sort; \
    grep -c ' /etc/hosts ro' /proc/self/mountinfo; echo end";
const EXPECTED: &str = "1\n0\nro\n1\n1\n1000\nnoatime\nnodev\nnoexec\nnosuid\n1\nend\n";

fn a_life(filter: &Value) {
    let mut bundle = Bundle::new(&["sh", "-c", SEEN]);
    let marks = bundle.path().join("marks");
    rich(&mut bundle.config, &marks);
    for applet in ["wc", "tr", "sort", "mkdir"] {
        std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin").join(applet)).unwrap();
    }
    bundle.store();
    let id = bundle.id();
    let run = tool(&bundle, filter, &["run", &id]);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success() && text.ends_with(EXPECTED), "{filter}: {run:?}");
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "created\nstarted\nstopped\n", "{filter}");

    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let good = |arguments: &[&str]| {
        let output = tool(&bundle, filter, arguments);
        assert!(output.status.success(), "{filter} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    good(&["create", &id]);
    good(&["start", &id]);
    assert!(
        good(&["exec", "-u", "1000:1000", &id, "sh", "-c", "id -u; ls /proc/self/fd"]).ends_with("1000\n0\n1\n2\n3\n")
    );
    good(&["kill", &id, "KILL"]);
    eventually("its end", || bundle.status() == "stopped");
    good(&["delete", &id]);
    good(&["run", "--detach", &id]);
    good(&["delete", "--force", &id]);
    assert!(cgroups(&id).is_empty(), "{filter}");
}

fn all() -> Vec<&'static str> {
    NEWER.iter().map(|(name, _)| *name).collect()
}

#[test]
fn containers_run_where_all_newer_calls_are_missing_or_forbidden() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        a_life(&json!({"errno": errno, "calls": all()}));
    }
}

#[test]
fn containers_run_where_one_of_the_newer_calls_is_missing_or_forbidden() {
    for (name, _) in NEWER {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let bundle = Bundle::with(&["cat", "/etc/hosts"], |config| {
                let mount = json!({"destination": "/etc/hosts", "source": "/etc/hosts", "type": "bind",
                    "options": ["rbind", "ro"]});
                config["mounts"].as_array_mut().unwrap().push(mount);
            });
            let run = tool(&bundle, &json!({"errno": errno, "calls": [name]}), &["run", &bundle.id()]);
            assert!(run.status.success(), "{name} {errno}: {run:?}");
        }
    }
}

#[test]
fn containers_run_on_debian_11s_kernel() {
    let number = |version: &str| -> u32 {
        let (major, minor) = version.split_once('.').unwrap();
        major.parse::<u32>().unwrap() * 100 + minor.parse::<u32>().unwrap()
    };
    let calls: Vec<&str> = NEWER.iter().filter(|(_, since)| number(since) > 510).map(|(name, _)| *name).collect();
    a_life(&json!({"errno": libc::ENOSYS, "calls": calls, "old_flags": true}));
}

/// The parent opens such a source, and the container's process mounts it.
#[test]
fn a_source_out_of_the_containers_reach_is_mounted_without_the_newer_calls() {
    let private = tempfile::tempdir().unwrap();
    std::fs::write(private.path().join("file"), "found").unwrap();
    for errno in [libc::ENOSYS, libc::EPERM] {
        let bundle = Bundle::with(&["cat", "/m"], |config| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            let mount = json!({"destination": "/m", "source": private.path().join("file"), "options": ["bind", "ro"]});
            config["mounts"].as_array_mut().unwrap().push(mount);
        });
        // The container's root cannot make the mount point in a folder of the host's root.
        std::fs::write(bundle.rootfs().join("m"), "").unwrap();
        let run = tool(&bundle, &json!({"errno": errno, "calls": all()}), &["run", &bundle.id()]);
        assert!(run.status.success() && run.stdout.ends_with(b"found"), "{run:?}");
    }
}

/// The other tests once more, on a kernel as old as the README says. Those are left out whose subject that kernel lacks.
#[test]
fn the_tests_pass_without_the_newer_calls() {
    let filter = json!({"errno": libc::ENOSYS, "calls": all()});
    let program = std::env::current_exe().unwrap();
    let mut words = vec![program.to_str().unwrap(), "security::", "process::", "rootless::"];
    for skipped in LACKING {
        words.extend(["--skip", skipped]);
    }
    let output = under(&filter, &words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let counts: HashMap<&str, usize> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .flat_map(|line| line.split("; "))
        .filter_map(|count| count.split_once(' '))
        .filter_map(|(count, what)| Some((what, count.parse().ok()?)))
        .collect();
    assert!(counts.get("passed").is_some_and(|passed| *passed > 35), "{text}");
}

/// What is left out: the tests here themselves, and those whose subject is one of the calls: options for a whole tree of mounts, a
/// procfs that is mounted nowhere, and files that strace sees opened by openat2.
const LACKING: [&str; 5] = [
    "older::",
    "security::mounts::only_the_new_mount_is_changed_and_filled_while_folders_are_exchanged",
    "security::mounts::a_fake_proc_gets_no_sysctl_and_keeps_no_groups",
    "security::labels::a_selinux_label_is_written_to_the_file_of_the_process",
    "security::labels::an_apparmor_profile_is_written_to_a_real_procfs",
];
