//! The lint: BuildKit's rules under their own names, so that `# check=skip=…` means the same here, with BuildKit's
//! messages.
//!
//! Nothing is built or pulled. The caller says what a base image sets; if that is not known, an undefined variable is
//! reported only if it looks like a typing error.

mod found;
pub mod rule;
mod settings;
mod stage;

use std::collections::BTreeSet;

use self::found::Found;
use super::expand;
use super::instruction::Instruction;
use super::{Dockerfile, Problem, Span, Step, Warning};

pub use self::settings::Settings;

/// What is known of a base image.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its variables, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Whether it has a shell of its own.
    pub shell: bool,
}

/// What the lint asks about what is outside of the file.
pub struct Outside<'a> {
    /// Whether the context leaves out a source of COPY.
    pub left_out: &'a dyn Fn(&str) -> bool,
    /// What a base image sets, if that is known.
    pub image: &'a dyn Fn(&str) -> Option<Known>,
    /// Whether the stage of that number is looked into. Of the others, only what every reader of the file sees is checked.
    pub needed: &'a dyn Fn(usize) -> bool,
    /// The value of a predefined argument.
    pub predefined: &'a expand::Lookup<'a>,
}

/// Returns the findings in a file, in the order of its lines, and the first word that cannot be expanded.
pub fn check(file: &Dockerfile, settings: &Settings, outside: &Outside<'_>) -> (Vec<Warning>, Option<(Span, Problem)>) {
    let warnings = file.warnings.iter().filter(|warning| settings.reports(warning.rule)).cloned().collect();
    let mut found = Found { warnings, settings, problem: None };
    casing(file, &mut found);
    stages(file, &mut found);
    let mut stage = None;
    for step in &file.steps {
        if matches!(step.instruction, Instruction::From(_)) {
            stage = Some(stage.map_or(0, |stage| stage + 1));
        }
        written(step, &mut found);
        if stage.is_some_and(outside.needed) {
            instruction(step, &mut found);
        }
    }
    stage::check(file, outside, &mut found);
    found.warnings.sort_by_key(|warning| warning.lines.start);
    (found.warnings, found.problem)
}

/// The keyword as written.
fn keyword(step: &Step) -> &str {
    step.text.split_whitespace().next().unwrap_or_default()
}

fn is_upper(word: &str) -> bool {
    word == word.to_ascii_uppercase()
}

fn is_lower(word: &str) -> bool {
    word == word.to_ascii_lowercase()
}

/// Keywords are all in upper case or all in lower case, whichever most of them are.
fn casing(file: &Dockerfile, found: &mut Found<'_>) {
    // The ARGs before the first FROM do not count.
    let first = file.steps.iter().position(|step| matches!(step.instruction, Instruction::From(_)));
    let steps = &file.steps[first.unwrap_or(file.steps.len())..];
    let uppers = steps.iter().filter(|step| is_upper(keyword(step))).count();
    let lowers = steps.iter().filter(|step| is_lower(keyword(step))).count();
    let (right, name): (fn(&str) -> bool, _) =
        if uppers >= lowers { (is_upper, "uppercase") } else { (is_lower, "lowercase") };
    for step in steps.iter().filter(|step| !right(keyword(step))) {
        let message = format!("Command '{}' should match the case of the command majority ({name})", keyword(step));
        found.push(step, "ConsistentInstructionCasing", message);
    }
}

