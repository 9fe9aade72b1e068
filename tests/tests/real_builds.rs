//! Programs that are built by build-tool from the registries that this machine reaches, and that run: `contexts` has their sources.
//!
//! The packages come with the machine's own settings: its apt sources are in the base images, and those of pip and npm and its
//! certificates are given to the commands that download.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::{Registry, Workdir, repository};

/// A folder with a copy of the contexts.
fn work(registry: &Registry) -> Workdir {
    let work = Workdir::with_mirror(&registry.address());
    work.sh(&format!("cp -r {}/tests/contexts/* .", repository().display())).ok();
    work
}

/// The home of whoever runs the tests.
fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from)
}

/// Builds a context as an image of its name.
fn build(work: &Workdir, name: &str, more: &str) {
    build_from(work, name, name, more);
}

/// Builds an image from a context, with what a command needs that downloads.
fn build_from(work: &Workdir, context: &str, name: &str, more: &str) {
    let mut command =
        format!("build-tool build --progress plain -t :{name} --build-context certificates=/etc/ssl/certs {more}");
    for (id, path) in [("pip", PathBuf::from("/etc/pip.conf")), ("npmrc", home().join(".npmrc"))] {
        if path.exists() {
            command += &format!(" --secret id={id},src={}", path.display());
        }
    }
    work.sh(&format!("{command} {context}")).ok();
}

/// A port that nothing listens on.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs an image that serves, and returns the answer to a request.
fn served(work: &Workdir, name: &str, port: u16) -> String {
    let id = work.sh(&format!("docker run -d --network host -e PORT={port} {name}")).ok();
    let answer = get(port);
    let log = work.sh(&format!("docker logs {id}")).stderr;
    work.sh(&format!("docker rm -f {id}")).ok();
    answer.unwrap_or_else(|| panic!("{name} does not answer: {log}"))
}

fn get(port: u16) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let mut answer = String::new();
        let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok() && answer.starts_with("HTTP/") {
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    None
}

#[test]
fn a_web_application_with_wheels_from_pip_answers() {
    let registry = Registry::images();
    let work = work(&registry);
    build(&work, "pip", "");
    let answer = served(&work, "pip", port());
    assert!(answer.ends_with("\r\n\r\nflask on python 3\n"), "{answer}");
    let history = work.sh("image-tool history --no-trunc :pip").ok();
    assert!(!history.contains("index-url"), "{history}");
    let files =
        work.sh("image-tool unpack :pip files >/dev/null; ls files/wheels files/root/.cache files/etc/pip.conf; true");
    assert_eq!(files.stdout, "", "mounts leave nothing");
}

#[test]
fn a_node_application_with_modules_from_npm_answers() {
    let registry = Registry::images();
    let work = work(&registry);
    build(&work, "npm", "");
    let answer = served(&work, "npm", port());
    assert!(answer.contains("\r\n\r\nexpress on node "), "{answer}");
}

#[test]
fn programs_are_compiled_with_cargo_with_make_and_as_a_package() {
    let registry = Registry::images();
    let work = work(&registry);
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc");
    let sysroot = String::from_utf8(output.stdout).unwrap();
    build_from(&work, sysroot.trim(), "cargo", "-f cargo/Dockerfile --build-context source=cargo");
    assert_eq!(work.sh("docker run --rm --network none cargo").ok(), "program 1.2.3 1\n");
    assert_eq!(work.sh("image-tool unpack :cargo files >/dev/null && ls -A files").ok(), "program\n", "it is alone");
    build(&work, "make", "--build-arg VERSION=2.0");
    assert_eq!(work.sh("docker run --rm --network none make").ok(), "program 2.0\n");
    build(&work, "deb", "");
    assert_eq!(work.sh("docker run --rm --network none deb").ok(), "program 3.2.1\n");
    build(&work, "deb", "--target package -o packages");
    assert!(work.path("packages/program_3.2.1_amd64.deb").exists() || !cfg!(target_arch = "x86_64"));
}

#[test]
fn a_program_is_compiled_for_two_platforms() {
    let registry = Registry::images();
    let work = work(&registry);
    build(&work, "platforms", "--platform linux/amd64,linux/arm64");
    for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
        work.sh(&format!("image-tool unpack --platform linux/{architecture} :platforms {architecture}")).ok();
        let program = fs::read(work.path(&format!("{architecture}/program"))).unwrap();
        assert_eq!((&program[..4], program[18]), (&b"\x7fELF"[..], machine), "{architecture}");
    }
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!(work.sh("docker run --rm --network none platforms").ok(), format!("program on {host}\n"));
}

#[test]
fn a_static_site_is_served_by_nginx() {
    let registry = Registry::images();
    let work = work(&registry);
    let port = port();
    build(&work, "nginx", &format!("--build-arg PORT={port}"));
    let answer = served(&work, "nginx", port);
    assert!(answer.contains("\r\nServer: nginx") && answer.ends_with("<p>a static site</p>\n"), "{answer}");
}

#[test]
fn secrets_agents_and_caches_are_there_for_one_command() {
    let registry = Registry::images();
    let work = work(&registry);
    work.sh("ssh-keygen -q -t ed25519 -N '' -C builder -f key").ok();
    work.write("token", "s3cret");
    build(&work, "mounts", "--secret id=token,src=token --ssh default=key");
    let shown = work.sh("docker run --rm --network none mounts").ok();
    let digest = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], digest, "{shown}");
    assert!(lines[1].starts_with("Good \"git\" signature for builder@example.com with "), "{shown}");
    let own = fs::read_to_string(work.path("key.pub")).unwrap();
    assert!(own.starts_with(lines[2]), "{shown}");
    assert_eq!(work.sh("image-tool unpack :mounts files >/dev/null; ls files/repository files/run/secrets").stdout, "");
    assert_eq!(work.sh("grep -rl s3cret files; image-tool history --no-trunc :mounts | grep s3cret").stdout, "");
    // The cache outlives the build, and is the caller's.
    work.write("token", "other");
    build(&work, "mounts", "--no-cache-filter signed --secret id=token,src=token --ssh default=key --target signed");
    let commits = work
        .sh("git -C \"$(ls -d ../oci/builds/mounts/*/data | head -n 1)\" -c safe.directory='*' rev-list --count HEAD");
    assert_eq!(commits.stdout, "2\n", "{commits}");
}
