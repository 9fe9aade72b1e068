//! `check`, `parse` and `graph`: what is said of a Dockerfile without building it.

use super::*;

#[test]
fn a_dockerfile_is_checked_parsed_and_drawn() {
    let work = Work::new();
    work.file("context/Dockerfile", "FROM scratch as a\nCMD x\n");
    let run = work.run(&["check", "context"]);
    assert_eq!((run.status, run.stderr.as_str()), (1, "build-tool: Dockerfile: 2 findings\n"));
    assert!(run.stdout.starts_with(
        "Dockerfile:1: FromAsCasing: 'as' and 'FROM' keywords' casing do not match\n    FROM scratch as a\n"
    ));
    let tree: Value = serde_json::from_str(&work.run(&["parse", "context"]).ok().stdout).unwrap();
    assert_eq!(tree["steps"][1]["instruction"], "CMD");
    assert_eq!(tree["steps"][1]["value"]["shell"], "x");
    assert_eq!(tree["steps"][1]["lines"], serde_json::json!({"start": 2, "end": 2}));
    assert!(work.run(&["graph", "context"]).ok().stdout.starts_with("digraph"));
    assert!(work.run(&["graph", "--svg", "context"]).ok().stdout.starts_with("<svg"));
    work.file("context/Dockerfile", "FROM scratch\nCMD [\"x\"]\n");
    assert_eq!(work.run(&["check", "context"]).ok().stdout, "");
}
