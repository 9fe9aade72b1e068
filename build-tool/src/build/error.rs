//! Why there is no image.

use std::io;

use image_tool::layout;

use crate::dockerfile;
use crate::dockerfile::plan::NoTarget;
use crate::source::context;
use crate::step;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Dockerfile(#[from] dockerfile::Error),
    /// `--target` names no stage.
    #[error(transparent)]
    Target(#[from] NoTarget),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// A layout, the target or the step cache, cannot be used.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// Signals cannot be listened to.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// A step failed.
    #[error("{file}:{line}: {text}")]
    Step {
        /// The Dockerfile.
        file: String,
        /// The line of the instruction.
        line: usize,
        /// The instruction, shortened.
        text: String,
        /// What went wrong.
        source: Box<step::Error>,
    },
    /// A signal ended the build.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}
