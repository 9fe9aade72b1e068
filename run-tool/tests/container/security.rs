//! Attacks on the host by an image, a container or its configuration, each stopped by a defence. Most of these tests have been seen to
//! fail without that defence.

mod labels;
mod mounts;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, eventually};

/// Adds an entry to `mounts`.
fn mount(config: &mut Value, entry: Value) {
    config["mounts"].as_array_mut().unwrap().push(entry);
}

/// Removes the mounts at or below a path.
fn unmount(config: &mut Value, place: &str) {
    let below = |entry: &Value| Path::new(entry["destination"].as_str().unwrap()).starts_with(place);
    config["mounts"].as_array_mut().unwrap().retain(|entry| !below(entry));
}

fn all_capabilities(config: &mut Value) {
    let names = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_MKNOD"]);
    config["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names});
}

/// Compiles C code to a static program, because the bundle has no libraries.
fn compile(code: &str, to: &Path) {
    let source = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
    fs::write(source.path(), code).unwrap();
    let made = Command::new("gcc").args(["-static", "-o"]).args([to, source.path()]).status().unwrap();
    assert!(made.success());
}

/// Copies run-tool by way of another process: a child of another test could inherit the open file, and execve fails as long as a file
/// is open for writing.
fn copy_tool(to: &Path) {
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_run-tool")).arg(to).status().unwrap().success());
}

fn user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
}

#[test]
fn what_enters_a_container_cannot_be_written_to_however_it_is_called() {
    // In the second line the first word that is also a command's name is not the command.
    for options in [&[][..], &["--log", "list"]] {
        let bundle = Bundle::new(&["true"]);
        assert!(!bundle.path().join("state").exists());
        bundle.good(&[options, &["create", &bundle.id()]].concat());
        let state: Value = serde_json::from_str(&bundle.good(&["state", &bundle.id()])).unwrap();
        let exe = format!("/proc/{}/exe", state["pid"]);
        // A copy in memory is no longer the host's file. A file that is only being executed would be refused with ETXTBSY.
        if !fs::read_link(&exe).unwrap().starts_with("/memfd:run-tool (deleted)") {
            let refused = fs::OpenOptions::new().write(true).open(&exe).unwrap_err().raw_os_error();
            assert_eq!(refused, Some(libc::EROFS), "{options:?}");
        }
        bundle.good(&["delete", "--force", &bundle.id()]);
    }
}

#[test]
fn exec_has_every_restriction_of_the_first_program() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7], "umask": 0o77});
        config["process"]["cwd"] = json!("/tmp");
        config["process"]["noNewPrivileges"] = json!(true);
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 333, "hard": 444}]);
        config["process"]["oomScoreAdj"] = json!(300);
        config["process"]["env"].as_array_mut().unwrap().push(json!("MARK=here"));
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 121}]
        });
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let script = "id; pwd; echo $MARK; umask; ulimit -n; cat /proc/self/oom_score_adj; \
        grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' /proc/self/status";
    let exec = bundle.good(&["exec", &id, "sh", "-c", script]);
    let lines: Vec<&str> = exec.lines().collect();
    assert_eq!(lines[0], "uid=1000(user) gid=1000 groups=7");
    assert_eq!(lines[1..6], ["/tmp", "here", "0077", "333", "300"], "{exec}");
    // The user is not root, so execve has cleared the effective capabilities.
    assert_eq!(lines[6..], ["CapEff:\t0000000000000000", "CapBnd:\t0000000020000420", "NoNewPrivs:\t1", "Seccomp:\t2"]);
    let cwd = bundle.good(&[
        "exec",
        "--cwd",
        "/etc",
        "--user",
        "0:0",
        "--env",
        "A=b",
        &id,
        "sh",
        "-c",
        "pwd; id -u; echo $A",
    ]);
    assert_eq!(cwd, "/etc\n0\nb\n");
    assert_eq!(bundle.bad(&["exec", &id, "sh", "-c", "exit 5"]).0, 5);
    let (status, text) = bundle.bad(&["exec", &id, "/nosuch"]);
    assert_eq!(status, 255);
    assert!(text.contains("exec failed: unable to start container process: exec: \\\"/nosuch\\\""), "{text}");
}

