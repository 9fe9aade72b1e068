//! AppArmor profiles and SELinux labels: strace shows what is written to which file, even if the kernel has neither module.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use super::unmount;
use crate::bundle::Bundle;

/// A script that makes AppArmor look active for the command that follows.
const APPARMOR: &str = "mount -t tmpfs none /sys/kernel/security && mkdir /sys/kernel/security/apparmor && \
    mount -t tmpfs none /sys/module && mkdir -p /sys/module/apparmor/parameters && \
    echo Y >/sys/module/apparmor/parameters/enabled && exec \"$@\"";

/// Runs run-tool under strace in a mount namespace that the script `prepare` has set up.
fn traced(bundle: &Bundle, prepare: &str, strace: &[&str], arguments: &[&str]) -> Output {
    let _ = fs::remove_dir_all(bundle.path().join("traces"));
    fs::create_dir(bundle.path().join("traces")).unwrap();
    Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            prepare,
            "sh",
            "strace",
            "-qq",
            "-ff",
            "-a",
            "1",
            "-s",
            "200",
            "-o",
            "traces/trace",
        ])
        .args(strace)
        .args([env!("CARGO_BIN_EXE_run-tool"), "--root", "state"])
        .args(arguments)
        .current_dir(bundle.path())
        .output()
        .expect("package strace")
}

/// The arguments of a call in a line of strace, and its result if that is a descriptor.
fn call<'a>(line: &'a str, name: &str) -> Option<(&'a str, Option<u32>)> {
    let (arguments, result) = line.strip_prefix(name)?.strip_prefix('(')?.rsplit_once(") = ")?;
    Some((arguments, result.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()))
}

/// All writes of the traced processes, as file and text. The file is named only if it was opened beneath a procfs that the process
/// itself had mounted detached, where nothing can be mounted over a file.
fn writes(bundle: &Bundle) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(bundle.path().join("traces")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut open: HashMap<u32, String> = HashMap::new();
        for line in text.lines() {
            let number = |arguments: &str| arguments.split(',').next().unwrap().parse::<u32>().ok();
            if let Some((arguments, Some(fd))) = call(line, "fsopen") {
                open.insert(fd, if arguments.starts_with("\"proc\"") { "context" } else { "" }.to_owned());
            } else if let Some((arguments, Some(fd))) = call(line, "fsmount") {
                let context = number(arguments).and_then(|fd| open.get(&fd)).is_some_and(|name| name == "context");
                open.insert(fd, if context { "procfs" } else { "" }.to_owned());
            } else if let Some((arguments, Some(fd))) = call(line, "openat2") {
                let procfs = number(arguments).and_then(|fd| open.get(&fd)).is_some_and(|name| name == "procfs");
                let resolve = ["RESOLVE_NO_XDEV", "RESOLVE_NO_MAGICLINKS", "RESOLVE_BENEATH"];
                let safe = procfs && resolve.iter().all(|flag| arguments.contains(flag));
                open.insert(fd, if safe { arguments.split('"').nth(1).unwrap() } else { "" }.to_owned());
            } else if let Some((arguments, _)) = call(line, "write") {
                let file = number(arguments).and_then(|fd| open.get(&fd)).cloned().unwrap_or_default();
                found.push((file, arguments.split('"').nth(1).unwrap_or_default().to_owned()));
            } else if let Some((arguments, _)) = call(line, "close") {
                number(arguments).and_then(|fd| open.remove(&fd));
            }
        }
    }
    found
}

const CALLS: [&str; 2] = ["-e", "trace=fsopen,fsmount,openat2,write,close"];

