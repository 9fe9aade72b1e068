//! network, and the hooks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::work::{Work, root};

#[test]
fn networks_are_files_that_can_be_edited() {
    let work = Work::new();
    assert!(work.run("network ls").ok().lines().any(|name| name == "bridge"));
    assert!(work.path("oci/networks/bridge.conflist").exists());
    assert_eq!(work.run("network create --subnet 10.99.0.0/24 mine").ok(), "mine");
    let described: Value = serde_json::from_str(work.run_with("network inspect mine", b"null").ok()).unwrap();
    assert_eq!((&described[0]["Name"], &described[0]["Driver"]), (&json!("mine"), &json!("bridge")));
    assert_eq!(described[0]["IPAM"]["Config"][0], json!({"Subnet": "10.99.0.0/24", "Gateway": "10.99.0.1"}));
    let read = |name: &str| -> Value {
        let path = work.path(&format!("oci/networks/{name}.conflist"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let conflist = read("mine");
    assert_eq!(conflist["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.99.0.0/24");
    assert_eq!(conflist["plugins"][2]["ingressPolicy"], "same-bridge");
    work.run("network create mine").fails(1, &["mine: network exists"]);
    work.run("network create --subnet 10.99.0.128/25 other").fails(1, &["other: --subnet 10.99.0.128/25: overlaps"]);
    let bridge = conflist["plugins"][0]["bridge"].as_str().unwrap();
    work.run(&format!("network create --bridge {bridge} other")).fails(1, &["other: ", "an interface of that name"]);
    work.run("network create --opt com.docker.network.bridge.enable_icc=x other").fails(1, &["enable_icc"]);
    work.run("network create --driver macvlan other").fails(1, &["parent is missing"]);
    work.run("network create --subnet 10.98.0.0/24 --gateway 10.98.0.1 --gateway 10.98.0.2 other")
        .fails(1, &["cannot configure multiple gateways for subnet 10.98.0.0/24"]);
    work.run("network create --ipam-driver x other").fails(1, &["--ipam-driver: plugin \"x\" not found"]);
    work.run("network create --scope swarm other").fails(1, &["--scope: \"swarm\" needs a swarm"]);
    work.run("network create --ipam-driver default --scope local --subnet 10.98.0.0/16 --ip-range 10.98.5.0/24 part")
        .ok();
    let document: Value = serde_json::from_str(work.run_with("network inspect part", b"[]").ok()).unwrap();
    assert_eq!(document[0]["IPAM"]["Config"][0]["IPRange"], "10.98.5.0/24");
    work.run("network rm part").ok();
    work.run("network create --driver overlay other").fails(2, &["bridge, macvlan, ipvlan"]);
    work.run("network create --ipv6 --subnet fd77:5::/64 --label a=b -o com.docker.network.driver.mtu=1400 six").ok();
    let six = read("six");
    assert_eq!(work.run("network ls --filter label=a=b --format {{.Name}}:{{.IPv6}}").ok(), "six:true");
    assert_eq!((&six["labels"]["a"], &six["plugins"][0]["mtu"]), (&json!("b"), &json!(1400)));
    assert_eq!(six["plugins"][0]["ipam"]["routes"].as_array().unwrap().len(), 2);
    work.run("network rm six").ok();
    work.run("network create host").fails(1, &["\"host\" is not a valid name"]);
    work.run("network rm bridge").fails(1, &["bridge: a pre-defined network cannot be removed"]);
    assert_eq!(work.run("network rm mine").ok(), "mine");
    assert!(work.run_with("network inspect mine", b"null").stderr.contains("No such network: mine"));
    work.run("network rm mine").fails(1, &["mine: no such network"]);
    if root() {
        work.run("create --network nosuch images:python:3.8").fails(125, &["--network: nosuch: no such network"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        work.run(&format!("create -p 127.0.0.1:{port}:80 images:python:3.8"))
            .fails(1, &[&format!("listen 127.0.0.1:{port}/tcp: bind: address already in use")]);
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

    /// Answers connections to a port inside.
    fn serve(&self, port: u16) {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        std::thread::spawn(move || {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), None).unwrap();
            let listener = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).unwrap();
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(b"served");
            }
        });
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

/// What a server at the address says; `None` if there is none.
fn ask(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
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
    let published = fs::read_to_string(Path::new(&bundle).join("config.json")).unwrap();
    let port = published
        .split("127.0.0.1:")
        .find_map(|rest| rest.split("->").next().filter(|port| port.parse::<u16>().is_ok()))
        .unwrap_or_else(|| panic!("{published}"))
        .to_owned();

    let mut container = Sleeper::new();
    container.serve(80);
    work.run_with("hook up", &container.state(&bundle)).ok();
    assert!(record.join("netns").exists());
    let address = format!("127.0.0.1:{port}");
    assert_eq!(ask(&address).as_deref(), Some("served"));
    // It is a result of CNI's plugins, and they would know the address for theirs.
    let state: Value = serde_json::from_slice(&fs::read(record.join("state.json")).unwrap()).unwrap();
    assert_eq!((&state["native"], &state["result"]["interfaces"][2]["name"]), (&json!(true), &json!("eth0")));
    let ip = state["result"]["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap();
    let lease =
        Path::new("/run/bundle-tool/addresses").join(state["result"]["interfaces"][0]["name"].as_str().unwrap());
    assert_eq!(fs::read_to_string(lease.join("bridge").join(ip)).unwrap(), format!("{id}\r\neth0"));
    assert!(hosts().lines().last().unwrap().ends_with(&id[..12]), "{}", hosts());
    // The port is the container's though no program of the host listens on it.
    work.run(&format!("create -p {port}:80 images:python:3.8")).fails(1, &["leads to container web"]);

    work.run_with("hook down", &container.state(&bundle)).ok();
    work.run_with("hook down", &container.state(&bundle)).ok();
    assert!(!record.exists() && ask(&address).is_none() && !hosts().contains(&id[..12]));

    // A runtime that was killed calls no hook: its container's port is free all the same, and delete cleans up.
    work.run_with("hook up", &container.state(&bundle)).ok();
    container.end();
    work.run(&format!("create --name next -p {port}:80 images:python:3.8")).ok();
    assert!(record.exists());
    work.run("delete web next").ok();
    assert!(!record.exists() && ask(&address).is_none());
    work.is_clean();
}

#[test]
fn a_name_leads_to_the_container_that_has_it_now() {
    if !root() {
        return;
    }
    let work = Work::new();
    work.run("network create shop").ok();
    let create =
        |name: &str| work.run(&format!("create --network shop --name {name} images:python:3.8")).ok().to_owned();
    let bundles = ["db", "app", "late"].map(create);
    let hosts = |bundle: &str| fs::read_to_string(Path::new(bundle).join("hosts")).unwrap();
    let address = |bundle: &str, name: &str| {
        let text = hosts(bundle);
        let lines: Vec<&str> =
            text.lines().filter(|line| line.split_whitespace().skip(1).any(|word| word == name)).collect();
        assert!(lines.len() < 2, "{text}");
        lines.first().map(|line| line.split_whitespace().next().unwrap().to_owned())
    };
    let up = |index: usize| {
        let container = Sleeper::new();
        work.run_with("hook up", &container.state(&bundles[index])).ok();
        container
    };
    let down = |index: usize, container: &Sleeper| {
        work.run_with("hook down", &container.state(&bundles[index])).ok();
    };
    let (first, app) = (up(0), up(1));
    let before = address(&bundles[1], "db").unwrap();
    assert!(address(&bundles[0], "app").is_some());
    down(0, &first);
    assert_eq!(address(&bundles[1], "db"), None, "what is gone has no name");
    let late = up(2);
    let again = up(0);
    let after = address(&bundles[1], "db").unwrap();
    assert_ne!(before, after);
    assert_eq!(address(&bundles[2], "db"), Some(after));
    work.run("network rm shop").fails(1, &["shop: network in use by container"]);
    for (index, container) in [(0, &again), (1, &app), (2, &late)] {
        down(index, container);
    }
    work.run("delete db app late").ok();
    work.run("network rm shop").ok();
    work.is_clean();
}

#[test]
fn a_bridge_of_the_hosts_stays() {
    if !root() {
        return;
    }
    let work = Work::new();
    let ip = |words: &str| Command::new("ip").args(words.split(' ')).status().unwrap().success();
    assert!(ip("link add case-host0 type bridge"));
    let _removed = Removed("case-host0");
    // A person may put containers on a bridge that is there; it is not made here, and so not removed.
    work.run("network create --bridge case-mine0 mine").ok();
    let path = work.path("oci/networks/mine.conflist");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("case-mine0", "case-host0")).unwrap();
    for (bridge, stays) in [("case-host0", true), ("case-mine0", false)] {
        let bundle = work.run("create --network mine --name web images:python:3.8").ok().to_owned();
        let container = Sleeper::new();
        work.run_with("hook up", &container.state(&bundle)).ok();
        assert!(ip(&format!("link show {bridge}")));
        work.run_with("hook down", &container.state(&bundle)).ok();
        assert_eq!(Path::new("/sys/class/net").join(bridge).exists(), stays, "{bridge}");
        work.run("delete web").ok();
        // The plugin has given it the network's address.
        assert!(!stays || ip(&format!("link delete {bridge}")));
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("case-host0", "case-mine0")).unwrap();
    }
    work.run("network rm mine").ok();
    work.is_clean();
}

/// An interface of the host that is removed at the end of a test.
struct Removed(&'static str);

impl Drop for Removed {
    fn drop(&mut self) {
        // The test may have failed before it was there.
        let _ = Command::new("ip").args(["link", "delete", self.0]).status();
    }
}
