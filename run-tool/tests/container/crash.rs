//! Commands that are killed at any moment: whatever one was doing, `delete --force` cleans up after it, and no process survives.
//!
//! strace kills run-tool at the n-th of its system calls. Unlike a clock that is the same place each time.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups, eventually};

/// The processes with the id of the bundle's container in their command line.
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

/// A strace command that sends a signal at the n-th occurrence of a system call and logs these calls to a file. The caller adds the
/// process or command to trace.
fn strace(call: &str, signal: &str, n: u32, output: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal={signal}:when={n}"), "-o"]);
    command.arg(output).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs run-tool and kills it, but not its children, at the n-th occurrence of a system call. `false`: it ended before that.
fn killed_at(bundle: &Bundle, call: &str, n: u32, arguments: &[&str]) -> bool {
    let status = strace(call, "KILL", n, Path::new("/dev/null"))
        .args(["-qq", env!("CARGO_BIN_EXE_run-tool"), "--root", "state"])
        .args(arguments)
        .current_dir(bundle.path())
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

/// The system calls of the commands whose effects are visible to others.
const CALLS: [&str; 9] = ["mkdir", "openat", "rename", "write", "socketpair", "clone3", "recvmsg", "unlinkat", "rmdir"];

fn sweep(arguments: &dyn Fn(&str) -> Vec<String>, prepare: &dyn Fn(&Bundle)) -> usize {
    sweep_of(&Bundle::new(&["sleep", "1000"]), &CALLS, arguments, prepare)
}

fn sweep_of(
    bundle: &Bundle,
    calls: &[&str],
    arguments: &dyn Fn(&str) -> Vec<String>,
    prepare: &dyn Fn(&Bundle),
) -> usize {
    let arguments = arguments(&bundle.id());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    each_call(bundle, calls, &mut |call, n| {
        prepare(bundle);
        let killed = killed_at(bundle, call, n, &arguments);
        assert_nothing_left(bundle, &format!("{arguments:?} at {call} {n}"));
        killed
    })
}

/// Tries the first, second and further occurrences of each call until there is none left. Returns how many there were.
fn each_call(bundle: &Bundle, calls: &[&str], one: &mut dyn FnMut(&str, u32) -> bool) -> usize {
    let mut points = 0;
    fs::create_dir_all(bundle.path().join("state")).unwrap();
    for call in calls {
        points += (1..).take_while(|n| one(call, *n)).count();
    }
    points
}

fn words(text: &'static str) -> impl Fn(&str) -> Vec<String> {
    move |id| text.split(' ').map(|word| word.replace("ID", id)).collect()
}

#[test]
fn create_may_be_killed_at_every_call() {
    let points = sweep(&words("create ID"), &|_| ());
    assert!(points > 20, "{points} places");
}

#[test]
fn run_may_be_killed_at_every_call() {
    let points = sweep(&words("run --detach ID"), &|_| ());
    assert!(points > 20, "{points} places");
}

#[test]
fn run_may_be_killed_at_every_call_while_it_waits_and_cleans_up() {
    let bundle = Bundle::new(&["sh", "-c", "echo x; exit 3"]);
    let calls = [&CALLS[..], &["poll", "wait4", "signalfd4", "pidfd_open"]].concat();
    let points = sweep_of(&bundle, &calls, &words("run ID"), &|_| ());
    assert!(points > 40, "{points} places");
}

#[test]
fn run_with_a_supervisor_may_be_killed_at_every_call() {
    let run = words("run --detach --log-driver json-file ID");
    let bundle = Bundle::new(&["sleep", "1000"]);
    let points = sweep_of(&bundle, &CALLS, &run, &|_| ());
    assert!(points > 5, "{points} places");
    // Also while it waits for the supervisor, which does most of the work and then has nobody to report to.
    let arguments = run(&bundle.id());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for _ in 0..20 {
        assert!(killed_at(&bundle, "recvmsg", 1, &arguments));
        bundle.good(&["delete", "--force", &bundle.id()]);
        eventually("the end of the supervisor", || processes(&bundle).is_empty());
        assert_nothing_left(&bundle, "killed while it waits");
    }
}

/// A tracer that ends with the test.
struct Tracer(Child);

impl Tracer {
    fn children(&self) -> Vec<Pid> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id())).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Processes that it started are killed. Those it is only attached to go on.
        for child in self.children() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        let _ = rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The system calls of a restart whose effects are visible to others.
const RESTART: [&str; 7] = ["mkdir", "rename", "write", "socketpair", "clone3", "recvmsg", "rmdir"];

#[test]
fn a_supervisor_may_be_killed_at_every_call_of_a_restart() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["annotations"] = json!({"org.oci-tools.restart": "always"});
    });
    let id = bundle.id();
    let points = each_call(&bundle, &RESTART, &mut |call, n| {
        bundle.good(&["run", "--detach", "--log-driver", "json-file", &id]);
        let state = || -> Value { serde_json::from_str(&bundle.good(&["state", &id])).unwrap() };
        let first = state()["pid"].as_i64().unwrap();
        let parent = fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
        let parent = parent.rsplit_once(')').unwrap().1.split(' ').nth(2).unwrap().to_owned();
        let log = bundle.path().join("strace");
        let tracer = strace(call, "KILL", n, Path::new("/dev/null"))
            .args(["-p", &parent])
            .stderr(fs::File::create(&log).unwrap())
            .spawn();
        let mut tracer = Tracer(tracer.expect("package strace"));
        eventually("strace", || fs::read_to_string(&log).unwrap().contains("attached"));
        rustix::process::kill_process(Pid::from_raw(first as i32).unwrap(), Signal::KILL).unwrap();
        // Either strace ends because the supervisor was killed, or the container is restarted without reaching the n-th call.
        let mut killed = false;
        eventually("a restart", || {
            killed = tracer.0.try_wait().unwrap().is_some();
            let again = || {
                let output = bundle.tool(&["state", &id]);
                let state: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let attach = bundle.path().join("state").join(&id).join("attach.sock");
                state["status"] == "running" && state["pid"] != first && attach.exists()
            };
            killed || again()
        });
        drop(tracer);
        assert_nothing_left(&bundle, &format!("a supervisor at {call} {n}"));
        killed
    });
    assert!(points > 10, "{points} places");
}

