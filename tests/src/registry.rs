//! Debian's docker-registry on a port of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::repository;

/// A running registry; dropping the value stops it.
pub struct Registry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// The user name and password of a registry that requires them.
pub const LOGIN: (&str, &str) = ("xag", "s3cret");

/// `LOGIN` as a line of docker-registry's htpasswd file.
const HTPASSWD: &str = "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n";

/// The folder of the images that `tests/images` makes, once.
pub fn images() -> PathBuf {
    let folder = repository().join("target/images");
    let made = Command::new(repository().join("tests/images")).arg(&folder).status().unwrap();
    assert!(made.success(), "tests/images failed");
    folder
}

impl Registry {
    /// Starts a read-only registry that holds the images of `tests/images`.
    pub fn images() -> Self {
        let storage = images().join("registry");
        Self::start(Some(storage), "")
    }

    /// Starts an empty registry.
    pub fn empty() -> Self {
        Self::start(None, "")
    }

    /// Starts an empty registry that requires `LOGIN`.
    pub fn with_password() -> Self {
        Self::start(None, "auth: {htpasswd: {realm: tests, path: htpasswd}}\n")
    }

    fn start(storage: Option<PathBuf>, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("oci-registry-").tempdir().unwrap();
        let read_only = storage.is_some();
        let storage = storage.unwrap_or_else(|| folder.path().join("storage"));
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n{more}storage:\n  filesystem: \
             {{rootdirectory: \"{}\"}}\n  delete: {{enabled: true}}\n  maintenance: {{uploadpurging: {{enabled: false}}, \
             readonly: {{enabled: {read_only}}}}}\n",
            storage.display(),
        );
        fs::write(folder.path().join("registry.yml"), settings).unwrap();
        fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
        let mut child = Command::new("docker-registry")
            .args(["serve", "registry.yml"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry: missing: run `make setup`");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let port = loop {
            let Some(Ok(line)) = log.next() else { panic!("docker-registry did not start:\n{}", said.join("\n")) };
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse().unwrap();
            }
            said.push(line);
        };
        // Its log must be read on, or it would block once the pipe is full.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, port, folder }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder of an empty registry's storage.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
