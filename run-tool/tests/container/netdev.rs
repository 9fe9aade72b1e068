//! `linux.netDevices`: network devices that are moved into a container. A network namespace plays the host.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A network namespace, kept alive by a process.
struct Host(Child);

impl Host {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec sleep 1000"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("package util-linux");
        // It prints a line once the namespace exists.
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    /// Adds a device `host0`. It is half of a veth pair, because every kernel supports that.
    fn with_device() -> Self {
        let host = Self::new();
        for line in [
            "link add host0 type veth peer name peer0",
            "link set dev host0 mtu 1400 address 02:11:22:33:44:55 up",
            "address add 10.9.8.7/24 dev host0",
            "address add 10.9.9.7/24 scope link dev host0",
        ] {
            let output = host.ip(line);
            assert!(output.status.success(), "{line}: {output:?}");
        }
        host
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program).stdin(Stdio::null());
        command
    }

    fn ip(&self, line: &str) -> Output {
        self.inside(Path::new("ip")).args(line.split(' ')).output().expect("package iproute2")
    }

    fn has(&self, device: &str) -> bool {
        self.ip(&format!("link show {device}")).status.success()
    }

    /// Runs run-tool in this namespace. Its output goes to a file: a container that it leaves running would keep a pipe open.
    fn tool(&self, bundle: &Bundle, arguments: &[&str]) -> (bool, String) {
        let log = bundle.path().join("output");
        let file = std::fs::File::create(&log).unwrap();
        let plain = bundle.command(arguments);
        let mut command = self.inside(Path::new(plain.get_program()));
        command.args(plain.get_args()).current_dir(bundle.path()).stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap();
        (status.success(), std::fs::read_to_string(&log).unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The process may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn network(config: &mut Value, path: &str) {
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(path);
        }
    }
}

#[test]
fn a_device_keeps_its_addresses_and_settings() {
    let host = Host::with_device();
    // The kernel may lack IPv6.
    let six = host.ip("address add fd00::7/64 dev host0 nodad").status.success();
    let bundle = Bundle::with(&["busybox", "ip", "address", "show", "dev", "in0"], |config| {
        config["linux"]["netDevices"] = json!({"host0": {"name": "in0"}});
        config["linux"]["sysctl"] = json!({"net.ipv4.conf.in0.forwarding": "1"});
        let path = ["PATH=/bin:/sbin:/usr/sbin:/usr/bin"];
        let gone = json!({"path": "/bin/sh", "args": ["sh", "-c", "! ip link show host0"], "env": path});
        config["hooks"] = json!({"createRuntime": [gone]});
    });
    let (good, output) = host.tool(&bundle, &["run", &bundle.id()]);
    assert!(good, "{output}");
    for part in ["inet 10.9.8.7/24", "mtu 1400", "02:11:22:33:44:55", ",UP"] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert_eq!(output.contains("inet6 fd00::7/64"), six, "{output}");
    assert!(!output.contains("10.9.9.7"), "an address of scope link: {output}");
    assert!(!output.contains("host0"), "the old name as the label of an address: {output}");
}

#[test]
fn a_device_stays_in_a_namespace_that_the_container_joined() {
    let (host, joined) = (Host::with_device(), Host::new());
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["linux"]["netDevices"] = json!({"host0": {}});
        network(config, &joined.path());
    });
    let id = bundle.id();
    let (good, output) = host.tool(&bundle, &["create", &id]);
    assert!(good, "{output}");
    assert!(!host.has("host0") && joined.has("host0"));
    let (good, output) = host.tool(&bundle, &["delete", "--force", &id]);
    assert!(good, "{output}");
    assert!(joined.has("host0"));
}

#[test]
fn a_device_moves_into_a_user_namespace() {
    let host = Host::with_device();
    let bundle = Bundle::with(&["busybox", "ip", "address", "show", "dev", "host0"], |config| {
        config["linux"]["netDevices"] = json!({"host0": {}});
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
    });
    let (good, output) = host.tool(&bundle, &["run", &bundle.id()]);
    assert!(good && output.contains("inet 10.9.8.7/24"), "{output}");
}

#[test]
fn a_device_that_cannot_be_moved_fails_the_container_in_runcs_words() {
    let host = Host::with_device();
    let fails = |devices: Value, message: &str| {
        let bundle = Bundle::with(&["true"], |config| config["linux"]["netDevices"] = devices);
        let (good, output) = host.tool(&bundle, &["run", &bundle.id()]);
        assert!(!good && output.contains(message), "{output}");
        assert!(!bundle.path().join("state").join(bundle.id()).exists());
    };
    let message =
        "unable to start container process: error creating network interfaces: move netDevice none0 to namespace";
    fails(json!({"none0": {}}), message);
    fails(json!({"none0": {}}), "/ns/net: link not found for interface none0 on runtime namespace: Link not found");
    // The loopback device belongs to its namespace.
    fails(json!({"lo": {}}), "fail to move network device lo to network namespace /proc/");
    fails(json!({"host0": {"name": "a/b"}}), r#"invalid network device name \"a/b\""#);
    assert!(host.has("host0"));
    let bundle = Bundle::with(&["true"], |config| {
        config["linux"]["netDevices"] = json!({"host0": {}});
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
    });
    let (good, output) = host.tool(&bundle, &["run", &bundle.id()]);
    assert!(!good && output.contains("unable to move network devices without a NET namespace"), "{output}");
    // This comes last: some kernels move the device before they find the name taken, and it ends with the container's namespace.
    fails(json!({"host0": {"name": "lo"}}), "fail to move network device host0 to network namespace /proc/");
}
