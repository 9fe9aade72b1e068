//! `build`: the image that comes out, its names, its arguments and stages, and the errors.

use super::*;

#[test]
fn an_image_comes_out_and_its_address_is_printed() {
    let work = Work::with_base();
    work.file("context/cat.py", "print()\n");
    let run = work.build("FROM base\nWORKDIR /files\nCOPY cat.py /cat.py\nENTRYPOINT [\"python\", \"/cat.py\"]\n").ok();
    let digest = work.image().1.descriptor().digest().to_string();
    assert_eq!(run.stdout, format!("images:built@{digest}\n"));
    let id = work.image().1.manifest().config().digest().to_string();
    let (manifest, id) = (format!("exporting manifest {digest} done"), format!("writing image {id} done"));
    for line in [
        "#4 [2/3] WORKDIR /files",
        "#5 [3/3] COPY cat.py /cat.py",
        "#5 DONE ",
        &manifest,
        &id,
        "naming to images:built done",
    ] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    let layers = work.layers();
    assert_eq!(layers.len(), 3);
    assert_eq!(entry(&layers[1], "files").kind, Kind::Directory);
    assert_eq!(text(&layers[2], "cat.py"), "print()\n");
    let config = work.config();
    assert_eq!(config["config"]["WorkingDir"], "/files");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["python", "/cat.py"]));
    assert_eq!(config["history"].as_array().unwrap().len(), 2 + 3);
    work.is_clean();
}

