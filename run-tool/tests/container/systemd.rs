//! `--systemd-cgroup` over a real D-Bus broker (dbus-daemon, which validates every message). A service of the test's own answers like
//! systemd and records the calls.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups, eventually};
use crate::rootless::Owned;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SLICE: &str = "ociruntool.slice";
/// The slice of a user's containers, which is in the groups of the user's own systemd.
const USERS: &str = "user.slice";

/// The bytes of a message, aligned as the D-Bus specification requires.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }
}

/// Parses values by their signature.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self, size: usize) -> u64 {
        self.at = self.at.next_multiple_of(size);
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.bytes[self.at..self.at + size]);
        self.at += size;
        u64::from_le_bytes(bytes)
    }

    fn text(&mut self, size: usize) -> String {
        let length = self.number(size) as usize;
        self.at += length + 1;
        String::from_utf8(self.bytes[self.at - length - 1..self.at - 1].to_vec()).unwrap()
    }

    /// Reads the value of the first type in a signature. Returns it with the rest of the signature.
    fn value<'s>(&mut self, signature: &'s str) -> (Value, &'s str) {
        let (kind, rest) = signature.split_at(1);
        let value = match kind {
            "y" => json!(self.number(1)),
            "b" => json!(self.number(4) != 0),
            "n" | "q" => json!(self.number(2)),
            "i" | "u" => json!(self.number(4)),
            "x" | "t" => json!(self.number(8)),
            "s" | "o" => json!(self.text(4)),
            "g" => json!(self.text(1)),
            "v" => {
                let inner = self.text(1);
                self.value(&inner).0
            }
            "a" => {
                let length = self.number(4) as usize;
                let alignment = match &rest[..1] {
                    "(" | "x" | "t" => 8,
                    "y" | "g" | "v" => 1,
                    _ => 4,
                };
                self.at = self.at.next_multiple_of(alignment);
                let end = self.at + length;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(rest).0);
                }
                // The type of the items must be skipped even if there are none.
                return (items.into(), skip(rest));
            }
            "(" => {
                self.at = self.at.next_multiple_of(8);
                let (mut items, mut rest) = (Vec::new(), rest);
                while !rest.starts_with(')') {
                    let (item, after) = self.value(rest);
                    items.push(item);
                    rest = after;
                }
                return (items.into(), &rest[1..]);
            }
            other => panic!("type {other}"),
        };
        (value, rest)
    }

    fn values(&mut self, signature: &str) -> Vec<Value> {
        let (mut values, mut rest) = (Vec::new(), signature);
        while !rest.is_empty() {
            let (value, after) = self.value(rest);
            values.push(value);
            rest = after;
        }
        values
    }
}

/// A signature without its first type.
fn skip(signature: &str) -> &str {
    match &signature[..1] {
        "a" => skip(&signature[1..]),
        "(" => {
            let mut rest = &signature[1..];
            while !rest.starts_with(')') {
                rest = skip(rest);
            }
            &rest[1..]
        }
        _ => &signature[1..],
    }
}

/// The recorded calls, and how the service is to answer.
#[derive(Default)]
struct Notes {
    calls: Vec<(String, Vec<Value>)>,
    /// Units that failed before and have not been reset.
    failed: BTreeSet<String>,
    /// Whether jobs fail.
    refuse: bool,
}

/// The service, with its connection to the broker.
struct Service {
    stream: BufReader<UnixStream>,
    serial: u32,
    notes: Arc<Mutex<Notes>>,
}

/// A header field: its code, its type, and a text or a number.
type Field<'a> = (u8, &'a str, &'a str, u32);