#[test]
fn an_apparmor_profile_is_written_to_a_real_procfs() {
    let profiled = |profile: &str, text: &str, bundle: &Bundle| {
        // The write fails: this kernel has no such profile, or no AppArmor.
        assert!(text.contains("unable to apply apparmor profile: write /proc/self/attr/"), "{text}");
        let (words, writes) = (format!("exec {profile}"), writes(bundle));
        let to: Vec<&str> = writes.iter().filter(|(_, text)| *text == words).map(|(file, _)| file.as_str()).collect();
        assert!(to.contains(&"self/attr/exec"), "{writes:?}");
        assert!(to.iter().all(|file| matches!(*file, "self/attr/exec" | "self/attr/apparmor/exec")), "{writes:?}");
    };
    let bundle = Bundle::with(&["sleep", "1000"], |config| config["process"]["apparmorProfile"] = json!("the-profile"));
    let output = traced(&bundle, APPARMOR, &CALLS, &["run", &bundle.id()]);
    profiled("the-profile", &String::from_utf8(output.stderr).unwrap(), &bundle);
    // Without AppArmor the profile is refused.
    let absent = "mount -t tmpfs none /sys/kernel/security && exec \"$@\"";
    let output = traced(&bundle, absent, &CALLS, &["run", &bundle.id()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("apparmor: config provided but apparmor not supported"), "{text}");
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let output = traced(&bundle, APPARMOR, &CALLS, &["exec", "--apparmor", "another", &id, "true"]);
    profiled("another", &String::from_utf8(output.stderr).unwrap(), &bundle);
}

#[test]
fn nothing_is_written_without_a_real_procfs() {
    // The image has its own files in place of the kernel's, and run-tool is not permitted to mount a procfs.
    let bundle = Bundle::with(&["true"], |config| {
        unmount(config, "/proc");
        // To mount it takes fsopen too.
        unmount(config, "/sys/fs/cgroup");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["process"]["apparmorProfile"] = json!("the-profile");
    });
    for folder in ["proc/self/attr/apparmor", "proc/self/fd"] {
        fs::create_dir_all(bundle.rootfs().join(folder)).unwrap();
    }
    let files = ["proc/self/attr/exec", "proc/self/attr/apparmor/exec"].map(|file| bundle.rootfs().join(file));
    for file in &files {
        fs::write(file, "").unwrap();
    }
    let refused = ["-e", "trace=fsopen,write", "-e", "inject=fsopen:error=EPERM"];
    let output = traced(&bundle, APPARMOR, &refused, &["run", &bundle.id()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/proc is not procfs"), "{text}");
    assert!(files.iter().all(|file| fs::read(file).unwrap().is_empty()));
}

#[test]
fn a_selinux_label_is_written_to_the_file_of_the_process() {
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let bundle = Bundle::with(&["true"], |config| config["process"]["selinuxLabel"] = json!(label));
    // strace makes statfs(2) return SELinux's magic number. Only calls with these paths are traced and changed.
    let selinux = "inject=statfs:retval=0:poke_exit=@arg2=8cff7cf900000000";
    let paths = ["-P", "/sys/fs/selinux", "-P", "self/attr/exec", "-P", "/1/attr/exec"];
    let strace = [&["-y", "-e", selinux][..], &paths].concat();
    let output = traced(&bundle, "exec \"$@\"", &strace, &["run", &bundle.id()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("can't set process label: write /proc/self/attr/exec"), "{text}");
    let traces: Vec<String> = fs::read_dir(bundle.path().join("traces"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let trace = traces.iter().find(|trace| trace.contains("write(")).unwrap();
    let opened =
        trace.lines().find(|line| line.starts_with("openat2(") && line.contains("\"self/attr/exec\"")).unwrap();
    for word in ["</>, ", "O_WRONLY", "RESOLVE_NO_XDEV", "RESOLVE_NO_MAGICLINKS", "RESOLVE_BENEATH", "</1/attr/exec>"] {
        assert!(opened.contains(word), "{opened}");
    }
    assert!(trace.contains(&format!("</1/attr/exec>, \"{label}\", {})", label.len())), "{trace}");
    // Without SELinux the label is refused from the start.
    if !Path::new("/sys/fs/selinux/status").exists() {
        assert!(bundle.bad(&["run", &bundle.id()]).1.contains("selinux is disabled or not supported"));
    }
}