#[test]
fn equal_input_gives_equal_bytes_where_the_time_is_given() {
    let works = [Work::with_base(), Work::with_base()];
    let dockerfile = "FROM scratch\nCOPY . /a/b/\nADD x /c/\nWORKDIR /d/e\nLABEL a=b";
    let digests = works.map(|work| {
        work.file("context/x", "x");
        work.file("context/y/z", "z");
        work.file("context/Dockerfile", dockerfile);
        let mut command = work.command(&["build", "-t", "images:built", "context"]);
        let output = command.env("SOURCE_DATE_EPOCH", "1000000000").output().unwrap();
        assert!(output.status.success());
        assert_eq!(work.config()["created"], "2001-09-09T01:46:40Z");
        assert_eq!(entry(&work.layers()[0], "a/b/x").modified.seconds, 1_000_000_000, "a later time is cut");
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_base_image_is_read_within_limits() {
    let work = Work::with_base();
    work.file("context/Dockerfile", "FROM base\nRUN [\"true\"]\n");
    for (limit, said) in [
        (["--max-layers", "0"], "base: image refused: 1 layers are more than 0"),
        (["--max-size", "100"], "larger than 100 bytes"),
        (["--max-entries", "1"], "more than 1 entries"),
    ] {
        let run = work.run(&[&["build", "-t", "images:built"], &limit[..], &["context"]].concat());
        assert!(run.status == 1 && run.shows(said), "{limit:?}: {}", run.stderr);
    }
}

#[test]
fn errors_name_the_line_and_the_way_out() {
    let work = Work::with_base();
    work.file("context/present.txt", "");
    work.file("context/.dockerignore", "hidden\n");
    work.file("context/hidden", "");
    symlink("/etc/passwd", work.path("context/out")).unwrap();
    for (dockerfile, line) in [
        ("FROM base\n\nRUM ls\n", "Dockerfile:3: unknown instruction: RUM (did you mean RUN?)"),
        (
            "FROM base\nCOPY presnt.txt /\n",
            "Dockerfile:2: COPY presnt.txt /: presnt.txt: not found in the context context (did you mean present.txt?)",
        ),
        (
            "FROM base\nCOPY hidden /\n",
            "Dockerfile:2: COPY hidden /: hidden: excluded from the context context by .dockerignore",
        ),
        ("FROM base\nCOPY out /\n", "Dockerfile:2: COPY out /: out: not found in the context context"),
        (
            "FROM nosuch:1\n",
            "Dockerfile:1: FROM nosuch:1: images:nosuch:1: no such image (registry-tool pull nosuch:1 images)",
        ),
        (
            "FROM base\nCOPY --chown=nobody present.txt /\n",
            "Dockerfile:2: COPY --chown=nobody present.txt /: owner nobody: unable to find user nobody: no matching entries in passwd file",
        ),
        (
            "FROM base\nCOPY present.txt /etc/passwd/x\n",
            "Dockerfile:2: COPY present.txt /etc/passwd/x: /etc/passwd/x: /etc/passwd is not a directory",
        ),
        (
            "FROM base AS a\nFROM base\nCOPY --from=a /no /\n",
            "Dockerfile:3: COPY --from=a /no /: /no: not found in a (--from)",
        ),
        (
            "FROM base\nEXPOSE http\n",
            "Dockerfile:2: EXPOSE http: \"http\" is not a valid port (80, 80/tcp, 8000-8010/udp)",
        ),
        ("FROM base\nRUN [\"nosuch\"]\n", "Dockerfile:2: RUN [\"nosuch\"]: exit status 1"),
        (
            "FROM base\nSTOPSIGNAL SIGFOO\n",
            "Dockerfile:2: STOPSIGNAL SIGFOO: invalid signal: SIGFOO (SIGTERM, TERM, SIGRTMIN+3 or 15)",
        ),
        (
            "FROM base AS a\nCOPY --from=a /x /\n",
            "Dockerfile:2: from=a: circular dependency: a stage cannot take from itself",
        ),
        (
            "FROM base\nADD --checksum=sha256:00 present.txt /x\n",
            "Dockerfile:2: ADD --checksum=sha256:00 present.txt /x: --checksum is for a URL or a git repository, not for a file of the context",
        ),
    ] {
        work.build(dockerfile).fails(line);
    }
    work.build_with("FROM base AS main\n", &["--target", "mian"])
        .fails("--target mian: no such stage (did you mean main?)");
    work.run(&["build", "nowhere"]).fails("context nowhere: open nowhere: No such file or directory (os error 2)");
    fs::create_dir(work.path("empty")).unwrap();
    work.run(&["build", "empty"]).fails("Dockerfile: no such file in the context empty (-f FILE names another)");
    assert_eq!(work.run(&["build", "-t", "a@b@c:", "context"]).status, 2);
    work.is_clean();
}

#[test]
fn arguments_reach_what_they_should() {
    let work = Work::with_base();
    let dockerfile = "ARG BASE=nosuch\nARG GLOBAL=g\nFROM $BASE\nARG GLOBAL\nARG GIVEN=default TARGETARCH\nARG UNSET\n\
        ENV ALL=\"$GLOBAL $GIVEN $UNSET ${UNSET:-empty} $A\"\nENV A=later B=${A}\nLABEL arch=$TARGETARCH\n";
    work.build_with(dockerfile, &["--build-arg", "BASE=base", "--build-arg", "GIVEN=given", "--label", "l=1"]).ok();
    let config = work.config();
    let env = config["config"]["Env"].as_array().unwrap();
    assert!(
        env.contains(&"ALL=g given  empty base".into())
            && env.contains(&"A=later".into())
            && env.contains(&"B=base".into()),
        "{env:?}"
    );
    assert_eq!(config["config"]["Labels"]["arch"], Platform::host().architecture());
    assert_eq!(config["config"]["Labels"]["l"], "1");
    let run = work.build_with("FROM base\n", &["--build-arg", "NONE=1"]).ok();
    assert!(run.shows("WARNING: --build-arg NONE: no ARG of that name"));
}

#[test]
fn only_needed_stages_are_built_and_the_target_is_obeyed() {
    let work = Work::with_base();
    let dockerfile =
        "FROM base AS one\nRUN echo one >/one\nFROM base AS broken\nRUN exit 1\nFROM one AS two\nRUN echo two >/two\n";
    work.build(dockerfile).ok();
    assert_eq!(work.layers().len(), 3);
    work.build_with(dockerfile, &["--target", "ONE"]).ok();
    assert_eq!(work.layers().len(), 2);
    assert_eq!(work.build_with(dockerfile, &["--target", "1"]).status, 1);
}

#[test]
fn what_a_dockerfile_says_does_not_reach_the_terminal_as_a_command() {
    let work = Work::with_base();
    let attack = "\u{1b}]0;owned\u{7}";
    work.file(&format!("context/f{attack}"), "f");
    let built = work.build(&format!("FROM base\nCOPY \"f{attack}\" /\nARG V=\"{attack}\"\nRUN : $V\n")).ok();
    let failed = work.build(&format!("FROM base\nCOPY \"g{attack}\" /\n"));
    let warned = work.build_with("FROM base\n", &["--build-arg", &format!("N{attack}=1")]).ok();
    let unknown = work.build(&format!("FROM base\nR{attack} x\n"));
    let checked = work.run(&["check", "context"]);
    work.file("context/Dockerfile", &format!("FROM base\nLABEL a\tb{attack}\n"));
    let found = work.run(&["check", "context"]);
    assert_eq!(found.stdout.lines().nth(1), Some("    LABEL a    b\\u{1b}]0;owned\\u{7}"));
    let listed = work.run(&["cache", "ls"]).ok();
    for run in [built, failed, warned, unknown, checked, found, listed] {
        let text = run.stdout + &run.stderr;
        assert!(!text.contains(attack) && text.contains("\\u{1b}]0;owned\\u{7}"), "{text}");
    }
    let run = work.build("FROM base\nRUN printf '\\033[1mbold\\n'\n").ok();
    assert!(run.shows("\u{1b}[1mbold"), "what a command says is passed on as it is: {}", run.stderr);
}

#[test]
fn triggers_wait_for_the_next_build() {
    let work = Work::with_base();
    work.file("context/app", "app");
    work.file("context/Dockerfile", "FROM base\nONBUILD COPY app /app\nONBUILD ENV ON=build\n");
    work.run(&["build", "-q", "-t", "images:parent", "context"]).ok();
    let run = work.build("FROM parent\nCOPY app /own\nCMD x\n").ok();
    assert!(run.shows("[2/3] ONBUILD COPY app /app") && run.shows("[3/3] COPY app /own"), "{}", run.stderr);
    let layers = work.layers();
    assert_eq!(text(&layers[layers.len() - 2], "app"), "app");
    let config = work.config();
    assert!(config["config"]["Env"].as_array().unwrap().contains(&"ON=build".into()));
    assert!(config["config"].get("OnBuild").is_none());
}

#[test]
fn the_context_and_the_dockerfile_come_from_standard_input_too() {
    let work = Work::with_base();
    let feed = |arguments: &[&str], bytes: &[u8]| {
        let mut child = work.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(child.wait_with_output().unwrap().status.success(), "{arguments:?}");
    };
    let mut tar = Writer::new(Vec::new());
    tar.file(&Entry::new("./sub/Dockerfile.x", Kind::File, 0o644), b"FROM scratch\nCOPY f /f\n").unwrap();
    tar.file(&Entry::new("./f", Kind::File, 0o644), b"from a tar").unwrap();
    let tar = tar.finish().unwrap();
    feed(&["build", "-t", "images:built", "-f", "sub/Dockerfile.x", "-"], &tar);
    assert_eq!(text(&work.top(), "f"), "from a tar");
    work.file("context/f", "from a folder");
    feed(&["build", "-t", "images:built", "-"], b"FROM base\nLABEL from=stdin\n");
    assert_eq!(work.config()["config"]["Labels"]["from"], "stdin");
    feed(&["build", "-t", "images:built", "-f", "-", "context"], b"FROM scratch\nCOPY f /g\n");
    assert_eq!(text(&work.top(), "g"), "from a folder");
    work.is_clean();
}

#[test]
fn names_go_to_several_layouts_or_to_none() {
    let work = Work::with_base();
    work.file("context/Dockerfile", "FROM base\nCMD x\n");
    let run = work.run(&["build", "-t", "images:a:1", "-t", "images:b", "-t", "other:c", "context"]).ok();
    assert_eq!(run.stdout.lines().count(), 1);
    for name in ["images:a:1", "images:b", "other:c"] {
        let address: Address = name.parse().unwrap();
        let layout = Layout::open(&work.path(address.layout())).unwrap();
        layout.image(&address, &Platform::host()).unwrap();
    }
    work.file("context/Dockerfile", "FROM scratch\nCMD x\n");
    let run = work.run(&["build", "context"]).ok();
    assert!(run.stdout.starts_with("@sha256:"), "{}", run.stdout);
    assert!(work.path("home/images/index.json").exists());
}

#[test]
fn an_error_shows_its_lines_and_the_last_output() {
    let work = Work::with_base();
    let run = work.build("FROM base\nRUN <<E\necho seen\nexit 7\nE\nCMD x\n");
    let (before, end) = run.stderr.split_once("------\n > ").unwrap();
    assert!(before.contains("#4 ERROR: exit status 7"), "{before}");
    let (tail, lines) = end.split_once("------\n").unwrap();
    assert!(tail.starts_with("[2/2] RUN <<E (echo seen...):\n") && tail.ends_with("seen\n"), "{tail}");
    let expected = "Dockerfile:2\n--------------------\n   1 |     FROM base\n   2 | >>> RUN <<E\n   3 | >>> echo seen\n   \
                    4 | >>> exit 7\n   5 | >>> E\n   6 |     CMD x\n--------------------\n";
    assert!(lines.contains(expected), "{lines}");
    run.fails("Dockerfile:2: RUN <<E: exit status 7");
    let run = work.build("FROM base\n\nRUM ls\n");
    assert!(run.stderr.contains("   3 | >>> RUM ls\n"), "{}", run.stderr);
}

#[test]
fn a_mistyped_stage_is_never_pulled() {
    let work = Work::with_base();
    for (dockerfile, line) in [
        (
            "FROM base AS build\nFROM base\nCOPY --from=biuld /x /\n",
            "Dockerfile:3: COPY --from=biuld /x /: biuld: neither a stage nor an image that is here (did you mean the stage build?; \
             for an image: registry-tool pull biuld images)",
        ),
        (
            "FROM base AS build\nFROM biuld\n",
            "Dockerfile:2: FROM biuld: biuld: neither a stage nor an image that is here (did you mean the stage build?; for an \
             image: registry-tool pull biuld images)",
        ),
    ] {
        work.file("context/Dockerfile", dockerfile);
        let run = work.run(&["build", "-t", "images:built", "context"]);
        run.fails(line);
    }
    work.build("FROM base AS biuld\nLABEL a=b\n").ok();
}

#[test]
fn the_target_is_known_to_every_stage() {
    let work = Work::with_base();
    work.build("FROM base AS Fin\nARG TARGETSTAGE\nLABEL stage=$TARGETSTAGE\n").ok();
    assert_eq!(work.config()["config"]["Labels"]["stage"], "fin");
    work.build("FROM base\nARG TARGETSTAGE\nLABEL stage=$TARGETSTAGE\n").ok();
    assert_eq!(work.config()["config"]["Labels"]["stage"], "default");
    let dockerfile = "FROM base AS a\nARG TARGETSTAGE\nLABEL stage=$TARGETSTAGE\nFROM a AS b\n";
    work.build_with(dockerfile, &["--target", "a"]).ok();
    assert_eq!(work.config()["config"]["Labels"]["stage"], "a");
    work.build("FROM scratch\nENV N=banana B=\nENV one=${B/*/X} all=${N///x}\n").ok();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = serde_json::json!([path, "N=banana", "B=", "one=X", "all=xbxaxnxaxnxax"]);
    assert_eq!(work.config()["config"]["Env"], expected);
}

#[test]
fn every_instruction_may_be_a_trigger() {
    let work = Work::with_base();
    work.file("context/app", "app");
    let parent = "FROM base\nONBUILD ARG WHO=nobody\nONBUILD ENV WHO=$WHO\nONBUILD COPY app /app/$WHO\nONBUILD ADD [\"app\", \"/added\"]\n\
        ONBUILD COPY --from=tools /tool /tool\nONBUILD COPY <<E /here\nhi $WHO\nE\nONBUILD run <<E\necho $A >/ran\nE\n\
        ONBUILD WORKDIR /w\nONBUILD USER app\nONBUILD LABEL l=$WHO\nONBUILD EXPOSE 80\nONBUILD VOLUME /v\nONBUILD SHELL [\"/bin/sh\", \"-c\"]\n\
        ONBUILD STOPSIGNAL 9\nONBUILD HEALTHCHECK CMD x\nONBUILD CMD [\"c\"]\nONBUILD ENTRYPOINT [\"e\"]\n";
    work.file("context/Dockerfile", parent);
    work.run(&["build", "-q", "-t", "images:parent", "--runtime", "runc", "context"]).ok();
    let child = "FROM base AS tools\nRUN echo tool >/tool\nFROM parent\n";
    let run = work.build_with(child, &["--build-arg", "WHO=me"]).ok();
    assert!(run.shows("7/7] ONBUILD WORKDIR /w"), "{}", run.stderr);
    assert!(!run.shows("no ARG of that name"), "{}", run.stderr);
    let files: Files = work.layers().into_iter().flatten().collect();
    for (name, content) in
        [("app/me", "app"), ("added", "app"), ("tool", "tool\n"), ("here", "hi me\n"), ("ran", "base\n")]
    {
        assert_eq!(text(&files, name), content, "{name}");
    }
    let config = work.config()["config"].clone();
    for (field, value) in [("User", "app"), ("WorkingDir", "/w"), ("StopSignal", "9")] {
        assert_eq!(config[field], value, "{field}");
    }
    assert_eq!(config["Labels"]["l"], "me");
    assert!(config.get("OnBuild").is_none());
    for (trigger, why) in [("FROM x", "FROM"), ("ONBUILD RUN x", "ONBUILD"), ("MAINTAINER x", "MAINTAINER")] {
        work.build(&format!("FROM base\nONBUILD {trigger}\n"))
            .fails(&format!("Dockerfile:2: {why} is not allowed as an ONBUILD trigger"));
    }
}

#[test]
fn a_step_begins_when_the_stage_that_it_takes_from_is_done() {
    let work = Work::with_base();
    let dockerfile = "FROM base AS slow\nRUN sleep 0.2; echo > /made\nFROM base\nCOPY --from=slow /made /x\n\
        FROM base\nRUN --mount=from=1,target=/m cat /m/x\n";
    let run = work.build(dockerfile).ok();
    let at =
        |end: &str| run.stderr.lines().position(|line| line.ends_with(end)).unwrap_or_else(|| panic!("{}", run.stderr));
    let done = |title: &str| {
        let number = run.stderr.lines().nth(at(title)).unwrap().split(' ').next().unwrap();
        run.stderr.lines().position(|line| line.starts_with(&format!("{number} DONE"))).unwrap()
    };
    let titles = ["RUN sleep 0.2; echo > /made", "COPY --from=slow /made /x", "RUN --mount=from=1,target=/m cat /m/x"];
    for pair in titles.windows(2) {
        assert!(done(pair[0]) < at(pair[1]), "{pair:?}: {}", run.stderr);
    }
}