#[test]
fn the_container_inherits_no_descriptor_of_the_caller() {
    let bundle = Bundle::new(&["sh", "-c", "ls /proc/$$/fd; true"]);
    // A descriptor of the caller that is not close-on-exec.
    let host = fs::File::open("/etc/hostname").unwrap();
    let kept = rustix::io::fcntl_dupfd_cloexec(&host, 20).unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    let output = bundle.tool(&["run", &bundle.id()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n");
}

/// The profile counts for run-tool too, once it is installed. What runc does not call then, it need not allow.
#[test]
fn a_profile_without_the_calls_of_run_tools_own_lets_the_program_start() {
    for no_new_privileges in [false, true] {
        for call in [
            "faccessat2",
            "rt_sigprocmask",
            "rt_sigaction",
            "setresuid",
            "setresgid",
            "statx",
            "close_range",
            "sendto",
            "sendmsg",
            "recvmsg",
            "fchownat",
            "prctl",
        ] {
            // Without no_new_privs the capabilities are set under the filter, and by runc too.
            if call == "prctl" && !no_new_privileges {
                continue;
            }
            let bundle = Bundle::with(&["true"], |config| {
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
            });
            let id = bundle.id();
            let output = bundle.tool(&["run", &id]);
            assert!(output.status.success(), "{call} {no_new_privileges}: {output:?}");
            bundle.good(&["create", &id]);
            bundle.good(&["start", &id]);
        }
    }
}

#[test]
fn a_capability_that_cannot_be_had_is_warned_of() {
    let bundle = Bundle::with(&["grep", "CapPrm", "/proc/self/status"], |config| {
        let names = json!(["CAP_KILL", "CAP_CHOWN"]);
        config["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names});
    });
    // run-tool itself lacks one of them.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-chown", "--inh-caps", "-chown", env!("CARGO_BIN_EXE_run-tool")]);
    command.args(["--root", "state", "run", &bundle.id()]).current_dir(bundle.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "CapPrm:\t0000000000000020\n", "{output:?}");
    assert!(err.contains("ignoring unknown or unavailable capabilities: [CAP_CHOWN]"), "{err}");
}

#[test]
fn a_working_directory_outside_the_container_is_refused() {
    // CVE-2024-21626: the working directory is a descriptor that refers to the host.
    for number in 3..12 {
        let bundle =
            Bundle::with(&["true"], |config| config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}")));
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(
            text.contains("chdir to cwd") || text.contains("container breakout detected") || text.contains("mkdir"),
            "{text}"
        );
    }
}

#[test]
fn the_container_cannot_write_to_the_binary() {
    // CVE-2019-5736: a process of the container opens run-tool's binary through run-tool's process inside, and writes to it once
    // run-tool has ended. The hook has the capabilities that this takes, and its parent is that process.
    let script = "exec 3</proc/$PPID/exe; (sleep 1; echo x >>/proc/self/fd/3; echo done) 2>/log/result >>/log/result &";
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        let names = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
        config["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names});
        config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        let log = json!({"destination": "/log", "source": "log", "options": ["bind"]});
        config["mounts"].as_array_mut().unwrap().push(log);
    });
    fs::create_dir_all(bundle.path().join("log")).unwrap();
    // A copy that no other test executes.
    let tool = bundle.path().join("tool");
    copy_tool(&tool);
    let size = fs::metadata(&tool).unwrap().len();
    let status = Command::new(&tool)
        .args(["--root", "state", "run", "--detach", &bundle.id()])
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let result = || fs::read_to_string(bundle.path().join("log/result")).unwrap_or_default();
    eventually("the attack", || result().contains("done"));
    assert!(result().contains("Read-only file system") || result().contains("Operation not permitted"), "{}", result());
    assert_eq!(fs::metadata(&tool).unwrap().len(), size);
}

/// A copy of run-tool that a container opens and writes to once it is no longer executed (CVE-2019-5736).
struct Target {
    bundle: Bundle,
    tool: PathBuf,
}

/// Waits for a process of the runtime, opens its binary and lets it end. Until then the runtime blocks: its log is a fifo without a
/// reader.
const ATTACK: &str = r#"
while :; do
    for process in /proc/[0-9]*; do
        case $(readlink $process/exe) in "" | /bin/busybox) continue ;; esac
        exec 9<$process/exe || continue
        cat /held >/dev/null
        sleep 1
        { echo x >>/proc/self/fd/9; echo done; } >>/log/result 2>&1
        exec sleep 1000
    done
done
"#;

impl Target {
    /// A bundle whose image contains the attack, and a copy of run-tool.
    fn new() -> Self {
        let bundle = Bundle::with(&["/bin/sh", "/attack"], |config| {
            all_capabilities(config);
            mount(config, json!({"destination": "/log", "source": "log", "options": ["bind"]}));
        });
        fs::create_dir_all(bundle.path().join("log")).unwrap();
        fs::write(bundle.rootfs().join("attack"), ATTACK).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, bundle.rootfs().join("held"), rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        fs::write(bundle.rootfs().join("evil"), "#!/proc/self/exe --log=/held\n").unwrap();
        fs::set_permissions(bundle.rootfs().join("evil"), fs::Permissions::from_mode(0o755)).unwrap();
        // A copy that no other test executes.
        let tool = bundle.path().join("tool");
        copy_tool(&tool);
        Self { bundle, tool }
    }

    fn tool(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.tool);
        command.args(["--root", "state"]).args(arguments).current_dir(self.bundle.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{arguments:?}");
    }

    fn assert_whole(&self) {
        let result = || fs::read_to_string(self.bundle.path().join("log/result")).unwrap_or_default();
        eventually("the attack", || result().contains("done"));
        assert!(result().contains("Read-only file system") || result().contains("not permitted"), "{}", result());
        assert_eq!(fs::read(&self.tool).unwrap(), fs::read(env!("CARGO_BIN_EXE_run-tool")).unwrap());
    }
}

#[test]
fn a_container_that_executes_the_runtime_cannot_overwrite_it() {
    for program in [&["/proc/self/exe", "--log=/held", "list"][..], &["/evil"]] {
        let target = Target::new();
        let id = target.bundle.id();
        target.tool(&["run", "--detach", &id]);
        target.tool(&[&["exec", "--detach", &id], program].concat());
        target.assert_whole();
    }
}

#[test]
fn exec_passes_only_the_requested_descriptors() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["--debug", "--log", "log", "run", "--detach", &id]);
    let host = fs::File::open("/etc").unwrap();
    let kept = rustix::io::fcntl_dupfd_cloexec(&host, 20).unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(bundle.good(&["--debug", "--log", "log", "exec", &id, "sh", "-c", "ls /proc/$$/fd; true"]), "0\n1\n2\n");
    assert_eq!(bundle.good(&["exec", &id, "sh", "-c", "ls /proc/1/fd; true"]), "0\n1\n2\n");
    // None of them is a way out of the container (CVE-2024-21626).
    for number in (3..16).chain([20]) {
        let (_, text) = bundle.bad(&["exec", "--cwd", &format!("/proc/self/fd/{number}"), &id, "true"]);
        assert!(text.contains("chdir to cwd") || text.contains("container breakout detected"), "{text}");
    }
}

