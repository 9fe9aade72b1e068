//! RUN: what a command is given, what of it is left, and what ends it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr};

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
        .build("FROM base\nUSER app\nWORKDIR /w\nRUN [\"sh\", \"-c\", \"id; env; cat /proc/self/status /proc/sys/kernel/hostname; mount\"]\n")
        .ok();
    for line in [
        "uid=1000(app) gid=1001(app)",
        "Groups:\t6 1001",
        " buildkitsandbox",
        "PWD=/w",
        "HOME=/home/app",
        "CapBnd:\t00000000a80425fb",
        "CapEff:\t0000000000000000",
        "Seccomp:\t2",
        "proc on /proc",
    ] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    assert!(!run.shows("HOSTNAME="), "{}", run.stderr);
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
fn a_mount_without_a_target_is_at_the_working_directory() {
    let work = Work::with_base();
    work.file("context/f", "from the context");
    let dockerfile = "FROM base\nWORKDIR /w\nARG V=x,target=/elsewhere\nRUN --mount=type=bind cat /w/f\n\
        RUN --mount=type=cache touch kept; true\nRUN --mount=type=tmpfs grep \" /w tmpfs\" /proc/mounts\n\
        RUN --mount=type=cache,id=$V,target=. ls -d /elsewhere 2>&1; ls; pwd\n";
    let run = work.build(dockerfile).ok();
    for line in ["from the context", " /w tmpfs ", "/elsewhere: No such file", "/w"] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    let kept = run.stderr.lines().any(|line| line.ends_with(" kept"));
    assert!(!kept, "the cache of that id is another one: {}", run.stderr);
    let last = work.layers().pop().unwrap();
    assert!(last.is_empty(), "{:?}", last.keys());
    work.build("FROM base\nRUN --mount=type=bind true\n")
        .fails("Dockerfile:2: RUN --mount=type=bind true: --mount: missing target= (the working directory is /)");
}

#[test]
fn a_mount_behind_a_link_leaves_nothing() {
    let work = Work::with_base();
    let dockerfile = "FROM base\nRUN ln -s /run/deep /var; ln -s nosuch/dir /dangling; mkdir /gone; touch /gone/f\n\
        RUN rm -r /gone\n\
        RUN --mount=type=tmpfs,target=/lib/x/y --mount=type=tmpfs,target=/var/z --mount=type=tmpfs,target=/dangling/m \
        --mount=type=tmpfs,target=/gone/m touch /usr/lib/x/y/1 /run/deep/z/2 /nosuch/dir/m/3 /gone/m/4\n\
        RUN ls -d /usr/lib/x /run /nosuch /gone 2>&1 || true\n";
    let run = work.build(dockerfile).ok();
    let layers = work.layers();
    let names = |number: usize| layers[number].keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names(layers.len() - 2), [""; 0], "{}", run.stderr);
    assert_eq!(names(layers.len() - 1), [""; 0]);
}

#[test]
fn caches_are_told_apart_by_owner_and_shared_in_one_command() {
    let work = Work::with_base();
    let dockerfile = "FROM base\nRUN --mount=type=cache,target=/c touch /c/root\nUSER app\n\
        RUN --mount=type=cache,target=/c,uid=1000,gid=1001,mode=0700 stat -c %u:%g:%a /c; touch /c/own; ls /c\n\
        RUN --mount=type=cache,target=/c ls /c\n\
        RUN --mount=type=cache,id=x,target=/a,sharing=locked,uid=1000 --mount=type=cache,id=x,target=/b,sharing=locked,uid=1000 \
        touch /a/one && ls /b\n";
    let run = work.build(dockerfile).ok();
    let printed: Vec<&str> =
        run.stderr.lines().filter_map(|line| Some(line.split_once(' ')?.1.split_once(' ')?.1)).collect();
    for line in ["1000:1001:700", "own", "root", "one"] {
        assert_eq!(printed.iter().filter(|printed| **printed == line).count(), 1, "{line}: {}", run.stderr);
    }
    work.is_clean();
}

