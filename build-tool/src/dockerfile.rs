//! The Dockerfile language: from bytes to typed instructions.
//!
//! Owns the language and nothing else: no file is opened here and no variable has a value. The reference is BuildKit's parser;
//! its own test files are the yardstick.

pub mod check;
pub mod expand;
mod flag;
pub mod graph;
pub mod heredoc;
pub mod instruction;
pub mod lex;
pub mod mount;
mod near;
mod parse;
pub mod pattern;
pub mod plan;
mod problem;

pub use instruction::Instruction;
pub use lex::{Directives, Span};
pub use near::near;
pub use problem::{Error, Problem};

/// A Dockerfile, read.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Dockerfile {
    /// What the comments at its head ask for.
    pub directives: Directives,
    /// Its instructions in order.
    pub steps: Vec<Step>,
    /// What is odd but not wrong.
    pub warnings: Vec<Warning>,
}

/// One instruction and where it stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Step {
    /// What to do.
    #[serde(flatten)]
    pub instruction: Instruction,
    /// The lines it stands on.
    #[serde(rename = "lines")]
    pub span: Span,
    /// Its text on one line, continuations joined.
    pub text: String,
}

/// Something odd at a line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The line, counted from 1.
    pub line: usize,
    /// The lint rule that it breaks, by BuildKit's name.
    pub rule: &'static str,
    /// What is odd.
    pub message: String,
}

impl Dockerfile {
    /// Read a Dockerfile. `name` is what errors call it.
    pub fn parse(name: &str, source: &[u8]) -> Result<Self, Error> {
        let (directives, lines) = lex::lines(name, source)?;
        if lines.is_empty() {
            return Err(Error { file: name.to_owned(), line: 0, problem: Problem::Empty });
        }
        let mut warnings = Vec::new();
        let mut steps = Vec::new();
        for line in lines {
            if line.empty_continuation {
                let message = format!("empty continuation line in: {}", line.original);
                warnings.push(Warning { line: line.span.start, rule: "NoEmptyContinuation", message });
            }
            let instruction = parse::instruction(&line, directives.escape).map_err(|problem| Error {
                file: name.to_owned(),
                line: line.span.start,
                problem,
            })?;
            steps.push(Step { instruction, span: line.span, text: line.original });
        }
        Ok(Self { directives, steps, warnings })
    }

    /// Read the instructions of an `ONBUILD` trigger found in an image's config. `name` says where it comes from.
    pub fn parse_trigger(name: &str, text: &str, escape: char) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        for line in lex::trigger(name, text, escape)? {
            let instruction = parse::instruction(&line, escape).map_err(|problem| Error {
                file: name.to_owned(),
                line: 0,
                problem,
            })?;
            steps.push(Step { instruction, span: line.span, text: line.original });
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
            ("# only\n", "Dockerfile: no instruction in it"),
            ("FROM \u{1}\nRUN \\\n x\nCOPY a", "Dockerfile:4: COPY takes at least one source and a destination"),
        ] {
            assert_eq!(Dockerfile::parse("Dockerfile", source.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn empty_continuations_are_warned_of() {
        let file = Dockerfile::parse("x", b"FROM a\nRUN x \\\n\n y\n").unwrap();
        assert_eq!(file.warnings[0].rule, "NoEmptyContinuation");
        assert_eq!(file.warnings[0].line, 2);
    }

    /// A line of a Dockerfile that can be read, its words joined by spaces or continuations.
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