#[test]
fn a_descriptor_of_the_caller_cannot_be_the_working_directory() {
    let host = fs::File::open("/etc").unwrap();
    let kept = rustix::io::fcntl_dupfd_cloexec(&host, 30).unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    let bundle = Bundle::with(&["ls"], |config| config["process"]["cwd"] = json!("/proc/self/fd/30"));
    bundle.bad(&["run", &bundle.id()]);
    // Nor can one that the caller passes with --preserve-fds.
    let kept = rustix::io::fcntl_dupfd_cloexec(&host, 3).unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&kept);
    let bundle = Bundle::with(&["ls"], |config| config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}")));
    // The shell opens it with the number 3, whatever it is here.
    let script = format!(
        "exec 3</etc; exec {} --root state run --preserve-fds 1 {}",
        env!("CARGO_BIN_EXE_run-tool"),
        bundle.id()
    );
    let mut config = bundle.config.clone();
    config["process"]["cwd"] = json!("/proc/self/fd/3");
    fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    let output = Command::new("bash").args(["-c", &script]).current_dir(bundle.path()).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("container breakout detected"), "{output:?}");
}

#[test]
fn a_sysctl_of_the_host_is_refused_however_it_is_spelt() {
    for name in [
        "net.//.vm.swappiness",
        "net/../vm/swappiness",
        "vm.swappiness",
        "net..core.somaxconn",
        "net././core/somaxconn",
    ] {
        let bundle = Bundle::with(&["true"], |config| config["linux"]["sysctl"] = json!({name: "60"}));
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains("sysctl"), "{name}: {text}");
    }
}

