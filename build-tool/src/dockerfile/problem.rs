//! What can be wrong with a Dockerfile, and where.

use std::fmt;

use super::pattern::BadPattern;

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