/// Rules about FROM: names, platforms and casing.
fn stages(file: &Dockerfile, found: &mut Found<'_>) {
    let mut names = BTreeSet::new();
    for step in &file.steps {
        let Instruction::From(from) = &step.instruction else { continue };
        let words: Vec<&str> = step.text.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        if let [keyword, _, r#as, name] = words.as_slice() {
            if (is_upper(keyword) && !is_upper(r#as)) || (is_lower(keyword) && !is_lower(r#as)) {
                found.push(step, "FromAsCasing", format!("'{as}' and '{keyword}' keywords' casing do not match"));
            }
            if !is_lower(name) {
                found.push(step, "StageNameCasing", format!("Stage name '{name}' should be lowercase"));
            }
            let lower = name.to_lowercase();
            if ["scratch", "context"].contains(&lower.as_str()) {
                found.push(
                    step,
                    "ReservedStageName",
                    format!("Stage name should not use the same name as reserved stage {lower:?}"),
                );
            }
            if !names.insert(lower) {
                found.push(
                    step,
                    "DuplicateStageName",
                    format!("Duplicate stage name {name:?}, stage names should be unique"),
                );
            }
        }
        match from.platform.as_deref() {
            Some(written @ ("$TARGETPLATFORM" | "${TARGETPLATFORM}")) => {
                let message = format!(
                    "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
                );
                found.push(step, "RedundantTargetPlatform", message);
            }
            // A stage whose name says for what platform it is means it.
            Some(platform) if !platform.contains('$') && !names_platform(from.name.as_deref(), platform) => {
                let message = format!("FROM --platform flag should not use constant value {platform:?}");
                found.push(step, "FromPlatformFlagConstDisallowed", message);
            }
            _ => {}
        }
    }
}

/// Whether a stage's name holds the operating system or the architecture of a platform.
fn names_platform(name: Option<&str>, platform: &str) -> bool {
    let mut parts = platform.split('/').take(2).filter(|part| !part.is_empty());
    name.is_some_and(|name| parts.any(|part| name.contains(part)))
}

/// Words in the name of a variable that holds a secret.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words in the name of a variable that holds none after all: a path, a number.
const PUBLIC: [&str; 3] = ["public", "file", "version"];

fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split('_').collect();
    words.iter().any(|word| SECRETS.contains(word)) && !words.iter().any(|word| PUBLIC.contains(word))
}

/// Rules about how an instruction is written.
fn written(step: &Step, found: &mut Found<'_>) {
    match &step.instruction {
        Instruction::Maintainer(_) => {
            found.push(step, "MaintainerDeprecated", "Maintainer instruction is deprecated in favor of using label");
        }
        Instruction::From(from) => described(step, from.name.as_slice(), found),
        Instruction::Arg(arguments) => {
            let names: Vec<String> = arguments.iter().map(|argument| argument.name.clone()).collect();
            described(step, &names, found);
        }
        _ => {}
    }
}

/// Rules about one instruction of a stage by itself.
fn instruction(step: &Step, found: &mut Found<'_>) {
    match &step.instruction {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            let name = step.instruction.keyword();
            if pairs.iter().any(|pair| pair.legacy) {
                found.push(
                    step,
                    "LegacyKeyValueFormat",
                    format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"),
                );
            }
            for pair in pairs.iter().filter(|pair| name == "ENV" && is_secret(&pair.name)) {
                secret(step, "ENV", &pair.name, found);
            }
        }
        Instruction::Arg(arguments) => {
            for argument in arguments.iter().filter(|argument| is_secret(&argument.name)) {
                secret(step, "ARG", &argument.name, found);
            }
        }
        _ => {}
    }
}

/// A comment directly above a named stage or an ARG describes it, and begins with its name.
fn described(step: &Step, names: &[String], found: &mut Found<'_>) {
    let (Some(comment), Some(first)) = (step.comments.last(), names.first()) else { return };
    let word = comment.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == word) {
        return;
    }
    let what = if step.instruction.keyword() == "ARG" { "ARG" } else { "FROM" };
    let name = if names.len() > 1 { "<arg_key>" } else { first };
    let message = format!("Comment for {what} should follow the format: `# {name} <description>`");
    found.push(step, "InvalidDefinitionDescription", message);
}

