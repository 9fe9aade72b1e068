//! Help, manual pages and completions.

use std::fs;

use crate::work::Work;

#[test]
fn help_manual_and_completions_are_made_of_one_command_line() {
    let work = Work::new();
    assert!(work.run("create --help").ok().contains("--publish"));
    assert_eq!(work.run("man pages").ok(), "");
    for (page, words) in [
        ("bundle-tool.1", "bundle\\-tool\\-create"),
        ("bundle-tool-create.1", "\\-\\-publish"),
        ("bundle-tool-network-create.1", "\\-\\-subnet"),
    ] {
        let text = fs::read_to_string(work.path("pages").join(page)).unwrap();
        assert!(text.contains(words) && text.contains(".SH EXAMPLES"), "{page}: {text}");
    }
    assert!(work.run("completions bash").ok().contains("bundle-tool"));
}

#[test]
fn every_command_has_examples_and_a_summary_without_a_full_stop() {
    let work = Work::new();
    let summaries = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        lines
            .map(|line| line.trim().split_once("  ").unwrap_or((line.trim(), "")))
            .map(|(name, summary)| (name.to_owned(), summary.trim().to_owned()))
            .filter(|(name, _)| name != "help")
            .collect()
    };
    let mut commands = vec![String::new()];
    while let Some(command) = commands.pop() {
        let help = work.run(&format!("{command} --help")).ok().to_owned();
        assert!(help.contains("\nExamples:\n  "), "{command}: {help}");
        for (name, summary) in summaries(work.run(&format!("{command} -h")).stdout.as_str()) {
            assert!(summary.starts_with(char::is_uppercase) && !summary.ends_with('.'), "{name}: {summary}");
            if command != " create" {
                commands.push(format!("{command} {name}"));
            }
        }
    }
}

#[test]
fn shells_are_offered_what_there_is() {
    let work = Work::new();
    work.run("create --network none --name web images:python:3.8").ok();
    let offered = |words: &str| {
        let last = words.split(' ').count() - 1;
        let mut all = vec!["__complete".to_owned(), last.to_string(), "--".to_owned()];
        all.extend(words.split(' ').map(str::to_owned));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        work.words(&all, b"").ok().to_owned()
    };
    for (words, candidate) in [
        ("bundle-tool delete we", "web"),
        ("bundle-tool create images:py", "images:python:3.8"),
        ("bundle-tool create --network container:w", "container:web"),
        ("bundle-tool create --restart on", "on-failure"),
        ("bundle-tool create --cap-add NET_AD", "NET_ADMIN"),
        ("bundle-tool network rm br", "bridge"),
    ] {
        if words.contains("network rm") {
            work.run("network ls").ok();
        }
        let answer = offered(words);
        assert!(answer.lines().any(|line| line.split('\t').next() == Some(candidate)), "{words}: {answer}");
    }
    assert_eq!(offered("bundle-tool create --dns im"), "", "an IP address is not an image's");
    work.run("delete web").ok();
}
