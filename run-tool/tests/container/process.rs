//! The settings of the process itself (`process`, `linux`), verified from inside and in the host's `/proc`, for the first program
//! and for exec.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A container that sleeps, and the id of its process.
fn sleeping(change: impl FnOnce(&mut Value)) -> (Bundle, String) {
    let bundle = Bundle::with(&["sleep", "1000"], change);
    bundle.good(&["run", "--detach", "--pid-file", "pid", &bundle.id()]);
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    (bundle, pid)
}

/// The output of a command on the host.
fn host(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn namespace(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": kind}));
}

/// Whether this process has a capability, given its number.
fn capable(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    u64::from_str_radix(set, 16).unwrap() & 1 << bit != 0
}

/// The real-time budget of the root group of cgroup v1, if the kernel has real-time group scheduling.
fn real_time() -> Option<i64> {
    let text = fs::read_to_string("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").ok()?;
    Some(text.trim().parse().unwrap())
}

fn niceness(process: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name before it can contain spaces.
    stat.rsplit_once(')').unwrap().1.split(' ').nth(17).unwrap().to_owned()
}

#[test]
fn every_scheduler_is_applied() {
    // Policies without a niceness keep the caller's.
    let own = niceness("self");
    let own = own.as_str();
    // Policy and priority as chrt prints them, niceness from /proc.
    for (scheduler, words, nice) in [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), "SCHED_OTHER/0", "7"),
        (json!({"policy": "SCHED_OTHER", "nice": -3}), "SCHED_OTHER/0", "-3"),
        (json!({"policy": "SCHED_BATCH", "nice": 5}), "SCHED_BATCH/0", "5"),
        (json!({"policy": "SCHED_IDLE"}), "SCHED_IDLE/0", own),
        (json!({"policy": "SCHED_FIFO", "priority": 2}), "SCHED_FIFO/2", own),
        (json!({"policy": "SCHED_RR", "priority": 9}), "SCHED_RR/9", own),
        (
            json!({"policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            "SCHED_RR|SCHED_RESET_ON_FORK/1",
            own,
        ),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 50_000_000,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            "SCHED_DEADLINE|SCHED_RESET_ON_FORK/0/1000000/20000000/50000000",
            own,
        ),
    ] {
        let real_time =
            if words.starts_with("SCHED_FIFO") || words.starts_with("SCHED_RR") { real_time() } else { None };
        let schedule = |config: &mut Value| config["process"]["scheduler"] = scheduler.clone();
        if real_time.is_some() {
            // A new group has no real-time budget.
            let bundle = Bundle::with(&["true"], schedule);
            let (_, text) = bundle.bad(&["run", &bundle.id()]);
            assert!(text.contains("error setting scheduler: operation not permitted"), "{scheduler}: {text}");
        }
        if real_time == Some(0) {
            continue;
        }
        let (_bundle, pid) = sleeping(|config| {
            schedule(config);
            if real_time.is_some() {
                config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 5000, "realtimePeriod": 1_000_000});
            }
        });
        let text = host(&["chrt", "--pid", &pid]);
        let values: Vec<&str> =
            text.lines().filter_map(|line| line.rsplit_once(": ")).map(|(_, value)| value).collect();
        assert_eq!(values.join("/"), words, "{scheduler} {text}");
        assert_eq!(niceness(&pid), nice, "{scheduler}");
    }
}

#[test]
fn invalid_schedulers_are_refused_in_runcs_words() {
    for (scheduler, words) in [
        (json!({"policy": "SCHED_OTHER", "nice": 20}), "invalid scheduler.nice: 20"),
        (json!({"policy": "SCHED_OTHER", "priority": 1}), "scheduler.priority can only be specified for"),
        (json!({"policy": "SCHED_RR", "priority": 1, "runtime": 5}), "can only be specified for SchedDeadline policy"),
        (json!({"policy": "SCHED_FIFO", "priority": 1000}), "error setting scheduler: invalid argument"),
    ] {
        let bundle = Bundle::with(&["true"], |config| config["process"]["scheduler"] = scheduler.clone());
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains(words), "{scheduler}: {text}");
    }
}

#[test]
fn every_io_class_is_applied() {
    for (class, priority, words) in [
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let (bundle, pid) =
            sleeping(|config| config["process"]["ioPriority"] = json!({"class": class, "priority": priority}));
        assert_eq!(host(&["ionice", "-p", &pid]).trim(), words);
        assert!(bundle.good(&["exec", &bundle.id(), "sh", "-c", "busybox ionice -p $$"]).contains(words));
    }
    let bundle = Bundle::with(&["true"], |config| {
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    });
    assert!(bundle.bad(&["run", &bundle.id()]).1.contains("invalid ioPriority.Priority: 8"));
}

