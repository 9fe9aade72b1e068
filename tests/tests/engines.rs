//! podman, buildah, containerd and docker with run-tool in runc's place: named explicitly, and as a link `runc` first in PATH.
//!
//! There is one test for each engine, since an engine keeps all its cgroups below one name and the test checks that none is left.

use std::os::unix::fs::symlink;

use tests::engine::{Daemon, Groups, PODMAN, assert_terminal, ctr, docker};
use tests::{Registry, Workdir, tools};

/// Prints, in a container, whether run-tool created it: its masks are a tmpfs with a single inode, unlike those of Debian's runc.
const WHO: &str = "grep -q nr_inodes=1 /proc/mounts && echo run-tool || echo other";

/// Options for no network, and for limits that every machine allows.
const PLAIN: &str = "--network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024";

/// A folder with the docker archive `busybox.tar`, and with run-tool as `runc` first in PATH.
fn busybox() -> Workdir {
    let registry = Registry::images();
    let mut work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images && image-tool save -o busybox.tar images:busybox").ok();
    symlink(tools().join("run-tool"), work.folder().join("bin/runc")).unwrap();
    work.set("RUNTIME", tools().join("run-tool").to_str().unwrap());
    // podman searches for runc in fixed places before PATH, and buildah prefers crun where it is installed.
    work.write("containers.conf", "[engine]\nruntime = \"runc\"\n[engine.runtimes]\nrunc = [\"/nosuch/runc\"]\n");
    let settings = work.path("containers.conf").to_str().unwrap().to_owned();
    work.set("CONTAINERS_CONF", &settings);
    work
}

#[test]
fn podman_runs_with_it() {
    let work = busybox();
    let _groups = Groups::named("libpod_parent");
    let podman = PODMAN;
    let run = format!("{podman} run --rm {PLAIN}");
    work.sh(&format!("{podman} load --quiet -i busybox.tar")).ok();
    assert_eq!(work.sh(&format!("{run} busybox sh -c '{WHO}; echo $0 error >&2' 2>&1")).ok(), "run-tool\nsh error\n");
    assert_eq!(work.sh(&format!("RUNTIME=runc; {run} busybox sh -c '{WHO}'")).ok(), "run-tool\n");
    let version = work.sh(&format!("RUNTIME=runc; {podman} info --format '{{{{.Host.OCIRuntime.Path}}}}'")).ok();
    assert!(version.ends_with("bin/runc\n"), "{version}");
    work.sh(&format!("{run} busybox sh -c 'exit 7'")).fails(7);
    assert!(work.sh(&format!("{run} busybox /nosuch")).fails(127).contains("no such file or directory"));
    assert!(work.sh(&format!("{run} busybox /etc/passwd")).fails(126).contains("permission denied"));
    let inside = "echo $(id -u) $PWD $A; touch /x 2>&1; grep -E 'CapEff|Seccomp:' /proc/self/status";
    assert_eq!(
        work.sh(&format!(
            "{run} --read-only --cap-drop all -u 33 -w /tmp -e A=v busybox sh -c '{}'",
            inside.replace('\'', "\"")
        ))
        .ok(),
        "33 /tmp v\ntouch: /x: Read-only file system\nCapEff:\t0000000000000000\nSeccomp:\t2\n"
    );
    assert_eq!(work.sh(&format!("head -c 300000 /dev/zero | {run} -i busybox wc -c")).ok(), "300000\n");
    assert_eq!(
        work.sh(&format!(
            "{run} --uidmap 0:100000:1000 --gidmap 0:100000:1000 busybox awk '{{print $1, $2, $3}}' /proc/self/uid_map"
        ))
        .ok(),
        "0 100000 1000\n"
    );
    assert_terminal(&work, &format!("{run} -it busybox sh -c \"$ON_TERMINAL\""));

    let trap = "trap \"echo term; exit 3\" TERM; echo start; while :; do sleep 0.1; done";
    let health = "--health-cmd 'test -e /healthy' --health-interval disable";
    let limits = "--memory 64m --pids-limit 50";
    work.sh(&format!("{podman} run -d --name c1 {health} {limits} {PLAIN} busybox sh -c '{trap}'")).ok();
    assert_eq!(work.sh(&format!("{podman} exec -u 33 -e A=v c1 sh -c 'echo $(id -u) $A'")).ok(), "33 v\n");
    assert!(work.sh(&format!("{podman} exec c1 grep Seccomp: /proc/self/status")).ok().ends_with("\t2\n"));
    work.sh(&format!("{podman} exec c1 sh -c 'exit 5'")).fails(5);
    assert_terminal(&work, &format!("{podman} exec -it c1 sh -c \"$ON_TERMINAL\""));
    assert_eq!(work.sh(&format!("{podman} exec c1 sh -c '{LIMITS}'")).ok(), "67108864 50\n");
    work.sh(&format!("{podman} update --memory 100m c1")).ok();
    assert_eq!(work.sh(&format!("{podman} exec c1 sh -c '{LIMITS}'")).ok(), "104857600 50\n");
    work.sh(&format!("{podman} healthcheck run c1")).fails(1);
    work.sh(&format!("{podman} exec c1 touch /healthy && {podman} healthcheck run c1")).ok();
    assert_eq!(
        work.sh(&format!(
            "{podman} pause c1 >&2 && {podman} inspect -f '{{{{.State.Status}}}}' c1 && {podman} unpause c1 >&2"
        ))
        .ok(),
        "paused\n"
    );
    assert!(work.sh(&format!("{podman} top c1")).ok().contains("sleep 0.1"));
    assert!(work.sh(&format!("{podman} stats --no-stream c1")).ok().contains("c1"));
    assert!(work.sh(&format!("{run} --pid container:c1 busybox ps")).ok().contains("echo term"));
    assert_eq!(work.sh(&format!("{podman} stop -t 20 c1 >&2 && {podman} wait c1")).ok(), "3\n");
    assert_eq!(work.sh(&format!("{podman} logs c1")).ok(), "start\nterm\n");
    work.sh(&format!("{podman} start c1 && {podman} restart -t 20 c1")).ok();
    assert_eq!(work.sh(&format!("{podman} kill c1 >&2; {podman} wait c1")).ok(), "137\n");
    work.sh(&format!("{podman} rm c1 && {podman} system reset --force")).ok();
}

