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
    work.file("context/Platforms", "FROM --platform=$BUILDPLATFORM scratch AS to-linux\nFROM to-$TARGETOS\n");
    let graph = work.run(&["graph", "-f", "context/Platforms", "context"]).ok().stdout;
    assert!(graph.contains("->") && !graph.contains("$TARGETOS"), "arguments that every build has: {graph}");
    assert!(work.run(&["graph", "--svg", "context"]).ok().stdout.starts_with("<svg"));
    work.file("context/Dockerfile", "FROM scratch\nCMD [\"x\"]\n");
    assert_eq!(work.run(&["check", "context"]).ok().stdout, "");
}

#[test]
fn a_build_tells_of_findings_and_fails_where_the_file_asks_for_it() {
    let work = Work::new();
    work.file("context/Dockerfile", "FROM scratch as a\nLABEL a=b\nCMD x\n");
    let run = work.run(&["build", "context"]).ok();
    let end = " 2 warnings found (build-tool check shows the lines, and so does --debug):\n \
               - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n \
               - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 3)\n";
    assert!(run.stderr.ends_with(end), "{}", run.stderr);
    let run = work.run(&["build", "-D", "context"]).ok();
    assert!(run.shows("   1 | >>> FROM scratch as a"), "{}", run.stderr);
    assert!(!work.run(&["build", "-q", "context"]).ok().shows("warning"));

    for (dockerfile, line) in [
        (
            "# check=error=true\nFROM scratch as a\nCMD x\n",
            "Dockerfile: lint violation found for rules: FromAsCasing, JSONArgsRecommended",
        ),
        (
            "# check=skipp=all\nFROM scratch\n",
            "Dockerfile: # check=skipp=all: unknown setting (expected skip=RULE,…, experimental=RULE,… and error=true, separated by ;)",
        ),
    ] {
        work.file("context/Dockerfile", dockerfile);
        work.run(&["build", "context"]).fails(line);
    }
    // What is found may well be why a file cannot be built.
    work.file("context/Dockerfile", "# check=error=true\nFROM scratch as a\nCMD x\n");
    let run = work.run(&["build", "context"]);
    assert!(run.shows(" - FromAsCasing: ") && run.shows("   2 | >>> FROM scratch as a"), "{}", run.stderr);
    assert!(work.run(&["build", "-q", "context"]).shows(" - FromAsCasing: "));
    work.file("context/Dockerfile", "FROM --platform=$BULIDPLATFORM scratch\n");
    let run = work.run(&["build", "context"]);
    let found =
        " - UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?) (line 1)";
    assert!(run.shows(found), "{}", run.stderr);
    work.file("context/Dockerfile", "# check=error=true\nFROM scratch as a\nLABEL a=b\n");
    let skipped = ["build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=FromAsCasing", "context"];
    assert!(!work.run(&skipped).ok().shows("WARNING"));
    work.file("context/Dockerfile", "# check=error=true\n# check=x\nFROM scratch\nLABEL a=b\n");
    work.run(&["build", "context"]).fails("Dockerfile:2: the directive check may be given only once");
}

#[test]
fn calls_say_what_a_dockerfile_offers() {
    let work = Work::new();
    let dockerfile = "# V is a version\nARG V=1\n# one is first\nFROM scratch AS one\nFROM one AS two\nARG V\n";
    work.file("context/Dockerfile", dockerfile);
    let targets = "TARGET        DESCRIPTION\none           is first\ntwo (default)\n";
    assert_eq!(work.run(&["build", "--call", "targets", "context"]).ok().stdout, targets);
    let outline = work.run(&["build", "--call=outline", "--build-arg", "V=2", "context"]).ok().stdout;
    assert_eq!(outline, "TARGET: two\n\nBUILD ARG   VALUE   DESCRIPTION\nV           2       is a version\n\n");
    let outline = work.run(&["build", "--call=outline,format=json", "context"]).ok().stdout;
    assert_eq!(serde_json::from_str::<Value>(&outline).unwrap()["args"][0]["value"], "1");
    let outline = work.run(&["build", "--call=outline,format=json", "--target", "one", "context"]).ok().stdout;
    let arguments = serde_json::from_str::<Value>(&outline).unwrap()["args"].clone();
    assert_eq!(arguments, Value::Array(Vec::new()), "no instruction of the target takes it");
    assert_eq!(work.run(&["build", "--check", "context"]).ok().stdout, "Check complete, no warnings found.\n");
    work.file("context/Dockerfile", "FROM scratch as a\nLABEL a=b\n");
    let run = work.run(&["build", "--call=check", "context"]);
    assert_eq!(run.status, 1);
    let start = "Check complete, 1 warning has been found!\n\n\
                 WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n'as' and 'FROM' keywords' casing do not match\n\
                 Dockerfile:1\n--------------------\n   1 | >>> FROM scratch as a\n";
    assert!(run.stdout.starts_with(start), "{}", run.stdout);
    work.run(&["build", "--call", "lints", "context"]).fails("--call lints: unknown method (check, outline, targets)");
    assert!(!work.path("home/builds/steps").exists(), "nothing is built");
}

