use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::*;
use crate::container::status::{join, read_list};

fn bundle(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(&path).unwrap();
    let config = json!({"annotations": {
        "org.oci-tools.name": name, "org.oci-tools.id": "0123456789abcdef".repeat(4), "org.oci-tools.created": "2026-01-01T00:00:00Z",
        "org.oci-tools.image": "python:3.8", "org.oci-tools.ports": "0.0.0.0:5000->5000/tcp", "org.oci-tools.network-mode": "none",
        "org.oci-tools.command": r#"["python","-c","print(\"a b\")"]"#, "org.oci-tools.labels": r#"{"a":"1","b":"<2>"}"#,
    }, "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/e", "type": "bind", "source": "/etc", "options": ["rbind", "rprivate", "ro"]},
    ]});
    fs::write(path.join("config.json"), config.to_string()).unwrap();
    path
}

fn rows(change: Json) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path(), "eager_wilson");
    let mut state = json!({"id": "eager_wilson", "pid": 7, "status": "running", "bundle": path, "created": "2026-01-01T00:00:01.5Z"});
    for (key, value) in change.as_object().unwrap() {
        state[key] = value.clone();
    }
    let list = json!([state]).to_string();
    let all = join(folder.path(), read_list(list.as_bytes()).unwrap()).unwrap();
    let home = Home::from_environment();
    row(&all[0], (&home, &Names::read(&home)), "2026-01-01T00:00:05Z".parse().unwrap(), true, None)
}

#[test]
fn a_row_reads_as_dockers() {
    let row = rows(json!({}));
    for (field, value) in [
        ("ID", "0123456789ab"),
        ("Image", "python:3.8"),
        ("Command", "\"python -c 'print(\\\"a…\""),
        ("RunningFor", "5 seconds ago"),
        ("CreatedAt", "2026-01-01 00:00:00 +0000 UTC"),
        ("Status", "Up 4 seconds"),
        ("Ports", "0.0.0.0:5000->5000/tcp"),
        ("Names", "eager_wilson"),
        ("State", "running"),
        ("Labels", "a=1,b=<2>"),
        ("Mounts", "/etc"),
        ("LocalVolumes", "0"),
        ("Networks", "none"),
    ] {
        assert_eq!(row.text_of(field), Some(value), "{field}");
    }
}

#[test]
fn the_status_is_in_dockers_words() {
    for (change, shown) in [
        (json!({"health": "starting"}), "Up 4 seconds (health: starting)"),
        (json!({"health": "unhealthy"}), "Up 4 seconds (unhealthy)"),
        (json!({"health": "\u{1b}[31m"}), "Up 4 seconds"),
        (json!({"status": "paused"}), "Up 4 seconds (Paused)"),
        (
            json!({"status": "stopped", "exitStatus": 137, "exitTime": "2026-01-01T00:00:03Z"}),
            "Exited (137) 2 seconds ago",
        ),
        (
            json!({"status": "stopped", "restarting": true, "exitStatus": 1, "exitTime": "2026-01-01T00:00:03Z"}),
            "Restarting (1) 2 seconds ago",
        ),
        (json!({"status": "creating"}), "Created"),
    ] {
        assert_eq!(rows(change).text_of("Status"), Some(shown));
    }
}

#[test]
fn arguments_with_blanks_are_quoted() {
    let words = |all: &[&str]| command(&all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(words(&["sh", "-c", "sleep 30"]), "sh -c 'sleep 30'");
    assert_eq!((words(&["a b"]), words(&[])), ("a b".into(), String::new()));
}