/// A bundle whose container has its own PID namespace or the host's.
fn sleeping(own_processes: bool) -> Bundle {
    Bundle::with(&["sleep", "1000"], |config| {
        if !own_processes {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "pid");
        }
    })
}

#[test]
fn delete_may_be_killed_at_every_call_while_another_program_runs() {
    for own_processes in [true, false] {
        let bundle = sleeping(own_processes);
        let prepare = |bundle: &Bundle| {
            bundle.good(&["run", "--detach", &bundle.id()]);
            bundle.good(&["exec", "--detach", &bundle.id(), "sleep", "1000"]);
        };
        // In the host's PID namespace the processes are killed one by one.
        let calls = if own_processes { &["pidfd_send_signal", "unlinkat"][..] } else { &["kill", "write", "rmdir"] };
        let points = sweep_of(&bundle, calls, &words("delete --force ID"), &prepare);
        assert!(points >= 3, "{points} places");
    }
}

#[test]
fn a_container_may_be_deleted_at_every_call_of_exec() {
    for own_processes in [true, false] {
        let bundle = sleeping(own_processes);
        let id = bundle.id();
        let calls = ["write", "clone3", "sendmsg", "recvmsg", "setns", "prlimit64"];
        let points = each_call(&bundle, &calls, &mut |call, n| {
            bundle.good(&["run", "--detach", &id]);
            let trace = bundle.path().join("strace");
            // The log of the previous run must not be mistaken for this one's.
            let _ = fs::remove_file(&trace);
            let tracer = strace(call, "STOP", n, &trace)
                .args(["-qq", env!("CARGO_BIN_EXE_run-tool"), "--root", "state", "exec", &id, "true"])
                .current_dir(bundle.path())
                .spawn();
            let mut tracer = Tracer(tracer.expect("package strace"));
            let mut ended = false;
            eventually("a stop", || {
                ended = tracer.0.try_wait().unwrap().is_some();
                ended || fs::read_to_string(&trace).is_ok_and(|text| text.contains("--- stopped by SIGSTOP ---"))
            });
            if !ended {
                let exec = tracer.children()[0];
                let state: Value = serde_json::from_str(&bundle.good(&["state", &id])).unwrap();
                let program = format!("/proc/{}/exe", state["pid"]);
                let mut delete = bundle.command(&["delete", "--force", &id]).spawn().unwrap();
                // The init process ends only after all other processes in its namespace have been reaped.
                eventually("the kill", || delete.try_wait().unwrap().is_some() || fs::read_link(&program).is_err());
                rustix::process::kill_process(exec, Signal::CONT).unwrap();
                // exec must end, whatever its status.
                eventually("the end of exec", || tracer.0.try_wait().unwrap().is_some());
                assert!(delete.wait().unwrap().success(), "deleted at {call} {n} of exec");
            }
            assert_nothing_left(&bundle, &format!("deleted at {call} {n} of exec"));
            !ended
        });
        assert!(points > 5, "{points} places");
    }
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
    assert!(points > 5, "{points} places");
}

#[test]
fn a_process_that_reuses_the_id_of_init_is_left_alone() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    // The kernel counts start times in hundredths of a second. This one must differ from the container's.
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
fn of_several_commands_at_once_one_wins() {
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
fn a_start_that_opens_the_fifo_too_late_ends() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["create", &id]);
    let fifo = bundle.path().join("state").join(&id).join("exec.fifo");
    // Do what another `start` does, up to reading the byte.
    fs::File::open(&fifo).unwrap().read_exact(&mut [0]).unwrap();
    // Until it is the program, the process has the writing end, whose closing would end a late start at once.
    let state: Value = serde_json::from_str(&bundle.good(&["state", &id])).unwrap();
    let program = format!("/proc/{}/comm", state["pid"]);
    eventually("the program", || fs::read_to_string(&program).unwrap() == "sleep\n");
    let mut late = bundle.command(&["start", &id]).stderr(Stdio::null()).spawn().unwrap();
    let descriptors = format!("/proc/{}/fd", late.id());
    let opened = || {
        fs::read_dir(&descriptors).unwrap().flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == fifo))
    };
    eventually("the fifo to be opened", opened);
    fs::remove_file(&fifo).unwrap();
    eventually("the end of the late start", || late.try_wait().unwrap().is_some());
    assert!(!late.wait().unwrap().success());
    assert_eq!(bundle.status(), "running");
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
            // Before the first container the root may not exist yet.
            assert!(output.status.success() || text.contains("no such file"), "{text}");
            assert!(!text.contains("expected") && !text.contains("EOF"), "{text}");
        }
    });
}
