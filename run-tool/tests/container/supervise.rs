//! Containers with a supervisor: their logs, their restarts and their attached clients.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::{Bundle, eventually};

#[test]
fn a_supervised_container_keeps_its_output_and_status() {
    let bundle = Bundle::new(&["sh", "-c", "echo out; echo err >&2; sleep 0.3; echo end; exit 3"]);
    let id = bundle.id();
    assert_eq!(bundle.good(&["run", "--detach", "--log-driver", "json-file", "--log-opt", "max-size=1m", &id]), "");
    assert_eq!(bundle.good(&["wait", &id]), "3\n");
    let output = bundle.tool(&["logs", &id]);
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\nend\n"[..], &b"err\n"[..]));
    assert_eq!(bundle.good(&["logs", "--tail", "1", &id]), "end\n");
    let text = fs::read_to_string(bundle.path().join(format!("{id}-json.log"))).unwrap();
    assert!(text.starts_with("{\"log\":\"out\\n\",\"stream\":\"stdout\",\"time\":\""), "{text}");
    bundle.good(&["delete", &id]);
    assert!(bundle.bad(&["run", "--log-driver", "json-file", &id]).1.contains("--detach"));
}

/// With systemd's own journald, in a mount namespace in which nobody else uses the journal.
#[test]
fn the_journal_keeps_the_output_of_a_supervised_container() {
    let program = "echo out; echo err >&2; printf 'no\\377text\\n'; sleep 1; echo later; printf end; exit 3";
    let bundle = Bundle::new(&["sh", "-c", program]);
    let id = bundle.id();
    let script = format!(
        r#"
mkdir -p /run/log/journal /run/systemd/journal
mount -t tmpfs journal /run/log
mount -t tmpfs journal /run/systemd/journal
mkdir /run/log/journal
runtime() {{ '{tool}' --root state "$@"; }}
runtime run --detach --log-driver journald {id}; echo $?
/lib/systemd/systemd-journald &
until [ -S /run/systemd/journal/socket ]; do sleep 0.01; done
runtime run --detach --log-driver journald --log-opt tag=web {id}; echo $?
runtime logs --follow {id} 2>errors; cat errors
echo; runtime wait {id}
runtime logs --tail 1 {id}
echo; journalctl --output=cat --output-fields=MESSAGE SYSLOG_IDENTIFIER=web CONTAINER_ID_FULL={id} PRIORITY=3
runtime delete {id}
runtime run --detach --log-driver journald {id}
runtime logs {id} 2>/dev/null | head -n 1
journalctl --quiet --output=cat CONTAINER_NAME={id} CONTAINER_TAG={id} | grep -c '^out$'
kill %1; wait
"#,
        tool = env!("CARGO_BIN_EXE_run-tool"),
    );
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "unshare", "--mount", "--propagation=private", "bash", "-c", &script])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let expected = "1\n0\nout\nno\u{fffd}text\nlater\nenderr\n\n3\nend\nerr\nout\n1\n";
    assert_eq!(stdout, expected, "{stderr}");
    let refused = "run-tool run failed: --log-driver journald: connect /run/systemd/journal/socket";
    assert!(stderr.contains(refused) && stderr.contains("is systemd-journald running?"), "{stderr}");
}

#[test]
fn stop_kills_after_the_timeout_and_overrides_the_restart_policy() {
    let bundle = Bundle::with(&["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], |config| {
        config["annotations"] = json!({"org.oci-tools.restart": "always", "org.oci-tools.stop-timeout": "1"});
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", "--log-driver", "none", &id]);
    let begun = Instant::now();
    bundle.good(&["stop", &id]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(bundle.good(&["wait", &id]), "137\n");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bundle.status(), "stopped");
}

#[test]
fn a_container_that_was_killed_is_not_restarted() {
    for signal in ["KILL", "TERM"] {
        let bundle =
            Bundle::with(&["sh", "-c", "trap 'exit 7' TERM; echo run; while :; do sleep 0.1; done"], |config| {
                config["annotations"] = json!({"org.oci-tools.restart": "always"});
            });
        let id = bundle.id();
        bundle.good(&["run", "--detach", "--log-driver", "json-file", &id]);
        eventually("a run", || bundle.good(&["logs", &id]) == "run\n");
        bundle.good(&["kill", &id, signal]);
        assert_eq!(bundle.good(&["wait", &id]), if signal == "KILL" { "137\n" } else { "7\n" });
        // A restart would come after a tenth of a second.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!((bundle.status().as_str(), bundle.good(&["logs", &id]).as_str()), ("stopped", "run\n"), "{signal}");
    }
}

#[test]
fn a_supervised_container_is_checked_at_its_interval() {
    let bundle = Bundle::with(&["sleep", "1000"], |config| {
        let test = json!(["CMD-SHELL", "echo checked >>/checks; test -e /well"]);
        let check = json!({"Test": test, "Interval": 50_000_000, "Retries": 2}).to_string();
        config["root"]["readonly"] = json!(false);
        config["annotations"] = json!({"org.oci-tools.healthcheck": check});
    });
    let id = bundle.id();
    let health = |of: &str| {
        let listed: serde_json::Value = serde_json::from_str(&bundle.good(&["list", "--format", "json"])).unwrap();
        listed[0]["health"] == of
    };
    bundle.good(&["run", "--detach", "--log-driver", "none", &id]);
    eventually("two failures", || health("unhealthy"));
    fs::write(bundle.rootfs().join("well"), "").unwrap();
    eventually("a success", || health("healthy"));
    bundle.good(&["stop", "--time", "0", &id]);
    let checks = || fs::read_to_string(bundle.rootfs().join("checks")).unwrap();
    assert_eq!(bundle.good(&["wait", &id]), "137\n");
    let before = checks();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(checks(), before, "checks end with the container");
    let listed: serde_json::Value = serde_json::from_str(&bundle.good(&["list", "--format", "json"])).unwrap();
    assert!(listed[0].get("health").is_none(), "{listed}");
}

#[test]
fn a_failing_container_is_restarted_as_often_as_its_policy_allows() {
    let bundle = Bundle::with(&["sh", "-c", "echo run; exit 1"], |config| {
        config["annotations"] = json!({"org.oci-tools.restart": "on-failure:2"});
    });
    let id = bundle.id();
    bundle.good(&["run", "--detach", "--log-driver", "json-file", &id]);
    eventually("three runs", || bundle.good(&["logs", &id]) == "run\nrun\nrun\n");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(bundle.good(&["logs", &id]), "run\nrun\nrun\n");
}

#[test]
fn attach_connects_the_streams_and_exits_with_the_status() {
    for terminal in [false, true] {
        let bundle = Bundle::with(&["sh", "-c", "read line; echo got $line; exit 6"], |config| {
            config["annotations"] = json!({"org.oci-tools.interactive": "true"});
            config["process"]["terminal"] = json!(terminal);
        });
        let id = bundle.id();
        bundle.good(&["run", "--detach", "--log-driver", "json-file", &id]);
        let mut child = bundle.command(&["attach", &id]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(b"hello\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.ends_with("got hello\n") || text.ends_with("got hello\r\n"), "{text:?}");
        assert!(bundle.good(&["logs", &id]).contains("got hello"));
        assert_eq!(bundle.good(&["wait", &id]), "6\n");
    }
}
