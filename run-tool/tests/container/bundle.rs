//! A bundle with a static busybox and a root for the state of its containers. Every test here starts from one.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const APPLETS: [&str; 16] = [
    "sh", "true", "false", "cat", "echo", "id", "sleep", "grep", "env", "ls", "tty", "stty", "test", "pwd", "kill",
    "mount",
];

/// A bundle, and a root for the state of its containers.
pub(crate) struct Bundle {
    folder: TempDir,
    pub(crate) config: Value,
}

impl Bundle {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make containers: run them as root");
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        // Copied by another process: otherwise a child that another test starts meanwhile could inherit the open file, and execve
        // fails as long as a file is open for writing.
        let copied = Command::new("cp").arg("/bin/busybox").arg(rootfs.join("bin/busybox")).status().unwrap();
        assert!(copied.success(), "package busybox-static");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_run-tool")).arg("spec").current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut config: Value = serde_json::from_slice(&fs::read(folder.path().join("config.json")).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(arguments);
        let bundle = Self { folder, config };
        bundle.store();
        bundle
    }

    pub(crate) fn with(arguments: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let mut bundle = Self::new(arguments);
        change(&mut bundle.config);
        bundle.store();
        bundle
    }

    pub(crate) fn store(&self) {
        fs::write(self.path().join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A container id that no other test uses, nor a cgroup that one has left behind.
    pub(crate) fn id(&self) -> String {
        format!("cli-{}", self.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_run-tool"));
        command.arg("--root").arg(self.path().join("state")).args(arguments).current_dir(self.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command and waits for it. Its output goes to files: a container that it leaves running would keep pipes open.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        let file = || tempfile::tempfile().unwrap();
        let (mut out, mut err) = (file(), file());
        let mut command = self.command(arguments);
        let status = command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap()).status().unwrap();
        let read = |file: &mut fs::File| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        Output { status, stdout: read(&mut out), stderr: read(&mut err) }
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail, and returns its exit status and its message.
    pub(crate) fn bad(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.tool(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.good(&["state", &self.id()])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_for(&self, status: &str) {
        eventually(status, || self.status() == status);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A failed test may leave a container.
        let _ = self.tool(&["delete", "--force", &self.id()]);
    }
}

pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The cgroups of a container on the host.
pub(crate) fn cgroups(id: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, depth: u32, id: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == id {
                    found.push(entry.path());
                } else if depth < 6 {
                    walk(&entry.path(), depth + 1, id, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 0, id, &mut found);
    found
}
