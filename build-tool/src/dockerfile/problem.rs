//! What can be wrong with a Dockerfile, and where.

use std::fmt;

use super::pattern::BadPattern;

/// A Dockerfile that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong at this line.
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
    /// A byte sequence is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The file has no instruction.
    #[error("no instructions")]
    Empty,
    /// A parser directive is given twice.
    #[error("the directive {0} may be given only once")]
    RepeatedDirective(String),
    /// `# escape=` names another character than its two.
    #[error("the escape character must be \\ or `, not {0}")]
    BadEscape(String),
    /// The file ends inside a heredoc.
    #[error("unterminated heredoc {0} (end it with a line {0})")]
    UnterminatedHeredoc(String),
    /// A heredoc is the destination of a COPY.
    #[error("{0}: a heredoc cannot be the destination")]
    HeredocDestination(&'static str),
    /// A quote or a brace is not closed.
    #[error("missing closing {0}")]
    Unclosed(char),
    /// `${…}` has an unknown form.
    #[error("bad substitution: {0}")]
    BadSubstitution(String),
    /// The variable of `${v:?message}` has no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable's name.
        name: String,
        /// The message in the Dockerfile.
        message: String,
    },
    /// A wildcard cannot be parsed.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// The first word of a line is not an instruction.
    #[error("unknown instruction: {keyword}{}", near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default())]
    UnknownInstruction {
        /// The word as written.
        keyword: String,
        /// The instruction that it resembles, if any.
        near: Option<&'static str>,
    },
    /// The instruction does not have this flag.
    #[error("{instruction}: unknown flag --{flag}{}", near.map(|near| format!(" (did you mean --{near}?)")).unwrap_or_default())]
    UnknownFlag {
        /// The instruction's keyword.
        instruction: &'static str,
        /// The flag's name as written.
        flag: String,
        /// The flag that it resembles, if any.
        near: Option<&'static str>,
    },
    /// A flag is given twice.
    #[error("{0}: --{1} may be given only once")]
    RepeatedFlag(&'static str, &'static str),
    /// A flag has no value, or a wrong one.
    #[error("{instruction}: --{flag}: {reason}")]
    BadFlag {
        /// The instruction's keyword.
        instruction: &'static str,
        /// The flag's name.
        flag: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// An instruction has too few or too many words.
    #[error("{0} requires {1}")]
    Arguments(&'static str, &'static str),
    /// A JSON array holds something other than strings.
    #[error("{0}: an array in JSON form may hold only strings")]
    NotStrings(&'static str),
    /// A word of ENV, LABEL or ARG has nothing before its `=`.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// A word of ENV or LABEL has no `=`.
    #[error("{0}: {1:?} is not of the form name=value")]
    NotPair(&'static str, String),
    /// FROM gives the stage a name that it may not have.
    #[error("{0:?} is not a valid stage name (a letter, then letters, digits, -, _ and .)")]
    StageName(String),
    /// A stage takes from itself.
    #[error("from={name}: circular dependency: a stage cannot take from itself")]
    Circular {
        /// The stage as written.
        name: String,
    },
    /// A stage takes from a later one.
    #[error("from={name}: this stage comes later (move its FROM before this one)")]
    LaterStage {
        /// The stage as written.
        name: String,
    },
    /// `--from` is a number, and no stage has it.
    #[error("from={index}: invalid stage index (there {})", count(*.stages))]
    StageIndex {
        /// The number as written.
        index: String,
        /// How many stages there are.
        stages: usize,
    },
    /// `--from` holds a variable.
    #[error("from={0}: variables are not expanded here (give the variable to a FROM … AS NAME, and take from NAME)")]
    VariableInFrom(String),
    /// `# check=` holds an unknown setting.
    #[error("# check={0}: {1} (expected skip=RULE,…, experimental=RULE,… and error=true, separated by ;)")]
    CheckOption(String, &'static str),
    /// An instruction comes before the first FROM.
    #[error("{0} before the first FROM")]
    BeforeFrom(&'static str),
    /// ONBUILD holds an instruction that cannot be a trigger.
    #[error("{0} is not allowed as an ONBUILD trigger")]
    OnBuild(String),
    /// Something else that an instruction does not allow.
    #[error("{instruction}: {reason}")]
    Invalid {
        /// The instruction's keyword.
        instruction: &'static str,
        /// What is not allowed.
        reason: String,
    },
}

fn count(stages: usize) -> String {
    if stages == 1 { "is one stage, 0".to_owned() } else { format!("are {stages} stages, from 0") }
}
