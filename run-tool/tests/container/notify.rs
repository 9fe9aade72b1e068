//! sd_notify from a container. A socket of the test plays systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::bundle::{Bundle, eventually};

/// The socket that plays systemd. It receives without room for descriptors, which closes the descriptor of a barrier.
fn systemd(bundle: &Bundle) -> UnixDatagram {
    let socket = UnixDatagram::bind(bundle.path().join("systemd")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn hear(systemd: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let count = systemd.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

fn hear_nothing(systemd: &UnixDatagram) {
    systemd.set_nonblocking(true).unwrap();
    assert_eq!(systemd.recv(&mut [0; 4096]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    systemd.set_nonblocking(false).unwrap();
}

fn command(bundle: &Bundle, arguments: &[&str]) -> Command {
    let mut command = bundle.command(arguments);
    command.env("NOTIFY_SOCKET", bundle.path().join("systemd"));
    command
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
}

/// The path of the container's socket, through the container's own mounts.
fn inside(pid: &str) -> PathBuf {
    let path = Path::new("/proc").join(pid).join("root/run/notify/notify.sock");
    eventually("the socket", || path.exists());
    path
}

fn say(pid: &str, datagram: &str) {
    UnixDatagram::unbound().unwrap().send_to(datagram.as_bytes(), inside(pid)).unwrap();
}

/// Starts a command that is to wait. Returns it with the id of the container's process.
fn waiting(bundle: &Bundle, arguments: &[&str]) -> (Child, String) {
    let child = command(bundle, arguments).stdout(Stdio::null()).spawn().unwrap();
    let file = bundle.path().join("pid");
    eventually("the pid file", || file.exists());
    (child, fs::read_to_string(file).unwrap())
}

#[test]
fn start_waits_for_readiness_and_passes_it_on_with_the_main_pid() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let (id, systemd) = (bundle.id(), systemd(&bundle));
    run(&mut command(&bundle, &["create", "--pid-file", "pid", &id]));
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    let mut start = command(&bundle, &["start", &id]).spawn().unwrap();
    eventually("the container runs", || bundle.status() == "running");
    // Only READY=1 is accepted from the container, and only at the beginning of a datagram.
    say(&pid, "STATUS=up\nREADY=1");
    say(&pid, "MAINPID=1");
    say(&pid, "FDSTORE=1");
    assert!(start.try_wait().unwrap().is_none(), "start waits");
    hear_nothing(&systemd);
    say(&pid, "READY=1\nMAINPID=1\nBUSERROR=x");
    assert_eq!(hear(&systemd), "READY=1\n");
    assert_eq!(hear(&systemd), format!("MAINPID={pid}\n"));
    // It goes on only once the host has read everything.
    assert!(start.try_wait().unwrap().is_none(), "start waits for the barrier");
    assert_eq!(hear(&systemd), "BARRIER=1");
    assert!(start.wait().unwrap().success());
    hear_nothing(&systemd);
    // Now nobody listens any more.
    let path = inside(&pid);
    assert!(UnixDatagram::unbound().unwrap().send_to(b"READY=1", path).is_err());
    bundle.good(&["delete", "--force", &id]);
    assert!(!bundle.path().join("state").join(&id).exists());
}

#[test]
fn nobody_waits_for_a_container_that_ended_without_readiness() {
    let bundle = Bundle::new(&["true"]);
    let (id, systemd) = (bundle.id(), systemd(&bundle));
    run(&mut command(&bundle, &["create", &id]));
    run(&mut command(&bundle, &["start", &id]));
    bundle.wait_for("stopped");
    bundle.good(&["delete", &id]);
    run(&mut command(&bundle, &["run", "--detach", &id]));
    bundle.good(&["delete", "--force", &id]);
    run(&mut command(&bundle, &["run", &id]));
    hear_nothing(&systemd);
}

#[test]
fn a_detached_run_waits_for_readiness_with_a_supervisor_or_without() {
    for supervisor in [&[][..], &["--log-driver", "none"]] {
        let bundle = Bundle::new(&["sleep", "1000"]);
        let (id, systemd) = (bundle.id(), systemd(&bundle));
        let arguments = [&["run", "--detach", "--pid-file", "pid"], supervisor, &[&id]].concat();
        let (mut child, pid) = waiting(&bundle, &arguments);
        inside(&pid);
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?} waits");
        say(&pid, "READY=1");
        assert_eq!([hear(&systemd), hear(&systemd)], ["READY=1\n".to_owned(), format!("MAINPID={pid}\n")]);
        assert_eq!(hear(&systemd), "BARRIER=1");
        assert!(child.wait().unwrap().success());
        assert_eq!(bundle.status(), "running");
        bundle.good(&["delete", "--force", &id]);
    }
}

#[test]
fn a_foreground_run_is_itself_the_main_pid() {
    let bundle = Bundle::new(&["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]);
    let (id, systemd) = (bundle.id(), systemd(&bundle));
    let (mut child, pid) = waiting(&bundle, &["run", "--pid-file", "pid", &id]);
    for _ in 0..20 {
        // More than the queue of the socket holds, so they must be read and discarded.
        say(&pid, "STATUS=busy");
    }
    say(&pid, "READY=1");
    assert_eq!([hear(&systemd), hear(&systemd)], ["READY=1\n".to_owned(), format!("MAINPID={}\n", child.id())]);
    assert_eq!(hear(&systemd), "BARRIER=1");
    for _ in 0..20 {
        say(&pid, "READY=1");
    }
    // It still forwards signals, once the program has a trap for them, and exits with the program's status.
    let mut status = None;
    eventually("its end", || {
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(5));
    hear_nothing(&systemd);
}

#[test]
fn the_program_gets_a_socket_in_a_read_only_folder() {
    let script = "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo socket; \
        grep -o ' /run/notify [^ ]*' /proc/self/mountinfo; \
        busybox touch /run/notify/x 2>/dev/null || echo no";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        config["process"]["env"].as_array_mut().unwrap().push(json!("NOTIFY_SOCKET=/elsewhere"));
    });
    let _systemd = systemd(&bundle);
    let output = command(&bundle, &["run", &bundle.id()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "/run/notify/notify.sock\nsocket\n /run/notify ro,nosuid,nodev,noexec,relatime\nno\n");
    // Without NOTIFY_SOCKET in the caller's environment nothing is added.
    assert_eq!(bundle.good(&["run", &bundle.id()]), "/elsewhere\nno\n");
}

#[test]
fn an_unprivileged_user_in_a_user_namespace_can_write_to_the_socket() {
    let bundle = Bundle::with(&["sh", "-c", "busybox stat -c '%a %F' $NOTIFY_SOCKET; id -u"], |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    });
    let _systemd = systemd(&bundle);
    fs::create_dir_all(bundle.rootfs().join("run/notify")).unwrap();
    let output = command(&bundle, &["run", &bundle.id()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "777 socket\n1000\n", "{output:?}");
}

#[test]
fn start_fails_if_create_made_no_folder_for_the_socket() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["create", &id]);
    let output = command(&bundle, &["start", &id]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("listen unixgram"), "{output:?}");
    assert_eq!(bundle.status(), "created");
    bundle.good(&["start", &id]);
}

#[test]
fn a_container_starts_although_the_host_does_not_listen() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let (mut child, pid) = waiting(&bundle, &["run", "--detach", "--pid-file", "pid", &id]);
    say(&pid, "READY=1");
    assert!(child.wait().unwrap().success());
    assert_eq!(bundle.status(), "running");
}
