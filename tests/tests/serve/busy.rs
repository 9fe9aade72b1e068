//! Everything at once on the layout of a running server: what was reported to be there is there, and sound.
//!
//! The tests last some seconds, or as many as `$BUSY_SECONDS` says.

use std::process::Child;
use std::time::{Duration, Instant};

use tests::{Registry, Workdir};

use crate::Served;

/// When a test that lasts `seconds` is over.
fn until(seconds: u64) -> Instant {
    let wanted = std::env::var("BUSY_SECONDS").ok().map(|text| text.parse().unwrap());
    Instant::now() + Duration::from_secs(wanted.unwrap_or(seconds))
}

/// Pushes images, each with a layer of its own, under a tag that stays and one that moves.
const WRITER: &str = "mkdir wN && i=0; until [ -e stop ]; do i=$((i+1)); head -c 300000 /dev/urandom >wN/f; \
    tar -C wN -c f | image-tool append --ref n$i baseN:busybox - >/dev/null || exit 1; \
    for tag in $i now; do registry-tool push --quiet baseN:n$i ADDRESS/team/wN:$tag >/dev/null || exit 1; done; \
    echo team/wN:$i >>kept; done";

/// Pulls what a writer has said to be there, or what it is just moving.
const READER: &str = "until [ -s kept ]; do sleep 0.1; done; until [ -e stop ]; do \
    for name in $(shuf -n 1 kept) $(shuf -n 1 kept | sed s/:.*/:now/); do rm -rf rN; \
    registry-tool pull --quiet ADDRESS/$name rN:x >/dev/null || exit 1; image-tool verify rN:x >/dev/null || exit 1; echo >>read; done; done";

/// Removes garbage, again and again; that the layout is in use is no failure.
const COLLECTOR: &str = "until [ -e stop ]; do image-tool gc images >/dev/null 2>said && echo >>collected || grep -q 'in use' said || \
    { cat said >&2; exit 1; }; sleep 0.05; done";

#[test]
fn two_writers_twenty_readers_and_garbage_collection_lose_nothing() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("for n in 0 1; do registry-tool pull --quiet busybox base$n || exit 1; done; touch kept").ok();
    let served = Served::start(&work, "--quiet images");
    let texts = [(WRITER, 2), (READER, 20), (COLLECTOR, 1)].into_iter().flat_map(|(text, count)| {
        let address = &served.1;
        (0..count).map(move |number| text.replace('N', &number.to_string()).replace("ADDRESS", address))
    });
    let mut running: Vec<(String, Child)> =
        texts.map(|text| (text.clone(), work.command("sh").args(["-c", &text]).spawn().unwrap())).collect();
    let until = until(8);
    while Instant::now() < until && running.iter_mut().all(|(_, child)| child.try_wait().unwrap().is_none()) {
        std::thread::sleep(Duration::from_millis(100));
    }
    work.write("stop", "");
    for (text, mut child) in running {
        assert!(child.wait().unwrap().success(), "{text}");
    }
    drop(served);
    let kept = work.sh("cat kept").ok();
    let listed = work.sh("image-tool gc images >/dev/null && image-tool list images | image-tool verify -").ok();
    for name in kept.lines().chain(["team/w0:now", "team/w1:now"]) {
        assert!(listed.contains(&format!("images:{name}@")), "{name} is lost of {listed}");
    }
    let counts = work.sh("cat kept | wc -l; cat read | wc -l; cat collected | wc -l").ok();
    let counts: Vec<u32> = counts.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert!(counts[0] >= 2 && counts[1] >= 10, "{counts:?}: pushed, pulled, collected");
    eprintln!("{counts:?}: pushed, pulled, collected");
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
    let until = until(12);
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