impl Service {
    fn connect(path: &Path, notes: Arc<Mutex<Notes>>) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        let mut service = Self { stream: BufReader::new(stream), serial: 0, notes };
        let uid = rustix::process::geteuid().as_raw().to_string();
        let uid: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        write!(service.stream.get_mut(), "\0AUTH EXTERNAL {uid}\r\n").unwrap();
        let mut line = String::new();
        service.stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("OK "), "{line}");
        service.stream.get_mut().write_all(b"BEGIN\r\n").unwrap();
        for (member, signature) in [("Hello", ""), ("RequestName", "su")] {
            let mut body = Body::default();
            if !signature.is_empty() {
                body.text(SYSTEMD);
                body.number(0);
            }
            let bus = "org.freedesktop.DBus";
            let fields =
                [(1, "o", "/org/freedesktop/DBus", 0), (6, "s", bus, 0), (2, "s", bus, 0), (3, "s", member, 0)];
            service.send(1, &fields, signature, &body);
        }
        service
    }

    fn send(&mut self, kind: u8, fields: &[Field<'_>], signature: &str, body: &Body) {
        self.serial += 1;
        let mut message = Body(vec![b'l', kind, 0, 1]);
        message.number(body.0.len() as u32);
        message.number(self.serial);
        let mut header = Body::default();
        for (code, kind, text, number) in fields.iter().chain(&[(8, "g", signature, 0)]) {
            if *code == 8 && signature.is_empty() {
                continue;
            }
            header.align(8);
            header.0.push(*code);
            header.signature(kind);
            match *kind {
                "u" => header.number(*number),
                "g" => header.signature(text),
                _ => header.text(text),
            }
        }
        message.number(header.0.len() as u32);
        message.0.extend(&header.0);
        message.align(8);
        message.0.extend(&body.0);
        self.stream.get_mut().write_all(&message.0).unwrap();
    }

    /// Answers calls until the broker ends.
    fn serve(mut self) {
        loop {
            let mut start = [0; 16];
            if self.stream.read_exact(&mut start).is_err() {
                return;
            }
            let word = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().unwrap());
            let (size, serial, fields) = (word(4) as usize, word(8), word(12) as usize);
            let mut rest = vec![0; fields.next_multiple_of(8) + size];
            self.stream.read_exact(&mut rest).unwrap();
            let mut header = Reader { bytes: &rest[..fields], at: 0 };
            let (mut sender, mut member, mut signature) = (String::new(), String::new(), String::new());
            while header.at < fields {
                let (field, _) = header.value("(yv)");
                let text = field[1].as_str().unwrap_or_default().to_owned();
                match field[0].as_u64() {
                    Some(3) => member = text,
                    Some(7) => sender = text,
                    Some(8) => signature = text,
                    _ => {}
                }
            }
            if start[1] != 1 {
                continue;
            }
            let arguments = Reader { bytes: &rest[fields.next_multiple_of(8)..], at: 0 }.values(&signature);
            self.answer(serial, &sender, &member, &arguments);
            self.notes.lock().unwrap().calls.push((member, arguments));
        }
    }

    fn answer(&mut self, serial: u32, sender: &str, member: &str, arguments: &[Value]) {
        let text = |index: usize| arguments[index].as_str().unwrap().to_owned();
        let mut body = Body::default();
        let to = [(5, "u", "", serial), (6, "s", sender, 0)];
        match member {
            "Get" => {
                body.signature("s");
                let own = format!("/{SLICE}");
                body.text(if text(1) == "Version" { "255.4-1" } else { &own });
                self.send(2, &to, "v", &body);
            }
            "Subscribe" | "SetUnitProperties" | "AttachProcessesToUnit" => self.send(2, &to, "", &body),
            "ResetFailedUnit" => {
                self.notes.lock().unwrap().failed.remove(&text(0));
                self.send(2, &to, "", &body);
            }
            "StartTransientUnit" if self.notes.lock().unwrap().failed.contains(&text(0)) => {
                body.text("Unit was already loaded or has a fragment file.");
                let name = format!("{SYSTEMD}.UnitExists");
                self.send(3, &[(4, "s", &name, 0), to[0], to[1]], "s", &body);
            }
            "StartTransientUnit" | "StopUnit" => {
                let refuse = self.notes.lock().unwrap().refuse;
                if member == "StopUnit" {
                    for folder in cgroups(&text(0)) {
                        // It is empty by now; systemd would wait for that.
                        let _ = fs::remove_dir(folder);
                    }
                } else if !refuse {
                    let folder = group(&text(0), of(&arguments[2], "Slice") == USERS);
                    fs::create_dir_all(&folder).unwrap();
                    fs::write(folder.join("cgroup.procs"), of(&arguments[2], "PIDs")[0].to_string()).unwrap();
                }
                body.text("/org/freedesktop/systemd1/job/7");
                self.send(2, &to, "o", &body);
                let mut signal = Body::default();
                signal.number(7);
                signal.text("/org/freedesktop/systemd1/job/7");
                signal.text(&text(0));
                signal.text(if refuse { "failed" } else { "done" });
                let manager = format!("{SYSTEMD}.Manager");
                let fields = [
                    (1, "o", "/org/freedesktop/systemd1", 0),
                    (2, "s", manager.as_str(), 0),
                    (3, "s", "JobRemoved", 0),
                ];
                self.send(4, &fields, "uoss", &signal);
            }
            other => panic!("{other}"),
        }
    }
}

/// The group that systemd creates for a unit: in its own hierarchy, or in the only one, as is that of a user.
fn group(unit: &str, of_user: bool) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let several = !root.join("cgroup.controllers").exists();
    let hierarchy = root.join(if several { if of_user { "unified" } else { "systemd" } } else { "" });
    hierarchy.join(SLICE).join(if of_user { USERS } else { "" }).join(unit)
}

/// The value of a property in a call.
fn of<'a>(properties: &'a Value, name: &str) -> &'a Value {
    let found = properties.as_array().unwrap().iter().find(|property| property[0] == name);
    found.map_or(&Value::Null, |property| &property[1])
}