#[test]
fn a_process_has_only_the_listed_capabilities() {
    let script = "grep -h Cap /proc/1/status /proc/self/status";
    let lines =
        |text: &str| text.lines().map(|line| line.split_whitespace().last().unwrap().to_owned()).collect::<Vec<_>>();
    // Without `capabilities` there are none.
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["process"].as_object_mut().unwrap().remove("capabilities");
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    assert_eq!(lines(&bundle.good(&["exec", &id, "sh", "-c", script])), ["0000000000000000"; 10]);
    // CVE-2022-29162: exec adds no inheritable capability, so that no file of the image can pass it on.
    let bundle = Bundle::new(&["sleep", "1000"]);
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let sets = bundle.good(&["exec", "--cap", "CAP_SYS_PTRACE", &id, "sh", "-c", script]);
    assert_eq!(lines(&sets)[0], "0000000000000000", "{sets}");
    assert_eq!(
        lines(&sets)[5..],
        ["0000000000000000", "0000000020080420", "0000000020080420", "0000000020080420", "0000000000000000"]
    );
}

#[test]
fn the_init_process_cannot_be_inspected_before_it_executes_the_program() {
    // CVE-2016-9962: until it executes the program, its files in /proc belong to the host's root.
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        user_namespace(config);
        config["hooks"] = json!({"startContainer": [
            {"path": "/bin/sh", "args": ["sh", "-c", "ls -ldn /proc/$PPID/fd >/log/hook; ls /proc/$PPID/fd >>/log/hook"]}
        ]});
        mount(config, json!({"destination": "/log", "source": "log", "options": ["bind"]}));
    });
    let log = bundle.path().join("log");
    fs::create_dir_all(&log).unwrap();
    fs::create_dir(bundle.rootfs().join("log")).unwrap();
    std::os::unix::fs::chown(&log, Some(100_000), Some(100_000)).unwrap();
    let id = bundle.id();
    // The hook is expected to fail.
    let (_, text) = bundle.bad(&["run", "--detach", &id]);
    assert!(text.contains("startContainer"), "{text}");
    let seen = fs::read_to_string(log.join("hook")).unwrap();
    assert_eq!(seen.split_whitespace().nth(2), Some("65534"), "{seen}");
    assert_eq!(seen.lines().count(), 1, "{seen}");
}

#[test]
fn exec_cannot_be_inspected_from_the_moment_the_container_sees_it() {
    // The container's own processes all execute busybox.
    let script = "while :; do for process in /proc/[0-9]*; do program=$(busybox readlink $process/exe) && \
        test $program != /bin/busybox && echo $program >>/log/seen; done; done";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        // With these it may inspect other processes of its user namespace.
        all_capabilities(config);
        user_namespace(config);
        mount(config, json!({"destination": "/log", "source": "log", "options": ["bind"]}));
    });
    let log = bundle.path().join("log");
    fs::create_dir_all(&log).unwrap();
    fs::create_dir(bundle.rootfs().join("log")).unwrap();
    std::os::unix::fs::chown(&log, Some(100_000), Some(100_000)).unwrap();
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    // strace slows it down where it waits to be put into its control groups, in the PID namespace already, and after it has joined all
    // namespaces.
    let output = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=recvmsg,setsid", "-e", "inject=recvmsg,setsid:delay_enter=300ms"])
        .args([env!("CARGO_BIN_EXE_run-tool"), "--root", "state", "exec", "--user", "1000", &id, "true"])
        .current_dir(bundle.path())
        .output()
        .expect("package strace");
    assert!(output.status.success(), "{output:?}");
    let seen = fs::read_to_string(log.join("seen")).unwrap_or_default();
    assert_eq!(seen, "");
}

