//! The Dockerfile language: from bytes to typed instructions, planned stages, and lint.
//!
//! This room opens no file and imports no other room; what the lint asks about a context or a base image comes in as
//! functions. BuildKit's parser is the reference, and its test files are part of the tests.

pub mod check;
pub mod device;
pub mod excerpt;
pub mod expand;
mod flag;
pub mod graph;
pub mod heredoc;
pub mod instruction;
pub mod lex;
pub mod mount;
mod near;
pub mod outline;
mod parse;
pub mod pattern;
pub mod plan;
mod problem;

pub use instruction::Instruction;
pub use lex::{Directives, Span};
pub use near::near;
pub use problem::{Error, Problem};

/// A parsed Dockerfile.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Dockerfile {
    /// The parser directives at its head.
    pub directives: Directives,
    /// The instructions, in order.
    pub steps: Vec<Step>,
    /// What is questionable but not wrong.
    pub warnings: Vec<Warning>,
}

/// An instruction and its place in the file.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Step {
    /// The instruction, its variables not expanded.
    #[serde(flatten)]
    pub instruction: Instruction,
    /// The lines of the file that it takes.
    #[serde(rename = "lines")]
    pub span: Span,
    /// Its text on one line, with continuations joined.
    pub text: String,
    /// The comments directly above it, without `#`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<String>,
}

/// A lint finding at a line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The lines that it is about.
    pub lines: Span,
    /// The rule's name, which is BuildKit's.
    pub rule: &'static str,
    /// What is questionable, without file and line.
    pub message: String,
}

impl Dockerfile {
    /// Parses a Dockerfile. `name` is the file's name in errors.
    pub fn parse(name: &str, source: &[u8]) -> Result<Self, Error> {
        let (directives, lines) = lex::lines(name, source)?;
        if lines.is_empty() {
            return Err(Error { file: name.to_owned(), line: 0, problem: Problem::Empty });
        }
        let mut warnings = Vec::new();
        let mut steps = Vec::new();
        for line in lines {
            if let Some(end) = line.empty_continuation {
                let (lines, message) = (Span { start: end, end }, "Empty continuation line".to_owned());
                warnings.push(Warning { lines, rule: "NoEmptyContinuation", message });
            }
            let instruction = parse::instruction(&line, directives.escape).map_err(|problem| Error {
                file: name.to_owned(),
                line: line.span.start,
                problem,
            })?;
            steps.push(Step { instruction, span: line.span, text: line.original, comments: line.comments });
        }
        Ok(Self { directives, steps, warnings })
    }

    /// Parses an `ONBUILD` trigger from an image's config. `name` says in errors where it comes from.
    pub fn parse_trigger(name: &str, text: &str, escape: char) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        for line in lex::trigger(name, text, escape)? {
            let instruction = parse::instruction(&line, escape).map_err(|problem| Error {
                file: name.to_owned(),
                line: 0,
                problem,
            })?;
            steps.push(Step { instruction, span: line.span, text: line.original, comments: line.comments });
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unknown_instruction_is_named_with_its_line_and_a_near_miss() {
        for (source, expected) in [
            ("FROM x\n\nRUM ls", "Dockerfile:3: unknown instruction: RUM (did you mean RUN?)"),
            ("FORM x", "Dockerfile:1: unknown instruction: FORM (did you mean FROM?)"),
            ("FROM x\nXYZZY", "Dockerfile:2: unknown instruction: XYZZY"),
            ("FROM x\nCOPY --form=a b c", "Dockerfile:2: COPY: unknown flag --form (did you mean --from?)"),
            ("# only\n", "Dockerfile: no instructions"),
            ("FROM \u{1}\nRUN \\\n x\nCOPY a", "Dockerfile:4: COPY requires at least one source and a destination"),
        ] {
            assert_eq!(Dockerfile::parse("Dockerfile", source.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn empty_continuations_are_warned_of() {
        let file = Dockerfile::parse("x", b"FROM a\nRUN x \\\n\n y\n").unwrap();
        assert_eq!(file.warnings[0].rule, "NoEmptyContinuation");
        assert_eq!(file.warnings[0].lines, Span { start: 4, end: 4 });
    }

    /// A line of a valid Dockerfile, its words joined by spaces or continuations.
    fn line() -> impl Strategy<Value = String> {
        let word = "[a-z/.$\"'{}\\[\\],=:*-]{1,8}";
        let keyword = prop::sample::select(&instruction::KEYWORDS[..]);
        let space = prop::sample::select(vec![" ", "  ", " \\\n", " \\\n\n# comment\n  "]);
        (keyword, prop::collection::vec((space, word), 1..5)).prop_map(|(keyword, words)| {
            words.iter().fold(keyword.to_owned(), |line, (space, word)| line + space + word)
        })
    }

    proptest! {
        #[test]
        fn the_text_of_a_step_reads_as_the_same_step(lines in prop::collection::vec(line(), 1..4)) {
            if let Ok(file) = Dockerfile::parse("D", lines.join("\n").as_bytes()) {
                let texts: Vec<&str> = file.steps.iter().map(|step| step.text.as_str()).collect();
                let again = Dockerfile::parse("D", texts.join("\n").as_bytes()).unwrap();
                let instructions = |file: &Dockerfile| file.steps.iter().map(|step| step.instruction.clone()).collect::<Vec<_>>();
                prop_assert_eq!(instructions(&file), instructions(&again));
            }
        }

        #[test]
        fn never_panics(source in "((FROM|RUN|COPY|ENV|ARG|LABEL|HEALTHCHECK|ONBUILD|SHELL|EXPOSE|CMD)[ -~\\n]{0,30}\n){0,6}") {
            let _ = Dockerfile::parse("D", source.as_bytes());
        }
    }
}
