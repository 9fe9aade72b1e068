//! Killed at any moment: whatever a command was doing, `delete --force` cleans up after it, and nothing lives on.
//!
//! strace kills run-tool at the n-th of its system calls, which is the same place each time, unlike a clock.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups, eventually};

/// Processes that have something of a bundle in their command line or mounts, beside the caller's.
fn processes(bundle: &Bundle) -> Vec<String> {
    let name = bundle.id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&name) && !line.starts_with("strace") {
            found.push(format!("{}: {line}", entry.path().display()));
        }
    }
    found
}

/// Kills run-tool, not its children, at the n-th of a system call. `false`: it came to its end before.
fn killed_at(bundle: &Bundle, call: &str, n: u32, arguments: &[&str]) -> bool {
    let status = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={n}")])
        .args([env!("CARGO_BIN_EXE_run-tool"), "--root", "state"])
        .args(arguments)
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("package strace");
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

fn assert_nothing_left(bundle: &Bundle, what: &str) {
    let id = bundle.id();
    bundle.good(&["list"]);
    bundle.good(&["delete", "--force", &id]);
    assert_eq!(cgroups(&id), Vec::<PathBuf>::new(), "{what}");
    assert!(!bundle.path().join("state").join(&id).exists(), "{what}");
    eventually(&format!("the end of what {what} left"), || processes(bundle).is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(bundle.path().to_str().unwrap()), "{what}");
    assert_eq!(bundle.good(&["list", "-q"]), "", "{what}");
}

/// What the commands do that something outside them can see.
const CALLS: [&str; 9] = ["mkdir", "openat", "rename", "write", "socketpair", "clone3", "recvmsg", "unlink", "rmdir"];

fn sweep(arguments: &dyn Fn(&str) -> Vec<String>, prepare: &dyn Fn(&Bundle)) -> usize {
    let mut points = 0;
    let bundle = Bundle::new(&["sleep", "1000"]);
    fs::create_dir(bundle.path().join("state")).unwrap();
    let id = bundle.id();
    for call in CALLS {
        // Those of the beginning, which are many, load the program's libraries and its configuration.
        let step = if call == "openat" || call == "write" { 3 } else { 1 };
        for n in (1..).step_by(step) {
            prepare(&bundle);
            let arguments = arguments(&id);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let killed = killed_at(&bundle, call, n, &arguments);
            assert_nothing_left(&bundle, &format!("{arguments:?} at {call} {n}"));
            if !killed {
                break;
            }
            points += 1;
        }
    }
    points
}

fn words(text: &'static str) -> impl Fn(&str) -> Vec<String> {
    move |id| text.split(' ').map(|word| word.replace("ID", id)).collect()
}

#[test]
fn create_may_be_killed_at_every_call() {
    let points = sweep(&words("create ID"), &|_| ());
    assert!(points > 30, "{points} places");
}

#[test]
fn run_may_be_killed_at_every_call() {
    let points = sweep(&words("run --detach ID"), &|_| ());
    assert!(points > 30, "{points} places");
}

#[test]
fn start_may_be_killed_at_every_call() {
    let points = sweep(&words("start ID"), &|bundle| drop(bundle.good(&["create", &bundle.id()])));
    assert!(points >= 5, "{points} places");
}

#[test]
fn exec_may_be_killed_at_every_call() {
    let points = sweep(&words("exec ID true"), &|bundle| drop(bundle.good(&["run", "--detach", &bundle.id()])));
    assert!(points > 10, "{points} places");
}

#[test]
fn delete_may_be_killed_at_every_call() {
    let points = sweep(&words("delete --force ID"), &|bundle| drop(bundle.good(&["run", "--detach", &bundle.id()])));
    assert!(points > 10, "{points} places");
}

#[test]
fn a_process_that_got_the_id_of_the_containers_is_let_alone() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    // Times of starting are told in hundredths of a second: this one's must not be the container's.
    std::thread::sleep(std::time::Duration::from_millis(20));
    bundle.good(&["create", &id]);
    let path = bundle.path().join("state").join(&id).join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let own = rustix::process::Pid::from_raw(state["init_process_pid"].as_i64().unwrap() as i32).unwrap();
    state["init_process_pid"] = json!(other.id());
    fs::write(&path, state.to_string()).unwrap();
    assert_eq!(bundle.status(), "stopped");
    assert!(bundle.bad(&["kill", &id, "KILL"]).1.contains("container not running"));
    assert!(bundle.bad(&["exec", &id, "true"]).1.contains("cannot exec in a stopped container"));
    assert!(bundle.bad(&["start", &id]).1.contains("has stopped"));
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    bundle.good(&["delete", "--force", &id]);
    assert!(other.try_wait().unwrap().is_none(), "another process was killed");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn of_two_commands_at_once_one_wins() {
    let together = |bundle: &Bundle, arguments: &[&str]| -> usize {
        let spawn = || bundle.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut children: Vec<_> = (0..4).map(|_| spawn()).collect();
        children.iter_mut().filter_map(|child| child.wait().unwrap().success().then_some(())).count()
    };
    for _ in 0..5 {
        let bundle = Bundle::new(&["sleep", "1000"]);
        let id = bundle.id();
        assert_eq!(together(&bundle, &["create", &id]), 1);
        assert!(together(&bundle, &["start", &id]) >= 1);
        assert_eq!(bundle.status(), "running");
        assert!(together(&bundle, &["delete", "--force", &id]) >= 1);
        assert_nothing_left(&bundle, "deleting at once");
    }
}

#[test]
fn readers_never_see_half_a_state() {
    let bundle = Bundle::new(&["true"]);
    let id = bundle.id();
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| (0..15).for_each(|_| drop(bundle.good(&["run", &id]))));
        while !maker.is_finished() {
            let output = bundle.tool(&["list", "--format", "json"]);
            let text = String::from_utf8(output.stderr).unwrap();
            // Before the first container the root itself may be missing.
            assert!(output.status.success() || text.contains("no such file"), "{text}");
            assert!(!text.contains("expected") && !text.contains("EOF"), "{text}");
        }
    });
}
