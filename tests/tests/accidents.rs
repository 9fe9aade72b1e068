//! System calls that fail and processes that die between two of them, while layers are stored and images are mounted: a full disk, a
//! disk that loses what it was given, kill -9 and power failure. Afterwards the next run is right. strace(1) makes the accidents.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tests::{Workdir, layout};

const CREATE: &str = "bundle-tool create --network none --name cc images:one";
/// What is seen in the container, and that all is gone with it.
const RIGHT: &str = "cd $(bundle-tool find cc)/rootfs && cat etc/os etc/linked && wc -c <big && cd / && bundle-tool delete cc >/dev/null";

fn work() -> Workdir {
    let work = Workdir::new();
    let tar =
        layout::Tar::new().folder("./").folder("etc/").file("etc/os", "this").file("big", &"x".repeat(600_000)).bytes();
    let top = layout::Tar::new().symlink("lib", "etc").file("lib/linked", "through").bytes();
    layout::Builder::new(&work.path("images"))
        .layer(&tar)
        .layer(&top)
        .image("one", serde_json::json!({ "Cmd": ["/x"] }));
    work
}

/// Runs `prepare` and then the creation of a container again and again, and lets the first, second, third … of these calls of a thread go
/// wrong, until there is none left. Then a container is created without an accident, and is right. Returns how many accidents there were,
/// and what strace said of them.
fn after_each(work: &Workdir, prepare: &str, calls: &str, accident: &str) -> Vec<String> {
    let mut all = Vec::new();
    for number in 1..60 {
        work.sh(prepare).ok();
        let inject = format!("inject={calls}:{accident}:when={number}");
        let (ran, log) = traced(work, &inject, CREATE);
        let hit: Vec<&str> =
            log.lines().filter(|line| line.contains("INJECTED") || line.contains("killed by SIGKILL")).collect();
        let what = format!("{inject}: {hit:?}\n{ran}");
        work.sh("bundle-tool delete --force cc >/dev/null 2>&1; true").ok();
        let seen = work.sh(&format!("{CREATE} >/dev/null && {RIGHT}"));
        assert_eq!((seen.status, &*seen.stdout), (0, "thisthrough600000\n"), "{what}\n{seen}");
        assert_eq!(left(work), "", "{what}");
        if hit.is_empty() {
            assert_eq!(ran.status, 0, "{what}");
            return all;
        }
        all.extend(hit.into_iter().map(str::to_owned));
    }
    panic!("{calls} never came to an end");
}

/// Runs a command under strace, which writes a file for each thread, so that no line is cut by another.
fn traced(work: &Workdir, inject: &str, text: &str) -> (tests::Output, String) {
    let ran = work.sh(&format!("rm -f log.*; strace -ff -qq -y -o log -e {inject} {text} >/dev/null"));
    (ran, work.sh("cat log.*").ok())
}

/// Mounts, and what is not complete. A folder that nobody has locked yet may be somebody's, for a minute.
fn left(work: &Workdir) -> String {
    let mounts = format!("grep -F {} /proc/self/mounts; true", work.folder().display());
    let find = "find $OCI_HOME/layers $OCI_HOME/bundles -mindepth 1 -maxdepth 2 -name '.*' ! -name '.new.*'";
    work.sh(&mounts).ok() + &work.sh(find).ok()
}

const FORGET: &str = "rm -rf $OCI_HOME/layers";
/// Everything is there, but has not been made durable, which is done when it is used again.
const AGE: &str = "rm -rf $OCI_HOME/layers; C='bundle-tool create --network none --name cc images:one'; $C >/dev/null && \
                   bundle-tool delete cc >/dev/null && touch -d '-2 minutes' $OCI_HOME/layers/sha256/*.state";

#[test]
fn a_full_disk_leaves_nothing_wrong() {
    let work = work();
    let hit = after_each(&work, FORGET, "write", "error=ENOSPC");
    // Those of the layers, of their states, of the image and its state, and of the bundle's own files.
    for part in ["/layers/sha256/", ".state>", "/bundles/"] {
        assert!(hit.iter().any(|line| line.contains(part)), "{part} {hit:?}");
    }
}

#[test]
fn a_creation_that_is_killed_at_any_write_is_repeated() {
    let work = work();
    for calls in ["write", "/^rename", "mkdir,/^ftruncate,/^fchmod"] {
        assert!(!after_each(&work, FORGET, calls, "signal=SIGKILL").is_empty(), "{calls}");
    }
}