#[test]
fn devices_of_the_host_are_out_of_reach() {
    let script = "busybox mknod /tmp/disk b 7 200; cat /tmp/disk; cat /tmp/mem; cat /dev/null && echo null";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        all_capabilities(config);
        config["root"]["readonly"] = json!(false);
    });
    let made = Command::new("mknod").arg(bundle.rootfs().join("tmp/mem")).args(["c", "1", "1"]).status().unwrap();
    assert!(made.success());
    let output = bundle.tool(&["run", &bundle.id()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "null\n", "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.matches("Operation not permitted").count() >= 2, "{errors}");
}

/// A script that prints the attributes of init and of itself.
const FACTS: &str = "for process in 1 self; do grep -hE '^(Uid|Gid|Groups|Cap.*|NoNewPrivs|Seccomp):' /proc/$process/status; \
    cat /proc/$process/oom_score_adj /proc/$process/personality /proc/$process/cgroup /proc/$process/limits; \
    for space in /proc/$process/ns/*; do case $space in *_for_children) ;; *) busybox readlink $space ;; esac; done; \
    busybox ionice -p ${process/self/$$}; busybox awk '{ print $19, $41, $40 }' /proc/$process/stat; echo; done; umask";

#[test]
fn exec_has_the_same_attributes_as_the_first_program() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["process"]["noNewPrivileges"] = json!(true);
        config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [7, 8], "umask": 0o37});
        config["process"]["rlimits"] =
            json!([{"type": "RLIMIT_NOFILE", "soft": 333, "hard": 444}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        config["process"]["oomScoreAdj"] = json!(77);
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        // For root, execve computes the sets from the bounding set. The inheritable and ambient sets show whether they were applied.
        let sets = config["process"]["capabilities"].as_object_mut().unwrap();
        sets["bounding"] = json!(["CAP_KILL", "CAP_AUDIT_WRITE", "CAP_CHOWN"]);
        sets["permitted"] = json!(["CAP_KILL", "CAP_CHOWN"]);
        sets.insert("inheritable".into(), json!(["CAP_CHOWN"]));
        sets.insert("ambient".into(), json!(["CAP_CHOWN"]));
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|entry| entry["type"] != "cgroup");
        namespaces.extend([json!({"type": "cgroup"}), json!({"type": "time"})]);
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1000}});
        config["linux"]["personality"] = json!({"domain": "LINUX32"});
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
        });
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let text = bundle.good(&["exec", &id, "sh", "-c", FACTS]);
    let parts: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(parts.len(), 3, "{text}");
    assert_eq!(parts[0], parts[1]);
    for fact in [
        "Groups:\t7 8",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "\n77\n",
        "00000008",
        "best-effort: prio 6",
        "\n5 3 0",
        "CapInh:\t0000000000000001",
    ] {
        assert!(parts[0].contains(fact), "{fact:?} in {}", parts[0]);
    }
    assert_eq!(parts[2], "0037\n");
    // It is in the container's control groups.
    assert!(!bundle.good(&["exec", &id, "cat", "/proc/self/cgroup"]).contains(".."), "{text}");
}

#[test]
fn the_session_keyring_is_new() {
    let bundle = Bundle::with(&["cat", "/proc/keys"], |config| config["linux"]["maskedPaths"] = json!([]));
    let id = bundle.id();
    assert!(!bundle.good(&["run", "--no-new-keyring", &id]).contains(&format!("_ses.{id}")));
    assert!(bundle.good(&["run", &id]).contains(&format!("_ses.{id}")));
    // /proc/keys also shows the keyrings of other sessions of the user, so each program is asked for its own.
    let bundle = Bundle::new(&["sh", "-c", "/session && exec sleep 1000"]);
    let code = r#"
        #include <linux/keyctl.h>
        #include <stdio.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            char text[1000] = "";
            syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text);
            return puts(text) < 0;
        }"#;
    compile(code, &bundle.rootfs().join("session"));
    let id = bundle.id();
    bundle.good(&["run", "--detach", &id]);
    let session = bundle.good(&["exec", &id, "/session"]);
    assert!(session.ends_with(&format!(";_ses.{id}\n")), "{session}");
}

#[test]
fn a_fifo_in_place_of_the_images_passwd_file_does_not_hang_the_runtime() {
    let bundle = Bundle::new(&["sh", "-c", "echo $HOME"]);
    let list = bundle.rootfs().join("etc/passwd");
    fs::remove_file(&list).unwrap();
    assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
    let mut child = bundle.command(&["run", &bundle.id()]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait_with_output().unwrap().stdout, b"/\n");
}

#[test]
fn only_the_owner_has_access_to_the_root() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        config["annotations"] = json!({"org.oci-tools.interactive": "true"});
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    });
    let id = bundle.id();
    let run = format!(
        "umask 0; exec {} --root state run --detach --log-driver json-file {id}",
        env!("CARGO_BIN_EXE_run-tool")
    );
    let status =
        Command::new("sh").args(["-c", &run]).current_dir(bundle.path()).stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    let root = bundle.path().join("state");
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
    let folder = root.join(&id);
    assert!(folder.join("attach.sock").exists());
    let mut folders = vec![root];
    let mut names = Vec::new();
    while let Some(place) = folders.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // The container's user must reach the fifo by its path, so others may search the folder but not list it.
            let allowed = if path == folder { 0o011 } else { 0 };
            let mode = metadata.mode() & 0o777;
            assert!(mode & 0o077 == allowed || name == "exec.fifo", "{path:?} {mode:o}");
            if metadata.is_dir() {
                folders.push(path);
            }
            names.push(name);
        }
    }
    for name in [id.as_str(), "state.json", "attach.sock", "seccomp.bpf", "~seccomp"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    let log = fs::metadata(bundle.path().join(format!("{id}-json.log"))).unwrap();
    assert_eq!(log.mode() & 0o777, 0o640);
}
