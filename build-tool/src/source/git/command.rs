//! How git is started.
//!
//! The environment is made anew, so neither the user's nor the system's configuration counts, and nothing asks for a
//! password. Settings, among them the credentials, go through the environment: other users can read a command line.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use image_tool::error::Io;

use super::address::Address;
use crate::source::access::Access;

/// Why a repository cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program is not there.
    #[error("start git to fetch {remote} (install git)")]
    Start {
        /// The repository, without user and password.
        remote: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The build was interrupted.
    #[error("{remote}: interrupted")]
    Ended {
        /// The repository, without user and password.
        remote: String,
    },
    /// Git says no.
    #[error("{remote}: git {verb}: {reason}")]
    Git {
        /// The repository, without user and password.
        remote: String,
        /// Git's subcommand.
        verb: String,
        /// The last line of what git wrote, or its exit status.
        reason: String,
    },
    /// The repository has no such branch or tag.
    #[error("{remote}: no branch or tag {reference}")]
    NoReference {
        /// The repository, without user and password.
        remote: String,
        /// The reference as given.
        reference: String,
    },
    /// The commit is not the expected one.
    #[error("{remote}: expected commit {expected}, got {actual}")]
    Checksum {
        /// The repository, without user and password.
        remote: String,
        /// The checksum.
        expected: String,
        /// The commit.
        actual: String,
    },
    /// `fetch-by-commit` without a commit.
    #[error("{remote}: fetch-by-commit needs a full commit hash (checksum=HASH)")]
    NoCommit {
        /// The repository, without user and password.
        remote: String,
    },
    /// The folder of the address is not in the repository.
    #[error("{remote}: no folder {folder} in commit {commit}")]
    NoFolder {
        /// The repository, without user and password.
        remote: String,
        /// The folder.
        folder: String,
        /// The commit.
        commit: String,
    },
    /// The checkout cannot be written or read.
    #[error(transparent)]
    Io(#[from] Io),
    /// The checkout cannot be opened.
    #[error(transparent)]
    Beneath(#[from] image_tool::beneath::Error),
}

/// Settings that hold for every command and every submodule.
const SETTINGS: [(&str, &str); 13] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("init.defaultBranch", "master"),
    ("advice.detachedHead", "false"),
    // A server that sends less than a kilobyte in a minute is as good as gone.
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
];

/// Variables of the caller that say how to reach the network.
const PASSED: [&str; 12] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// Git, for one repository.
pub(super) struct Git<'a> {
    address: &'a Address,
    access: &'a Access,
    /// The folder of the work tree.
    folder: &'a Path,
}

impl<'a> Git<'a> {
    pub(super) fn new(address: &'a Address, access: &'a Access, folder: &'a Path) -> Self {
        Self { address, access, folder }
    }

    /// Runs a subcommand and returns what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.folder);
        self.environment(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = |source| Error::Start { remote: self.address.shown(), source };
        let ended = || Error::Ended { remote: self.address.shown() };
        let (mut child, running) = self.access.transfers.start(&mut command).map_err(start)?.ok_or_else(ended)?;
        let mut errors = child.stderr.take().expect("it is piped");
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is missing in a message.
            let _ = errors.read_to_end(&mut text);
            text
        });
        let mut output = Vec::new();
        let read = child.stdout.take().expect("it is piped").read_to_end(&mut output);
        // Once it is waited for, its number may be another's.
        drop(running);
        let status = child.wait().and_then(|status| read.map(|_| status)).map_err(start)?;
        let errors = errors.join().unwrap_or_default();
        if self.access.transfers.is_ended() {
            return Err(ended());
        }
        if status.success() {
            return Ok(String::from_utf8_lossy(&output).into_owned());
        }
        let verb = arguments.first().copied().unwrap_or_default().to_owned();
        let reason = self.reason(&String::from_utf8_lossy(&errors), status);
        Err(Error::Git { remote: self.address.shown(), verb, reason })
    }

    /// The line that says what is wrong, with no password in it.
    fn reason(&self, errors: &str, status: ExitStatus) -> String {
        let lines = || errors.lines().map(str::trim).filter(|line| !line.is_empty());
        let telling = ["fatal:", "error:", "remote:"];
        let line =
            lines().find(|line| telling.iter().any(|word| line.starts_with(word))).or_else(|| lines().next_back());
        let line = line.map_or_else(|| status.to_string(), |line| line.trim_start_matches("fatal: ").to_owned());
        let line = line.replace(&self.address.remote, &self.address.shown());
        if self.address.is_ssh() && self.access.agent.is_none() {
            return format!("{line} (--ssh default gives it the ssh agent)");
        }
        line
    }

    fn environment(&self, command: &mut Command) {
        command.env_clear();
        for name in PASSED {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs([
            ("LC_ALL", "C"),
            ("HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_PROTOCOL_FROM_USER", "0"),
            ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git"),
            ("GIT_CEILING_DIRECTORIES", "/"),
            // Keys come from the agent alone, and no host key that was seen before may change.
            (
                "GIT_SSH_COMMAND",
                "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=accept-new",
            ),
        ]);
        command.envs(self.access.agent.as_ref().map(|agent| ("SSH_AUTH_SOCK", agent)));
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if let Some(value) = self.access.git(self.address.host()).filter(|_| !self.address.is_ssh()) {
            settings.push((format!("http.{}.extraheader", self.scope()), format!("Authorization: {value}")));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
    }

    /// The URLs that the credentials are for: the repository's, and at GitHub those of its submodules too.
    fn scope(&self) -> String {
        let url = self.address.shown();
        ["https://github.com/", "https://www.github.com/"]
            .iter()
            .find(|host| url.starts_with(**host))
            .map_or(url.clone(), |host| (*host).to_owned())
    }
}
