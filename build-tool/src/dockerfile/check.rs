//! The lint: BuildKit's rules under their own names, so that `# check=skip=…` means the same here, with BuildKit's
//! messages.
//!
//! Nothing is built or pulled. The caller says what a base image sets; if that is not known, an undefined variable is
//! reported only if it looks like a typing error.

mod found;
mod stage;

use std::collections::BTreeSet;

use self::found::Found;
use super::instruction::{CommandLine, Instruction};
use super::{Dockerfile, Step, Warning};

/// Returns the findings in a file, in the order of its lines.
///
/// `left_out` says whether the context leaves out a source of COPY. `environment` returns the variables that a base
/// image sets, if they are known.
pub fn check(
    file: &Dockerfile,
    left_out: &dyn Fn(&str) -> bool,
    environment: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Vec<Warning> {
    let mut found = Found { warnings: file.warnings.clone() };
    casing(file, &mut found);
    stages(file, &mut found);
    for step in &file.steps {
        instruction(step, left_out, &mut found);
    }
    stage::check(file, environment, &mut found);
    let settings = Settings::parse(file.directives.check.as_deref().unwrap_or_default());
    found.warnings.retain(|warning| !settings.skips(warning.rule));
    found.warnings.sort_by_key(|warning| warning.line);
    found.warnings
}

/// Whether the file asks for findings to be errors (`# check=error=true`).
pub fn is_error(file: &Dockerfile) -> bool {
    Settings::parse(file.directives.check.as_deref().unwrap_or_default()).error
}

/// The settings in `# check=`: `skip=Rule,Rule;error=true`.
#[derive(Debug, Default, PartialEq)]
struct Settings {
    skip: BTreeSet<String>,
    error: bool,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for (key, value) in text.split(';').filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "skip" => settings.skip.extend(value.split(',').map(|rule| rule.trim().to_lowercase())),
                "error" => settings.error = value.trim() == "true",
                _ => {}
            }
        }
        settings
    }

    fn skips(&self, rule: &str) -> bool {
        self.skip.contains("all") || self.skip.contains(&rule.to_lowercase())
    }
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
fn casing(file: &Dockerfile, found: &mut Found) {
    let uppers = file.steps.iter().filter(|step| is_upper(keyword(step))).count();
    let lowers = file.steps.iter().filter(|step| is_lower(keyword(step))).count();
    let (right, name): (fn(&str) -> bool, _) =
        if uppers >= lowers { (is_upper, "uppercase") } else { (is_lower, "lowercase") };
    for step in file.steps.iter().filter(|step| !right(keyword(step))) {
        let message = format!("Command '{}' should match the case of the command majority ({name})", keyword(step));
        found.push(step, "ConsistentInstructionCasing", message);
    }
}

/// Rules about FROM: names, platforms and casing.
fn stages(file: &Dockerfile, found: &mut Found) {
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
            Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") => {
                let message = "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default \
                               behavior";
                found.push(step, "RedundantTargetPlatform", message);
            }
            Some(platform) if !platform.contains('$') => {
                let message = format!("FROM --platform flag should not use constant value {platform:?}");
                found.push(step, "FromPlatformFlagConstDisallowed", message);
            }
            _ => {}
        }
    }
}

/// Words in the name of a variable that holds a secret.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split('_').collect();
    words.iter().any(|word| SECRETS.contains(word)) && !words.contains(&"public")
}

/// Rules about one instruction by itself.
fn instruction(step: &Step, left_out: &dyn Fn(&str) -> bool, found: &mut Found) {
    match &step.instruction {
        Instruction::Maintainer(_) => {
            found.push(
                step,
                "MaintainerDeprecated",
                "Maintainer instruction is deprecated in favor of using label (LABEL org.opencontainers.image.authors=…)",
            );
        }
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
        Instruction::Expose(ports) => expose(step, ports, found),
        Instruction::Cmd(CommandLine::Shell(_)) | Instruction::Entrypoint(CommandLine::Shell(_)) => {
            let name = step.instruction.keyword();
            let message =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            found.push(step, "JSONArgsRecommended", message);
        }
        Instruction::Copy(copy) | Instruction::Add(copy) if copy.from.is_none() => {
            let literal = |source: &&String| !source.contains(['$', '*', '?', '[']) && !source.contains("://");
            for source in copy.sources.iter().filter(literal).filter(|source| left_out(source)) {
                let name = step.instruction.keyword();
                found.push(
                    step,
                    "CopyIgnoredFile",
                    format!("Attempting to {name} file {source:?} that is excluded by .dockerignore"),
                );
            }
        }
        _ => {}
    }
}

