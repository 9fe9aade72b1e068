//! What an image or a runtime says never drives a terminal.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::work::{Run, Work};

/// Sets a window's title, clears the screen, and goes on in a line of its own.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\nroot";

fn is_plain(run: &Run) {
    for text in [&run.stdout, &run.stderr] {
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{run:?}");
    }
}

#[test]
fn what_an_image_says_is_escaped_in_errors() {
    let work = Work::new();
    for (name, config) in [
        ("user", json!({"Cmd": ["sh"], "User": EVIL})),
        ("group", json!({"Cmd": ["sh"], "User": format!("root:{EVIL}")})),
        ("port", json!({"Cmd": ["sh"], "ExposedPorts": {EVIL: {}}})),
        ("volume", json!({"Cmd": ["sh"], "Volumes": {EVIL: {}}})),
        ("workdir", json!({"Cmd": ["sh"], "WorkingDir": format!("/etc/passwd/{EVIL}")})),
    ] {
        work.image(name, &[&work.base()], config);
        let run = work.run(&format!("create --network none images:{name}"));
        run.fails(1, &["owned"]);
        is_plain(&run);
        assert!(!run.stderr.contains('\u{1b}'), "{name}: {run:?}");
    }
    work.is_clean();
}

#[test]
fn what_an_image_says_is_escaped_in_tables() {
    let work = Work::new();
    work.image("labels", &[&work.base()], json!({"Cmd": ["sh", EVIL], "Env": [EVIL], "Labels": {"title": EVIL}}));
    let path = work.run("create --network none --name web images:labels").ok().to_owned();
    let list = json!([{"id": EVIL, "pid": 7, "status": EVIL, "bundle": "/nowhere"}, {"id": "web", "pid": 7, "status": "running", "bundle": path}]).to_string();
    let run = work.run_with("ps --all --no-trunc", list.as_bytes());
    assert!(run.ok().contains("owned"));
    is_plain(&run);
    let format = ["ps", "--all", "--format", "table {{.ID}}\t{{.Names}}\t{{.State}}\t{{.Labels}}\t{{.Command}}"];
    is_plain(&work.words(&format, list.as_bytes()));
    work.run("delete web").ok();
}

#[test]
fn a_terminal_is_told_by_a_template_only_what_it_cannot_obey() {
    let work = Work::new();
    work.image("labels", &[&work.base()], json!({"Cmd": ["sh"], "Labels": {"title": EVIL}}));
    work.run("create --network none --name web images:labels").ok();
    let template = "{{.Name}}|{{index .Config.Labels \"title\"}}";
    let piped = work.words(&["inspect", "--format", template, "web"], b"null");
    assert_eq!(piped.ok(), format!("/web|{EVIL}"), "whoever is no terminal gets the text itself");
    // script(1) gives its command a terminal.
    let line = format!("{} inspect --format '{template}' web", env!("CARGO_BIN_EXE_bundle-tool"));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("OCI_HOME", work.path("oci"));
    let output = script.stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("/web|\\u{1b}]0;owned\\u{7}"), "{text:?}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    work.run("delete web").ok();
}

#[test]
fn a_name_that_another_tool_wrote_is_no_line_of_a_unit() {
    let work = Work::new();
    let path = work.path("foreign");
    fs::create_dir(&path).unwrap();
    let config: Value = json!({"annotations": {"org.oci-tools.name": "x\nExecStartPre=/bin/evil"}});
    fs::write(path.join("config.json"), config.to_string()).unwrap();
    assert_eq!(work.run("find --name foreign").ok(), "foreign");
    let unit = work.run("unit --runtime /bin/true foreign").ok().to_owned();
    assert!(!unit.contains("evil"), "{unit}");
}
