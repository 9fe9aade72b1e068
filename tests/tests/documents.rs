//! What packages install beside the programs: manual pages, and completions in the real shells.

use std::collections::BTreeSet;
use std::fs;

use tests::{Pty, TOOLS, Workdir};

/// The pages of all tools, in a folder.
fn pages(work: &Workdir) -> Vec<(String, String)> {
    for tool in TOOLS {
        work.sh(&format!("{tool} man man")).ok();
    }
    let folder = work.folder().join("home/man");
    let mut pages: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    pages.sort();
    pages
}

#[test]
fn every_command_has_a_page_with_the_same_sections() {
    const SECTIONS: [&str; 11] = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPERANDS",
        "OPTIONS",
        "COMMANDS",
        "EXAMPLES",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "SEE ALSO",
    ];
    let work = Workdir::new();
    let pages = pages(&work);
    let names: BTreeSet<&str> = pages.iter().map(|(name, _)| name.strip_suffix(".1").unwrap()).collect();
    for tool in TOOLS {
        let help = work.sh(&format!("{tool} --help")).ok();
        let commands =
            help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.is_empty());
        let commands: Vec<&str> = commands
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        assert!(commands.len() > 4, "{tool}: {commands:?}");
        for command in commands.into_iter().filter(|command| *command != "help") {
            assert!(names.contains(format!("{tool}-{command}").as_str()), "{tool} {command} has no page: {names:?}");
        }
    }
    for (name, page) in &pages {
        let sections: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".SH "))
            .map(|section| section.trim_matches('"').to_owned())
            .collect();
        let places: Vec<usize> =
            sections.iter().map(|section| SECTIONS.iter().position(|known| known == section).unwrap()).collect();
        assert!(places.is_sorted(), "{name}: {sections:?}");
        // A command's page has only what concerns the command, a program's page has everything.
        let whole = TOOLS.iter().any(|tool| name.strip_suffix(".1") == Some(tool));
        let needed = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"];
        for section in needed.into_iter().chain(["ENVIRONMENT", "FILES"].into_iter().filter(|_| whole)) {
            assert!(sections.iter().any(|found| found == section), "{name} lacks {section}");
        }
        // A page of a command with commands of its own shows those.
        assert!(sections.iter().any(|section| section == "EXAMPLES" || section == "COMMANDS"), "{name} has no example");
        let related = page.rsplit(".SH \"SEE ALSO\"").next().unwrap().replace("\\-", "-");
        let mut ours = 0;
        for word in related.split("\\fB").skip(1).map(|rest| rest.split("\\fR").next().unwrap()) {
            if TOOLS.iter().any(|tool| word.starts_with(tool)) {
                assert!(names.contains(word), "{name} names {word}(1), which does not exist");
                ours += 1;
            }
        }
        assert!(ours > 0, "{name}: {related}");
    }
}

#[test]
fn mandoc_finds_no_fault_in_a_page() {
    let work = Workdir::new();
    assert!(pages(&work).len() > 60);
    // A date would make equal sources give unequal pages.
    let said = work.sh("mandoc -T lint -W warning man/*.1").stdout;
    let faults: Vec<&str> = said.lines().filter(|line| !line.contains("WARNING: missing date")).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

/// An image, and the scripts of the three shells for all tools.
fn shells() -> Workdir {
    let work = Workdir::new();
    work.sh("tar -c --files-from /dev/null | image-tool import - :some:thing >/dev/null
         tar -c --files-from /dev/null | image-tool import - kept:python:3.8 >/dev/null
         mkdir folder && echo >folder/file
         for tool in image-tool registry-tool bundle-tool run-tool build-tool; do
             for shell in bash fish zsh; do $tool completions $shell >$tool.$shell; done
         done")
        .ok();
    work
}

/// Command lines, and words that are among the candidates for the last word of each.
const LINES: [(&str, &[&str]); 13] = [
    ("image-tool ver", &["verify"]),
    ("image-tool list --ta", &["--table"]),
    ("image-tool save --compress g", &["gzip"]),
    ("image-tool save --compress=g", &["--compress=gzip"]),
    ("image-tool show :so", &[":some:thing"]),
    ("image-tool show :some:th", &[":some:thing"]),
    ("image-tool show kept:py", &["kept:python:3.8"]),
    ("image-tool save -o folder/f", &["folder/file"]),
    ("registry-tool pull --progress j", &["json"]),
    ("bundle-tool create --netw", &["--network"]),
    ("bundle-tool volume cr", &["create"]),
    ("run-tool kil", &["kill"]),
    ("build-tool build --pull=al", &["--pull=always"]),
];

#[test]
fn bash_completes() {
    let work = shells();
    for (line, candidates) in LINES {
        let tool = line.split(' ').next().unwrap();
        let mut pty = Pty::spawn(work.command("bash").args(["--norc", "--noprofile", "-i"]));
        // What a person sees when the tab key completes the word; the marker is not echoed as it is typed.
        pty.send(&format!("bind 'set bell-style none'; PS1='> '; . ./{tool}.bash; echo rea''dy\n"));
        pty.expect("ready");
        pty.expect("> ");
        pty.send(&format!("{line}\t\x01echo [\x05]\n"));
        let word = candidates[0];
        let written = format!("{}{word}", &line[..=line.rfind(' ').unwrap()]);
        let seen = pty.expect("]\r\n");
        let shown = if seen.contains("[") { seen } else { seen + &pty.expect("]\r\n") };
        assert!(shown.contains(&written), "{line}: {shown:?}");
        pty.send("exit\n");
        pty.finish();
    }
}

#[test]
fn zsh_completes() {
    let work = shells();
    for (line, candidates) in LINES {
        let tool = line.split(' ').next().unwrap();
        let mut pty = Pty::spawn(work.command("zsh").args(["-f", "-i"]));
        pty.send(&format!(
            "PS1='> '; autoload -U compinit; compinit -u -D; . ./{tool}.zsh; unset zle_bracketed_paste; echo rea''dy\n"
        ));
        pty.expect("ready");
        pty.expect("> ");
        pty.send(&format!("{line}\t\x01echo '[\x05]'\n"));
        let word = candidates[0];
        let written = format!("[{}{word}", &line[..=line.rfind(' ').unwrap()]);
        // The line that echo prints is the one that was completed.
        let seen = pty.expect(&format!("\n{written}"));
        assert!(seen.contains(&written), "{line}: {seen:?}");
        pty.send("exit\n");
        pty.finish();
    }
}

#[test]
fn fish_completes() {
    let work = shells();
    for (line, candidates) in LINES {
        let tool = line.split(' ').next().unwrap();
        let output = work.sh(&format!("fish --no-config -c 'source {tool}.fish; complete -C \"{line}\"'")).ok();
        let found: Vec<&str> = output.lines().map(|line| line.split('\t').next().unwrap()).collect();
        for candidate in candidates {
            assert!(found.contains(candidate), "{line}: {found:?}");
        }
    }
}

#[test]
fn a_candidate_tells_what_it_means_and_holds_no_control_character() {
    let work = shells();
    work.sh("touch \"folder/$(printf 'es\\033[31mcape')\"").ok();
    let answer = work.sh("image-tool __complete 1 -- image-tool verif").ok();
    assert!(answer.starts_with("verify\t"), "{answer}");
    let answer = work.sh("image-tool __complete 3 -- image-tool save -o folder/").ok();
    assert!(answer.contains("folder/file") && !answer.contains('\u{1b}'), "{answer:?}");
}
