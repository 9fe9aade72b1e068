//! RUN: what a command is given, what of it is left, and what ends it.

use super::*;

#[test]
fn run_leaves_its_change_and_nothing_else() {
    let work = Work::with_base();
    let run = work.build("FROM base\nARG V=1\nENV E=2\nRUN echo $V$E >/v; rm /usr/lib/here; cat /etc/hosts /etc/resolv.conf >/dev/null; ls /proc/self\n").ok();
    assert!(run.shows("environ"));
    let top = work.top();
    assert_eq!(text(&top, "v"), "12\n");
    let names: Vec<&str> = top.keys().map(String::as_str).collect();
    assert_eq!(names, ["usr", "usr/lib", "usr/lib/.wh.here", "v"], "no stub of a mount is there");
    work.is_clean();
}

#[test]
fn run_has_what_buildkit_gives() {
    let work = Work::with_base();
    let run = work
        .build("FROM base\nUSER app\nWORKDIR /w\nRUN [\"sh\", \"-c\", \"id; env; cat /proc/self/status; mount\"]\n")
        .ok();
    for line in [
        "uid=1000(app) gid=1001(app) groups=6(disk)",
        "HOSTNAME=buildkitsandbox",
        "PWD=/w",
        "HOME=/home/app",
        "CapBnd:\t00000000a80425fb",
        "CapEff:\t0000000000000000",
        "Seccomp:\t2",
        "proc on /proc",
    ] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    assert_eq!((entry(&work.layers()[1], "w").uid, entry(&work.layers()[1], "w").gid), (1000, 1001));
}

#[test]
fn a_failing_run_names_the_command_and_leaves_nothing() {
    let work = Work::with_base();
    let before = fs::read(work.path("images/index.json")).unwrap();
    work.build("FROM base\nRUN echo one\nRUN echo two; exit 42\n")
        .fails("Dockerfile:3: RUN echo two; exit 42: exit status 42");
    let quiet = work.build_with("FROM base\nRUN echo three; false\n", &["-q"]);
    quiet.fails("Dockerfile:2: RUN echo three; false: exit status 1");
    assert!(quiet.shows("three") && !quiet.shows("#1"), "{}", quiet.stderr);
    assert_eq!(fs::read(work.path("images/index.json")).unwrap(), before);
    work.is_clean();
}

#[test]
fn mounts_are_there_for_one_command_only() {
    let work = Work::with_base();
    work.file("context/src/f", "from the context");
    work.file("token", "s3cret");
    let dockerfile = "FROM base AS tools\nRUN echo tool >/tool\nFROM base\n\
        RUN --mount=type=bind,source=src,target=/src --mount=from=tools,target=/tools --mount=type=cache,target=/cache \
        --mount=type=secret,id=token --mount=type=tmpfs,target=/tmp/m \
        cat /src/f /tools/tool /run/secrets/token && touch /cache/kept /tmp/m/x && ! touch /src/no 2>/dev/null\n\
        RUN --mount=type=cache,target=/cache ls /cache; ls /tmp /run 2>&1; mkdir -p /done\n";
    let run = work.build_with(dockerfile, &["--secret", "id=token,src=token"]).ok();
    for line in ["from the contexttool", "s3cret", "kept"] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    let layers = work.layers();
    let names: Vec<&str> = layers[1].keys().chain(layers[2].keys()).map(String::as_str).collect();
    assert_eq!(names, ["done"]);
    work.build("FROM base\nRUN --mount=type=secret,id=none,required x\n")
        .fails("Dockerfile:2: RUN --mount=type=secret,id=none,required x: --mount: secret none is required (--secret id=none,src=FILE)");
    work.is_clean();
}

#[test]
fn an_interrupt_ends_command_and_build() {
    let work = Work::with_base();
    work.file("context/Dockerfile", "FROM base\nRUN echo begun; sleep 1000.5\n");
    let mut child = work
        .command(&["build", "--runtime", "runc", "-t", "images:built", "context"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("begun") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap(), 0, "the build ended");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "{rest}");
    assert!(rest.ends_with("build-tool: interrupted by signal 15\n"), "{rest}");
    let sleeping = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.windows(6).any(|part| part == b"1000.5"))
    });
    assert!(!sleeping, "the command goes on");
    work.is_clean();
}