fn expose(step: &Step, ports: &[String], found: &mut Found) {
    for port in ports.iter().filter(|port| !port.contains('$')) {
        let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        if !is_lower(protocol) {
            let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            found.push(step, "ExposeProtoCasing", message);
        }
        if range.contains(':') {
            let what = "EXPOSE instruction should not define an IP address or host-port mapping";
            found.push(step, "ExposeInvalidFormat", format!("{what}, found '{port}'"));
        }
    }
}

fn secret(step: &Step, keyword: &str, name: &str, found: &mut Found) {
    let message = format!(
        "Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?}; see RUN --mount=type=secret)"
    );
    found.push(step, "SecretsUsedInArgOrEnv", message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(source: &str) -> Vec<(usize, &'static str)> {
        let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
        let environment = |name: &str| (name == "known").then(|| vec!["PATH=/bin".to_owned()]);
        check(&file, &|source| source == "ignored", &environment)
            .into_iter()
            .map(|warning| (warning.line, warning.rule))
            .collect()
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
            ("FROM --platform=$BUILDPLATFORM a\n", vec![]),
            ("FROM a\nMAINTAINER me\n", vec![(2, "MaintainerDeprecated")]),
            ("FROM a\nENV A b\n", vec![(2, "LegacyKeyValueFormat")]),
            (
                "FROM a\nENV DB_PASSWORD=b\nARG TOKEN\nENV PUBLIC_KEY=x MONKEY=1\n",
                vec![(2, "SecretsUsedInArgOrEnv"), (3, "SecretsUsedInArgOrEnv")],
            ),
            ("FROM a\nEXPOSE 80/TCP 1.2.3.4:80:80\n", vec![(2, "ExposeInvalidFormat"), (2, "ExposeProtoCasing")]),
            ("FROM a\nCMD x\n", vec![(2, "JSONArgsRecommended")]),
            ("FROM a\nCOPY ignored kept /x/\n", vec![(2, "CopyIgnoredFile")]),
            ("FROM a\nRUN x \\\n\n y\n", vec![(2, "NoEmptyContinuation")]),
            ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", vec![(2, "MultipleInstructionsDisallowed")]),
            ("FROM a\nWORKDIR x\n", vec![(2, "WorkdirRelativePath")]),
            ("FROM a\nWORKDIR /x\nWORKDIR y\n", vec![]),
            ("FROM known\nLABEL a=$NONE b=$PATH c=${OTHER:-x}\n", vec![(2, "UndefinedVar")]),
            ("FROM unknown\nENV VERSION=1\nLABEL a=$VERSON b=$WHATEVER\n", vec![(3, "UndefinedVar")]),
            ("FROM a AS one\nENV V=1\nFROM one\nLABEL a=$V\n", vec![]),
            ("ARG VERSION=1\nFROM a:$VERSIN\n", vec![(2, "UndefinedArgInFrom")]),
            ("ARG BASE\nFROM $BASE\n", vec![(2, "InvalidDefaultArgInFrom")]),
            ("ARG BASE=a\nFROM ${BASE}\n", vec![]),
        ] {
            assert_eq!(rules(source), expected, "{source}");
        }
    }

    #[test]
    fn the_file_says_what_is_skipped() {
        assert_eq!(rules("# check=skip=JSONArgsRecommended\nFROM a as b\nCMD x\n"), [(2, "FromAsCasing")]);
        assert!(rules("# check=skip=all;error=true\nFROM a as b\nCMD x\n").is_empty());
        let file = Dockerfile::parse("D", b"# check=error=true\nFROM a\n").unwrap();
        assert!(is_error(&file));
    }
}