/// A broker with the service.
struct Systemd {
    broker: Child,
    notes: Arc<Mutex<Notes>>,
}

impl Systemd {
    /// Listens at `bus` in the folder.
    fn start(folder: &Path) -> Self {
        let socket = folder.join("bus");
        let config = format!(
            "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context='default'>\
             <allow user='*'/><allow own='*'/><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/></policy></busconfig>",
            socket.display()
        );
        fs::write(folder.join("bus.conf"), config).unwrap();
        let broker = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", folder.join("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--nosyslog"])
            .stderr(Stdio::null())
            .spawn()
            .expect("package dbus-daemon");
        eventually("the broker", || UnixStream::connect(&socket).is_ok());
        let notes = Arc::new(Mutex::new(Notes::default()));
        let service = Service::connect(&socket, notes.clone());
        std::thread::spawn(|| service.serve());
        Self { broker, notes }
    }

    /// The calls since the last time, without those about systemd itself.
    fn calls(&self) -> Vec<(String, Vec<Value>)> {
        let mut calls = std::mem::take(&mut self.notes.lock().unwrap().calls);
        calls.retain(|(name, _)| name != "Get" && name != "Subscribe");
        calls
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
            // Other tests may still use it; the last one removes it.
            let _ = fs::remove_dir(hierarchy.join(SLICE).join(USERS));
            let _ = fs::remove_dir(hierarchy.join(SLICE));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(SLICE).join(USERS));
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(SLICE));
    }
}

/// Runs a command as root in a mount namespace where systemd seems to be running, after `more` has been done there.
fn booted(folder: &Path, more: &str) -> Command {
    let script = format!("mount -t tmpfs none /run && mkdir -p /run/systemd/system && {more} exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).current_dir(folder).stdin(Stdio::null());
    command
}

/// Its status and its whole output, in a file: a container in the background would keep a pipe open.
fn output(command: &mut Command, folder: &Path) -> Output {
    let out = fs::File::create(folder.join("out")).unwrap();
    let output = command.stdout(out.try_clone().unwrap()).stderr(out).output().unwrap();
    Output { stdout: fs::read(folder.join("out")).unwrap(), ..output }
}

/// A bundle whose container uses systemd's cgroup driver.
struct Host {
    bundle: Bundle,
    systemd: Systemd,
}

impl Host {
    fn new() -> Self {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        bundle.config["linux"]["cgroupsPath"] = json!(format!("{SLICE}:docker:{}", bundle.id()));
        bundle.config["linux"]["resources"]["pids"] = json!({"limit": 50});
        bundle.config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "uint64 5"});
        bundle.store();
        let systemd = Systemd::start(bundle.path());
        Self { bundle, systemd }
    }

    fn unit(&self) -> String {
        format!("docker-{}.scope", self.bundle.id())
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = booted(self.bundle.path(), "");
        command.args([env!("CARGO_BIN_EXE_run-tool"), "--root", "state", "--systemd-cgroup"]).args(arguments);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.bundle.path().join("bus").display()));
        output(&mut command, self.bundle.path())
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    fn calls(&self) -> Vec<(String, Vec<Value>)> {
        self.systemd.calls()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tool(&["delete", "--force", &self.bundle.id()]);
    }
}