/// Prints a container's memory and process limits from inside, with cgroup v1 or v2.
const LIMITS: &str = "cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes memory.max 2>/dev/null) $(cat pids/pids.max pids.max 2>/dev/null)";

#[test]
fn buildah_builds_with_it() {
    let mut work = busybox();
    work.set("BUILDAH_ISOLATION", "oci");
    let buildah = "buildah --root $HOME/buildah/root --runroot $HOME/buildah/run --storage-driver overlay";
    work.write(
        "context/Dockerfile",
        &format!(
            "FROM oci:images:busybox\nENV A=b\nRUN echo one | tr a-z A-Z; (exit 3) || echo caught $?; {WHO}\nRUN test -t 0 || echo no terminal; cat\n\
             RUN [\"echo\", \"exec form\"]\nWORKDIR /tmp/w\nUSER 33:33\nRUN echo $(id -u) $(id -g) $PWD $A; touch x 2>&1 || echo refused\n\
             USER root\nRUN echo data >/data && chown 33 /data && chmod 4755 /data\nRUN stat -c '%u %a' /data; grep Seccomp: /proc/self/status\n"
        ),
    );
    // Standard error is included: a runtime's messages would show between the lines of the steps.
    let said = |text: String| -> Vec<String> {
        let output = work.sh(&format!("{text} 2>&1"));
        assert_eq!(output.status, 0, "{output}");
        let text = output.stdout;
        let text = text.split_once("STEP 2/").unwrap().1.split_once("COMMIT").unwrap().0;
        text.lines().skip(1).filter(|line| !line.starts_with("STEP ")).map(str::to_owned).collect()
    };
    let expected = [
        "ONE",
        "caught 3",
        "run-tool",
        "no terminal",
        "exec form",
        "33 33 /tmp/w b",
        "touch: x: Permission denied",
        "refused",
        "33 4755",
        "Seccomp:\t2",
    ];
    let bud = format!("{buildah} bud --ulimit nofile=1024:1024 --ulimit nproc=1024:1024");
    assert_eq!(said(format!("{bud} --runtime $RUNTIME -t built context")), expected);
    assert_eq!(said(format!("{bud} -t built context")), expected, "without --runtime");
    work.write("failing/Dockerfile", "FROM oci:images:busybox\nRUN exit 7\n");
    work.sh(&format!("{bud} --runtime $RUNTIME failing")).fails(7);
    work.write("missing/Dockerfile", "FROM oci:images:busybox\nRUN [\"/nosuch\"]\n");
    let text = work.sh(&format!("{bud} --runtime $RUNTIME missing")).fails(1);
    assert!(text.contains("creating container for [/nosuch]") && text.contains("no such file or directory"), "{text}");

    work.sh(&format!("{buildah} from --name w --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 oci:images:busybox"))
        .ok();
    let run = format!("{buildah} run --runtime $RUNTIME");
    work.sh(&format!("{run} w -- sh -c 'exit 6'")).fails(6);
    assert_eq!(
        work.sh(&format!("{run} --user 33 --env X=y --workingdir /tmp w -- sh -c 'echo $(id -u) $X $PWD'")).ok(),
        "33 y /tmp\n"
    );
    assert_eq!(work.sh(&format!("head -c 300000 /dev/zero | {run} w wc -c")).ok(), "300000\n");
    assert_eq!(
        work.sh(&format!("{run} --cap-drop all w grep CapEff /proc/self/status")).ok(),
        "CapEff:\t0000000000000000\n"
    );
    work.sh(&format!("{buildah} rm --all && {buildah} rmi --all --force")).ok();
}

