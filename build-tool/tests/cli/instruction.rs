//! The instructions and their flags, one by one. The table in the README names these tests.

use super::*;

#[test]
fn every_instruction_sets_its_field() {
    let work = Work::with_base();
    let dockerfile = "ARG BASE=base\nFROM $BASE\nMAINTAINER me\nARG V=1\nENV E=$V F=\"a b\"\nLABEL l=$E \"m n\"=o\nEXPOSE 80 90-91/udp\n\
        VOLUME [\"/v\", \"/w\"]\nUSER app:disk\nWORKDIR /one\nWORKDIR two\nSHELL [\"/bin/sh\", \"-ec\"]\nCMD run $E\nENTRYPOINT [\"e\"]\n\
        CMD run $E\nSTOPSIGNAL SIGRTMIN+3\nHEALTHCHECK NONE\nONBUILD RUN x\n";
    work.build(dockerfile).ok();
    let document = work.config();
    assert_eq!(document["author"], "me");
    let expected = serde_json::json!({
        "Env": ["PATH=/bin", "A=base", "E=1", "F=a b"],
        "Labels": {"l": "1", "m n": "o"},
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}},
        "Volumes": {"/v": {}, "/w": {}},
        "User": "app:disk",
        "WorkingDir": "/one/two",
        "Shell": ["/bin/sh", "-ec"],
        "Cmd": ["/bin/sh", "-ec", "run $E"],
        "Entrypoint": ["e"],
        "StopSignal": "SIGRTMIN+3",
        "Healthcheck": {"Test": ["NONE"]},
        "OnBuild": ["RUN x"],
    });
    assert_eq!(document["config"], expected);
}

#[test]
fn an_image_from_nothing_is_the_same_again() {
    let work = Work::with_base();
    work.file("context/x", "x");
    for lines in ["", "COPY x /\nLABEL a=b\n"] {
        let made = ["80 443", "443 80"].map(|ports| {
            work.build(&format!("FROM scratch\nMAINTAINER me\nEXPOSE {ports}\n{lines}")).ok();
            std::thread::sleep(std::time::Duration::from_millis(10));
            work.config()
        });
        assert_eq!(made[0], made[1], "{lines}");
        let times: Vec<&serde_json::Value> =
            made[0]["history"].as_array().unwrap().iter().map(|entry| &entry["created"]).collect();
        assert!(times.iter().all(|time| **time == made[0]["created"]), "{times:?}");
        assert_eq!(made[0]["created"].is_null(), lines.is_empty());
    }
}

#[test]
fn what_stands_for_nothing_is_refused() {
    let work = Work::with_base();
    for (line, why) in [
        ("ENV =x", "ENV names can not be blank"),
        ("LABEL =x", "LABEL names can not be blank"),
        ("ARG =x", "ARG names can not be blank"),
        ("ENV NOTHING=\"\"\nVOLUME $NOTHING", "VOLUME specified can not be an empty string"),
        ("SHELL exec -form", "SHELL requires the arguments to be in JSON form"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
    ] {
        let run = work.build(&format!("FROM base\n{line}\n"));
        assert!(run.status == 1 && run.stderr.contains(why), "{line}: {}", run.stderr);
    }
}

#[test]
fn healthchecks_have_their_times() {
    let work = Work::with_base();
    work.build(
        "FROM base\nHEALTHCHECK --interval=1m --timeout=2s --start-period=3s --start-interval=500ms --retries=4 CMD [\"x\"]\n",
    )
    .ok();
    let expected = serde_json::json!({
        "Test": ["CMD", "x"],
        "Interval": 60_000_000_000_u64,
        "Timeout": 2_000_000_000_u64,
        "StartPeriod": 3_000_000_000_u64,
        "StartInterval": 500_000_000_u64,
        "Retries": 4,
    });
    assert_eq!(work.config()["config"]["Healthcheck"], expected);
}

#[test]
fn add_takes_the_flags_of_copy() {
    let work = Work::with_base();
    for name in ["x", "y.md"] {
        work.file(&format!("context/d/{name}"), name);
    }
    let mut tar = Writer::new(Vec::new());
    tar.file(&Entry::new("inside", Kind::File, 0o644), b"inside").unwrap();
    fs::write(work.path("context/a.tar"), tar.finish().unwrap()).unwrap();
    work.build(
        "FROM base\nADD --chown=app:disk --chmod=640 --exclude=*.md --link d /e/\nADD --unpack=false a.tar /kept/\n",
    )
    .ok();
    let layers = work.layers();
    let (added, kept) = (&layers[1], &layers[2]);
    let file = entry(added, "e/x");
    assert_eq!((file.uid, file.gid, file.mode & 0o777), (1000, 6, 0o640));
    assert!(!added.contains_key("e/y.md"));
    assert!(kept.contains_key("kept/a.tar"));
}

#[test]
fn a_command_may_be_without_a_network() {
    let work = Work::with_base();
    work.build("FROM base\nRUN --network=none --security=sandbox cat /proc/net/dev >/net\n").ok();
    let devices = text(&work.top(), "net");
    let names: Vec<&str> = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert_eq!(names, ["lo"]);
}

#[test]
fn a_working_directory_may_be_for_a_user_that_is_not_known_yet() {
    let work = Work::new();
    work.file("context/passwd", "app:x:1000:1001::/:/bin/sh\n");
    work.build("FROM scratch\nUSER app\nWORKDIR /early\nCOPY passwd /etc/\nWORKDIR /late\n").ok();
    let layers = work.layers();
    let owner = |number: usize, name: &str| (entry(&layers[number], name).uid, entry(&layers[number], name).gid);
    assert_eq!((owner(0, "early"), owner(2, "late")), ((0, 0), (1000, 1001)));
    work.build("FROM scratch\nCOPY --chown=app passwd /etc/\n")
        .fails("Dockerfile:2: COPY --chown=app passwd /etc/: owner app: unable to find user app: no matching entries in passwd file");
}
