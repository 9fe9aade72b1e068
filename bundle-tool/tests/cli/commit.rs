//! diff and commit.

use std::fs;

use crate::work::Work;

#[test]
fn diff_and_commit_hold_what_changed_and_nothing_else() {
    let work = Work::new();
    for how in ["", "--copy"] {
        work.run(&format!("create {how} --network none --name box images:python:3.8 x")).ok();
        let rootfs = work.path("oci/bundles/box/rootfs");
        fs::write(rootfs.join("new"), "content").unwrap();
        fs::remove_file(rootfs.join("etc/motd")).unwrap();
        let tar = work.run("diff box");
        assert_eq!(tar.status, 0, "{tar:?}");
        assert!(
            tar.stdout.contains("new") && tar.stdout.contains("etc/.wh.motd") && !tar.stdout.contains("resolv.conf"),
            "{how}"
        );
        let address = work
            .words(&["commit", "--change", "CMD [\"changed\"]", "--message", "why", "box", "images:mine"], b"")
            .ok()
            .to_owned();
        assert!(address.starts_with("images:mine@sha256:"), "{address}");
        work.run("delete box").ok();
        work.run(&format!("create {how} --network none --name again {address}")).ok();
        let rootfs = work.path("oci/bundles/again/rootfs");
        assert_eq!(fs::read_to_string(rootfs.join("new")).unwrap(), "content");
        assert!(!rootfs.join("etc/motd").exists());
        assert!(work.run_with("inspect again", b"null").ok().contains("\"changed\""));
        work.run("delete again").ok();
        work.is_clean();
    }
}
