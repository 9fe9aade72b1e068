//! The standard streams of containers in the foreground: what the caller passes stays the caller's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, eventually};

fn as_user(config: &mut Value) {
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
}

/// A file of root's with mode 0600, opened for appending.
fn private(bundle: &Bundle) -> (std::path::PathBuf, File) {
    let path = bundle.path().join("private");
    fs::write(&path, "kept\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = File::options().append(true).open(&path).unwrap();
    (path, file)
}

/// Writes what it reads, and tries to truncate and to read back the files behind its streams.
const GREEDY: &str =
    "cat; echo out; echo err >&2; (: >/proc/self/fd/1) 2>/dev/null; (: >/proc/self/fd/2) 2>/dev/null; exit 5";

#[test]
fn files_of_the_caller_keep_their_owner_and_their_content() {
    let bundle = Bundle::with(&["sleep", "1000"], as_user);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let other = Bundle::with(&["sh", "-c", GREEDY], as_user);
    let root = Bundle::new(&["sh", "-c", GREEDY]);
    let (other_id, root_id) = (other.id(), root.id());
    for (bundle, arguments) in [
        (&other, vec!["run", &other_id]),
        (&root, vec!["run", &root_id]),
        (&bundle, vec!["exec", &id, "sh", "-c", GREEDY]),
        (&bundle, vec!["exec", "--user", "0:0", &id, "sh", "-c", GREEDY]),
    ] {
        let (path, file) = private(bundle);
        let input = bundle.path().join("input");
        fs::write(&input, "in\n").unwrap();
        fs::set_permissions(&input, fs::Permissions::from_mode(0o600)).unwrap();
        let status = bundle
            .command(&arguments)
            .stdin(File::open(&input).unwrap())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(5), "{arguments:?}");
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        // Two pipes lead there, so that the order of the last two is open.
        lines[2..].sort_unstable();
        assert_eq!(lines, ["kept", "in", "err", "out"], "{arguments:?}");
        for file in [&path, &input] {
            let metadata = fs::metadata(file).unwrap();
            assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, 0o600), "{arguments:?}");
        }
    }
}

#[test]
fn devices_of_the_caller_keep_their_owner() {
    // Copies, so that a failure does no harm to the host's.
    let folder = tempfile::tempdir().unwrap();
    for detached in [false, true] {
        for (name, major, minor) in [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("tty", 5, 0)] {
            let path = folder.path().join(format!("{name}{detached}"));
            let number = rustix::fs::makedev(major, minor);
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::CharacterDevice, mode, number).unwrap();
            let Ok(device) = File::options().read(true).write(true).open(&path) else {
                // Without a controlling terminal.
                assert_eq!(name, "tty");
                continue;
            };
            let bundle = Bundle::with(&["true"], as_user);
            let id = bundle.id();
            let arguments = if detached { vec!["run", "--detach", &id] } else { vec!["run", &id] };
            bundle.command(&arguments).stdout(Stdio::null()).stderr(device).status().unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name} {detached}");
        }
    }
}

#[test]
fn a_terminal_of_the_caller_keeps_its_owner() {
    let bundle = Bundle::with(&["true"], as_user);
    let (master, slave) = pty();
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let status =
        bundle.command(&["run", &bundle.id()]).stdin(stream()).stdout(stream()).stderr(stream()).status().unwrap();
    assert!(status.success());
    assert_eq!(rustix::fs::fstat(&slave).unwrap().st_uid, 0);
    drop(master);
}

fn pty() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    use rustix::pty::OpenptFlags;
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    (master, slave)
}

#[test]
fn much_is_passed_in_both_directions() {
    let bundle = Bundle::new(&["sh", "-c", "cat; exec >&-; cat >&2"]);
    let mut child = bundle
        .command(&["run", &bundle.id()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || input.write_all(&copy).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_ends_the_writer() {
    let bundle = Bundle::new(&["sh", "-c", "while echo line; do :; done; exit 7"]);
    let mut child =
        bundle.command(&["run", &bundle.id()]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut bytes = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut bytes).unwrap();
    // Its end of the pipe is closed now. echo fails, or SIGPIPE ends the shell.
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(7 | 141)), "{code:?}");
}

#[test]
fn an_exec_ends_with_the_last_holder_of_its_output_or_by_a_signal() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let mut child = bundle
        .command(&["exec", &id, "sh", "-c", "sleep 1000 & echo early; exit 3"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut early = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut early).unwrap();
    assert_eq!(&early, b"early\n");
    // As with runc it waits for the program that was left behind, but unlike runc it can be told to stop.
    eventually("the end of the shell", || {
        !Command::new("pgrep").args(["-P", &child.id().to_string()]).status().unwrap().success()
    });
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
