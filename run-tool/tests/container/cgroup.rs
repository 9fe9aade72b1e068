//! Limits, read back from the kernel's files of cgroup v1 or v2, whichever the system has.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups, eventually};

pub(crate) fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A control file of a container, given its names in cgroup v1 and v2.
fn file(id: &str, names: (&str, &str)) -> Option<PathBuf> {
    let name = if unified() { names.1 } else { names.0 };
    cgroups(id).into_iter().map(|group| group.join(name)).find(|file| file.exists())
}

fn read(id: &str, names: (&str, &str)) -> String {
    let path = file(id, names).unwrap_or_else(|| panic!("no file {names:?}: {:?}", cgroups(id)));
    fs::read_to_string(path).unwrap().trim().to_owned()
}

/// The number of some block device, if the system has one.
fn disk() -> Option<(u32, u32)> {
    let mut names: Vec<PathBuf> = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let text = fs::read_to_string(names.first()?.join("dev")).unwrap();
    let (major, minor) = text.trim().split_once(':').unwrap();
    Some((major.parse().unwrap(), minor.parse().unwrap()))
}

/// The file names of a limit in cgroup v1 and v2, and the expected contents.
type Row<'a> = ((&'a str, &'a str), (&'a str, &'a str));

/// Checks the limits of a table. Those without a file are not supported by the kernel, which is allowed for half of them.
fn check(id: &str, rows: &[Row<'_>]) {
    let mut seen = 0;
    for (names, values) in rows {
        if file(id, *names).is_some() {
            let wanted = if unified() { values.1 } else { values.0 };
            assert_eq!(read(id, *names), wanted, "{names:?}");
            seen += 1;
        }
    }
    assert!(seen * 2 >= rows.len(), "{seen} of {} limits are there", rows.len());
}

/// To move a process into a group takes a lock on all groups, which is slow on a busy system (`cgroup::entrance`).
#[test]
fn new_processes_are_created_in_their_groups_and_not_moved() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/cgroup"]);
    let log = bundle.path().join("strace");
    let traced = |bundle: &Bundle, arguments: &[&str]| -> String {
        let tool = bundle.command(arguments);
        let strace = ["-f", "-o", log.to_str().unwrap(), "-e", "trace=openat"];
        let output = Command::new("strace")
            .args(strace)
            .arg(tool.get_program())
            .args(tool.get_args())
            .current_dir(bundle.path())
            .stdin(Stdio::null())
            .output()
            .expect("package strace");
        assert!(output.status.success(), "{output:?}");
        let calls = fs::read_to_string(&log).unwrap();
        let moves: Vec<&str> =
            calls.lines().filter(|call| call.contains("cgroup.procs") && call.contains("O_WRONLY")).collect();
        assert!(calls.contains("/sys/fs/cgroup") && moves.is_empty(), "{arguments:?}: {moves:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let id = bundle.id();
    let seen = traced(&bundle, &["run", &id]);
    // With cgroup v2 it sees its own group as the root.
    assert!(if unified() { seen == "0::/\n" } else { seen.contains(&id) }, "{seen}");
    bundle.config["process"]["args"] = json!(["sleep", "100"]);
    bundle.store();
    bundle.good(&["run", "--detach", &id]);
    let members = || cgroups(&id).iter().map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap()).collect();
    let before: Vec<String> = members();
    assert!(!before.is_empty() && before.iter().all(|group| group.lines().count() == 1), "{before:?}");
    let others = ["exec", &id, "cat", "/proc/self/cgroup", "/proc/1/cgroup"];
    let seen: Vec<String> = traced(&bundle, &others).lines().map(str::to_owned).collect();
    let (own, first) = seen.split_at(seen.len() / 2);
    assert_eq!(own, first);
}

#[test]
fn every_limit_of_the_configuration_reaches_its_file() {
    let probe = Bundle::new(&["sleep", "1000"]);
    probe.good(&["run", "--detach", &probe.id()]);
    let has = |names| file(&probe.id(), names).is_some();
    let (swap, burst) =
        (has(("memory.memsw.limit_in_bytes", "memory.swap.max")), has(("cpu.cfs_burst_us", "cpu.max.burst")));
    let pages = has(("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"));
    let throttle = disk().is_some() && has(("blkio.throttle.read_bps_device", "io.max"));
    let (major, minor) = disk().unwrap_or_default();
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({"limit": 64 << 20, "reservation": 16 << 20});
        resources["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 200_000, "cpus": "0", "mems": "0"});
        resources["pids"] = json!({"limit": 50});
        if swap {
            resources["memory"]["swap"] = json!(96 << 20);
        }
        if burst {
            resources["cpu"]["burst"] = json!(10_000);
        }
        if pages {
            resources["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
        }
        if throttle {
            let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
            resources["blockIO"] = json!({
                "throttleReadBpsDevice": device(1 << 20), "throttleWriteBpsDevice": device(2 << 20),
                "throttleReadIOPSDevice": device(100), "throttleWriteIOPSDevice": device(200)
            });
        }
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let rate = |rate: u64| format!("{major}:{minor} {rate}");
    let io = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200");
    check(
        &id,
        &[
            (("memory.limit_in_bytes", "memory.max"), ("67108864", "67108864")),
            (("memory.memsw.limit_in_bytes", "memory.swap.max"), ("100663296", "33554432")),
            (("memory.soft_limit_in_bytes", "memory.low"), ("16777216", "16777216")),
            (("cpu.shares", "cpu.weight"), ("512", "59")),
            (("cpu.cfs_quota_us", "cpu.max"), ("50000", "50000 200000")),
            (("cpu.cfs_period_us", "cpu.max"), ("200000", "50000 200000")),
            (("cpu.cfs_burst_us", "cpu.max.burst"), ("10000", "10000")),
            (("cpuset.cpus", "cpuset.cpus"), ("0", "0")),
            (("cpuset.mems", "cpuset.mems"), ("0", "0")),
            (("pids.max", "pids.max"), ("50", "50")),
            (("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), ("4194304", "4194304")),
        ],
    );
    if throttle {
        check(
            &id,
            &[
                (("blkio.throttle.read_bps_device", "io.max"), (&rate(1 << 20), &io)),
                (("blkio.throttle.write_bps_device", "io.max"), (&rate(2 << 20), &io)),
                (("blkio.throttle.read_iops_device", "io.max"), (&rate(100), &io)),
                (("blkio.throttle.write_iops_device", "io.max"), (&rate(200), &io)),
            ],
        );
    }
}

#[test]
fn update_changes_every_limit_and_keeps_the_others() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
        config["linux"]["resources"]["cpu"] = json!({"quota": 50_000, "period": 100_000});
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    bundle.good(&["update", "--cpu-share", "2048", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--memory", "48m", &id]);
    bundle.good(&["update", "--memory-reservation", "8m", "--cpu-quota", "30000", &id]);
    let rows = [
        (("memory.limit_in_bytes", "memory.max"), ("50331648", "50331648")),
        (("memory.soft_limit_in_bytes", "memory.low"), ("8388608", "8388608")),
        (("cpu.shares", "cpu.weight"), ("2048", "174")),
        (("cpu.cfs_quota_us", "cpu.max"), ("30000", "30000 100000")),
        (("cpuset.cpus", "cpuset.cpus"), ("0", "0")),
        (("cpuset.mems", "cpuset.mems"), ("0", "0")),
        (("pids.max", "pids.max"), ("77", "77")),
    ];
    check(&id, &rows);
    let resources = bundle.path().join("resources");
    let document =
        json!({"memory": {"limit": 40 << 20}, "cpu": {"period": 50_000, "quota": -1}, "pids": {"limit": -1}});
    fs::write(&resources, document.to_string()).unwrap();
    bundle.good(&["update", "--resources", resources.to_str().unwrap(), &id]);
    let rows = [
        (("memory.limit_in_bytes", "memory.max"), ("41943040", "41943040")),
        (("cpu.cfs_quota_us", "cpu.max"), ("-1", "max 50000")),
        (("pids.max", "pids.max"), ("max", "max")),
    ];
    check(&id, &rows);
    if file(&id, ("cpu.idle", "cpu.idle")).is_some() {
        bundle.good(&["update", "--cpu-idle", "1", &id]);
        assert_eq!(read(&id, ("cpu.idle", "cpu.idle")), "1");
        bundle.good(&["update", "--cpu-idle", "0", &id]);
        assert_eq!(read(&id, ("cpu.idle", "cpu.idle")), "0");
    }
    // The kernel refuses a burst above the quota, so the order of the writes matters in both directions.
    if file(&id, ("cpu.cfs_burst_us", "cpu.max.burst")).is_some() {
        for (quota, burst) in [("20000", "20000"), ("50000", "50000"), ("10000", "10000")] {
            bundle.good(&["update", "--cpu-quota", quota, "--cpu-burst", burst, &id]);
            assert_eq!(read(&id, ("cpu.cfs_burst_us", "cpu.max.burst")), burst);
        }
    }
}

#[test]
fn unified_sets_the_files_of_cgroup_v2() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["linux"]["resources"]["unified"] =
            json!({"memory.high": "50331648", "memory.min": "4096", "memory.oom.group": "1", "pids.max": "33"});
    });
    let id = bundle.id();
    if !unified() {
        let (_, text) = bundle.bad(&["run", "--detach", &id]);
        assert!(text.contains("invalid configuration: cannot use unified on cgroup v1"), "{text}");
        return;
    }
    bundle.good(&["run", "--detach", &id]);
    for (name, value) in
        [("memory.high", "50331648"), ("memory.min", "4096"), ("memory.oom.group", "1"), ("pids.max", "33")]
    {
        assert_eq!(read(&id, ("", name)), value, "{name}");
    }
    let wrong = Bundle::with(&["true"], |config| {
        config["linux"]["resources"]["unified"] = json!({"nothing.max": "1"});
    });
    let (_, text) = wrong.bad(&["run", &wrong.id()]);
    assert!(text.contains("can't be set: controller \\\"nothing\\\" not available"), "{text}");
}

#[test]
fn only_allowed_devices_can_be_opened() {
    let script = "for device in zero kmsg; do if true </dev/$device; then echo $device; else echo no; fi; done; echo x >/dev/null";
    for (allowed, wanted) in [(false, "zero\nno\n"), (true, "zero\nkmsg\n")] {
        let bundle = Bundle::with(&["sh", "-c", script], |config| {
            config["linux"]["devices"] =
                json!([{"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11, "fileMode": 0o666}]);
            let mut rules = vec![json!({"allow": false, "access": "rwm"})];
            if allowed {
                rules.push(json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}));
            }
            config["linux"]["resources"]["devices"] = json!(rules);
            // The kernel requires this to open /dev/kmsg.
            for set in ["bounding", "permitted", "effective"] {
                config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYSLOG"));
            }
        });
        let output = bundle.tool(&["run", &bundle.id()]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), wanted, "{output:?}");
    }
}

#[test]
fn running_out_of_memory_is_an_event() {
    let script =
        "while ! test -e /tmp/go; do sleep 0.1; done; sh -c 'a=aaaaaaaa; while :; do a=$a$a; done'; sleep 1000";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    });
    let id = bundle.id();
    let probe = bundle.tool(&["run", "--detach", &id]);
    if !probe.status.success() {
        // The kernel may lack swap accounting, and then has no limit for it.
        let text = String::from_utf8_lossy(&probe.stderr);
        assert!(text.contains("memsw") || text.contains("swap"), "{text}");
        let mut config = bundle.config.clone();
        config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20});
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        bundle.good(&["run", "--detach", &id]);
    }
    let mut events = bundle.command(&["events", "--interval", "100ms", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["id"]), (&json!("stats"), &json!(id)));
    assert_eq!(first["data"]["memory"]["usage"]["limit"], json!(16 << 20));
    fs::write(bundle.rootfs().join("tmp/go"), "").unwrap();
    let oom = lines.map_while(Result::ok).find(|line| line.contains("\"type\":\"oom\""));
    assert!(oom.is_some());
    events.kill().unwrap();
    events.wait().unwrap();
}

