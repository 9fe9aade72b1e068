//! Many processes at once on one layout, one layer cache and one state folder.

use tests::{Registry, Workdir};

#[test]
fn writers_of_one_layout_lose_no_ref() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images").ok();
    let text = "for n in $(seq 20); do image-tool tag images:busybox images:a$n & image-tool tag images:busybox images:b$n & done; wait";
    work.sh(text).ok();
    assert_eq!(work.sh("image-tool list images").ok().lines().count(), 41);
    // The same with removals and garbage collection at the same time.
    let text = "for n in $(seq 20); do image-tool rm images:a$n & image-tool tag images:busybox images:c$n & image-tool gc images & done; wait";
    work.sh(text).ok();
    let list = work.sh("image-tool list images").ok();
    assert_eq!(list.lines().count(), 41, "{list}");
    assert_eq!(work.sh("image-tool list images | image-tool verify -").ok().lines().count(), 41);
}

#[test]
fn pulls_of_one_image_at_once_end_as_one() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let text = "for n in 1 2 3 4 5; do registry-tool pull --quiet python:3.8 images >$n & jobs=\"$jobs $!\"; done; \
                for job in $jobs; do wait $job || exit 1; done; cat 1 2 3 4 5 | sort -u | wc -l";
    assert_eq!(work.sh(text).ok().trim(), "1");
    work.sh("image-tool verify images").ok();
    // No temporary file is left: the blobs are the manifest, the config and three layers.
    assert_eq!(work.sh("ls images/blobs/sha256 | wc -l").ok().trim(), "5");
}

#[test]
fn containers_of_one_image_at_once_share_its_layers() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let text = "registry-tool pull --quiet busybox >/dev/null; for n in 1 2 3 4 5 6 7 8; do docker run --rm --network none --name c$n busybox \
                sh -c \"echo c$n >/own; cat /own\" >$n & jobs=\"$jobs $!\"; done; for job in $jobs; do wait $job || exit 1; done; cat 1 2 3 4 5 6 7 8";
    assert_eq!(work.sh(text).ok(), (1..=8).map(|n| format!("c{n}\n")).collect::<String>());
    assert_eq!(work.sh("ls $OCI_HOME/layers/sha256 | grep -c -E '^[0-9a-f]{64}$'").ok().trim(), "1");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn builds_of_one_context_at_once_give_one_digest() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.write("context/Dockerfile", "FROM busybox\nCOPY file /file\nRUN echo run >/run-was-here\n");
    work.write("context/file", "content\n");
    let text = "for n in 1 2 3 4; do SOURCE_DATE_EPOCH=1700000000 build-tool build -t images:t$n context >$n & jobs=\"$jobs $!\"; done; \
                for job in $jobs; do wait $job || exit 1; done; cat 1 2 3 4 | cut -d @ -f 2 | sort -u | wc -l";
    assert_eq!(work.sh(text).ok().trim(), "1");
    assert_eq!(
        work.sh("image-tool list images | image-tool verify -").ok().lines().count(),
        5,
        "busybox and four builds"
    );
}
