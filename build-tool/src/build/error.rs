//! Why a build gives no image.

use std::io;

use image_tool::error::Io;
use image_tool::layout;

use super::{carry, epoch, export};
use crate::dockerfile;
use crate::dockerfile::Span;
use crate::dockerfile::plan::{BadName, NoTarget};
use crate::run::agent;
use crate::source::context;
use crate::step;

/// Why a build gives no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile cannot be parsed.
    #[error(transparent)]
    Dockerfile(#[from] dockerfile::Error),
    /// `--target` names no stage.
    #[error(transparent)]
    Target(#[from] NoTarget),
    /// A name of `--build-context` cannot stand for what it is to stand for.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The time of `SOURCE_DATE_EPOCH` is not known.
    #[error("SOURCE_DATE_EPOCH")]
    Epoch(#[from] epoch::Error),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] Io),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// The target layout or the step cache cannot be used.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// An SSH agent is not there.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// No handler for signals can be installed.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// The finished build cannot be delivered.
    #[error(transparent)]
    Export(#[from] export::Error),
    /// The steps cannot be stored elsewhere.
    #[error(transparent)]
    Carry(#[from] carry::Error),
    /// A step failed.
    #[error("{file}:{}: {text}", .lines.start)]
    Step {
        /// The Dockerfile's name, as the user wrote it.
        file: String,
        /// The lines of the instruction.
        lines: Span,
        /// The instruction, shortened to one line.
        text: String,
        /// Why the step failed.
        source: Box<step::Error>,
    },
    /// The lint found something, and the Dockerfile asks for that to be an error.
    #[error("{file}: lint violation found for rules: {}", .rules.join(", "))]
    Lint {
        /// The Dockerfile's name.
        file: String,
        /// The rules that are broken.
        rules: Vec<&'static str>,
    },
    /// A signal ended the build.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}

impl Error {
    /// The lines of the Dockerfile that the error is about.
    pub(super) fn lines(&self) -> Option<Span> {
        match self {
            Self::Dockerfile(error) if error.line > 0 => Some(Span { start: error.line, end: error.line }),
            Self::Step { lines, .. } => Some(*lines),
            _ => None,
        }
    }
}
