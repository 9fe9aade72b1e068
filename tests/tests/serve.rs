//! `registry-tool serve` beside its peers' clients, and beside everything else that changes the layout which it serves.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tests::engine::{Daemon, PODMAN, docker};
use tests::{Registry, Workdir};

/// A server; dropping it stops it.
struct Served(Child, String);

impl Served {
    fn start(work: &Workdir, words: &str) -> Self {
        let text = format!("exec registry-tool serve --listen 127.0.0.1:0 {words} 2>>serve.log");
        let mut child = work.command("sh").args(["-c", &text]).stdout(Stdio::piped()).spawn().unwrap();
        let address = BufReader::new(child.stdout.take().unwrap()).lines().next();
        let address = address.unwrap_or_else(|| panic!("{}", work.sh("cat serve.log").stdout)).unwrap();
        Self(child, address)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn docker_pulls_and_pushes() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet python:3.8").ok();
    let served = Served::start(&work, "");
    let address = &served.1;
    let dockerd = Daemon::docker(&work, &format!("--registry-mirror http://{address}"));
    // Under the server's own name, and as a mirror of Docker Hub.
    work.sh(&docker(&format!("pull {address}/library/python:3.8"))).ok();
    let mirrored = work.sh(&docker("pull --quiet python:3.8")).ok();
    assert_eq!(mirrored, "docker.io/library/python:3.8\n");
    work.sh(&docker(&format!("tag python:3.8 {address}/team/app:1"))).ok();
    work.sh(&docker(&format!("push {address}/team/app:1"))).ok();
    work.sh("image-tool verify :team/app:1").ok();
    work.sh(&docker(&format!("rmi {address}/team/app:1"))).ok();
    work.sh(&docker(&format!("pull {address}/team/app:1"))).ok();
    drop(dockerd);
    work.sh("umount -l docker/data/overlay2 docker/data 2>/dev/null; true").ok();
}

#[test]
fn docker_logs_in_where_everybody_may_pull() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox").ok();
    work.write("users", "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n");
    let served = Served::start(&work, "--htpasswd users --anonymous-pull");
    let address = &served.1;
    let dockerd = Daemon::docker(&work, "");
    work.sh(&docker(&format!("pull {address}/busybox"))).ok();
    work.sh(&docker(&format!("tag {address}/busybox {address}/mine"))).ok();
    assert_ne!(work.sh(&docker(&format!("push {address}/mine"))).status, 0);
    work.sh(&docker(&format!("login -u xag -p s3cret {address}"))).ok();
    work.sh(&docker(&format!("push {address}/mine"))).ok();
    assert_ne!(work.sh(&docker(&format!("login -u xag -p wrong {address}"))).status, 0);
    drop(dockerd);
    work.sh("umount -l docker/data/overlay2 docker/data 2>/dev/null; true").ok();
}

#[test]
fn podman_and_skopeo_pull_and_push() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images && registry-tool pull --quiet --all-platforms xag/multi images")
        .ok();
    let served = Served::start(&work, "images");
    let address = &served.1;
    work.sh(&format!("{PODMAN} pull --quiet --tls-verify=false {address}/library/busybox")).ok();
    work.sh(&format!("{PODMAN} tag {address}/library/busybox {address}/podman/busybox:1")).ok();
    work.sh(&format!("{PODMAN} push --quiet --tls-verify=false {address}/podman/busybox:1")).ok();
    work.sh(&format!("{PODMAN} system reset --force")).ok();
    let copy = "skopeo copy --quiet --all --src-tls-verify=false --dest-tls-verify=false";
    work.sh(&format!("{copy} docker://{address}/xag/multi docker://{address}/skopeo/multi:2")).ok();
    work.sh(&format!("{copy} --format v2s2 docker://{address}/busybox docker://{address}/skopeo/docker:1")).ok();
    work.sh(&format!("{copy} docker://{address}/skopeo/multi:2 dir:all")).ok();
    let tags = work.sh(&format!("skopeo list-tags --tls-verify=false docker://{address}/skopeo/multi")).ok();
    assert!(tags.contains("\"2\""), "{tags}");
    work.sh(&format!("skopeo delete --tls-verify=false docker://{address}/skopeo/docker:1")).ok();
    assert_eq!(
        work.sh("image-tool list images | image-tool verify - >/dev/null && image-tool gc images >/dev/null").ok(),
        ""
    );
    work.sh("image-tool list images | image-tool verify -").ok();
}

/// What each of the writers does again and again, with `N` for its number.
const WRITERS: [&str; 5] = [
    "registry-tool push --quiet --retry 0 base:busybox ADDRESS/pushN:$i && echo pushN:$i >>kept",
    "registry-tool pull --quiet --retry 0 ADDRESS/busybox images:pulledN-$i && echo pulledN-$i >>kept",
    "image-tool tag images:busybox images:taggedN-$i && echo taggedN-$i >>kept",
    "image-tool tag images:busybox images:goneN-$i && image-tool rm images:goneN-$i",
    "image-tool gc images",
];

/// Sixteen processes on one layout, killed at any moment: what was reported to be there is there, and sound.
#[test]
fn nothing_is_lost_among_sixteen_processes_and_kills() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox base && registry-tool pull --quiet busybox images && touch kept").ok();
    let mut served = Served::start(&work, "--quiet images");
    let until = Instant::now() + Duration::from_secs(12);
    let mut running: Vec<Child> = Vec::new();
    let (mut round, mut kills) = (0, 0);
    while Instant::now() < until {
        while running.len() < 15 {
            let text = WRITERS[round % WRITERS.len()].replace('N', &round.to_string()).replace("ADDRESS", &served.1);
            let text = format!("for i in 1 2; do {{ {text}; }} >/dev/null 2>&1; done");
            running.push(work.command("setsid").args(["sh", "-c", &text]).spawn().unwrap());
            round += 1;
        }
        std::thread::sleep(Duration::from_millis(120));
        // The whole group, so that the tool dies and not only its shell.
        let victim = running[round % running.len()].id();
        work.sh(&format!("kill -9 -- -{victim} 2>/dev/null; true")).ok();
        kills += 1;
        running.retain_mut(|child| child.try_wait().unwrap().is_none());
        if round % 40 == 0 {
            served.kill();
            served = Served::start(&work, "--quiet images");
            kills += 1;
            round += 1;
        }
    }
    for mut child in running {
        child.wait().unwrap();
    }
    drop(served);
    let listed = work.sh("image-tool list images").ok();
    let kept = work.sh("sort -u kept").ok();
    assert!(kills > 20 && kept.lines().count() > 10, "{kills} kills, {round} rounds, kept:\n{kept}");
    for name in kept.lines() {
        assert!(listed.contains(&format!("images:{name}@")), "{name} is lost of {listed}");
    }
    work.sh("image-tool list images | image-tool verify -").ok();
    work.sh("image-tool gc images && image-tool list images | image-tool verify -").ok();
    let litter =
        work.sh("find images -name '.*' | grep -v -x images/.partial; ls -A images/.partial 2>/dev/null; true").ok();
    assert_eq!(litter, "", "litter");
}