#[test]
fn containerd_runs_with_it() {
    let work = busybox();
    // A containerd namespace names the folder of its containers' cgroups and of their state.
    let namespace = format!("oci-tools-{}", tests::random_word());
    let _groups = Groups::named(&namespace);
    let daemon = Daemon::containerd(&work);
    let ctr = |words: &str| ctr(&format!("--namespace {namespace} {words}"));
    work.sh(&ctr("images import busybox.tar")).ok();
    let image = "docker.io/library/busybox:latest";
    let run = |options: &str, words: &str| work.sh(&ctr(&format!("run {options} {image} {words}")));
    // The shim finds runc in PATH.
    assert_eq!(run("--rm", &format!("c1 sh -c '{WHO}'")).ok(), "run-tool\n");
    let named = "--rm --runtime io.containerd.runc.v2 --runc-binary $RUNTIME";
    assert_eq!(run(named, &format!("c2 sh -c '{WHO}'")).ok(), "run-tool\n");
    run("--rm", "c3 sh -c 'exit 7'").fails(7);
    assert!(run("--rm", "c4 /nosuch").fails(1).contains("no such file or directory"));
    assert_terminal(&work, &ctr(&format!("run --rm -t {image} c5 sh -c \"$ON_TERMINAL\"")));

    run("--detach --memory-limit 67108864", "d1 sleep 1000").ok();
    assert_eq!(work.sh(&ctr("task exec --exec-id e1 d1 echo in")).ok(), "in\n");
    work.sh(&ctr("task exec --exec-id e2 d1 sh -c 'exit 5'")).fails(5);
    assert_terminal(&work, &ctr("task exec --exec-id e3 -t d1 sh -c \"$ON_TERMINAL\""));
    let limit = format!(
        "cat /sys/fs/cgroup/memory/{namespace}/d1/memory.limit_in_bytes /sys/fs/cgroup/{namespace}/d1/memory.max 2>/dev/null"
    );
    assert_eq!(work.sh(&limit).stdout, "67108864\n");
    assert!(work.sh(&ctr("task ps d1")).ok().lines().count() == 2);
    work.sh(&ctr("task pause d1")).ok();
    assert!(work.sh(&ctr("task ls")).ok().contains("PAUSED"));
    work.sh(&ctr("task resume d1")).ok();
    work.sh(&ctr("task kill --signal KILL d1")).ok();
    let gone = ctr("task ls");
    work.sh(&format!("until {gone} | grep -q STOPPED; do sleep 0.1; done")).ok();
    assert!(work.sh(&format!("{} 2>&1", ctr("task delete d1"))).ok().contains("exit code 137"));
    work.sh(&ctr(&format!("containers delete d1 && {}", ctr(&format!("images rm {image}"))))).ok();
    drop(daemon);
    work.sh(&format!("rm -r /run/containerd/runc/{namespace}")).ok();
}