fn names(calls: &[(String, Vec<Value>)]) -> Vec<&str> {
    calls.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_container_lives_in_a_unit_from_its_start_to_its_end() {
    let host = Host::new();
    let (id, unit) = (host.bundle.id(), host.unit());
    host.good(&["run", "--detach", &id]);
    let state: Value = serde_json::from_str(&host.good(&["state", &id])).unwrap();
    let calls = host.calls();
    assert_eq!(names(&calls), ["StartTransientUnit", "SetUnitProperties"]);
    let start = &calls[0].1;
    assert_eq!((&start[0], &start[1], &start[3]), (&json!(unit), &json!("replace"), &json!([])));
    for (name, value) in [
        ("Description", json!(format!("libcontainer container {id}"))),
        ("Slice", json!(SLICE)),
        ("Delegate", json!(true)),
        ("PIDs", json!([state["pid"]])),
        ("MemoryAccounting", json!(true)),
        ("DefaultDependencies", json!(false)),
        ("TimeoutStopUSec", json!(5_000_000)),
    ] {
        assert_eq!(of(&start[2], name), &value, "{name}");
    }
    let set = &calls[1].1;
    assert_eq!((&set[0], &set[1]), (&json!(unit), &json!(true)));
    assert_eq!(of(&set[2], "TasksMax"), &json!(50));
    assert_eq!(of(&set[2], "DevicePolicy"), &json!("strict"));
    // The property is set twice: the first value clears the list of allowed devices, the second fills it.
    let allowed: Vec<&Value> =
        set[2].as_array().unwrap().iter().filter(|property| property[0] == "DeviceAllow").collect();
    assert_eq!((allowed.len(), &allowed[0][1]), (2, &json!([])));
    assert!(allowed[1][1].as_array().unwrap().contains(&json!(["char-136", "rwm"])), "{allowed:?}");
    // The process is in the group in every hierarchy.
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    let inside = format!("/{SLICE}/{unit}");
    assert!(groups.lines().any(|line| line.contains("pids:") || line.starts_with("0::")), "{groups}");
    assert!(groups.lines().filter(|line| line.ends_with(&inside)).count() > 0, "{groups}");
    assert_eq!(host.good(&["exec", &id, "echo", "inside"]), "inside\n");
    host.good(&["update", "--pids-limit", "60", &id]);
    let calls = host.calls();
    assert_eq!(names(&calls), ["AttachProcessesToUnit", "SetUnitProperties"]);
    assert_eq!((&calls[0].1[0], &calls[0].1[1]), (&json!(unit), &json!("/")));
    assert_eq!(calls[0].1[2].as_array().unwrap().len(), 1);
    assert_eq!(of(&calls[1].1[2], "TasksMax"), &json!(60));
    host.good(&["delete", "--force", &id]);
    let calls = host.calls();
    assert_eq!(names(&calls), ["StopUnit", "ResetFailedUnit"]);
    assert_eq!((&calls[0].1[0], &calls[1].1[0]), (&json!(unit), &json!(unit)));
    assert_eq!(cgroups(&unit), Vec::<PathBuf>::new());
}

#[test]
fn a_unit_that_failed_before_is_reset_and_one_that_fails_leaves_nothing() {
    let host = Host::new();
    let (id, unit) = (host.bundle.id(), host.unit());
    host.systemd.notes.lock().unwrap().failed.insert(unit.clone());
    host.good(&["run", "--detach", &id]);
    let calls = host.calls();
    assert_eq!(names(&calls)[..3], ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
    host.good(&["delete", "--force", &id]);
    host.calls();
    host.systemd.notes.lock().unwrap().refuse = true;
    let output = host.tool(&["run", "--detach", &id]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !output.status.success() && text.contains(&format!("error creating systemd unit `{unit}`: got `failed`")),
        "{text}"
    );
    assert_eq!(names(&host.calls())[..2], ["StartTransientUnit", "ResetFailedUnit"]);
    assert_eq!(cgroups(&unit), Vec::<PathBuf>::new());
    assert_eq!(host.good(&["list", "-q"]), "");
}

#[test]
fn an_ordinary_users_container_lives_in_a_unit_of_the_users_own_systemd() {
    // Also as root of a user namespace, as podman calls its runtime: there the user has another id than on the bus.
    for (wrapper, root) in [(&[][..], 65534), (&["unshare", "--user", "--map-root-user"], 0)] {
        let owned = Owned::new(&["sleep", "1000"], |config| {
            for maps in ["uidMappings", "gidMappings"] {
                config["linux"][maps] = json!([{"containerID": 0, "hostID": root, "size": 1}]);
            }
        });
        let systemd = Systemd::start(owned.0.path());
        let (id, unit) = (owned.0.id(), format!("runc-{}.scope", owned.0.id()));
        let good = |arguments: &[&str]| {
            let more = "mount -t cgroup2 none /sys/fs/cgroup && ";
            let mut command = booted(owned.0.path(), more);
            command.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
            command.args(wrapper).args(["./tool", "--root", "state"]).args(arguments);
            command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", owned.0.path().join("bus").display()));
            let output = output(&mut command, owned.0.path());
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{wrapper:?} {arguments:?}: {text}");
            text
        };
        good(&["run", "--detach", &id]);
        let calls = systemd.calls();
        assert_eq!(names(&calls), ["StartTransientUnit", "SetUnitProperties"]);
        assert_eq!((&calls[0].1[0], of(&calls[0].1[2], "Slice")), (&json!(unit), &json!(USERS)));
        let pid = of(&calls[0].1[2], "PIDs")[0].to_string();
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(groups.lines().any(|line| line.ends_with(&format!("/{SLICE}/{USERS}/{unit}"))), "{groups}");
        // Each command is in a new user namespace, which has no power over the namespaces of the others.
        if wrapper.is_empty() {
            assert_eq!(good(&["exec", &id, "echo", "inside"]), "inside\n");
            assert_eq!(names(&systemd.calls()), ["AttachProcessesToUnit"]);
        }
        good(&["delete", "--force", &id]);
        assert_eq!(names(&systemd.calls()), ["StopUnit", "ResetFailedUnit"]);
        assert_eq!(cgroups(&unit), Vec::<PathBuf>::new());
    }
}
