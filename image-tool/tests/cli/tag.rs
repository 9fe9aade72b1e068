//! tag, rm and gc: names and blobs.

use oci_spec::image::MediaType;

use crate::work::{Work, address, blobs};

#[test]
fn names_come_and_go_and_blobs_with_gc() {
    let work = Work::new();
    let old = address(&work, "busybox");
    let printed = work.run("tag images:busybox images:mine:1").ok();
    assert_eq!(printed, old.replace("busybox", "mine:1") + "\n");
    work.run("tag images:busybox other:copy").ok();
    assert!(work.run("verify other:copy").ok().starts_with("other:copy@sha256:"));
    let run = work.run("rm images:docker.io/library/busybox:latest");
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (0, "", "Untagged: busybox:latest\n"));
    let id = work.run("list images:mine -q").ok().trim().to_owned();
    work.run("tag images:mine:1 images:again").ok();
    work.run(&format!("rm images:{id}")).fails(1, &["2 names for this image", "mine:1 again", "--force"]);
    let run = work.run(&format!("rm --force images:{id}"));
    assert_eq!(run.stderr.lines().collect::<Vec<_>>()[..2], ["Untagged: mine:1", "Untagged: again:latest"]);
    assert!(run.stderr.lines().nth(2).unwrap().starts_with("Deleted: sha256:"), "{}", run.stderr);
    let before = blobs(&work);
    let would = work.run("gc --wait --dry-run images").ok();
    assert_eq!((would.lines().count(), blobs(&work)), (3, before), "manifest, config and the plain layer");
    assert_eq!(work.run("gc --wait --older-than 1h images").ok(), "");
    let run = work.run("gc --wait images");
    assert_eq!((run.stdout, blobs(&work)), (would, before - 3));
    assert!(run.stderr.starts_with("Total reclaimed space: "), "{}", run.stderr);
    work.run("verify images").ok();
    work.run("rm images:nope").fails(1, &["images:nope: no such image"]);
    work.run("rm --force images:nope").ok();
    work.run("tag images:python:3.8 images").fails(1, &["missing name"]);
    work.run("gc images --older-than soon").fails(2, &["90s, 30m, 12h or 7d"]);
}

#[test]
fn gc_waits_for_whoever_writes_if_it_is_to() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let work = Work::new();
    let writer = work.layout().writer().unwrap();
    writer.put(MediaType::ImageLayer, b"not in the index yet").unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_image-tool"))
        .args(["gc", "--wait", "images"])
        .current_dir(work.0.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "image-tool: images: waiting for a process that is writing\n");
    let blob = writer.put(MediaType::ImageLayer, b"written while it waits").unwrap();
    drop(writer);
    let mut removed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut removed).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(removed.contains(&blob.digest().to_string()) && removed.lines().count() == 2, "{removed}");
}

#[test]
fn gc_does_nothing_while_somebody_writes() {
    let work = Work::new();
    let writer = work.layout().writer().unwrap();
    writer.put(MediaType::ImageLayer, b"not in the index yet").unwrap();
    work.run("gc images").fails(1, &["images: nothing removed: images: in use by another process"]);
    drop(writer);
    // A child that another test is just starting has a copy of our descriptor, and with it the lock, until it calls exec.
    assert_eq!(work.run("gc --wait images").ok().lines().count(), 1);
}
