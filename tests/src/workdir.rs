//! A folder in which shell text runs with the five tools and `docker`, and which checks that nothing is left behind.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{TOOLS, repository, tools};

/// How long a piece of shell text may last, in seconds, unless a test says otherwise.
pub const SECONDS: u64 = 300;

/// One test's folder, with `home` (the working directory), `oci` (`$OCI_HOME`), `run` (run-tool's state) and `bin`.
pub struct Workdir {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// The ids of all containers created here so far.
    seen: RefCell<BTreeSet<String>>,
    _network: Option<fs::File>,
}

/// How a piece of shell text ended.
#[derive(Debug)]
pub struct Output {
    /// The exit status; 128 + N if signal N killed the shell.
    pub status: i32,
    /// What was written to standard output.
    pub stdout: String,
    /// What was written to standard error.
    pub stderr: String,
    text: String,
}

impl Output {
    /// Asserts success, and returns standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self}");
        self.stdout
    }

    /// Asserts that it failed with `status`, and returns standard error.
    #[track_caller]
    pub fn fails(self, status: i32) -> String {
        assert_eq!(self.status, status, "{self}");
        self.stderr
    }

    /// Asserts a failure with a single error line, the last one, that contains each of `words`; returns that line. The progress of
    /// a transfer or a build may precede it, and docker run's hint at its help may follow.
    #[track_caller]
    pub fn fails_saying(self, status: i32, words: &[&str]) -> String {
        assert_eq!(self.status, status, "{self}");
        let mut lines = self.stderr.lines().filter(|line| *line != "See 'docker run --help'.");
        let last = lines.next_back().unwrap_or_default().to_owned();
        assert!(is_error(&last), "the last line is not an error: {self}");
        assert_eq!(self.stderr.lines().filter(|line| is_error(line)).count(), 1, "one line: {self}");
        for word in words {
            assert!(last.contains(word), "{word:?} is not in it: {self}");
        }
        last
    }
}

/// Whether a line is an error of one of the tools or of `docker`. run-tool prints runc's log records, or, if the log goes to a file,
/// only their message: `run-tool run failed: …`.
fn is_error(line: &str) -> bool {
    let first = line.split(": ").next().unwrap_or_default();
    first == "docker"
        || ["Error", "Error response from daemon", "denied"].contains(&first)
        || first.ends_with(" failed")
        || TOOLS.contains(&first)
        || line.contains(" level=error msg=")
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\n{}{}[status {}]", self.text, self.stdout, self.stderr, self.status)
    }
}

impl Default for Workdir {
    fn default() -> Self {
        Self::new()
    }
}

impl Workdir {
    /// Creates an empty folder.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oci-tools-").tempdir().unwrap();
        let path = folder.path();
        for name in ["home", "bin", "run"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        symlink(repository().join("tests/docker"), path.join("bin/docker")).unwrap();
        let join = |name: &str| path.join(name).to_str().unwrap().to_owned();
        let search = std::env::var("PATH").unwrap();
        let environment = [
            ("PATH", format!("{}:{}:{search}:/usr/sbin:/sbin", join("bin"), tools().display())),
            ("HOME", join("home")),
            ("OCI_HOME", join("oci")),
            ("RUN_TOOL_ROOT", join("run")),
            ("DOCKER_DAEMON_CONFIG", join("daemon.json")),
            ("LC_ALL", "C.UTF-8".into()),
            ("TZ", "UTC".into()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, environment, seen: RefCell::default(), _network: None }
    }

    /// Creates a folder whose daemon.json names `address` as the mirror of Docker Hub.
    pub fn with_mirror(address: &str) -> Self {
        let work = Self::new();
        work.write("../daemon.json", &format!("{{\"registry-mirrors\": [\"http://{address}\"]}}\n"));
        work
    }

    /// Reserves the host's bridge network and well-known ports until the test ends: tests that use them run one at a time.
    #[must_use]
    pub fn with_network(mut self) -> Self {
        let lock = repository().join("target/network.lock");
        let file = fs::OpenOptions::new().create(true).append(true).open(lock).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        self._network = Some(file);
        self
    }

    /// Sets an environment variable for all later commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
    }

    /// A path inside the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }

    /// The folder that holds everything of this test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the working directory, creating its parent folders.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A command with this folder's environment, in its working directory.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path("")).stdin(Stdio::null());
        // The machine's settings for pip, apt and proxies are for peers that download; our tools read none of them.
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs shell text; kills it after [`SECONDS`].
    pub fn sh(&self, text: &str) -> Output {
        self.sh_within(SECONDS, text)
    }

    /// Runs shell text that may last so many seconds.
    pub fn sh_within(&self, seconds: u64, text: &str) -> Output {
        self.shell(seconds, &["sh", "-c", text], text)
    }

    /// Runs shell text in bash with `pipefail`.
    pub fn pipefail(&self, text: &str) -> Output {
        self.shell(SECONDS, &["bash", "-o", "pipefail", "-c", text], text)
    }