#[test]
fn exec_joins_a_sub_cgroup() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let group = if unified() {
        cgroups(&id).remove(0)
    } else {
        file(&id, ("pids.max", "")).unwrap().parent().unwrap().to_owned()
    };
    fs::create_dir(group.join("below")).unwrap();
    let argument = if unified() { "below" } else { "pids:below" };
    let text = bundle.good(&["exec", "--cgroup", argument, &id, "cat", "/proc/self/cgroup"]);
    let own = text.lines().find(|line| if unified() { line.starts_with("0::") } else { line.contains(":pids:") });
    assert!(own.is_some_and(|line| line.ends_with("/below")), "{text}");
    let (status, text) = bundle.bad(&["exec", "--cgroup", "nothing", &id, "true"]);
    assert_eq!(status, 255);
    assert!(text.contains("no such file or directory"), "{text}");
    let list = bundle.good(&["ps", "--format", "json", &id]);
    assert!(serde_json::from_str::<Vec<u32>>(&list).is_ok_and(|pids| pids.len() == 1), "{list}");
}

#[test]
fn a_paused_container_stands_still() {
    let bundle = Bundle::with(&["sh", "-c", "while :; do echo x >>/tmp/count; sleep 0.01; done"], |config| {
        config["root"]["readonly"] = json!(false);
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let size = || fs::metadata(bundle.rootfs().join("tmp/count")).map_or(0, |file| file.len());
    eventually("the first line", || size() > 0);
    bundle.good(&["pause", &id]);
    let state = read(&id, ("freezer.state", "cgroup.freeze"));
    assert_eq!(state, if unified() { "1" } else { "FROZEN" });
    let before = size();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(size(), before);
    bundle.good(&["resume", &id]);
    eventually("another line", || size() > before);
}

#[test]
fn groups_of_cgroup_2_are_in_one_that_keeps_their_controllers() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    let tool = |arguments: &[&str]| {
        let script = "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\" >out 2>&1";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_run-tool"), "--root", "state"]);
        let status = command.args(arguments).current_dir(bundle.path()).stdin(Stdio::null()).status();
        let out = fs::read_to_string(bundle.path().join("out")).unwrap();
        assert!(status.unwrap().success(), "{arguments:?}: {out}");
        out
    };
    tool(&["run", "--detach", &id]);
    let state: Value = serde_json::from_str(&tool(&["state", &id])).unwrap();
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    tool(&["delete", "--force", &id]);
    assert!(
        groups.lines().any(|line| line.starts_with("0::") && line.ends_with(&format!("/run-tool/{id}"))),
        "{groups}"
    );
}