#[test]
fn a_personality_changes_the_machines_name() {
    for (domain, kernel, machine) in [("LINUX32", "00000008\n", "i686\n"), ("LINUX", "00000000\n", "x86_64\n")] {
        let machine = if cfg!(target_arch = "x86_64") { machine } else { continue };
        let (bundle, pid) = sleeping(|config| config["linux"]["personality"] = json!({"domain": domain}));
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/personality")).unwrap(), kernel);
        assert_eq!(bundle.good(&["exec", &bundle.id(), "busybox", "uname", "-m"]), machine);
    }
    let bundle = Bundle::with(&["true"], |config| config["linux"]["personality"] = json!({"domain": "BSD"}));
    assert!(bundle.bad(&["run", &bundle.id()]).1.contains("invalid personality domain BSD"));
}

#[test]
fn every_memory_policy_is_applied() {
    for (policy, words) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}), "interleave=relative:0"),
    ] {
        let weighted = std::path::Path::new("/sys/kernel/mm/mempolicy/weighted_interleave").exists();
        let known =
            std::path::Path::new("/proc/self/numa_maps").exists() && (weighted || !words.starts_with("weighted"));
        if !known {
            let bundle = Bundle::with(&["true"], |config| config["linux"]["memoryPolicy"] = policy.clone());
            assert!(bundle.bad(&["run", &bundle.id()]).1.contains("set_mempolicy: "), "{policy}");
            continue;
        }
        let (bundle, pid) = sleeping(|config| config["linux"]["memoryPolicy"] = policy.clone());
        // The line is ADDRESS POLICY ..., and the policy can contain spaces.
        let check = |maps: &str| {
            let (_, rest) = maps.lines().next().unwrap().split_once(' ').unwrap();
            assert!(rest.starts_with(words), "{policy}: {rest}");
        };
        check(&fs::read_to_string(format!("/proc/{pid}/numa_maps")).unwrap());
        check(&bundle.good(&["exec", &bundle.id(), "cat", "/proc/self/numa_maps"]));
    }
}

#[test]
fn invalid_memory_policies_are_refused() {
    for (policy, words) in [
        (json!({"mode": "MPOL_NONE"}), "invalid memory policy mode"),
        (json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "memory policy mode requires 0 nodes but got 1"),
        (json!({"mode": "MPOL_BIND"}), "memory policy mode requires at least one node but got 0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}), "invalid memory policy flag"),
        (json!({"mode": "MPOL_BIND", "nodes": "a"}), "invalid memory policy nodes"),
        // No machine has this node.
        (json!({"mode": "MPOL_BIND", "nodes": "1000"}), "set_mempolicy: "),
    ] {
        let bundle = Bundle::with(&["true"], |config| config["linux"]["memoryPolicy"] = policy.clone());
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains(words), "{policy}: {text}");
    }
}

#[test]
fn exec_runs_on_the_cpus_of_exec_cpu_affinity() {
    let show = &["grep", "Cpus_allowed_list", "/proc/self/status"];
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap().to_owned();
    let first: String = own.chars().take_while(char::is_ascii_digit).collect();
    let last: String = own.rsplit([',', '-']).next().unwrap().to_owned();
    let (bundle, _) =
        sleeping(|config| config["process"]["execCPUAffinity"] = json!({"initial": first, "final": last}));
    let id = bundle.id();
    let exec = |arguments: &[&str]| bundle.good(&[&["exec"], arguments].concat());
    assert_eq!(exec(&[&[id.as_str()], &show[..]].concat()), format!("Cpus_allowed_list:\t{last}\n"));
    // The initial CPU is visible only for a moment, but the log names it.
    let log = bundle.path().join("log");
    for _ in 0..10 {
        bundle.good(&["--debug", "--log", log.to_str().unwrap(), "exec", &id, "true"]);
    }
    let told = format!(": affinity: {:#x}\"", 1_u64 << first.parse::<u32>().unwrap());
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().filter(|line| line.ends_with(&told)).count(), 10, "{told}: {log}");
    // The setting does not apply to the container's init process.
    assert_eq!(exec(&[&id, "grep", "Cpus_allowed_list", "/proc/1/status"]), format!("Cpus_allowed_list:\t{own}\n"));
    // The document of --process has a setting of its own.
    for (affinity, expected) in [
        (json!({"initial": last}), [&last, &own]),
        (json!({"final": first}), [&first; 2]),
        (json!({"initial": last, "final": first}), [&first; 2]),
    ] {
        let process = json!({"args": show, "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity});
        fs::write(bundle.path().join("process"), process.to_string()).unwrap();
        // Before Linux 6.2 the initial CPUs are lost when the process joins the container's cpuset.
        let shown = exec(&["--process", "process", &id]);
        assert!(expected.iter().any(|list| shown == format!("Cpus_allowed_list:\t{list}\n")), "{affinity}: {shown}");
    }
    // Without the setting the process may use every CPU, even if its caller may not.
    let (bundle, _) = sleeping(|_| ());
    let mut bound = Command::new("taskset");
    bound.args(["-c", &first]).arg(env!("CARGO_BIN_EXE_run-tool")).arg("--root").arg(bundle.path().join("state"));
    let output = bound.args(["exec", &bundle.id()]).args(show).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("Cpus_allowed_list:\t{own}\n"));
}