    fn shell(&self, seconds: u64, words: &[&str], text: &str) -> Output {
        // Files, not pipes: a detached container may keep them open, and must not block the test.
        let stdout = tempfile::NamedTempFile::new().unwrap();
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.command("timeout");
        command.args(["-k", "5", &seconds.to_string()]).args(words);
        command.stdout(stdout.reopen().unwrap()).stderr(stderr.reopen().unwrap());
        let status = command.status().unwrap();
        let read =
            |file: &tempfile::NamedTempFile| String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned();
        let status = std::os::unix::process::ExitStatusExt::signal(&status)
            .map_or_else(|| status.code().unwrap(), |signal| 128 + signal);
        Output { status, stdout: read(&stdout), stderr: read(&stderr), text: text.into() }
    }

    /// What this test has left on the machine: mounts, processes, container state, cgroups, networks, firewall rules.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        let folder = self.folder().to_str().unwrap();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
            if line.contains(folder) {
                leaks.push(format!("mount: {line}"));
            }
        }
        for (pid, line) in self.processes() {
            leaks.push(format!("process {pid}: {line}"));
        }
        // A name that starts with ~ is not a container: run-tool keeps compiled seccomp filters there.
        let state = fs::read_dir(self.folder().join("run")).into_iter().flatten().flatten();
        for entry in state.filter(|entry| !entry.file_name().to_string_lossy().starts_with('~')) {
            leaks.push(format!("state: {}", entry.path().display()));
        }
        self.remember();
        for id in self.seen.borrow().iter() {
            leaks.extend(left_of(id));
        }
        leaks
    }

    /// Records the ids of the containers that have a bundle now, to search for their traces later.
    fn remember(&self) {
        let places = [self.folder().join("oci/bundles"), self.path("")];
        for entry in places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten() {
            let Ok(config) = fs::read(entry.path().join("config.json")) else { continue };
            let Ok(config) = serde_json::from_slice::<serde_json::Value>(&config) else { continue };
            if let Some(id) = config["annotations"]["org.oci-tools.id"].as_str() {
                self.seen.borrow_mut().insert(id.to_owned());
            }
        }
    }

    /// The processes that mention this folder in their command line, environment, working directory or mounts.
    fn processes(&self) -> Vec<(i32, String)> {
        let folder = self.folder().to_str().unwrap();
        let mut found = Vec::new();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap();
        let root = fs::metadata("/").unwrap();
        let at = (root.dev(), root.ino());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            if pid == std::process::id() as i32 {
                continue;
            }
            let holds = |name: &str| {
                fs::read(entry.path().join(name)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(folder))
            };
            // Whoever copies the machine's mounts meanwhile has ours too, but has not gone to a root of its own as containers do.
            let elsewhere = fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|namespace| namespace != own)
                && fs::metadata(entry.path().join("root")).is_ok_and(|root| (root.dev(), root.ino()) != at);
            let inside = fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path.starts_with(folder));
            if inside || holds("cmdline") || holds("environ") || (elsewhere && holds("mountinfo")) {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    /// Kills and unmounts what is left, so that one failed test does not break the next.
    fn clean(&self) {
        for (pid, _) in self.processes() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let folder = self.folder().to_str().unwrap();
        let mounts: BTreeSet<String> = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter_map(|line| line.split(' ').nth(4).filter(|point| point.starts_with(folder)).map(str::to_owned))
            .collect();
        for point in mounts.iter().rev() {
            let _ = Command::new("umount").args(["-l", point]).status();
        }
    }
}

/// What the container `id` has left on the machine: cgroups, network namespaces, addresses, firewall rules.
fn left_of(id: &str) -> Vec<String> {
    let mut leaks = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup"), "/run/netns".into(), "/var/lib/cni".into()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // host-local records an address in a file that contains its owner's id.
            let holds =
                || path.starts_with("/var/lib/cni") && fs::read_to_string(&path).is_ok_and(|text| text.contains(id));
            if entry.file_name().to_string_lossy().contains(id) || holds() {
                leaks.push(format!("left of container: {}", path.display()));
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    for table in ["iptables-save", "ip6tables-save"] {
        let rules = Command::new(table).env("PATH", "/usr/sbin:/sbin").stderr(Stdio::null()).output();
        let rules = rules.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        leaks.extend(rules.lines().filter(|rule| rule.contains(id)).map(|rule| format!("{table}: {rule}")));
    }
    leaks
}

impl Drop for Workdir {
    fn drop(&mut self) {
        // The last process of a container may still be exiting.
        let patience = Instant::now() + Duration::from_secs(3);
        let mut leaks = self.leaks();
        while !leaks.is_empty() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(50));
            leaks = self.leaks();
        }
        self.clean();
        assert!(leaks.is_empty() || std::thread::panicking(), "left behind:\n{}", leaks.join("\n"));
    }
}