#[test]
fn a_secret_is_a_file_a_variable_or_both() {
    let work = Work::with_base();
    work.file("token", "s3cret");
    let dockerfile = "FROM base\nUSER app\n\
        RUN --mount=type=secret,id=dir/token,uid=1000,mode=0640 stat -c %u:%g:%a /run/secrets/token; cat /run/secrets/token\n\
        RUN --mount=type=secret,id=dir/token,env=TOKEN echo \"<$TOKEN>\"; ls /run/secrets 2>&1 || true\n\
        RUN --mount=type=secret,id=dir/token,env=TOKEN,target=/t,uid=1000 echo \"$TOKEN:$(cat /t)\"\n";
    let run = work.build_with(dockerfile, &["--secret", "id=dir/token,src=token"]).ok();
    for line in ["1000:0:640", "<s3cret>", "s3cret:s3cret", "/run/secrets: No such file"] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    let layers = work.layers();
    assert!(
        layers[1..].iter().all(BTreeMap::is_empty),
        "{:?}",
        layers[1..].iter().map(BTreeMap::keys).collect::<Vec<_>>()
    );
    assert!(!work.config().to_string().contains("s3cret"));
}

#[test]
fn an_agent_is_forwarded_for_one_command() {
    let work = Work::with_base();
    let plain = "FROM base\nUSER app\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo socket || echo none at $SSH_AUTH_SOCK\n";
    assert!(work.build(plain).ok().shows("none at /run/buildkit/ssh_agent.0"));
    work.build("FROM base\nRUN --mount=type=ssh,id=git,required true\n").fails(
        "Dockerfile:2: RUN --mount=type=ssh,id=git,required true: --mount: SSH agent git is required (--ssh git)",
    );
    let _agent = std::os::unix::net::UnixListener::bind(work.path("agent")).unwrap();
    let run = work.build_with(plain, &["--ssh", "default=agent", "--no-cache"]).ok();
    assert!(run.shows("socket"), "{}", run.stderr);
    let owned =
        "FROM base\nRUN --mount=type=ssh,target=/s,uid=1000,mode=0660 stat -c %u:%g:%a /s; echo $SSH_AUTH_SOCK\n";
    let run = work.build_with(owned, &["--ssh", "default=agent"]).ok();
    assert!(run.shows("1000:0:660") && run.shows(" /s"), "{}", run.stderr);
    assert!(work.top().is_empty());
    work.is_clean();
}

#[test]
fn the_working_directory_is_there_for_its_user() {
    let work = Work::with_base();
    let dockerfile = "FROM base\nWORKDIR /w/d\nRUN cd / && rmdir /w/d\nUSER app\nRUN touch f\n";
    work.build(dockerfile).ok();
    let top = work.top();
    assert_eq!((entry(&top, "w/d").uid, entry(&top, "w/d/f").uid), (1000, 1000));
}

/// A build whose command has written `begun`, and the rest of what it writes.
fn begun(work: &Work) -> (Child, BufReader<ChildStderr>) {
    let mut child = work
        .command(&["build", "--runtime", "runc", "-t", "images:built", "context"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // Not the line of the step, which is also the instruction's.
    while !line.ends_with(" begun\n") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the build ended");
    }
    (child, stderr)
}

#[test]
fn a_killed_build_takes_its_command_along() {
    let work = Work::with_base();
    // A time that no other process sleeps for.
    let time = format!("1000.{}", std::process::id());
    work.file("context/Dockerfile", &format!("FROM base\nRUN echo begun; sleep {time}\n"));
    let (mut child, _stderr) = begun(&work);
    child.kill().unwrap();
    child.wait().unwrap();
    let sleeps = || {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == time.as_bytes())
        })
    };
    // The watch cleans up once the build has ended.
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while sleeps() || !work.left().is_empty() {
        assert!(std::time::Instant::now() < limit, "command: {}, left: {:?}", sleeps(), work.left());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn an_interrupt_ends_command_and_build() {
    let work = Work::with_base();
    work.file("context/Dockerfile", "FROM base\nRUN echo begun; sleep 2000.5\n");
    let (mut child, mut stderr) = begun(&work);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "{rest}");
    assert!(rest.ends_with("build-tool: interrupted by signal 15\n"), "{rest}");
    let sleeping = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.windows(6).any(|part| part == b"2000.5"))
    });
    assert!(!sleeping, "the command goes on");
    work.is_clean();
}