fn secret(step: &Step, keyword: &str, name: &str, found: &mut Found<'_>) {
    let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
    found.push(step, "SecretsUsedInArgOrEnv", message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(source: &str) -> Vec<(usize, &'static str)> {
        let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
        let image = |name: &str| {
            name.starts_with("known").then(|| Known { env: vec!["PATH=/bin".to_owned()], shell: name == "knownshell" })
        };
        let predefined = |name: &str| (name == "TARGETOS").then(|| "linux".to_owned());
        let left_out = |source: &str| source == "ignored";
        let outside = Outside { left_out: &left_out, image: &image, needed: &|_| true, predefined: &predefined };
        let settings = Settings::of(&file, None).unwrap();
        check(&file, &settings, &outside).0.into_iter().map(|warning| (warning.lines.start, warning.rule)).collect()
    }

    #[test]
    fn each_rule_is_found_where_it_is_broken() {
        for (source, expected) in [
            ("FROM a\nrun x\n", vec![(2, "ConsistentInstructionCasing")]),
            ("from a\nrun x\nCMD [\"y\"]\n", vec![(3, "ConsistentInstructionCasing")]),
            ("FROM a as b\n", vec![(1, "FromAsCasing")]),
            ("FROM a AS Build\n", vec![(1, "StageNameCasing")]),
            ("FROM a AS scratch\n", vec![(1, "ReservedStageName")]),
            ("FROM a AS b\nFROM c AS b\n", vec![(2, "DuplicateStageName")]),
            ("FROM --platform=$TARGETPLATFORM a\n", vec![(1, "RedundantTargetPlatform")]),
            ("FROM --platform=linux/arm64 a\n", vec![(1, "FromPlatformFlagConstDisallowed")]),
            ("FROM --platform=linux/arm64 a AS build-arm64\n", vec![]),
            ("arg X\nFROM a\n", vec![]),
            ("FROM --platform=$BUILDPLATFROM a\n", vec![(1, "UndefinedArgInFrom")]),
            ("FROM --platform=$BUILDPLATFORM a\n", vec![]),
            ("FROM a\nMAINTAINER me\n", vec![(2, "MaintainerDeprecated")]),
            ("FROM a\nENV A b\n", vec![(2, "LegacyKeyValueFormat")]),
            (
                "FROM a\nENV DB_PASSWORD=b\nARG TOKEN\nENV PUBLIC_KEY=x MONKEY=1\n",
                vec![(2, "SecretsUsedInArgOrEnv"), (3, "SecretsUsedInArgOrEnv")],
            ),
            ("FROM a\nEXPOSE 80/TCP 1.2.3.4:80:80\n", vec![(2, "ExposeInvalidFormat"), (2, "ExposeProtoCasing")]),
            ("FROM a\nENV TOKEN_FILE=/x KEY_VERSION=1\nARG AUTH_VERSION\n", vec![]),
            ("FROM a\nARG P=80/TCP\nEXPOSE $P\n", vec![(3, "ExposeProtoCasing")]),
            ("ARG P=1:2\nFROM a\nARG P\nENV Q=${P}\nEXPOSE ${Q}\n", vec![(5, "ExposeInvalidFormat")]),
            ("FROM known\nEXPOSE $NONE\n", vec![]),
            ("FROM a\nCMD x\n", vec![(2, "JSONArgsRecommended")]),
            ("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nCMD x\nENTRYPOINT y\n", vec![]),
            ("FROM a AS b\nSHELL [\"/bin/bash\", \"-c\"]\nFROM b\nCMD x\n", vec![]),
            ("FROM knownshell\nCMD x\n", vec![]),
            ("FROM a\nCOPY ignored kept /x/\n", vec![(2, "CopyIgnoredFile")]),
            ("FROM a\nARG I=ignored\nADD $I /x/\n", vec![(3, "CopyIgnoredFile")]),
            ("FROM a AS b\nFROM c\nCOPY --from=b ignored /x/\n", vec![]),
            ("FROM a\nRUN x \\\n\n y\n", vec![(4, "NoEmptyContinuation")]),
            ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", vec![(2, "MultipleInstructionsDisallowed")]),
            ("FROM a\nWORKDIR x\n", vec![(2, "WorkdirRelativePath")]),
            ("FROM a\nWORKDIR /x\nWORKDIR y\n", vec![]),
            ("FROM a\nENV D=x\nWORKDIR \"${D}\"\n", vec![(3, "WorkdirRelativePath")]),
            ("FROM a\nENV D=/x\nWORKDIR \"${D}\"\n", vec![]),
            ("FROM unknown\nWORKDIR \"${HOME}\"\n", vec![]),
            ("FROM known\nWORKDIR ${HOME}x\n", vec![(2, "UndefinedVar"), (2, "WorkdirRelativePath")]),
            ("FROM known\nLABEL a=$NONE b=$PATH c=${OTHER:-x}\n", vec![(2, "UndefinedVar")]),
            ("FROM known\nRUN --mount=type=tmpfs,target=$NONE x\n", vec![(2, "UndefinedVar")]),
            ("FROM known\nCOPY <<E /x\n$NONE\nE\n", vec![(2, "UndefinedVar")]),
            ("FROM unknown\nENV Version=1\nLABEL a=$VERSION\n", vec![(3, "UndefinedVar")]),
            ("FROM unknown\nENV VERSION=1\nLABEL a=$VERSON b=$WHATEVER\n", vec![(3, "UndefinedVar")]),
            ("FROM a AS one\nENV V=1\nFROM one\nLABEL a=$V\n", vec![]),
            ("ARG VERSION=1\nFROM a:$VERSIN\n", vec![(2, "UndefinedArgInFrom")]),
            ("ARG BASE\nFROM $BASE\n", vec![(2, "InvalidDefaultArgInFrom")]),
            ("ARG BASE=a\nFROM ${BASE}\n", vec![]),
            ("ARG V\nFROM docker:${V}-dind\n", vec![(2, "InvalidDefaultArgInFrom")]),
            ("FROM scratch AS to-linux\nENV A=1\nFROM to-$TARGETOS\nLABEL a=$A b=$B\n", vec![(4, "UndefinedVar")]),
            ("ARG V=1\nFROM docker:${V}-dind\n", vec![]),
        ] {
            assert_eq!(rules(source), expected, "{source}");
        }
    }

    /// BuildKit's examples of each rule: files that break it, and files that keep it.
    const EXAMPLES: [(&str, &[&str], &[&str]); 21] = [
        ("StageNameCasing", &["FROM a AS BuilderBase\n"], &["FROM a AS builder-base\n"]),
        ("FromAsCasing", &["FROM a as b\n"], &["FROM a AS b\n", "from a as b\n"]),
        ("NoEmptyContinuation", &["FROM a\nEXPOSE \\\n\n80\n"], &["FROM a\nEXPOSE \\\n# a comment\n80\n"]),
        (
            "ConsistentInstructionCasing",
            &["From a\nRUN x\n", "FROM a\nRun x\n"],
            &["FROM a\nRUN x\n", "from a\nrun x\n", "arg x=1\nFROM a\n"],
        ),
        ("DuplicateStageName", &["FROM a AS b\nFROM c AS B\n"], &["FROM a AS b\nFROM c AS d\n"]),
        ("ReservedStageName", &["FROM a AS scratch\n", "FROM a AS context\n"], &["FROM a AS builder\n"]),
        (
            "JSONArgsRecommended",
            &["FROM a\nENTRYPOINT x y\n", "FROM a\nCMD x\n"],
            &[
                "FROM a\nENTRYPOINT [\"x\"]\n",
                "FROM a\nSHELL [\"bash\", \"-c\"]\nENTRYPOINT x\n",
                "FROM a\nHEALTHCHECK CMD x\n",
            ],
        ),
        ("MaintainerDeprecated", &["FROM a\nMAINTAINER me\n"], &["FROM a\nLABEL maintainer=me\n"]),
        (
            "UndefinedArgInFrom",
            &["FROM node:22${VARIANT} AS b\n", "ARG P=linux\nFROM --platform=$Q a\n", "FROM a${V:-b}\n"],
            &["ARG VARIANT=-alpine\nFROM node:22${VARIANT}\n", "FROM a:${TARGETARCH}\n", "ARG V\nFROM a${V:-b}\n"],
        ),
        ("WorkdirRelativePath", &["FROM a\nWORKDIR usr/share\n"], &["FROM a\nWORKDIR /usr/share\n"]),
        (
            "UndefinedVar",
            &["FROM known\nCOPY $foo .\n", "FROM known\nARG VERSION=$foo\n"],
            &["FROM known\nARG foo\nCOPY $foo .\n", "FROM known\nLABEL a=$PATH\n", "FROM known\nRUN echo $foo\n"],
        ),
        (
            "MultipleInstructionsDisallowed",
            &["FROM a\nENTRYPOINT [\"x\"]\nENTRYPOINT [\"y\"]\n", "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n"],
            &["FROM a\nENTRYPOINT [\"x\"]\nCMD [\"y\"]\n", "FROM a AS b\nCMD [\"x\"]\nFROM b\nCMD [\"y\"]\n"],
        ),
        (
            "LegacyKeyValueFormat",
            &["FROM a\nENV DEPS \\\n  curl \\\n  git\n", "FROM a\nLABEL a b\n"],
            &["FROM a\nENV DEPS=\"\\\n  curl\"\n", "FROM a\nLABEL a=b\n"],
        ),
        (
            "RedundantTargetPlatform",
            &["FROM --platform=$TARGETPLATFORM a\n", "FROM --platform=${TARGETPLATFORM} a\n"],
            &["FROM a\n", "FROM --platform=$BUILDPLATFORM a\n"],
        ),
        (
            "SecretsUsedInArgOrEnv",
            &["FROM a\nARG AWS_SECRET_ACCESS_KEY\n", "FROM a\nENV auth=bar\n"],
            &["FROM a\nRUN --mount=type=secret,id=k,env=AWS_SECRET_ACCESS_KEY x\n", "FROM a\nENV sunflower=foo\n"],
        ),
        (
            "InvalidDefaultArgInFrom",
            &["ARG TAG\nFROM busybox:${TAG}\n", "ARG IMAGE\nFROM $IMAGE\n"],
            &["ARG TAG=1\nFROM busybox:${TAG}\n", "ARG V\nFROM busybox:stable${V}\n", "ARG T\nFROM a:${T:-1}\n"],
        ),
        (
            "FromPlatformFlagConstDisallowed",
            &["FROM --platform=linux/amd64 a AS base\n"],
            &["FROM a AS base\n", "FROM --platform=linux/amd64 a AS build_amd64\nFROM --platform=$BUILDPLATFORM b\n"],
        ),
        (
            "CopyIgnoredFile",
            &["FROM a\nCOPY ignored /x\n", "FROM a\nADD ignored /x\n"],
            &["FROM a\nCOPY kept /x\n", "FROM a\nCOPY --from=b ignored /x\n"],
        ),
        (
            "InvalidDefinitionDescription",
            &["FROM a\n# no\nARG b\n", "# no\nFROM a AS b\n"],
            &["FROM a\n# no\n#\nARG b\n", "# b is first\nFROM a AS b\n# d is second\nARG c d\n"],
        ),
        ("ExposeProtoCasing", &["FROM a\nEXPOSE 80/TcP\n"], &["FROM a\nEXPOSE 80/tcp\n"]),
        (
            "ExposeInvalidFormat",
            &["FROM a\nEXPOSE 127.0.0.1:80:80\n", "FROM a\nEXPOSE 80:80\n"],
            &["FROM a\nEXPOSE 80\n", "FROM a\nEXPOSE 8000-8010/udp\n"],
        ),
    ];

    #[test]
    fn each_rule_is_broken_and_kept() {
        // A base image for another platform is an error of its own, so that rule is not needed.
        let all = rule::RULES.map(|(name, ..)| name).into_iter().filter(|name| *name != "InvalidBaseImagePlatform");
        assert_eq!(EXAMPLES.map(|(name, ..)| name).to_vec(), all.collect::<Vec<_>>());
        for (name, broken, kept) in EXAMPLES {
            let breaks = |source: &str| {
                rules(&format!("# check=experimental=all\n\n{source}")).iter().any(|(_, rule)| *rule == name)
            };
            for source in broken {
                assert!(breaks(source), "{name}: {source}");
            }
            for source in kept {
                assert!(!breaks(source), "{name}: {source}");
            }
        }
    }

    #[test]
    fn a_word_that_cannot_be_expanded_is_an_error_with_its_line() {
        for (source, expected) in [
            ("FROM a\nENV A=1\nENV B='a\\\\'b'\n", Some(3)),
            ("FROM a\nLABEL a=\"$B${A?}\"\n", None),
            ("FROM a\nLABEL a=${A^}\n", Some(2)),
        ] {
            let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
            let settings = Settings::of(&file, None).unwrap();
            let outside = Outside { left_out: &|_| false, image: &|_| None, needed: &|_| true, predefined: &|_| None };
            let (_, problem) = check(&file, &settings, &outside);
            assert_eq!(problem.map(|(lines, _)| lines.start), expected, "{source}");
        }
    }

    #[test]
    fn the_file_says_what_is_skipped() {
        assert_eq!(rules("# check=skip=JSONArgsRecommended\nFROM a as b\nCMD x\n"), [(2, "FromAsCasing")]);
        assert!(rules("# check=skip=all;error=true\nFROM a as b\nCMD x\n").is_empty());
        let file = Dockerfile::parse("D", b"# check=error=true\nFROM a\n").unwrap();
        assert!(Settings::of(&file, None).unwrap().error);
        assert!(!Settings::of(&file, Some("skip=all")).unwrap().error);
    }

    #[test]
    fn the_comment_above_an_instruction_skips_there() {
        let source =
            "FROM a\n# check=skip=JSONArgsRecommended no signals here\nCMD x\nFROM a as b\n# check=skip=all\nCMD y\n";
        assert_eq!(rules(source), [(4, "FromAsCasing")]);
        assert_eq!(
            rules("FROM a AS b\n# check=skip=StageNameCasing\nFROM a AS Foo\nFROM a AS Bar\n"),
            [(4, "StageNameCasing")]
        );
    }

    #[test]
    fn what_is_experimental_is_asked_for() {
        let source = "# other\nFROM a AS b\n# b is it\nARG b\n# no\nARG c d\n";
        assert!(rules(source).is_empty());
        let asked = format!("# check=experimental=all\n{source}");
        let expected = [(3, "InvalidDefinitionDescription"), (7, "InvalidDefinitionDescription")];
        assert_eq!(rules(&asked), expected);
    }
}
