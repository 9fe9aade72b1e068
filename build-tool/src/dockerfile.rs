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
pub mod pattern;
pub mod plan;

use std::fmt;

use crate::dockerfile::pattern::BadPattern;

pub use instruction::Instruction;
pub use lex::{Directives, Span};

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

/// A Dockerfile that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, as the caller called it.
    pub file: String,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.problem),
            line => write!(f, "{}:{line}: {}", self.file, self.problem),
        }
    }
}

impl std::error::Error for Error {}

/// What can be wrong with a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// It holds no instruction.
    #[error("no instruction in it")]
    Empty,
    /// A parser directive stands twice.
    #[error("the directive {0} may stand only once")]
    RepeatedDirective(String),
    /// `# escape=` with something else than its two characters.
    #[error("the escape character may be \\ or `, not {0}")]
    BadEscape(String),
    /// The file ended inside a heredoc.
    #[error("the heredoc {0} is not ended by a line {0}")]
    UnterminatedHeredoc(String),
    /// A heredoc where none may stand.
    #[error("{0}: a heredoc cannot be the destination")]
    HeredocDestination(&'static str),
    /// A quote or brace that nothing closes.
    #[error("no closing {0} to be found")]
    Unclosed(char),
    /// `${…}` with something that is not understood.
    #[error("bad substitution: {0}")]
    BadSubstitution(String),
    /// `${v:?message}` where `v` has no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// A wildcard that cannot be read.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// The first word of a line names no instruction.
    #[error("unknown instruction: {keyword}{}", near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default())]
    UnknownInstruction {
        /// The word as written.
        keyword: String,
        /// The instruction that it resembles.
        near: Option<&'static str>,
    },
    /// A flag that the instruction does not have.
    #[error("{instruction}: unknown flag --{flag}{}", near.map(|near| format!(" (did you mean --{near}?)")).unwrap_or_default())]
    UnknownFlag {
        /// The instruction.
        instruction: &'static str,
        /// The flag as written.
        flag: String,
        /// The flag that it resembles.
        near: Option<&'static str>,
    },
    /// A flag stands twice that may stand once.
    #[error("{0}: --{1} may stand only once")]
    RepeatedFlag(&'static str, &'static str),
    /// A flag without a value, or with one that makes no sense.
    #[error("{instruction}: --{flag}: {reason}")]
    BadFlag {
        /// The instruction.
        instruction: &'static str,
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Too few or too many words.
    #[error("{0} takes {1}")]
    Arguments(&'static str, &'static str),
    /// A JSON array of something else than strings.
    #[error("{0}: an array in JSON form holds strings only")]
    NotStrings(&'static str),
    /// A word of ENV, LABEL or ARG without `=`, or with nothing before it.
    #[error("{0}: {1:?} is not of the form name=value")]
    NotPair(&'static str, String),
    /// FROM with a name that no stage may have.
    #[error("{0:?} is no name for a stage: it begins with a letter and holds letters, digits, - _ and .")]
    StageName(String),
    /// An instruction before the first FROM.
    #[error("{0} before the first FROM")]
    BeforeFrom(&'static str),
    /// ONBUILD with an instruction that makes no trigger.
    #[error("ONBUILD cannot hold {0}")]
    OnBuild(String),
    /// Something else that an instruction does not allow.
    #[error("{instruction}: {reason}")]
    Invalid {
        /// The instruction.
        instruction: &'static str,
        /// What is wrong.
        reason: String,
    },
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
            let instruction = instruction::parse(&line, directives.escape).map_err(|problem| Error {
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
            let instruction = instruction::parse(&line, escape).map_err(|problem| Error {
                file: name.to_owned(),
                line: 0,
                problem,
            })?;
            steps.push(Step { instruction, span: line.span, text: line.original });
        }
        Ok(steps)
    }
}

/// The member of `names` that differs least from `word`, if by little enough to be a slip.
pub fn near<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(&word, &name.to_lowercase()), name))
        .filter(|(distance, _)| (1..=limit).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be put in, taken out, changed or swapped with a neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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

    #[test]
    fn near_misses_are_near() {
        for (word, expected) in
            [("cpoy", Some("COPY")), ("ENTRYPONT", Some("ENTRYPOINT")), ("COPY", None), ("zzz", None)]
        {
            assert_eq!(near(word, instruction::KEYWORDS), expected, "{word}");
        }
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