#[test]
fn a_check_in_json_is_buildkits() {
    let work = Work::new();
    let dockerfile = "FROM scratch AS Bad\nMAINTAINER \\\n me\nFROM ${NONE} AS base\n";
    work.file("context/Dockerfile", dockerfile);
    let run = work.run(&["build", "--call=check,format=json", "context"]);
    assert_eq!(run.status, 1);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        found["warnings"][0],
        serde_json::json!({
            "ruleName": "StageNameCasing", "description": "Stage names should be lowercase",
            "url": "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
            "detail": "Stage name 'Bad' should be lowercase",
            "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]},
        })
    );
    let line = |line: u32| serde_json::json!({"start": {"line": line}, "end": {"line": line}});
    assert_eq!(found["warnings"][1]["location"]["ranges"], serde_json::json!([line(2), line(3)]));
    assert_eq!(found["warnings"][2]["ruleName"], "UndefinedArgInFrom");
    assert_eq!(found["buildError"]["location"]["ranges"], serde_json::json!([line(4)]), "{}", run.stdout);
    assert_eq!(found["sources"][0]["filename"], "Dockerfile");

    for (dockerfile, message) in [
        ("# check=error=true\nFROM scratch as a\n", "lint violation found for rules: FromAsCasing"),
        ("FROM --platform=$NONE scratch\n", "Dockerfile:1: FROM: --platform=$NONE is empty"),
        ("FROM scratch\nLABEL a=${B^}\n", "Dockerfile:2: "),
        ("FROM scratch\nBADCMD\n", "Dockerfile:2: unknown instruction: BADCMD"),
    ] {
        work.file("context/Dockerfile", dockerfile);
        let run = work.run(&["build", "--call=check,format=json", "context"]);
        let found: Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(found["buildError"]["message"].as_str().unwrap().contains(message), "{}", run.stdout);
        assert_eq!(run.status, 1);
    }

    let dockerfile = "FROM scratch AS tools\nRUN --mount=type=ssh,id=hub --mount=type=secret,id=k x\nCMD x\nFROM scratch\nLABEL a b\n";
    work.file("context/Dockerfile", dockerfile);
    let outline = work.run(&["build", "--call=outline,format=json", "--target=tools", "context"]).ok().stdout;
    let outline: Value = serde_json::from_str(&outline).unwrap();
    assert_eq!(outline["ssh"], serde_json::json!([{"name": "hub", "location": {"ranges": [line(2)]}}]));
    assert_eq!(outline["secrets"][0]["name"], "k");
    // Only what the target needs is looked into.
    let run = work.run(&["build", "-o", "out", "context"]).ok();
    assert!(run.shows("LegacyKeyValueFormat") && !run.shows("JSONArgsRecommended"), "{}", run.stderr);
    let run = work.run(&["build", "--check", "--target=tools", "context"]);
    assert!(!run.stdout.contains("LegacyKeyValueFormat") && run.stdout.contains("JSONArgs"), "{}", run.stdout);
    assert!(work.run(&["build", "--check", "context"]).stdout.contains("2 warnings"));
}

#[test]
fn what_the_ignore_rules_leave_out_is_told_as_far_as_that_is_known() {
    let work = Work::new();
    for (ignore, source, expected) in [
        ("out\n", "out", true),
        ("out\n", "./out/", true),
        ("out\n", "out/file", true),
        ("out\n!out/file\n", "out/file", false),
        ("*\n!in\n", ".", false),
        ("*\n", ".", true),
        ("*.log\n", ".", false),
        ("*.log\n", "*.log", true),
        ("out\n", "in", false),
    ] {
        work.file("context/.dockerignore", ignore);
        work.file("context/Dockerfile", &format!("FROM scratch\nCOPY {source} /d/\n"));
        let run = work.run(&["build", "--check", "context"]);
        assert_eq!(run.stdout.contains("CopyIgnoredFile"), expected, "{ignore:?} {source}: {}", run.stdout);
    }
}