#[test]
fn the_clocks_of_a_time_namespace_have_their_offsets() {
    let (bundle, pid) = sleeping(|config| {
        namespace(config, "time");
        config["linux"]["timeOffsets"] = json!({
            "monotonic": {"secs": 7881, "nanosecs": 2_718_281},
            "boottime": {"secs": 1_337_000, "nanosecs": 3_141_519}
        });
    });
    let offsets = fs::read_to_string(format!("/proc/{pid}/timens_offsets")).unwrap();
    let words: Vec<&str> = offsets.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "7881", "2718281", "boottime", "1337000", "3141519"]);
    let uptime = |text: &str| text.split(['.', ' ']).next().unwrap().parse::<u64>().unwrap();
    let before = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    let inside = uptime(&bundle.good(&["exec", &bundle.id(), "cat", "/proc/uptime"]));
    let after = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    assert!((before + 1_337_000..=after + 1_337_001).contains(&inside), "{before} {inside} {after}");
    let bundle = Bundle::with(&["true"], |config| {
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1, "nanosecs": 0}});
    });
    let (_, text) = bundle.bad(&["run", &bundle.id()]);
    assert!(text.contains("time namespace offsets specified, but time namespace isn't enabled"), "{text}");
}

/// Receives a terminal at a console socket.
fn receive(listener: &UnixListener) -> OwnedFd {
    let (connection, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let mut bytes = [std::io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(&connection, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut messages = control.drain();
    let Some(RecvAncillaryMessage::ScmRights(mut fds)) = messages.next() else { panic!("no descriptor") };
    fds.next().unwrap()
}

#[test]
fn the_terminal_has_the_configured_size() {
    let (bundle, _) = sleeping(|_| ());
    let id = bundle.id();
    let listener = UnixListener::bind(bundle.path().join("console")).unwrap();
    let process = json!({"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "terminal": true,
        "consoleSize": {"height": 21, "width": 77}});
    fs::write(bundle.path().join("process"), process.to_string()).unwrap();
    bundle.good(&["exec", "--detach", "--console-socket", "console", "--process", "process", &id]);
    let size = |master: &OwnedFd| {
        let size = rustix::termios::tcgetwinsize(master).unwrap();
        (size.ws_row, size.ws_col)
    };
    assert_eq!(size(&receive(&listener)), (21, 77));
    bundle.good(&["delete", "--force", &id]);
    for (console, expected) in [
        (json!({"height": 33, "width": 111}), (33, 111)),
        // A zero means that no size is set.
        (json!({"height": 0, "width": 111}), (0, 0)),
        (Value::Null, (0, 0)),
    ] {
        let bundle = Bundle::with(&["sleep", "1000"], |config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = console.clone();
        });
        let listener = UnixListener::bind(bundle.path().join("console")).unwrap();
        bundle.good(&["run", "--detach", "--console-socket", "console", &bundle.id()]);
        assert_eq!(size(&receive(&listener)), expected, "{console}");
    }
    let bundle = Bundle::with(&["true"], |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 1, "width": 70_000});
    });
    let _listener = UnixListener::bind(bundle.path().join("console")).unwrap();
    assert!(bundle.bad(&["run", "--detach", "--console-socket", "console", &bundle.id()]).1.contains("consoleSize"));
}

/// The optional fields of a mount in mountinfo, without the numbers of peer groups.
fn propagation(mounts: &str, place: &str) -> Option<String> {
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(place))?;
    let fields: Vec<&str> = line.split(' ').skip(6).take_while(|field| *field != "-").collect();
    Some(fields.iter().map(|field| field.split(':').next().unwrap()).collect::<Vec<_>>().join(" "))
}

