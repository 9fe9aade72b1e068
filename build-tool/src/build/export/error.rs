//! Why a finished build cannot be delivered.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use image_tool::layout;
use image_tool::{archive, beneath, layer};

/// Why a finished build cannot be delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be packed.
    #[error(transparent)]
    Packing(#[from] image_tool::edit::append::Error),
    /// A layout cannot be written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// An archive cannot be written.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] layer::cache::Error),
    /// The layers cannot be made one archive.
    #[error(transparent)]
    Flatten(#[from] layer::merge::Error),
    /// The files cannot be packed.
    #[error(transparent)]
    Pack(#[from] layer::diff::Error),
    /// The files cannot be written into a folder.
    #[error("{}", .path.display())]
    Merge {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: layer::apply::Error,
    },
    /// Two platforms have a file of this name, and no folders of their own.
    #[error(
        "{} is in the images for {} and {}, which share a folder (platform-split=true gives each one its own)",
        .path.display(), .platforms.0, .platforms.1
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// The platforms.
        platforms: (String, String),
    },
    /// A folder cannot be opened.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// Standard output cannot be written.
    #[error("standard output")]
    Stdout(#[source] io::Error),
    /// Standard output is a terminal.
    #[error("standard output is a terminal (dest=FILE names a file)")]
    Terminal,
    /// There is no name to push under.
    #[error("--push: the image has no name (-t LAYOUT:REF)")]
    NoName,
    /// Docker's archives hold images for one platform.
    #[error("type=docker: an archive in docker's format is for one platform (type=oci takes several)")]
    SeveralPlatforms,
    /// An annotation has no document to be in.
    #[error("--annotation {0}: the image has no index (it is for one platform)")]
    NoIndex(String),
    /// registry-tool cannot be started.
    #[error("start registry-tool to push {name} (install it beside build-tool or in PATH)")]
    NoTool {
        /// The image's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// registry-tool failed, and has written why.
    #[error("registry-tool push {name}: {status}")]
    Push {
        /// The image's name.
        name: String,
        /// Its exit status.
        status: ExitStatus,
    },
}
