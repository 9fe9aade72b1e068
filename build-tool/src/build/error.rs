//! Why a build gives no image.

use std::io;

use image_tool::error::Io;
use image_tool::layout;

use super::epoch;
use crate::dockerfile;
use crate::dockerfile::plan::{BadName, NoTarget};
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
    /// No handler for signals can be installed.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// A step failed.
    #[error("{file}:{line}: {text}")]
    Step {
        /// The Dockerfile's name, as the user wrote it.
        file: String,
        /// The line of the instruction, counted from 1.
        line: usize,
        /// The instruction, shortened to one line.
        text: String,
        /// Why the step failed.
        source: Box<step::Error>,
    },
    /// A signal ended the build.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}
