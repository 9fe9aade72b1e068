//! The docker command as programs drive it: every spelling of its words, its streams, its exit statuses, and what it prints. What is
//! expected was recorded from Docker 20.10.24.

use tests::{Pty, Registry, Workdir};

/// A folder with the image `bb:1`: busybox with a few users and groups.
fn work() -> Workdir {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.write(
        "image/passwd",
        "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    );
    work.write("image/group", "root:x:0:\ndisk:x:6:root,www-data\nwww-data:x:33:\nuser:x:1000:\n");
    work.write("image/Dockerfile", "FROM busybox\nCOPY passwd group /etc/\nENV A=image\nCMD [\"sh\"]\n");
    work.sh("docker build -q -t bb:1 image").ok();
    work
}

/// What a command prints on standard output and standard error, and its status.
fn both(work: &Workdir, text: &str) -> (String, String, i32) {
    let output = work.sh(text);
    (output.stdout, output.stderr, output.status)
}

#[test]
fn a_switch_has_every_value_that_docker_reads() {
    let work = work();
    work.sh("timeout 10 docker run --detach=true --network none --name w1c1 bb:1 sleep 60").ok();
    work.sh("timeout 10 docker run -d=1 --network none --name w1c2 bb:1 sleep 60").ok();
    assert_eq!(work.sh("docker run --rm -d=false --network none bb:1 echo front").ok(), "front\n");
    work.sh("docker run --rm=T --network none --name w1c3 bb:1 true").ok();
    assert_eq!(work.sh("docker ps -aq --filter name=w1c3").ok(), "");
    assert_eq!(work.sh("echo in | docker run --interactive=true --rm --network none bb:1 cat").ok(), "in\n");
    for switch in ["--sig-proxy=false", "--disable-content-trust", "--tty=false", "--read-only=0", "--init=f", "--"] {
        assert_eq!(
            work.sh(&format!("docker run --rm --network none {switch} bb:1 echo ran")).ok(),
            "ran\n",
            "{switch}"
        );
    }
    work.sh("docker rm -fv w1c1 w1c2").ok();
}

#[test]
fn exec_needs_a_container_that_runs_and_its_detach_keys_leave_the_program() {
    let work = work();
    let id = work.sh("docker create --network none --name w9c1 bb:1 sleep 600").ok();
    let refused = format!("Error response from daemon: Container {} is not running\n", id.trim());
    assert_eq!(both(&work, "docker exec w9c1 true"), (String::new(), refused.clone(), 1));
    work.sh("docker start w9c1 && docker kill w9c1").ok();
    assert_eq!(both(&work, "docker exec w9c1 true"), (String::new(), refused, 1));
    work.sh("docker start w9c1").ok();
    let program = "echo begun; until [ -e /go ]; do sleep 0.1; done; stty size; [ -t 1 ] && echo late && touch /done";
    let mut command = work.command("docker");
    command.args(["exec", "-it", "--detach-keys", "ctrl-x,y", "w9c1", "sh", "-c", program]);
    let mut terminal = Pty::spawn(&command);
    terminal.expect("begun\r\n");
    terminal.send("xy\x18x\x18y");
    let (text, status) = terminal.finish();
    assert!(text.ends_with("read escape sequence\r\n") && status.code() == Some(1), "{text:?} {status}");
    work.sh("docker exec w9c1 touch /go").ok();
    // It still has its terminal, and its end is recorded.
    work.sh("timeout 60 sh -c 'until docker exec w9c1 [ -e /done ]; do sleep 0.1; done'").ok();
    let counts =
        "docker events --since 1h --until 0s --format '{{.Action}}' | sed 's/:.*//' | sort | uniq -c | grep 'exec_'";
    let ended =
        format!("timeout 60 sh -c 'until [ $({counts} | grep -v create | uniq -w 7 | wc -l) = 1 ]; do :; done'");
    work.sh(&ended).ok();
    // Those who stay until the end get the status, and what was printed.
    let mut command = work.command("docker");
    command.args(["exec", "-it", "w9c1", "sh", "-c", "stty size; exit 7"]);
    let (text, status) = Pty::spawn(&command).finish();
    assert_eq!((text.as_str(), status.code()), ("24 80\r\n", Some(7)));
    work.sh("docker rm -f w9c1").ok();
}

#[test]
fn detach_keys_leave_a_container_running() {
    let work = work();
    work.sh("docker run -dit --network none --name w10c1 bb:1 sh").ok();
    let attach = |options: &[&str], keys: &str| {
        let mut command = work.command("docker");
        command.arg("attach").args(options).arg("w10c1");
        let mut terminal = Pty::spawn(&command);
        terminal.send("echo $((6 * 7))\n");
        terminal.expect("42");
        terminal.send(keys);
        let (text, status) = terminal.finish();
        let told = text.ends_with("read escape sequence\r\n") && status.code() == Some(1);
        assert!(told, "{options:?}: {text:?} {status}");
    };
    attach(&[], "\x10\x11");
    attach(&["--detach-keys", "ctrl-x,y"], "\x18y");
    attach(&["--detach-keys=a"], "a");
    assert_eq!(work.sh("docker inspect -f '{{.State.Running}}' w10c1").ok(), "true\n");
    work.sh("docker rm -f w10c1").ok();
}

#[test]
fn the_input_of_a_detached_container_stays_open() {
    let work = work();
    work.sh("docker run -di --network none --name w10c2 bb:1 cat").ok();
    for word in ["one", "two"] {
        let said = work.sh(&format!("echo {word} | timeout -s KILL 1 docker attach w10c2")).stdout;
        assert_eq!(said, format!("{word}\n"));
    }
    assert_eq!(work.sh("docker inspect -f '{{.State.Running}} {{.Config.StdinOnce}}' w10c2").ok(), "true false\n");
    work.sh("docker rm -f w10c2").ok();
}

#[test]
fn detach_keys_are_not_for_the_container_and_end_run_and_start_in_silence() {
    let work = work();
    let detach = |words: &[&str]| {
        let mut command = work.command("docker");
        command.args(words);
        let mut terminal = Pty::spawn(&command);
        terminal.send("typed\n");
        terminal.expect("typed\r\ntyped\r\n");
        // One after the other, as a person presses them.
        terminal.send("\x10");
        std::thread::sleep(std::time::Duration::from_millis(300));
        terminal.send("\x11");
        let (text, status) = terminal.finish();
        assert!(!text.contains("^P") && !text.contains("escape"), "{words:?}: {text}");
        assert_eq!(status.code(), Some(0), "{words:?}");
    };
    detach(&["run", "-it", "--network", "none", "--name", "w11c1", "bb:1", "cat"]);
    work.sh("docker kill w11c1").ok();
    detach(&["start", "-ai", "w11c1"]);
    // The user's own keys for all containers.
    work.write(".docker/config.json", r#"{"detachKeys": "ctrl-t,ctrl-t"}"#);
    for words in [&["attach", "w11c1"][..], &["exec", "-it", "w11c1", "cat"]] {
        let mut command = work.command("docker");
        command.args(words);
        let mut terminal = Pty::spawn(&command);
        terminal.send("typed\n");
        terminal.expect("typed\r\ntyped\r\n");
        terminal.send("\x14\x14");
        assert_eq!(terminal.finish().1.code(), Some(1), "{words:?}");
    }
    work.write(".docker/config.json", "{");
    let said = work.sh("docker exec w11c1 true 2>&1").ok();
    assert!(said.starts_with("WARNING: Error loading config file: ") && said.lines().count() == 1, "{said}");
    work.sh("rm -r .docker").ok();
    assert_eq!(work.sh("docker logs w11c1 | tr -d '\r' | uniq").ok(), "typed\n");
    // What begins like the keys reaches the container with what follows.
    let mut command = work.command("docker");
    command.args(["attach", "w11c1"]);
    let mut terminal = Pty::spawn(&command);
    terminal.send("\x10x\n");
    terminal.expect("\x10x\r\n");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish().1.code(), Some(1));
    work.sh("docker rm -f w11c1").ok();
}

#[test]
fn a_client_that_does_not_pass_signals_on_ends_by_them() {
    let work = work();
    let client = "docker run --sig-proxy=false --network none --name w12c1 bb:1 sleep 600 & \
        until docker exec w12c1 true 2>/dev/null; do sleep 0.1; done; kill -TERM $!; wait $!; echo $?";
    assert_eq!(work.sh(client).ok(), "143\n");
    let attached = "docker attach --sig-proxy=false w12c1 & sleep 0.5; kill -HUP $!; wait $!; echo $?";
    assert_eq!(work.sh(attached).ok(), "129\n");
    assert_eq!(work.sh("docker inspect -f '{{.State.Running}}' w12c1; docker rm -f w12c1").ok(), "true\nw12c1\n");
}

#[test]
fn an_error_of_exec_has_the_words_that_programs_look_for() {
    let work = work();
    work.sh("docker run -d --network none --name w13c1 bb:1 sleep 600").ok();
    let said = work.sh("docker exec w13c1 nosuch").fails(126);
    let words = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH";
    assert_eq!(said.trim_end(), words);
    let said = work.sh("docker exec -u nosuch w13c1 true").fails(126);
    assert!(said.contains("unable to find user nosuch: no matching entries in passwd file"), "{said}");
    let id = work.sh("docker pause w13c1 >/dev/null; docker inspect -f '{{.Id}}' w13c1").ok();
    let paused =
        format!("Error response from daemon: Container {} is paused, unpause the container before exec\n", id.trim());
    assert_eq!(both(&work, "docker exec w13c1 true"), (String::new(), paused, 1));
    work.sh("docker rm -f w13c1").ok();
}

#[test]
fn what_cannot_be_done_now_is_told_in_the_words_that_programs_look_for() {
    let work = work();
    let id = work.sh("docker create --network none --name w14c1 -v w14v1:/x bb:1 nosuch").ok();
    let id = id.trim();
    let conflict = format!(
        "Error response from daemon: Conflict. The container name \"/w14c1\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name.\n"
    );
    let help = "See 'docker run --help'.\n";
    work.sh("docker create --network none --name w14c2 bb:1 true").ok();
    let lacks = "OCI runtime create failed: unable to start container process: error during container init: \
        exec: \"nosuch\": executable file not found in $PATH\n";
    for (line, status, said) in [
        ("create --network none --name w14c1 bb:1 true", 1, conflict.clone()),
        ("run --network none --name w14c1 bb:1 true", 125, format!("docker: {conflict}{help}")),
        ("rename w14c2 w14c1", 1, conflict),
        (
            "rename w14c1 w14c1",
            1,
            "Error response from daemon: Renaming a container with the same name as its current name\n".into(),
        ),
        ("volume rm w14v1", 1, format!("Error response from daemon: remove w14v1: volume is in use - [{id}]\n")),
        ("attach w14c1", 1, "You cannot attach to a stopped container, start it first\n".into()),
        ("start w14c1", 1, format!("Error response from daemon: {lacks}Error: failed to start containers: w14c1\n")),
        ("start -a w14c1", 1, format!("Error response from daemon: {lacks}")),
        (
            "run --rm --network none bb:1 nosuch",
            127,
            format!("docker: Error response from daemon: {}.\n", lacks.trim_end()),
        ),
    ] {
        assert_eq!(both(&work, &format!("docker {line}")), (String::new(), said, status), "{line}");
    }
    work.sh("docker rm w14c1 w14c2 && docker volume rm w14v1").ok();
}

#[test]
fn what_this_kernel_cannot_limit_is_discarded_with_dockers_warning() {
    let work = work();
    let run = "docker run --rm --network none --kernel-memory 50m bb:1 echo ran";
    let warning = "WARNING: Specifying a kernel memory limit is deprecated and will be removed in a future release.\n\
        WARNING: Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.\n";
    assert_eq!(both(&work, run), ("ran\n".into(), warning.into(), 0));
    // A weight is written where the kernel has one, for whatever device may have bfq.
    let weight = "docker run --rm --network none --blkio-weight 300 bb:1 sh -c 'cat /sys/fs/cgroup/blkio/blkio*.weight 2>/dev/null'";
    let (given, said, _) = both(&work, weight);
    assert!(
        given == "300\n"
            || said.contains("Weight discarded.")
            || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        "{given} {said}"
    );
    let (_, said, status) = both(&work, "docker run --rm --network none --detach-keys 'ctrl-?' bb:1 true");
    assert!(
        said.starts_with("Error response from daemon: Invalid detach keys (ctrl-?) provided") && status == 1,
        "{said}"
    );
}

#[test]
fn options_may_be_long_short_glued_or_behind_the_operands() {
    let work = work();
    for words in ["stop --time 0", "stop --time=0", "stop -t0", "kill --signal=KILL", "kill -sKILL", "restart -t=0"] {
        work.sh("docker run -d --network none --name w2c1 bb:1 sleep 60").ok();
        assert_eq!(work.sh(&format!("docker {words} w2c1")).ok(), "w2c1\n", "{words}");
        assert_eq!(work.sh("docker container rm w2c1 --force -v").ok(), "w2c1\n", "{words}");
    }
    work.sh("docker run -d --network none --name w2c1 bb:1 sleep 60").ok();
    work.write("list", "F=file\n");
    for (words, prints) in [
        ("-eA=b w2c1 sh -c 'echo $A'", "b\n"),
        ("-iu 33 w2c1 id -u", "33\n"),
        ("--workdir=/tmp w2c1 pwd", "/tmp\n"),
        ("--env-file list w2c1 sh -c 'echo $F'", "file\n"),
        ("--detach-keys=a w2c1 echo ok", "ok\n"),
    ] {
        assert_eq!(work.sh(&format!("docker exec {words} </dev/null")).ok(), prints, "{words}");
    }
    work.sh("docker rm -f w2c1").ok();
}

#[test]
fn a_wrong_command_line_is_told_in_dockers_words() {
    let work = work();
    for (text, status, said) in [
        ("run --foo bb:1", 125, "unknown flag: --foo\nSee 'docker run --help'."),
        ("run -Y bb:1", 125, "unknown shorthand flag: 'Y' in -Y"),
        ("ps --foo", 125, "unknown flag: --foo\nSee 'docker ps --help'."),
        ("volume --foo", 125, "unknown flag: --foo\nSee 'docker volume --help'."),
        ("rm --foo x", 125, "unknown flag: --foo\nSee 'docker rm --help'."),
        ("exec --foo x true", 125, "unknown flag: --foo"),
        ("foo", 1, "docker: 'foo' is not a docker command.\nSee 'docker --help'"),
        ("rm", 1, "\"docker rm\" requires at least 1 argument."),
        ("push", 1, "\"docker push\" requires exactly 1 argument."),
        ("run -d -a stdout bb:1", 1, "Conflicting options: -a and -d"),
        ("swarm init", 1, "docker: swarm: there is no daemon"),
        ("-H tcp://1.2.3.4:2375 ps", 125, "docker: --host: there is no daemon"),
        ("run --runtime nosuch bb:1", 125, "unknown runtime specified nosuch"),
        ("rm nosuch", 1, "Error: No such container: nosuch"),
        ("tag bb:1 UPPER", 1, "repository name must be lowercase"),
    ] {
        let said_all = work.sh(&format!("docker {text}")).fails(status);
        assert!(said_all.contains(said), "{text}: {said_all}");
        assert!(!said_all.contains("-tool"), "{text}: {said_all}");
    }
    let help = work.sh("docker container run --help").ok();
    assert!(help.starts_with("\nUsage:  docker container run [OPTIONS] IMAGE [COMMAND] [ARG...]\n"), "{help}");
    assert!(help.contains("  -d, --detach                         Run container in background"), "{help}");
    // Of the program's words none is docker's.
    assert_eq!(work.sh("docker run --rm --network none bb:1 echo --help").ok(), "--help\n");
}

#[test]
fn statuses_are_dockers() {
    let work = work();
    work.sh("docker run -d --network none --name w4c1 bb:1 sleep 60").ok();
    for (text, status) in [
        ("rm -f nosuch", 0),
        ("rmi -f nosuch", 0),
        ("rmi nosuch", 1),
        ("start w4c1", 0),
        ("run --rm --network none bb:1 /etc", 126),
        ("run --rm --network none bb:1 nosuch", 127),
        ("run --rm --network none -u nosuch bb:1 true", 125),
        ("run --name w4c1 --network none bb:1 true", 125),
        ("exec w4c1 /etc", 126),
        ("exec w4c1 nosuch", 126),
        ("exec -w /nosuch w4c1 true", 126),
        ("exec -u nosuch w4c1 true", 126),
        ("exec nosuch true", 1),
        ("exec w4c1 sh -c 'exit 9'", 9),
        ("rm w4c1", 1),
        ("kill -s NOSUCH w4c1", 1),
    ] {
        let output = work.sh(&format!("docker {text}"));
        assert_eq!(output.status, status, "{text}: {output}");
    }
    assert!(work.sh("docker rm w4c1").fails(1).contains("You cannot remove a running container"));
    assert_eq!(work.sh("docker ps -aq").ok().lines().count(), 1, "what does not start leaves nothing with --rm");
    work.sh("docker rm -f w4c1").ok();
}

#[test]
fn streams_are_the_ones_that_are_asked_for() {
    let work = work();
    let run = "docker run --rm --network none";
    for (options, out, err) in [("-a stdout", "out\n", ""), ("-a stderr", "", "err\n"), ("", "out\n", "err\n")] {
        let seen = both(&work, &format!("{run} {options} bb:1 sh -c 'echo out; echo err >&2'"));
        assert_eq!((seen.0.as_str(), seen.1.as_str()), (out, err), "{options}");
    }
    work.sh("docker run -d --network none --name w5c1 bb:1 sleep 60").ok();
    let loop_ =
        "printf 'a\\nb\\n' | while read -r x; do echo $x; docker exec w5c1 cat; docker start w5c1 >/dev/null; done";
    assert_eq!(work.sh(loop_).ok(), "a\nb\n", "the input of the caller is left alone");
    let detached = "timeout 5 sh -c 'x=$(docker exec -d w5c1 sh -c \"sleep 20; echo late\") && echo \"[$x]\"'";
    assert_eq!(work.sh(detached).ok(), "[]\n", "no pipe of the caller is held");
    assert_eq!(work.sh(&format!("setsid -w {run} -t bb:1 echo hi | tr -d '\\r'")).ok(), "hi\n");
    assert!(work.sh(&format!("setsid -w {run} -it bb:1 echo hi")).fails(1).contains("the input device is not a TTY"));
    work.sh("echo data >in && docker exec -i -u 1000 w5c1 cat <in >out 2>err && cmp in out").ok();
    assert_eq!(work.sh("stat -c %u in out err | sort -u").ok(), "0\n", "files of the caller keep their owner");
    // Nothing is lost on the way to a slow reader.
    let slow =
        format!("{run} bb:1 sh -c 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done' | (sleep 1; wc -l)");
    assert_eq!(work.sh(&slow).ok().trim(), "20000");
    work.sh("docker rm -f w5c1").ok();
}

#[test]
fn a_user_of_exec_is_looked_up_in_the_container() {
    let work = work();
    work.sh("docker run -d --network none --name w6c1 bb:1 sleep 60").ok();
    for (user, ids) in [
        ("www-data", "33 33 6 33 /var/www"),
        ("1000:disk", "1000 6 6 /home/user"),
        ("4321", "4321 0 0 /"),
        ("root", "0 0 0 6 /root"),
    ] {
        let text = format!(
            "docker exec -u {user} w6c1 sh -c 'echo $(id -u) $(id -g) $(grep Groups /proc/self/status | cut -f2) $HOME'"
        );
        assert_eq!(work.sh(&text).ok().trim(), ids, "{user}");
    }
    let all = work.sh("docker exec --privileged w6c1 grep CapBnd /proc/self/status").ok();
    assert_ne!(all, work.sh("docker exec w6c1 grep CapBnd /proc/self/status").ok());
    work.sh("docker rm -f w6c1").ok();
}

#[test]
fn a_signal_to_the_command_is_the_containers() {
    let work = work();
    for signal in ["TERM", "HUP", "USR1"] {
        let text = format!(
            ": >log; docker run --rm --network none --name w7c4 bb:1 sh -c 'trap \"exit 3\" {signal}; echo up >&2; while :; do sleep 0.1; done' 2>log &
            while ! grep -q up log; do sleep 0.1; done; kill -{signal} $!; wait $!"
        );
        work.sh(&text).fails(3);
        assert_eq!(work.sh("docker ps -aq").ok(), "", "{signal}");
    }
    // By the words that a program has called docker with, it finds what it has started.
    let text = "docker run --rm --network none --name w7c5 bb:1 sh -c 'trap \"exit 3\" TERM; echo up >&2; while :; do sleep 0.1; done' 2>log &
        while ! grep -q up log; do sleep 0.1; done; kill -TERM $(pgrep -n -f 'docker run --rm --network none --name w7c[5]') || kill -KILL $!; wait $!";
    work.sh(&format!(": >log; {text}")).fails(3);
    work.sh("timeout 2 docker run --rm --network none bb:1 sh -c 'trap \"exit 4\" TERM; while :; do sleep 0.1; done'")
        .fails(124);
    assert_eq!(work.sh("docker ps -aq").ok(), "");
    work.sh("docker run -d --network none --name w7c1 bb:1 sh -c 'trap \"echo got\" HUP; while :; do sleep 0.1; done'")
        .ok();
    assert_eq!(
        work.sh("sleep 0.5; timeout 5 docker kill -s HUP w7c1; sleep 0.5; docker logs w7c1").ok(),
        "w7c1\ngot\n"
    );
    work.sh("docker rm -f w7c1").ok();
}

#[test]
fn a_container_is_started_again_in_front() {
    let work = work();
    work.sh("docker create --network none --name w8c1 bb:1 sh -c 'echo out; exit 3'").ok();
    for _ in 0..2 {
        let seen = work.sh("docker start --attach w8c1");
        assert_eq!((seen.stdout.as_str(), seen.status), ("out\n", 3));
    }
    assert_eq!(work.sh("docker logs w8c1").ok(), "out\nout\n", "of both runs");
    work.sh("docker create -i --network none --name w8c2 bb:1 cat").ok();
    assert_eq!(work.sh("echo in | docker start -ai w8c2").ok(), "in\n");
    work.sh("docker run -d --network none --name w8c3 bb:1 sh -c 'sleep 1; echo late; exit 4'").ok();
    let seen = work.sh("docker attach w8c3");
    assert_eq!((seen.stdout.as_str(), seen.status), ("late\n", 4));
    assert_eq!(work.sh("docker wait w8c1 w8c3").ok(), "3\n4\n");
    work.sh("docker container prune -f && [ -z \"$(docker ps -aq)\" ]").ok();
}

#[test]
fn the_log_of_a_container_in_front_is_kept() {
    let work = work();
    work.sh("docker run --network none --name w9c1 bb:1 sh -c 'echo out; echo err >&2'").ok();
    let seen = both(&work, "docker logs w9c1");
    assert_eq!((seen.0.as_str(), seen.1.as_str()), ("out\n", "err\n"));
    for since in ["2023-01-02", "2023-01-02T10", "2023-01-02T10:00:00.5Z", "1700000000.5", "1h30m"] {
        assert_eq!(work.sh(&format!("docker logs w9c1 --since {since} 2>/dev/null")).ok(), "out\n", "{since}");
    }
    assert_eq!(work.sh("docker logs --until 2023-01-02 w9c1 2>&1").ok(), "");
    let stamped = work.sh("docker logs -t w9c1 2>/dev/null").ok();
    assert_eq!(stamped.len(), "2023-01-02T10:00:00.123456789Z out\n".len(), "{stamped}");
    assert_eq!(work.sh("docker logs --details w9c1 2>/dev/null").ok(), " out\n");
    work.sh("docker rm w9c1").ok();
}

#[test]
fn files_are_copied_in_and_out() {
    let work = work();
    work.sh("mkdir -p folder/sub && echo one >folder/sub/f && echo two >file && chmod 640 file").ok();
    work.sh("docker create --network none -v vol:/vol --name w10c1 bb:1 sleep 60").ok();
    work.sh("docker cp file w10c1:/tmp/ && docker cp folder w10c1:/new && docker cp folder/. w10c1:/vol && tar c file | docker cp - w10c1:/root").ok();
    work.sh("docker start w10c1").ok();
    let seen = work.sh("docker exec w10c1 cat /tmp/file /new/sub/f /vol/sub/f /root/file").ok();
    assert_eq!(seen, "two\none\none\ntwo\n");
    assert_eq!(work.sh("docker exec w10c1 stat -c '%a %u' /tmp/file").ok(), "640 0\n");
    assert_eq!(work.sh("docker cp w10c1:/etc/passwd - | tar t").ok(), "passwd\n");
    work.sh("docker exec w10c1 ln -s /etc/../../../etc/group /tmp/link && docker cp w10c1:/tmp/link l1 && docker cp -L w10c1:/tmp/link l2").ok();
    assert_eq!(work.sh("readlink l1; head -1 l2").ok(), "/etc/../../../etc/group\nroot:x:0:\n");
    work.sh(
        "docker exec w10c1 ln -s /tmp/x /tmp/abs && docker exec w10c1 touch /tmp/x && docker cp file w10c1:/tmp/abs",
    )
    .ok();
    assert_eq!(work.sh("docker exec w10c1 cat /tmp/x").ok(), "two\n", "a link ends in the container");
    work.sh("docker cp w10c1:/nosuch .").fails(1);
    assert!(work.sh("docker cp nosuch:/x .").fails(1).contains("No such container"));
    work.sh("docker rm -f w10c1 && docker volume rm vol").ok();
}

#[test]
fn a_container_is_renamed_changed_paused_and_told_apart() {
    let work = work();
    work.sh("docker run -d --network none --name w11c1 bb:1 sleep 60").ok();
    work.sh("docker exec w11c1 sh -c 'echo x >/new; rm /etc/group'").ok();
    let diff = work.sh("docker diff w11c1 | sort").ok();
    for line in ["A /new\n", "D /etc/group\n", "C /etc\n"] {
        assert!(diff.contains(line), "{line} in {diff}");
    }
    work.sh("docker export -o a.tar w11c1 && tar xOf a.tar new | grep -qx x").ok();
    work.sh("docker rename w11c1 w11c2 && docker pause w11c2 && docker unpause w11c2 && docker update --pids-limit 50 w11c2").ok();
    assert_eq!(work.sh("docker ps --format '{{.Names}}' && docker exec w11c2 echo here").ok(), "w11c2\nhere\n");
    assert!(work.sh("docker exec w11c1 true").fails(1).contains("No such container"));
    work.sh("docker restart -t 0 w11c2 && docker exec w11c2 true && docker top w11c2 | grep -q sleep").ok();
    work.sh("docker rm -f w11c2").ok();
    assert_eq!(work.sh("docker ps -aq; ls $OCI_HOME/bundles").ok(), "");
}

#[test]
fn an_image_is_known_by_its_id_and_stays_while_it_is_used() {
    let work = work();
    work.write("more/Dockerfile", "FROM bb:1\nRUN echo b >/b\n");
    let id = work.sh("docker build -q --network none more").ok().trim().to_owned();
    for form in [id.clone(), id["sha256:".len()..].to_owned(), id["sha256:".len()..][..12].to_owned()] {
        assert_eq!(work.sh(&format!("docker run --rm --network none {form} cat /b")).ok(), "b\n", "{form}");
        work.sh(&format!("docker tag {form} tagged:1.")).ok();
    }
    work.sh("docker run -d --network none --name w12c1 bb:1 sleep 60").ok();
    let said = work.sh("docker rmi bb:1").fails(1);
    assert!(said.contains("conflict: unable to remove repository reference \"bb:1\" (must force)"), "{said}");
    work.sh("docker rmi -f bb:1").ok();
    let made = work.sh("docker commit w12c1").ok();
    work.sh(&format!("docker tag {} committed && docker rmi -f committed tagged:1.", made.trim())).ok();
    work.sh("docker rm -f w12c1").ok();
}

#[test]
fn prune_removes_what_it_is_asked_to_and_no_more() {
    let work = work();
    work.sh("docker create --network none --name w12c1 bb:1 true").ok();
    work.sh("mkdir root && tar -C root -cf root.tar . && docker import root.tar w12:1 && docker volume create w12v")
        .ok();
    for kind in ["volume", "network", "builder", "system"] {
        work.sh(&format!("docker {kind} prune -f --filter label=w12")).ok();
        assert_ne!(work.sh(&format!("docker {kind} prune -f --filter nosuch=w12")).status, 0, "{kind}");
    }
    assert_eq!(work.sh("docker volume ls -q").ok(), "w12v\n");
    let images = || work.sh("docker images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\\n' ' '").ok();
    work.sh("docker image prune -f").ok();
    assert!(images().contains("w12:1 "), "it has a name");
    work.sh("docker image prune -f -a").ok();
    assert!(!images().contains("w12:1 ") && images().contains("bb:1 "), "{}", images());
    work.sh("docker rm w12c1 && docker volume rm w12v").ok();
}

#[test]
fn the_script_runs_in_every_shell() {
    let work = work();
    for shell in ["dash", "bash", "busybox sh"] {
        let text = format!(
            "{shell} ../bin/docker run --rm --network none bb:1 echo $((1 + 1)) && {shell} ../bin/docker ps -aq"
        );
        assert_eq!(work.sh(&text).ok(), "2\n", "{shell}");
        assert_eq!(
            work.sh(&format!("{shell} ../bin/docker stop nosuch")).fails(1),
            "Error response from daemon: No such container: nosuch\n"
        );
    }
}
