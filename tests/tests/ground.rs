//! The fixtures of the other tests, checked without any of the five tools.

use std::process::Command;

use tests::{Pty, Registry, Workdir, layout, registry, tree};

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn the_registry_serves_the_images() {
    let registry = Registry::images();
    for name in ["library/python:3.8", "library/centos:7.9.2009", "library/ubuntu:20.04", "xag/multi"] {
        let image = format!("docker://{}/{name}", registry.address());
        let (done, text) = run("skopeo", &["inspect", "--tls-verify=false", &image]);
        assert!(done && text.contains("\"Layers\": ["), "{name}: {text}");
    }
}

#[test]
fn the_registry_with_a_password_wants_it() {
    let registry = Registry::with_password();
    let address = format!("http://{}/v2/", registry.address());
    let login = format!("{}:{}", registry::LOGIN.0, registry::LOGIN.1);
    assert!(!run("curl", &["-sf", &address]).0);
    assert!(!run("curl", &["-sf", "-u", "xag:wrong", &address]).0);
    assert!(run("curl", &["-sf", "-u", &login, &address]).0);
}

#[test]
fn the_terminal_is_one() {
    let mut command = Command::new("sh");
    command.args(["-c", "tty; stty size; read word; echo \"got $word\"; exit 5"]).env("PATH", "/usr/bin:/bin");
    let mut terminal = Pty::spawn(&command);
    assert!(terminal.expect("24 80").contains("/dev/pts/"));
    terminal.send("this\r");
    terminal.expect("got this");
    assert_eq!(terminal.finish().1.code(), Some(5));
}

#[test]
fn umoci_unpacks_the_odd_image_as_it_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let (image, bundle) = (folder.path().join("odd"), folder.path().join("bundle"));
    layout::odd(&image);
    let (done, text) =
        run("umoci", &["unpack", "--image", &format!("{}:odd", image.display()), bundle.to_str().unwrap()]);
    assert!(done, "{text}");
    let entries = tree::describe(&bundle.join("rootfs"));
    assert!(entries["second"].ends_with(" link of first 6 2272bea616a05ae1"), "{:?}", entries["second"]);
    assert!(entries["bin/setuid"].starts_with("104755 0:0 "), "{:?}", entries["bin/setuid"]);
    assert!(entries["bin/ping"].contains("security.capability="), "{:?}", entries["bin/ping"]);
    assert!(!entries.contains_key("opaque/below") && entries.contains_key("opaque/above"));
    assert!(entries["null"].contains("device 103"), "{:?}", entries["null"]);
}

#[test]
fn whoever_copied_the_mounts_of_a_folder_is_left_alone() {
    let work = Workdir::new();
    work.sh("mkdir mounted && mount -t tmpfs none mounted").ok();
    let mut other = Command::new("unshare").args(["--mount", "sleep", "600"]).current_dir("/").spawn().unwrap();
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).unwrap();
    while namespace(&other.id().to_string()) == namespace("self") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    work.sh("umount mounted").ok();
    drop(work);
    let is_running = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(is_running);
}
