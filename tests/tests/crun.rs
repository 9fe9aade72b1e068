//! crun runs our bundles. The test has a program of its own: on a machine with both v1 and v2 cgroups crun requires every
//! controller to be in v1, so hugetlb is moved there for the whole machine while it runs.

use std::fs;

use tests::{Registry, Workdir};

/// A script that runs a command while hugetlb is a v1 hierarchy. The kernel moves a controller only while no v2 group uses it, and
/// docker and podman leave empty groups behind; the kernel frees the last of them only a moment after its removal.
const WITH_HUGETLB: &str = r#"#!/bin/sh
[ -n "${HUGETLB_UNSHARED-}" ] || HUGETLB_UNSHARED=1 exec unshare --mount --propagation private "$0" "$@"
group=/sys/fs/cgroup/hugetlb
unified=$(findmnt --noheadings --first-only --output TARGET --types cgroup2)
mkdir -p $group
for try in 1 2 3 4 5 6 7 8 9 10; do
	mount -t cgroup -o hugetlb cgroup $group 2>/dev/null && break
	[ "$try" -lt 10 ] || { echo "hugetlb cannot become a v1 hierarchy: a v2 group uses it" >&2; exit 1; }
	find "$unified" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
	echo -hugetlb >"$unified/cgroup.subtree_control"
	sleep 1
done
"$@"
status=$?
find $group -mindepth 1 -depth -type d -exec rmdir {} +
umount $group
# A group that is not freed yet keeps the unmounted hierarchy in every /proc/PID/cgroup. containerd's shims do not find its mount
# point and then report no statistics. Mounting and unmounting it once more removes it.
for try in 1 2 3 4 5 6 7 8 9 10; do
	sleep 0.2
	grep -q :hugetlb: /proc/self/cgroup || break
	mount -t cgroup -o hugetlb cgroup $group && umount $group
done
rmdir $group 2>/dev/null
exit $status
"#;

#[test]
fn crun_runs_our_bundles() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images").ok();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = mounts.lines().any(|line| line.contains(" cgroup ") && line.contains("hugetlb"));
    let hybrid = fs::read_to_string("/proc/self/cgroup").unwrap().contains(":memory:") && !mounted;
    let wrapper = if hybrid { work.path("with-hugetlb").display().to_string() } else { String::new() };
    work.write("with-hugetlb", WITH_HUGETLB);
    work.sh("chmod +x with-hugetlb").ok();
    for how in ["", "--copy"] {
        let text = format!(
            "bundle-tool create {how} --network none --bundle b -e A=b -w /tmp -u www-data images:busybox \
             sh -c 'echo $A $PWD $(id -u) $(id -g); exit 7'; {wrapper} crun --root $HOME/crun run --bundle b crun-{}; \
             status=$?; bundle-tool delete b; exit $status",
            tests::random_word()
        );
        let output = work.sh(&text);
        assert_eq!(output.status, 7, "{output}");
        assert!(output.stdout.ends_with("b /tmp 33 33\n"), "{output}");
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert!(!hybrid || !own.contains(":hugetlb:"), "the hierarchy outlives its mount: {own}");
    }
}
