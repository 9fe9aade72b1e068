//! Tools killed at any moment of their work: what is on disk stays valid, and the next run completes it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::{Registry, Workdir};

/// Runs `text` again and again and kills it, each time a little later, up to its full duration; calls `check` after each kill.
fn killed_at_every_moment(work: &Workdir, text: &str, steps: u32, check: impl Fn(&str)) {
    let started = Instant::now();
    work.sh(text).ok();
    let whole = started.elapsed() + Duration::from_millis(20);
    for step in 0..steps {
        let delay = whole * step / steps;
        let mut command = work.command("setsid");
        // The whole session is killed at once, as if power were lost.
        command.args(["sh", "-c", text]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(delay);
        work.sh(&format!("kill -KILL -- -{}", child.id()));
        child.wait().unwrap();
        check(&format!("killed after {delay:?}"));
    }
}

#[test]
fn a_killed_pull_leaves_a_layout_that_verifies() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images").ok();
    let text = "image-tool rm images:python:3.8; image-tool gc images; registry-tool pull --quiet python:3.8 images";
    killed_at_every_moment(&work, text, 12, |when| {
        let list = work.sh("image-tool list images | image-tool verify -");
        assert_eq!(list.status, 0, "{when}: {list}");
    });
    work.sh(
        "registry-tool pull --quiet python:3.8 images && image-tool verify images:python:3.8 && image-tool gc images",
    )
    .ok();
    let files = work
        .sh("cd images && find . -type f | grep -v -E '^./(oci-layout|index.json|blobs/sha256/[0-9a-f]{64})$'")
        .stdout;
    assert_eq!(files, "", "no temporary file is left");
}

#[test]
fn a_killed_pull_for_containers_stores_only_whole_layers() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let pull = "registry-tool pull --unpack --quiet python:3.8 images";
    let sound = "cd $OCI_HOME/layers/sha256 || exit 0; for f in $(ls | grep -v state); do \
                 [ ! -f $f ] || [ $(sha256sum <$f | cut -c 1-64) = $f ] || { echo $f; exit 1; }; done";
    killed_at_every_moment(&work, &format!("rm -rf images $OCI_HOME/layers; {pull}"), 12, |when| {
        assert_eq!(work.sh(sound).status, 0, "{when}");
        // What has arrived is not fetched again, and is stored all the same.
        let again = work.sh(&format!("{pull} && ls $OCI_HOME/layers/sha256 | grep -c -v state && {sound}"));
        assert!(again.status == 0 && again.stdout.ends_with("\n3\n"), "{when}: {again}");
        let left = work.sh("find images $OCI_HOME/layers -mindepth 1 -maxdepth 2 -name '.*' ! -name '.new.*'").ok();
        assert_eq!(left, "", "{when}");
    });
    let made = "image-tool verify images:python:3.8 && bundle-tool create --network none --name cc images:python:3.8 && bundle-tool delete cc";
    work.sh(made).ok();
}

#[test]
fn a_killed_build_leaves_a_layout_that_verifies() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.write("context/Dockerfile", "FROM busybox\nCOPY file /file\nRUN echo run >/run-was-here\nRUN rm /file\n");
    work.write("context/file", "content\n");
    work.sh("registry-tool pull --quiet busybox images").ok();
    killed_at_every_moment(&work, "build-tool build --no-cache -t images:built context", 10, |when| {
        let list = work.sh("image-tool list images | image-tool verify -");
        assert_eq!(list.status, 0, "{when}: {list}");
    });
    work.sh("build-tool build -t images:built context && image-tool verify images:built").ok();
}

#[test]
fn a_killed_run_is_cleaned_by_the_next_delete() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox >/dev/null").ok();
    let clean = "docker rm -f c1; true";
    for size in ["", "--storage-opt size=8m"] {
        let text = format!("{clean}; docker run --network none {size} --name c1 busybox sleep 0.1");
        killed_at_every_moment(&work, &text, 12, |when| {
            work.sh(clean).ok();
            std::thread::sleep(Duration::from_millis(200));
            let left = work.leaks();
            let left: Vec<_> =
                left.iter().filter(|line| !line.contains("bundle-tool") || line.starts_with("mount")).collect();
            assert!(left.is_empty(), "{when}: {left:?}");
            assert_eq!(work.sh("losetup -a | grep -F \"$PWD\"").stdout, "", "{when}");
        });
    }
    let output = work.sh("docker run --rm --network none --name c1 busybox echo whole").ok();
    assert_eq!(output, "whole\n");
}
