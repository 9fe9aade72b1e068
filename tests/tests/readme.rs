//! Every command in a README works as it stands.

use std::fs;

use tests::{Registry, TOOLS, Workdir, repository, tools};

/// The `sh` blocks of a Markdown page, joined in order.
fn commands(page: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    text
}

/// A folder in which the registries and files that the pages mention exist.
fn workdir(images: &Registry, example: &Registry) -> Workdir {
    let mut work = Workdir::with_mirror(&images.address()).with_network();
    let registries = ["example.com", "localhost:5000"].map(|prefix| {
        format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{}\"\ninsecure = true\n", example.address())
    });
    work.write("../registries.conf", &registries.concat());
    let path = work.folder().join("registries.conf").to_str().unwrap().to_owned();
    work.set("CONTAINERS_REGISTRIES_CONF", &path);
    // A wrapper gives the pages' run-tool a state folder in here, so that what they leave running is found and stopped.
    let real = tools().join("run-tool");
    let root = work.folder().join("run");
    work.write("../bin/run-tool", &format!("#!/bin/sh\nexec {} --root {} \"$@\"\n", real.display(), root.display()));
    work.sh("chmod +x ../bin/run-tool").ok();
    work.set("RUN_TOOL_ROOT", "");
    work.write("app/Dockerfile", "FROM python:3.8\nCOPY main.py /main.py\nCMD [\"python\", \"/main.py\"]\n");
    work.write("app/main.py", "print('hello')\n");
    work
}

fn run(name: &str, page: &str) {
    let (images, example) = (Registry::images(), Registry::empty());
    let work = workdir(&images, &example);
    let text = commands(page);
    assert!(!text.is_empty(), "{name} shows no command");
    let output = work.sh(&format!("set -e\n{text}"));
    assert_eq!(output.status, 0, "{name}: {output}");
    work.sh("for c in $(docker ps -aq); do docker rm -f $c; done; for b in */config.json; do [ ! -e $b ] || bundle-tool delete ${b%/*}; done").ok();
}

/// The commands of the `console` blocks with their output, in their order. Those that root types (`#`) are the Makefile's.
fn transcript(page: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => steps.push((command.to_owned(), String::new())),
            _ if inside && !line.starts_with("# ") => {
                let (_, output) = steps.last_mut().expect("a block begins with a command");
                *output += line;
                output.push('\n');
            }
            _ => {}
        }
    }
    steps
}

/// Whether `text` is what `pattern` shows, in which `…` stands for anything.
fn shows(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        // The last part is the end.
        let found = if index + 1 == parts.len() {
            rest.strip_suffix(part).map(|_| rest.len() - part.len())
        } else {
            rest.find(part)
        };
        match found {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn the_first_five_minutes_show_what_is_seen() {
    let images = Registry::images();
    let mut work = Workdir::with_mirror(&images.address()).with_network();
    work.sh("ln -s docker ../bin/oci-docker").ok();
    let root = work.folder().join("run");
    let real = tools().join("run-tool");
    work.write("../bin/run-tool", &format!("#!/bin/sh\nexec {} --root {} \"$@\"\n", real.display(), root.display()));
    work.sh("chmod +x ../bin/run-tool").ok();
    work.set("RUN_TOOL_ROOT", "");
    let steps = transcript(&fs::read_to_string(repository().join("README.md")).unwrap());
    assert!(steps.len() > 10, "{steps:?}");
    for (command, output) in steps {
        // What a person sees: both streams, as they come.
        let seen = work.sh(&format!("{{ {command}; }} 2>&1")).stdout;
        assert!(shows(&output, &seen), "$ {command}\n{seen}instead of\n{output}");
    }
}

#[test]
fn a_pattern_shows_what_it_should_and_nothing_else() {
    for (pattern, text, is_shown) in [
        ("a\n", "a\n", true),
        ("a\n", "a\nb\n", false),
        ("…/x\n", "/home/x\n", true),
        ("sha256:…\nend\n", "sha256:123\nend\n", true),
        ("sha256:…\nend\n", "sha256:123\nend\nmore\n", false),
        ("", "error\n", false),
    ] {
        assert_eq!(shows(pattern, text), is_shown, "{pattern:?} {text:?}");
    }
}

#[test]
fn of_the_repository() {
    run("README.md", &fs::read_to_string(repository().join("README.md")).unwrap());
}

#[test]
fn of_each_tool() {
    for tool in TOOLS {
        let path = repository().join(tool).join("README.md");
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        run(&format!("{tool}/README.md"), &page);
    }
}

#[test]
fn docker_is_what_the_table_says() {
    let page = fs::read_to_string(repository().join("README.md")).unwrap();
    let script = fs::read_to_string(repository().join("tests/docker")).unwrap();
    // Every docker command in the table, and in the sentence below it, is one of the script's.
    let start = page.find("## docker X is").unwrap();
    let section = &page[start..start + page[start..].find("## Differences from docker").unwrap()];
    let words = section.split('`').skip(1).step_by(2).filter_map(|code| {
        code.strip_prefix("docker ")
            .map(|rest| rest.split(' ').next().unwrap())
            .or_else(|| (code.bytes().all(|byte| byte.is_ascii_lowercase()) && !code.is_empty()).then_some(code))
    });
    let mut count = 0;
    for word in words {
        let known = script.lines().any(|line| {
            line.split_once(')').is_some_and(|(words, _)| words.trim().split('|').any(|known| known.trim() == word))
        });
        assert!(known, "tests/docker lacks {word}");
        count += 1;
    }
    assert!(count > 15, "{count}");
}
