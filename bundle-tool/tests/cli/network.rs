//! network, and the hooks.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::work::{Work, root};

#[test]
fn networks_are_files_that_can_be_edited() {
    let work = Work::new();
    assert!(work.run("network ls").ok().lines().any(|name| name == "bridge"));
    assert!(work.path("oci/networks/bridge.conflist").exists());
    assert_eq!(work.run("network create --subnet 10.99.0.0/24 mine").ok(), "mine");
    let conflist: Value = serde_json::from_str(work.run("network inspect mine").ok()).unwrap();
    assert_eq!(conflist["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.99.0.0/24");
    work.run("network create mine").fails(1, &["mine: network exists"]);
    work.run("network create host").fails(1, &["\"host\" is not a valid name"]);
    assert_eq!(work.run("network rm mine").ok(), "mine");
    work.run("network inspect mine").fails(1, &["mine: no such network"]);
    if root() {
        work.run("create --network nosuch images:python:3.8").fails(125, &["--network: nosuch: no such network"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        work.run(&format!("create -p 127.0.0.1:{port}:80 images:python:3.8"))
            .fails(1, &[&format!("port 127.0.0.1:{port}/tcp is in use")]);
    }
    work.is_clean();
}

/// A process in a network namespace of its own, in a container's place.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn new() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", child.id());
        while fs::read_link(&theirs).is_ok_and(|namespace| namespace == own) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self(child)
    }

    fn state(&self, bundle: &str) -> Vec<u8> {
        json!({"ociVersion": "1.0.2", "id": "web", "status": "created", "pid": self.0.id(), "bundle": bundle})
            .to_string()
            .into_bytes()
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the firewall says of a container.
fn rules(id: &str) -> String {
    let output = Command::new("iptables-save").output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(id)).collect()
}

#[test]
fn hooks_bring_a_network_up_and_down_and_a_crash_is_cleaned_up() {
    if !root() {
        return;
    }
    let work = Work::new();
    let bundle = work.run("create --name web -p 127.0.0.1::80 images:python:3.8").ok().to_owned();
    let id = work.run("find --id web").ok().to_owned();
    let record = Path::new("/run/bundle-tool/networks").join(&id);
    let hosts = || fs::read_to_string(Path::new(&bundle).join("hosts")).unwrap();
    let published = work.run("inspect web --format {{.Config.annotations}}").stdout;
    let port = published
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split("->").next())
        .unwrap_or_else(|| panic!("{published}"))
        .to_owned();

    let mut container = Sleeper::new();
    work.run_with("hook up", &container.state(&bundle)).ok();
    assert!(record.join("netns").exists() && rules(&id).contains(&port));
    assert!(hosts().lines().last().unwrap().ends_with(&id[..12]), "{}", hosts());
    // The port is the container's though no program of the host listens on it.
    work.run(&format!("create -p {port}:80 images:python:3.8")).fails(1, &["leads to container web"]);

    work.run_with("hook down", &container.state(&bundle)).ok();
    work.run_with("hook down", &container.state(&bundle)).ok();
    assert!(!record.exists() && rules(&id).is_empty() && !hosts().contains(&id[..12]));

    // A runtime that was killed calls no hook: its container's port is free all the same, and delete cleans up.
    work.run_with("hook up", &container.state(&bundle)).ok();
    container.end();
    work.run(&format!("create --name next -p {port}:80 images:python:3.8")).ok();
    assert!(record.exists());
    work.run("delete web next").ok();
    assert!(!record.exists() && rules(&id).is_empty());
    work.is_clean();
}
