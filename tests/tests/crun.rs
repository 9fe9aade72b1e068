//! crun runs our bundles. A file of its own: on a machine with v1 and v2 cgroups at once crun wants every controller in v1,
//! which moves hugetlb for the whole machine while this runs.

use std::fs;

use tests::{Registry, Workdir};

#[test]
fn crun_runs_our_bundles() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images").ok();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let hybrid = own.contains(":memory:") && !own.contains(":hugetlb:");
    // A control group that was just removed holds the controller for a moment longer.
    let wrapper = if hybrid {
        "unshare --mount --propagation private sh -c 'd=/sys/fs/cgroup/hugetlb; mkdir -p $d; \
         for _ in $(seq 300); do mount -t cgroup -o hugetlb cgroup $d 2>/dev/null && break; sleep 0.1; done; mountpoint -q $d || exit 1; \
         \"$@\"; status=$?; find $d -mindepth 1 -depth -type d -exec rmdir {} + ; umount $d; rmdir $d 2>/dev/null; exit $status' --"
    } else {
        ""
    };
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
    }
}