#[test]
fn rootfs_propagation_is_applied() {
    // A mount is a slave only if the host's mount is shared.
    for (host, slave) in [("shared", "master"), ("private", "")] {
        for (name, expected) in [
            (Value::Null, slave),
            (json!("slave"), slave),
            (json!("rslave"), slave),
            (json!("private"), ""),
            (json!("rprivate"), ""),
            (json!("shared"), "shared"),
            (json!("rshared"), "shared"),
        ] {
            let bundle = Bundle::with(&["cat", "/proc/self/mountinfo"], |config| {
                config["linux"]["rootfsPropagation"] = name.clone();
            });
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", host, env!("CARGO_BIN_EXE_run-tool"), "--root"]);
            command.arg(bundle.path().join("state")).arg("run").arg(bundle.id()).current_dir(bundle.path());
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(propagation(&text, "/").as_deref(), Some(expected), "{name} {host} {output:?}");
        }
    }
    let bundle = Bundle::with(&["true"], |config| config["linux"]["rootfsPropagation"] = json!("sideways"));
    assert!(bundle.bad(&["run", &bundle.id()]).1.contains("rootfsPropagation=sideways is not supported"));
    // Mounts below a shared root do not propagate to the host.
    let script = "mount -t tmpfs none /tmp && grep -c ' /tmp ' /proc/self/mountinfo";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        config["linux"]["rootfsPropagation"] = json!("shared");
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
    });
    assert_eq!(bundle.good(&["run", &bundle.id()]), "1\n");
    let inside = bundle.rootfs();
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(inside.to_str().unwrap()));
}

#[test]
fn the_oom_score_is_applied() {
    const CAP_SYS_RESOURCE: u32 = 24;
    for score in [0, 1, 500, 1000] {
        let (bundle, pid) = sleeping(|config| config["process"]["oomScoreAdj"] = json!(score));
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap(), format!("{score}\n"));
        assert_eq!(bundle.good(&["exec", &bundle.id(), "cat", "/proc/self/oom_score_adj"]), format!("{score}\n"));
    }
    // Without the setting it is the caller's.
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let bundle = Bundle::with(&["cat", "/proc/self/oom_score_adj"], |config| {
        config["process"].as_object_mut().unwrap().remove("oomScoreAdj");
    });
    assert_eq!(bundle.good(&["run", &bundle.id()]), own);
    let bundle = Bundle::with(&["cat", "/proc/self/oom_score_adj"], |config| {
        config["process"]["oomScoreAdj"] = json!(-999);
    });
    if capable(CAP_SYS_RESOURCE) {
        assert_eq!(bundle.good(&["run", &bundle.id()]), "-999\n");
    } else {
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains("oom_score_adj: permission denied"), "{text}");
    }
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces_only() {
    let sysctls = [
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("net/ipv4/conf/lo/rp_filter", "1"),
        ("net.ipv4.ip_default_ttl", "65"),
        ("kernel.msgmax", "8193"),
        ("kernel.sem", "32001\t1024000001\t501\t32001"),
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "11"),
        ("kernel.domainname", "example.com"),
        ("user.max_net_namespaces", "7"),
    ];
    let path = |name: &str| format!("/proc/sys/{}", name.replace('.', "/"));
    let before: Vec<_> = sysctls.iter().map(|(name, _)| fs::read_to_string(path(name)).unwrap()).collect();
    let (bundle, _) = sleeping(|config| {
        namespace(config, "user");
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 65_536}]);
        config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
        config["linux"]["sysctl"] = sysctls.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    });
    for ((name, value), before) in sysctls.iter().zip(before) {
        let inside = bundle.good(&["exec", &bundle.id(), "cat", &path(name)]);
        assert_eq!(inside.trim(), *value, "{name}");
        assert_eq!(fs::read_to_string(path(name)).unwrap(), before, "{name} of the host");
    }
    for (name, value, words) in [
        ("net.core.no_such", "1", "no such file or directory"),
        ("net.ipv4.ip_forward", "many", "invalid argument"),
        ("kernel.hostname", "x", "conflicts with the OCI \\\"hostname\\\" field"),
        ("kernel.panic", "1", "is not in a separate kernel namespace"),
    ] {
        let bundle = Bundle::with(&["true"], |config| config["linux"]["sysctl"] = json!({name: value}));
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains(words), "{name}: {text}");
    }
}

#[test]
fn signals_that_the_caller_ignores_are_not_ignored_in_the_container() {
    let bundle = Bundle::new(&["grep", "SigIgn", "/proc/self/status"]);
    let ignoring = |arguments: &[&str]| {
        let tool = bundle.command(arguments);
        let mut command = Command::new("sh");
        // To a file: the container would keep a pipe open.
        command.args(["-c", r#"trap '' HUP INT QUIT USR1 PIPE ALRM TERM; exec "$0" "$@" >out"#]);
        command.arg(tool.get_program()).args(tool.get_args()).current_dir(bundle.path()).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
        fs::read_to_string(bundle.path().join("out")).unwrap()
    };
    let none = "SigIgn:\t0000000000000000\n";
    let id = bundle.id();
    assert_eq!(ignoring(&["run", &id]), none);
    let mut config = bundle.config.clone();
    config["process"]["args"] = json!(["sleep", "1000"]);
    fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    ignoring(&["create", &id]);
    ignoring(&["start", &id]);
    assert_eq!(bundle.good(&["exec", &id, "grep", "SigIgn", "/proc/1/status"]), none);
    assert_eq!(ignoring(&["exec", &id, "grep", "SigIgn", "/proc/self/status"]), none);
}