#[test]
fn docker_runs_with_it() {
    let work = busybox();
    let parent = format!("oci-tools-{}", tests::random_word());
    let _groups = Groups::named(&parent);
    // containerd's shim finds runc in PATH; `named` is the same program by its path.
    let daemon = Daemon::docker(&work, &format!("--cgroup-parent /{parent} --add-runtime named=$RUNTIME"));
    let sh = |words: &str| work.sh(&docker(words));
    sh("load --quiet -i busybox.tar").ok();
    let run = |words: &str| work.sh(&docker(&format!("run --rm --network none {words}")));
    assert_eq!(run(&format!("busybox sh -c '{WHO}'")).ok(), "run-tool\n");
    assert_eq!(run(&format!("--runtime named busybox sh -c '{WHO}'")).ok(), "run-tool\n");
    run("busybox sh -c 'exit 7'").fails(7);
    assert!(run("busybox /nosuch").fails(127).contains("no such file or directory"));
    assert!(run("busybox /etc/passwd").fails(126).contains("permission denied"));
    let text = run("-v $HOME:/etc/passwd busybox true").fails(125);
    assert!(text.contains("Are you trying to mount a directory onto a file (or vice-versa)?"), "{text}");
    assert_eq!(run(&format!("-m 64m --pids-limit 50 busybox sh -c '{LIMITS}'")).ok(), "67108864 50\n");
    assert_eq!(
        run(
            "--read-only --ulimit nofile=100:200 --sysctl kernel.msgmax=1000 --oom-score-adj 500 --hostname h busybox \
             sh -c 'ulimit -n; cat /proc/sys/kernel/msgmax /proc/self/oom_score_adj; hostname; touch /x 2>&1'"
        )
        .stdout,
        "100\n1000\n500\nh\ntouch: /x: Read-only file system\n"
    );
    assert_eq!(
        work.sh(&format!("head -c 300000 /dev/zero | {}", docker("run --rm -i --network none busybox wc -c"))).ok(),
        "300000\n"
    );
    assert_terminal(&work, &docker("run --rm -it --network none busybox sh -c \"$ON_TERMINAL\""));

    let trap = "trap \"echo term; exit 3\" TERM; echo start; while :; do sleep 0.1; done";
    sh(&format!("run -d --name c1 --network none busybox sh -c '{trap}'")).ok();
    assert_eq!(sh("exec -e A=v -w /tmp -u 33 c1 sh -c 'echo $A $PWD $(id -u)'").ok(), "v /tmp 33\n");
    assert!(sh("exec c1 grep Seccomp: /proc/self/status").ok().ends_with("\t2\n"));
    sh("exec c1 sh -c 'exit 5'").fails(5);
    let missing = sh("exec c1 /nosuch");
    assert_eq!(missing.status, 126, "{missing}");
    assert!(missing.stdout.contains("no such file or directory"), "{missing}");
    sh("exec -d c1 touch /made").ok();
    work.sh(&format!("until {}; do sleep 0.1; done", docker("exec c1 test -e /made"))).ok();
    assert_terminal(&work, &docker("exec -it c1 sh -c \"$ON_TERMINAL\""));
    sh("update -m 100m --memory-swap 200m --pids-limit 77 c1").ok();
    assert_eq!(sh(&format!("exec c1 sh -c '{LIMITS}'")).ok(), "104857600 77\n");
    sh("pause c1").ok();
    assert!(sh("exec c1 true").fails(1).contains("is paused"));
    sh("unpause c1").ok();
    assert!(sh("top c1").ok().contains("sleep 0.1"));
    assert!(sh("stats --no-stream c1").ok().contains("c1"));
    work.write("file", "copied\n");
    work.sh(&format!("{} && {}", docker("cp file c1:/tmp/file"), docker("cp c1:/tmp/file back"))).ok();
    assert_eq!(work.sh("cat back").ok(), "copied\n");
    sh("stop -t 20 c1").ok();
    assert_eq!(sh("inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' c1").ok(), "3 false\n");
    assert_eq!(sh("logs c1").ok(), "start\nterm\n");
    work.sh(&format!("{} && {} && {}", docker("start c1"), docker("restart -t 20 c1"), docker("kill c1"))).ok();
    assert_eq!(sh("wait c1").ok(), "137\n");
    sh("rm c1").ok();

    let fill = "x=$(yes | head -c 100000000); echo ${#x}";
    sh(&format!("run --name c2 -m 20m --memory-swap 20m --network none busybox sh -c '{fill}'")).fails(137);
    sh("rm c2").ok();
    sh("rmi busybox").ok();
    drop(daemon);
    work.sh("umount -l docker/data/overlay2 docker/data 2>/dev/null; true").ok();
}