#[test]
fn a_creation_that_is_killed_at_any_mount_is_repeated() {
    let work = work();
    assert!(!after_each(&work, FORGET, "fsmount,move_mount,mount,umount2", "signal=SIGKILL").is_empty());
}

#[test]
fn names_that_cannot_be_given_leave_nothing_wrong() {
    let work = work();
    assert!(!after_each(&work, FORGET, "/^rename", "error=EIO").is_empty());
}

/// What is stored by its name, with the time at which it got it.
fn stored(work: &Workdir) -> BTreeMap<PathBuf, (i64, i64)> {
    let all = fs::read_dir(work.folder().join("oci/layers/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let all = all.filter(|path| path.extension().is_none());
    all.map(|path| {
        let found = path.metadata().unwrap();
        (path, (found.ctime(), found.ctime_nsec()))
    })
    .collect()
}

#[test]
fn what_the_disk_did_not_take_is_stored_again() {
    let work = work();
    work.sh(AGE).ok();
    let before = stored(&work);
    // Either an archive's own, or that of the whole file system where layers are unpacked.
    let (made, log) = traced(&work, "inject=fsync,syncfs:error=EIO:when=1", CREATE);
    assert!(log.contains("INJECTED"), "{made}");
    work.sh("bundle-tool delete --force cc >/dev/null 2>&1; true").ok();
    let states = || work.sh("cat $OCI_HOME/layers/sha256/*.state").ok();
    // A thread for each layer, and the first call of each fails.
    for (path, time) in stored(&work) {
        assert_ne!(before[&path], time, "what is in the page cache alone is trusted: {made}");
    }
    let said = states();
    assert!(!said.contains("durable"), "what was just stored is not durable: {said}");
    assert_eq!(work.sh(&format!("{CREATE} >/dev/null && {RIGHT}")).ok(), "thisthrough600000\n");
    // A second failure is no different; in the end, all of it is durable.
    after_each(&work, AGE, "fsync,syncfs", "error=EIO");
    after_each(&work, AGE, "fsync,syncfs", "signal=SIGKILL");
    work.sh(&format!("{AGE}; {CREATE} >/dev/null && {RIGHT}")).ok();
    assert_eq!(states().matches("durable").count(), 2, "{}", states());
    assert_eq!(left(&work), "");
}

#[test]
fn what_a_power_failure_emptied_is_made_again() {
    let work = work();
    let make = format!("rm -rf $OCI_HOME/layers; {CREATE} >/dev/null && bundle-tool delete cc >/dev/null");
    // The names are on the disk, but none, half or all of the content is, and the states are of an earlier boot, or not there either.
    let content = ["truncate -s 0 $f", "fallocate -z -o 4096 -l 300000 -n $f", "true"];
    let state = ["sed -i s/[0-9a-f-]*-[0-9a-f-]*/00000000-0000-0000-0000-000000000000/ $s", ": >$s", "rm $s"];
    for content in content {
        for state in state {
            work.sh(&make).ok();
            let each = format!(
                "cd $OCI_HOME/layers && for s in sha256/*.state images/*.state; do f=${{s%.state}}; [ -e $f ] || f=$f.erofs; \
                 [ ! -f $f ] || {{ chmod u+w $f; {content}; chmod u-w $f; }}; [ ! -d $f ] || find $f -type f -exec truncate -s 0 '{{}}' +; {state}; done"
            );
            work.sh(&each).ok();
            let seen = work.sh(&format!("{CREATE} >/dev/null && {RIGHT}"));
            assert_eq!((seen.status, &*seen.stdout), (0, "thisthrough600000\n"), "{content} {state} {seen}");
            assert_eq!(left(&work), "", "{content} {state}");
        }
    }
}

#[test]
fn creators_at_once_of_what_is_not_stored_make_it_once() {
    let work = work();
    for _ in 0..10 {
        let text = format!(
            "{FORGET}; for n in 1 2 3 4; do bundle-tool create --network none --name c$n images:one >/dev/null & jobs=\"$jobs $!\"; done; \
             for job in $jobs; do wait $job || exit 1; done; for n in 1 2 3 4; do cat $(bundle-tool find c$n)/rootfs/etc/os; done; \
             bundle-tool delete c1 c2 c3 c4 >/dev/null"
        );
        assert_eq!(work.sh(&text).ok(), "this".repeat(4));
        assert_eq!(left(&work), "");
    }
}
