//! mount and unmount.

use std::fs;
use std::path::Path;

use crate::work::{Work, root};

#[test]
fn a_root_file_system_is_unmounted_and_mounted_again() {
    let work = Work::new();
    work.run("create --network none --name box images:python:3.8").ok();
    let rootfs = work.path("oci/bundles/box/rootfs");
    fs::write(rootfs.join("kept"), "").unwrap();
    if root() {
        work.run("unmount box").ok();
        assert_eq!(fs::read_dir(&rootfs).unwrap().count(), 0);
        work.run("unmount box").ok();
    }
    assert_eq!(Path::new(work.run("mount box").ok()), rootfs);
    assert!(rootfs.join("kept").exists() && rootfs.join("etc/motd").exists());
    work.run("mount box").ok();
    work.run("delete box").ok();
    work.is_clean();
}
