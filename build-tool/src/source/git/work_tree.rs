//! The work tree that a folder of the caller's is in: its commit, and the repository that it is a clone of.
//!
//! It is the caller's own, so git is started as the caller would start it. What it does not tell stays unsaid.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::source::download::shown;

/// A work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkTree {
    /// Its folder.
    pub root: PathBuf,
    /// The hash of its commit, if there is one, and `-dirty` if it was asked for and files differ.
    pub revision: Option<String>,
    /// The repository without user and password; `None` if that is a folder of this machine.
    pub source: Option<String>,
}

impl WorkTree {
    /// The work tree that the folder is in. With `compare`, its files are compared with the commit.
    pub fn of(folder: &Path, compare: bool) -> Option<Self> {
        let git = |arguments: &[&str]| git(folder, arguments);
        let root = git(&["rev-parse", "--show-toplevel"])?.into();
        let mut revision = git(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
        if compare && git(&["status", "--porcelain", "--ignored"]).is_some() {
            revision = revision.map(|commit| commit + "-dirty");
        }
        let followed = git(&["symbolic-ref", "--quiet", "HEAD"])
            .and_then(|branch| git(&["for-each-ref", "--format=%(upstream:remotename)", &branch]));
        let mut remotes = followed.iter().map(String::as_str).chain(["origin", "upstream"]);
        let url = remotes.find_map(|remote| git(&["remote", "get-url", remote]));
        let source = url.filter(|url| url.contains(':') && !url.starts_with("file:")).map(|url| shown(&url));
        Some(Self { root, revision, source })
    }
}

/// What git prints in a folder; `None` for nothing, and for a failure.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end_matches('\n').to_owned()).filter(|text| !text.is_empty())
}
