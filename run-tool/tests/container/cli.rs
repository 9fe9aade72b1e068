//! Each command with a real container.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups, eventually};

#[test]
fn a_foreground_run_exits_with_the_status_and_leaves_nothing() {
    let bundle = Bundle::new(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let output = bundle.tool(&["run", &bundle.id()]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(bundle.good(&["list", "-q"]), "");
    assert_eq!(cgroups(&bundle.id()), Vec::<PathBuf>::new());
}

#[test]
fn help_has_the_name_by_which_the_program_was_called_and_a_section_of_global_options() {
    let bundle = Bundle::new(&["true"]);
    symlink(env!("CARGO_BIN_EXE_run-tool"), bundle.path().join("runc")).unwrap();
    let help = |arguments: &[&str]| {
        let output = Command::new("./runc").args(arguments).current_dir(bundle.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for arguments in
        [&["--help"][..], &["delete", "--help"], &["delete"], &["logs", "--help"], &["delete", "--nosuch", "x"]]
    {
        let text = help(arguments);
        let usage = text.lines().skip_while(|line| *line != "USAGE:").nth(1).unwrap();
        assert!(usage.starts_with("   runc "), "{arguments:?}: {text}");
        let (own, global) = text.split_once("Global options:\n").unwrap();
        assert!(!own.contains("--debug") && !own.contains("--rootless"), "{text}");
        assert!(global.contains("--debug") && global.contains("--rootless") && !global.contains("--force"), "{text}");
    }
    assert_eq!(help(&["delete", "-h"]), help(&["delete", "--help"]));
    assert!(!help(&["-h"]).contains("summary") && !help(&["delete", "-h"]).contains("summary"));
}

#[test]
fn the_status_of_a_killed_program_is_128_plus_the_signal() {
    let bundle = Bundle::new(&["sh", "-c", "kill -9 $$; sleep 1; exit 3"]);
    // PID 1 of a namespace ignores signals from itself, so a child does it.
    let bundle = Bundle::with(&["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], |_| drop(bundle));
    assert_eq!(bundle.tool(&["run", &bundle.id()]).status.code(), Some(143));
}

#[test]
fn signals_are_forwarded_to_the_program() {
    let bundle = Bundle::new(&["sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done"]);
    let mut child = bundle.command(&["run", &bundle.id()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut byte = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[test]
fn a_container_goes_from_created_to_running_to_stopped() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["create", "--pid-file", "pid", &id]);
    assert_eq!(bundle.status(), "created");
    let state: Value = serde_json::from_str(&bundle.good(&["state", &id])).unwrap();
    assert_eq!(state["pid"].to_string(), fs::read_to_string(bundle.path().join("pid")).unwrap());
    assert_eq!(state["bundle"], json!(bundle.path()));
    assert!(bundle.bad(&["create", &id]).1.contains("container with given ID already exists"));
    bundle.good(&["start", &id]);
    assert_eq!(bundle.status(), "running");
    assert!(bundle.bad(&["start", &id]).1.contains("cannot start an already running container"));
    assert!(bundle.bad(&["delete", &id]).1.contains("is not stopped: running"));
    assert!(bundle.good(&["ps", &id]).contains("sleep 1000"));
    let list = bundle.good(&["list"]);
    assert!(list.starts_with("ID ") && list.contains(&format!("{id} ")), "{list}");
    bundle.good(&["kill", &id, "KILL"]);
    bundle.wait_for("stopped");
    assert!(bundle.bad(&["kill", &id]).1.contains("container not running"));
    bundle.good(&["delete", &id]);
    assert!(bundle.bad(&["state", &id]).1.contains("container does not exist"));
    assert_eq!(cgroups(&id), Vec::<PathBuf>::new());
}

#[test]
fn an_error_is_a_json_record_for_engines() {
    let bundle = Bundle::new(&["true"]);
    let (status, text) = bundle.bad(&["--log", "log", "--log-format", "json", "state", "nobody"]);
    assert_eq!((status, text.as_str()), (1, "container does not exist\n"));
    let record: Value = serde_json::from_str(&fs::read_to_string(bundle.path().join("log")).unwrap()).unwrap();
    assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), ["level", "msg", "time"]);
    assert_eq!((record["level"].as_str(), record["msg"].as_str()), (Some("error"), Some("container does not exist")));
}

#[test]
fn a_missing_program_is_reported_in_the_words_that_engines_look_for() {
    for (program, words) in [
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let bundle = Bundle::new(&[program]);
        for verb in ["run", "create"] {
            let (status, text) = bundle.bad(&[verb, &bundle.id()]);
            assert_eq!(status, 1);
            assert!(
                text.contains("unable to start container process") && text.contains(&words.replace('"', "\\\"")),
                "{text}"
            );
        }
        assert_eq!(cgroups(&bundle.id()), Vec::<PathBuf>::new());
        assert_eq!(bundle.good(&["list", "-q"]), "");
    }
}

#[test]
fn exec_refuses_a_paused_container() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    bundle.good(&["pause", &id]);
    assert_eq!(bundle.status(), "paused");
    assert!(bundle.bad(&["exec", &id, "true"]).1.contains("cannot exec in a paused container"));
    bundle.good(&["resume", &id]);
    bundle.good(&["exec", &id, "true"]);
    bundle.good(&["pause", &id]);
    bundle.good(&["delete", "--force", &id]);
    assert_eq!(cgroups(&id), Vec::<PathBuf>::new());
}

#[test]
fn hooks_run_where_and_when_the_spec_requires() {
    let bundle = Bundle::with(&["sh", "-c", "echo start >>/log/order"], |config| {
        let hook = |name: &str, place: &str| {
            let script = format!(
                "read -r state; echo \"$state\" >{place}/{name}.json; readlink /proc/self/ns/mnt >{place}/{name}.ns; echo {name} >>{place}/order"
            );
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
        };
        config["root"]["readonly"] = json!(false);
        config["hooks"] = json!({
            "prestart": hook("prestart", "LOG"), "createRuntime": hook("createRuntime", "LOG"),
            "createContainer": hook("createContainer", "LOG"), "startContainer": hook("startContainer", "/log"),
            "poststart": hook("poststart", "LOG"), "poststop": hook("poststop", "LOG")
        });
    });
    let log = bundle.path().join("log");
    fs::create_dir(&log).unwrap();
    symlink("busybox", bundle.rootfs().join("bin/readlink")).unwrap();
    let mut config = bundle.config.clone();
    config["mounts"].as_array_mut().unwrap().push(json!({"destination": "/log", "source": &log, "options": ["bind"]}));
    let text = serde_json::to_string(&config).unwrap().replace("LOG", log.to_str().unwrap());
    fs::write(bundle.path().join("config.json"), text).unwrap();
    bundle.good(&["run", &bundle.id()]);
    let order = fs::read_to_string(log.join("order")).unwrap();
    let mut lines: Vec<&str> = order.lines().collect();
    // The program and the poststart hook run at the same time.
    lines.retain(|line| *line != "start");
    assert_eq!(lines, ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]);
    let read = |name: &str| fs::read_to_string(log.join(name)).unwrap();
    let state = |name: &str| -> Value { serde_json::from_str(&read(&format!("{name}.json"))).unwrap() };
    for (name, status) in [
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststop", "stopped"),
    ] {
        let state = state(name);
        assert_eq!(state["status"], json!(status), "{name}");
        assert_eq!(state["bundle"], json!(bundle.path()), "{name}");
    }
    assert!(state("createRuntime")["pid"].as_i64().unwrap() > 1);
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(read("createRuntime.ns").trim(), own.to_str().unwrap());
    assert_ne!(read("createContainer.ns").trim(), own.to_str().unwrap());
}

#[test]
fn a_failed_hook_is_reported_and_stops_the_container() {
    let bundle = Bundle::with(&["true"], |config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no network >&2; exit 1"]}]});
    });
    let (_, text) = bundle.bad(&["run", &bundle.id()]);
    assert!(
        text.contains("error running createRuntime hook #0: exit status 1") && text.contains("no network"),
        "{text}"
    );
    assert_eq!(cgroups(&bundle.id()), Vec::<PathBuf>::new());
}

#[test]
fn the_path_of_the_bundle_is_read_from_a_pipe_and_the_program_reads_the_rest() {
    let bundle = Bundle::new(&["cat"]);
    let mut child = bundle
        .command(&["run", "--bundle", "-", &bundle.id()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write!(child.stdin.take().unwrap(), "{}\nfor the program\n", bundle.path().display()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"for the program\n");
    let (_, text) = bundle.bad(&["run", "--bundle", "-", &bundle.id()]);
    assert!(text.contains("standard input has no line with the bundle's path"), "{text}");
}

#[test]
fn a_container_in_the_foreground_has_the_callers_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let bundle = Bundle::with(&["sh", "-c", "tty; stty size; read line; echo got $line; exit 4"], |config| {
        config["process"]["terminal"] = json!(true);
    });
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let before = rustix::termios::tcgetattr(&slave).unwrap();
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut child =
        bundle.command(&["run", &bundle.id()]).stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    let mut master = fs::File::from(master);
    let mut seen = String::new();
    let mut read_until = |words: &str| {
        let mut buffer = [0; 1024];
        while !seen.contains(words) {
            let count = master.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    read_until("33 99");
    let mut keyboard = master.try_clone().unwrap();
    keyboard.write_all(b"hello\r").unwrap();
    let mut buffer = [0; 1024];
    while !seen.contains("got hello") {
        let count = master.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(seen.starts_with("/dev/pts/0\r\n") || seen.starts_with("/dev/pts/0\n"), "{seen:?}");
    let after = rustix::termios::tcgetattr(&slave).unwrap();
    assert_eq!(before.local_modes, after.local_modes, "the terminal's settings are restored");
}

#[test]
fn a_terminal_without_a_receiver_is_refused() {
    let bundle = Bundle::with(&["true"], |config| config["process"]["terminal"] = json!(true));
    let (_, text) = bundle.bad(&["run", "--detach", &bundle.id()]);
    assert!(text.contains("cannot allocate tty if runc will detach without setting console socket"), "{text}");
}

#[test]
fn a_user_namespace_maps_ids() {
    let bundle = Bundle::with(
        &["sh", "-c", "id -u; cat /proc/self/uid_map; echo x >/tmp/file; ls -ln /tmp/file; cat /shown/f"],
        |config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            config["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/shown", "source": "private/shown", "options": ["bind", "ro"]
            }));
        },
    );
    fs::create_dir(bundle.rootfs().join("shown")).unwrap();
    let private = bundle.path().join("private");
    fs::create_dir_all(private.join("shown")).unwrap();
    fs::write(private.join("shown/f"), "seen\n").unwrap();
    // The container's root has no access to it, but the configuration bind mounts it.
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let output = bundle.tool(&["run", &bundle.id()]);
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"0"), "{output:?}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert!(lines[2].contains(" 0 "), "{text}");
    assert_eq!(lines[3], "seen");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/file")).unwrap().uid(), 100_000);
}

#[test]
fn limits_are_set_and_updated() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 50});
        config["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 100_000});
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let read = |v1: &str, v2: &str| {
        let groups = cgroups(&id);
        let found = groups.iter().flat_map(|group| [group.join(v1), group.join(v2)]).find(|file| file.exists());
        fs::read_to_string(found.unwrap()).unwrap().trim().to_owned()
    };
    assert_eq!(read("memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(read("pids.max", "pids.max"), "50");
    bundle.good(&["update", "--memory", "32m", "--pids-limit", "20", "--cpu-quota", "20000", &id]);
    assert_eq!(read("memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    assert_eq!(read("pids.max", "pids.max"), "20");
    let event: Value = serde_json::from_str(&bundle.good(&["events", "--stats", &id])).unwrap();
    assert_eq!((event["type"].as_str(), event["data"]["pids"]["limit"].as_u64()), (Some("stats"), Some(20)));
    assert!(bundle.bad(&["update", "--memory", "x", &id]).1.contains("invalid value for memory"));
}

#[test]
fn a_health_check_runs_in_the_container() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        let check =
            json!({"Test": ["CMD-SHELL", "test -e /tmp/well || { echo ill; exit 1; }"], "Retries": 1}).to_string();
        config["annotations"] = json!({"org.oci-tools.healthcheck": check});
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let output = bundle.tool(&["healthcheck", &id]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"unhealthy\n"[..]));
    fs::write(bundle.rootfs().join("tmp/well"), "").unwrap();
    assert_eq!(bundle.good(&["healthcheck", &id]), "healthy\n");
    let shown: Value = serde_json::from_str(&bundle.good(&["healthcheck", "--show", &id])).unwrap();
    assert_eq!((&shown["Status"], &shown["Log"][0]["Output"]), (&json!("healthy"), &json!("ill\n")));
}

#[test]
fn delete_force_cleans_up_after_an_interrupted_create() {
    for pause in [0, 2, 4, 6, 8, 12, 16, 24] {
        let bundle = Bundle::new(&["sleep", "1000"]);
        let id = bundle.id();
        let mut child = bundle.command(&["create", &id]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let _ = child.kill();
        child.wait().unwrap();
        bundle.good(&["delete", "--force", &id]);
        eventually("no cgroup left", || cgroups(&id).is_empty());
        assert!(!bundle.path().join("state").join(&id).exists());
    }
}

#[test]
fn spec_does_not_overwrite() {
    let bundle = Bundle::new(&["true"]);
    assert!(bundle.bad(&["spec"]).1.contains("File config.json exists. Remove it first"));
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    bundle.good(&["spec"]);
    let text = fs::read_to_string(bundle.path().join("config.json")).unwrap();
    assert_eq!(text.contains("\"type\": \"cgroup\"\n\t\t\t}"), Path::new("/sys/fs/cgroup/cgroup.controllers").exists());
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    bundle.good(&["spec", "--rootless"]);
    let config: Value = serde_json::from_slice(&fs::read(bundle.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], json!(0));
}

#[test]
fn invalid_ids_are_refused() {
    let bundle = Bundle::new(&["true"]);
    for name in ["../x", "a/b", "", ".."] {
        let (_, text) = bundle.bad(&["run", name]);
        assert!(
            text.contains("invalid container ID format") || text.contains("container id cannot be empty"),
            "{text}"
        );
    }
}

#[test]
fn without_systemd_its_cgroup_driver_is_refused_in_runcs_words() {
    let bundle = Bundle::with(&["true"], |config| config["linux"]["cgroupsPath"] = json!("/not/a/unit"));
    let (status, text) = bundle.bad(&["--systemd-cgroup", "run", &bundle.id()]);
    assert_eq!(status, 1);
    let words = if Path::new("/run/systemd/system").exists() {
        "expected cgroupsPath to be of format \\\"slice:prefix:name\\\" for systemd cgroups"
    } else {
        "systemd cgroup flag passed, but systemd support for managing cgroups is not available"
    };
    assert!(text.contains(words), "{text}");
}

#[test]
fn errors_of_commands_that_runc_lacks_are_one_line_that_names_the_next_command() {
    let bundle = Bundle::new(&["true"]);
    for (words, status, line) in [
        (&["logs", "missing"][..], 1, "run-tool: missing: container does not exist (run-tool list)\n"),
        (&["wait", "missing"], 1, "run-tool: missing: container does not exist (run-tool list)\n"),
        (&["stop"], 2, "run-tool: stop: missing <ID>... (run-tool stop --help)\n"),
        (&["attach", "--nope", "x"], 2, "run-tool: attach: unexpected argument '--nope' (run-tool attach --help)\n"),
    ] {
        let (found, said) = bundle.bad(words);
        assert_eq!((found, said.as_str()), (status, line), "{words:?}");
    }
}

#[test]
fn global_options_may_follow_the_command() {
    let bundle = Bundle::new(&["true"]);
    let log = bundle.path().join("log");
    let (_, said) = bundle.bad(&["state", "--log", log.to_str().unwrap(), "--log-format", "json", "missing"]);
    assert_eq!(said, "container does not exist\n");
    assert!(fs::read_to_string(&log).unwrap().starts_with("{\"level\":\"error\",\"msg\":\"container does not exist\""));
    assert!(bundle.bad(&["run", "--rootless", "maybe", "x"]).1.contains("strconv.ParseBool: parsing"));
    bundle.good(&["run", "--rootless", "true", &bundle.id()]);
    // `spec` has an option of the same name.
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    bundle.good(&["spec", "--rootless"]);
    assert!(fs::read_to_string(bundle.path().join("config.json")).unwrap().contains("uidMappings"));
    let global = ["--debug", "--log", "--log-format", "--root", "--systemd-cgroup"];
    for command in ["checkpoint", "exec", "restore", "run", "update"] {
        let help = bundle.good(&[command, "--help"]);
        assert!(global.iter().all(|option| help.contains(option)), "{command}: {help}");
    }
}

#[test]
fn intel_rdt_is_refused_in_runcs_words_where_it_is_not_mounted() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounts.contains(" - resctrl ") {
        let bundle = Bundle::with(&["true"], |config| config["linux"]["intelRdt"] = json!({"closID": ".."}));
        let (_, error) = bundle.bad(&["run", &bundle.id()]);
        assert!(error.contains("invalid intelRdt.ClosID"), "{error}");
        return;
    }
    let bundle = Bundle::with(&["true"], |config| config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=f"}));
    let (_, error) = bundle.bad(&["run", &bundle.id()]);
    assert!(error.contains("intelRdt is specified in config, but Intel RDT is not enabled"), "{error}");
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let (_, error) = bundle.bad(&["update", "--l3-cache-schema", "L3:0=f", &id]);
    assert!(error.contains("Intel RDT/CAT: l3 cache schema is not enabled"), "{error}");
    let (_, error) = bundle.bad(&["update", "--mem-bw-schema", "MB:0=20", &id]);
    assert!(error.contains("Intel RDT/MBA: memory bandwidth schema is not enabled"), "{error}");
    let stats = bundle.good(&["events", "--stats", &id]);
    assert!(stats.contains("\"intel_rdt\":{}"), "{stats}");
    assert!(!bundle.good(&["features"]).contains("\"intelRdt\":{\"enabled\":false"));
}

#[test]
fn a_command_that_fails_leaves_no_root_behind() {
    let bundle = Bundle::new(&["true"]);
    assert!(bundle.bad(&["exec", &bundle.id(), "true"]).1.contains("container does not exist"));
    assert!(bundle.bad(&["create", "--bundle", "/nonexistent", &bundle.id()]).1.contains("no such file or directory"));
    assert!(!bundle.path().join("state").exists());
}

#[test]
fn a_shell_is_offered_the_ids_of_containers_in_the_default_root() {
    let script = r#"
mount -t tmpfs none /run && "$0" __complete 2 -- run-tool state w && ls /run
mkdir -p /run/run-tool/web /run/run-tool/db /run/run-tool/~seccomp
"$0" __complete 2 -- run-tool state w; "$0" __complete 2 -- run-tool state '~'"#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_run-tool")])
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "web\n", "{output:?}");
}
