//! unpack.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use oci_spec::image::MediaType;
use rustix::process::{Pid, Signal};

use crate::work::{Work, address, tar};

#[test]
fn unpack_fills_a_new_or_an_empty_folder() {
    let work = Work::new();
    assert_eq!(work.run("unpack images:python:3.8 out").ok(), "out\n");
    assert_eq!(fs::read_to_string(work.path("out/bin/python")).unwrap(), "python");
    assert!(!work.path("out/etc/motd").exists() && work.path("out/etc").is_dir());
    work.run("unpack images:python:3.8 out").fails(1, &["out: not empty"]);
    fs::create_dir(work.path("empty")).unwrap();
    let address = address(&work, "busybox");
    assert_eq!(work.run_with("unpack - empty", address.as_bytes()).ok(), "empty\n");
    assert_eq!(fs::read_to_string(work.path("empty/etc/motd")).unwrap(), "hello\n");
    work.run("unpack --rootless images:busybox a/b/c").ok();
    assert!(work.path("a/b/c/bin/sh").exists());
    work.run("unpack --uid-map x images:busybox d").fails(1, &["x: not a valid ID map"]);
    let names: Vec<_> = fs::read_dir(work.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{names:?}");
}

/// The folders in the making. One that is not locked yet has another name, for an instant.
fn hidden(work: &Work) -> Vec<String> {
    let names = fs::read_dir(work.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".unpack-")).collect()
}

#[test]
fn an_unpack_that_is_ended_leaves_nothing_and_a_killed_one_until_the_next() {
    let work = Work::new();
    let noise: String =
        (0..24u64 << 20).map(|n| char::from(b'a' + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u8)).collect();
    work.image("big", &[&tar(&[("a", &noise), ("b", &noise)])], MediaType::ImageLayer);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::KILL] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_image-tool"))
            .args(["unpack", "images:big", "out"])
            .current_dir(work.0.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() && hidden(&work).is_empty() {
            std::thread::yield_now();
        }
        // It may have ended meanwhile; its number is not used again before it has been waited for.
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success() || status.signal() == Some(signal.as_raw()), "{status}");
        if signal != Signal::KILL {
            assert_eq!(hidden(&work), [""; 0], "{signal:?}");
        }
        // It may have been complete before the signal came.
        let _ = fs::remove_dir_all(work.path("out"));
    }
    work.run("unpack images:big out").ok();
    assert_eq!(hidden(&work), [""; 0], "the next removes what the killed one left");
}

#[test]
fn a_name_without_a_colon_is_explained() {
    let work = Work::new();
    work.run("inspect busybox").fails(1, &["busybox: no image layout here (did you mean :busybox,"]);
    work.run("tag images:python:3.8 :python:3.8").ok();
    work.run("unpack python:3.8 out").fails(1, &["did you mean :python:3.8"]);
    work.run("unpack images/nope out").fails(1, &["images/nope: no image layout here"]);
    work.run("unpack nothing:python out").fails(1, &["registry-tool pull python nothing"]);
}

#[test]
fn a_platform_is_found_in_every_spelling() {
    let work = Work::new();
    work.run("config images:busybox --ref arm --set-platform linux/arm64").ok();
    work.run("index create images:multi images:busybox images:arm").ok();
    for (platform, architecture) in
        [("LINUX/AMD64", "amd64"), ("x86_64", "amd64"), ("aarch64", "arm64"), ("linux/arm64/v8", "arm64")]
    {
        let printed = work.run(&format!("inspect --platform {platform} -f {{{{.Architecture}}}} images:multi")).ok();
        assert_eq!(printed, format!("{architecture}\n"), "{platform}");
    }
    work.run("unpack --platform windows images:multi out").fails(1, &["(available: linux/amd64, linux/arm64)"]);
}
