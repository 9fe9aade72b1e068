//! Killed in the middle of a push, the server or the client: the layout is valid, and whoever goes on completes it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::{Registry, Workdir};

use crate::Served;

/// How many moments of a push are tried.
const MOMENTS: u32 = 12;

/// A layout `base` with an image whose layers take a while to push, the last of which is new for every `number`.
fn another(work: &Workdir, number: u32) {
    let text = format!(
        "head -c 12000000 /dev/urandom >f && tar -c f | image-tool append --compress none --ref n{number} base:busybox - >/dev/null"
    );
    work.sh(&text).ok();
}

fn work(registry: &Registry) -> Workdir {
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox base").ok();
    work
}

/// Every image of a layout is whole.
fn assert_whole(work: &Workdir, layout: &str, when: &str) {
    let list = work.sh(&format!("image-tool list {layout} | xargs -r image-tool verify"));
    assert_eq!(list.status, 0, "{when}: {list}");
}

/// Every image is whole, and nothing is in the layout that a layout does not have, but for uploads which a client may come back to.
fn assert_sound(work: &Workdir, when: &str) {
    assert_whole(work, "images", when);
    let litter = work.sh("find images -name '.*' ! -name .partial").stdout;
    assert_eq!(litter, "", "{when}");
}

/// The uploads that are in progress, or that nobody has come back to.
fn uploads(work: &Workdir) -> BTreeSet<OsString> {
    let folder = std::fs::read_dir(work.path("images/.partial"));
    folder.into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

/// How long a push takes if nothing happens.
fn duration(work: &Workdir, push: &str) -> Duration {
    another(work, 0);
    let started = Instant::now();
    work.sh(&push.replace("NUMBER", "0")).ok();
    started.elapsed()
}

/// Kills the server at every moment of an upload and starts another one in its place; the client must not fail. Before its first
/// upload it may: a registry that cannot be reached at all is an error at once.
fn server_killed(push: &str) {
    let registry = Registry::images();
    let work = work(&registry);
    let mut served = Served::start(&work, "--quiet images");
    let address = served.1.clone();
    let push = push.replace("ADDRESS", &address);
    let whole = duration(&work, &push);
    for moment in 1..=MOMENTS {
        another(&work, moment);
        let text = push.replace("NUMBER", &moment.to_string());
        let before = uploads(&work);
        let logged = format!("{{ {text}; }} 2>client.log");
        let mut client = work.command("sh").args(["-c", &logged]).stdout(Stdio::null()).spawn().unwrap();
        while uploads(&work) == before {
            std::thread::sleep(Duration::from_millis(2));
        }
        let delay = whole * (moment - 1) / MOMENTS;
        std::thread::sleep(delay);
        served.kill();
        // The client tries a few times only, so what is there now is looked at when the next server runs.
        work.sh("cp -al images left").ok();
        served = Served::listen(&work, &address, "--quiet images");
        let ended = client.wait().unwrap();
        assert!(ended.success(), "killed after {delay:?}: {text}: {}", work.sh("cat client.log").stdout);
        // A new index that was not renamed yet may lie there, until somebody writes one.
        assert_whole(&work, "left", &format!("killed after {delay:?}"));
        work.sh("rm -r left").ok();
    }
    drop(served);
    assert_sound(&work, "at the end");
    let names = work.sh("image-tool list images").ok();
    for moment in 0..=MOMENTS {
        assert!(names.contains(&format!("images:team/app:{moment}@")), "{moment}: {names}");
    }
    work.sh("image-tool gc images").ok();
    assert!(!work.path("images/.partial").exists());
}

#[test]
fn our_client_goes_on_after_the_server_was_killed() {
    server_killed("registry-tool push --quiet --retry-delay 1 --chunk-size 1 base:nNUMBER ADDRESS/team/app:NUMBER");
}

#[test]
fn skopeo_goes_on_after_the_server_was_killed() {
    server_killed(
        "for try in 1 2 3 4 5; do skopeo copy --quiet --dest-tls-verify=false oci:base:nNUMBER docker://ADDRESS/team/app:NUMBER \
         && exit 0; sleep 0.3; done; exit 1",
    );
}

#[test]
fn the_next_client_goes_on_after_one_was_killed() {
    let registry = Registry::images();
    let work = work(&registry);
    let served = Served::start(&work, "--quiet --upload-timeout 1 images");
    let push = format!("registry-tool push --quiet --chunk-size 1 base:nNUMBER {}/team/app:NUMBER", served.1);
    let whole = duration(&work, &push);
    for moment in 1..=MOMENTS {
        another(&work, moment);
        let text = push.replace("NUMBER", &moment.to_string());
        let mut client = work.command("setsid").args(["sh", "-c", &text]).stdout(Stdio::null()).spawn().unwrap();
        let delay = whole * (moment - 1) / MOMENTS;
        std::thread::sleep(delay);
        work.sh(&format!("kill -KILL -- -{} 2>/dev/null; true", client.id()));
        client.wait().unwrap();
        assert_sound(&work, &format!("killed after {delay:?}"));
        work.sh(&text).ok();
    }
    assert_sound(&work, "at the end");
    // The uploads that nobody came back to are given up.
    let deadline = Instant::now() + Duration::from_secs(20);
    while work.path("images/.partial").exists() {
        assert!(Instant::now() < deadline, "{}", work.sh("ls -l images/.partial").stdout);
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(served);
    work.sh("image-tool gc images && image-tool list images | image-tool verify -").ok();
}
