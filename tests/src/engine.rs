//! Debian's container engines, each test with storage of its own, set up to run on a machine without systemd.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Pty, Workdir};

/// The podman command, with the runtime that `RUNTIME` names, else runc.
pub const PODMAN: &str = "podman --root $HOME/podman/root --runroot $HOME/podman/run --tmpdir $HOME/podman/tmp --runtime ${RUNTIME:-runc} \
                          --cgroup-manager cgroupfs --storage-driver overlay --events-backend file";

/// A command line for the real docker, not this repository's script, talking to a test's own daemon.
pub fn docker(words: &str) -> String {
    let real = ["/usr/bin/docker", "/usr/local/bin/docker"].into_iter().find(|path| Path::new(path).exists());
    format!("{} -H unix://$HOME/docker.sock {words}", real.expect("docker: missing: run `make setup`"))
}

/// A command line for `ctr`, containerd's client, talking to a test's own daemon.
pub fn ctr(words: &str) -> String {
    format!("ctr --address $HOME/containerd.sock {words}")
}

/// A daemon that serves one test; dropping the value stops it.
pub struct Daemon(Child);

impl Daemon {
    /// Starts dockerd with additional options.
    pub fn docker(work: &Workdir, options: &str) -> Self {
        let text = format!(
            "exec dockerd --data-root $HOME/docker/data --exec-root $HOME/docker/exec -H unix://$HOME/docker.sock -p $HOME/docker.pid \
             --bridge none --iptables=false --ip6tables=false --ip-masq=false --storage-driver overlay2 \
             --exec-opt native.cgroupdriver=cgroupfs {options} >$HOME/daemon.log 2>&1"
        );
        Self::start(work, &text, &docker("version"))
    }

    /// Starts containerd.
    pub fn containerd(work: &Workdir) -> Self {
        let text = "exec containerd --root $HOME/containerd/root --state $HOME/containerd/state --address $HOME/containerd.sock \
                    >$HOME/daemon.log 2>&1";
        Self::start(work, text, &ctr("version"))
    }

    fn start(work: &Workdir, text: &str, answers: &str) -> Self {
        let child = work.command("sh").args(["-c", text]).stdin(Stdio::null()).spawn().unwrap();
        let daemon = Self(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while work.sh(answers).status != 0 {
            assert!(Instant::now() < deadline, "{}", work.sh("tail daemon.log").stdout);
            std::thread::sleep(Duration::from_millis(200));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM, so that the daemon stops its children and unmounts.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The top-level cgroup of one name in every hierarchy. On drop, those that did not exist before are removed; a container left in
/// one of them fails the test.
pub struct Groups {
    name: String,
    made: Vec<PathBuf>,
    /// Where controllers that have no hierarchy here would be mounted.
    unmounted: Vec<PathBuf>,
}

const TOP: &str = "/sys/fs/cgroup";

impl Groups {
    /// The groups called `name`.
    pub fn named(name: &str) -> Self {
        let top = Path::new(TOP);
        let hierarchies = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).chain([top.to_owned()]);
        let all = hierarchies.filter(|path| path.join("cgroup.procs").exists()).map(|path| path.join(name));
        let made = all.filter(|path| !path.exists()).collect();
        let controllers = fs::read_to_string("/proc/cgroups").unwrap_or_default();
        let controllers = controllers.lines().filter_map(|line| line.split_whitespace().next());
        let unmounted = controllers.map(|controller| top.join(controller)).filter(|path| !path.exists()).collect();
        Self { name: name.into(), made, unmounted }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // podman creates ordinary folders where such a controller would be mounted.
        for folder in &self.unmounted {
            let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
            if device(folder) == device(Path::new(TOP)) && fs::remove_dir_all(folder.join(&self.name)).is_ok() {
                // Fails if something else is in it, which then stays.
                let _ = fs::remove_dir(folder);
            }
        }
        // A group can be removed only a moment after its last process has exited.
        let deadline = Instant::now() + Duration::from_secs(5);
        let left = loop {
            let left: Vec<_> = self.made.iter().filter(|path| !remove(path)).collect();
            if left.is_empty() || Instant::now() > deadline {
                break left;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(left.is_empty() || std::thread::panicking(), "left behind: {left:?}");
    }
}

/// Removes a group and its children; true also if another test removed it meanwhile.
fn remove(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// The program that `assert_terminal` runs: it waits for the terminal's size, prints a lot, echoes a typed line and waits for the
/// new size.
///
/// It sleeps at the end: containerd 1.6 and podman 4.3 lose a program's last output, or complain about a late resize.
pub const ON_TERMINAL: &str = r#"
until [ "$(stty size 2>&1)" = "24 80" ]; do sleep 0.05; done
test -t 0 && test -t 1 && test -t 2 || echo none
seq 1 2000
echo ready
read line
until [ "$(stty size)" = "33 111" ]; do sleep 0.05; done
echo "got $line"
sleep 0.5
exit 9
"#;

/// Runs a command whose program is `ON_TERMINAL` on a terminal, and compares all of its output.
#[track_caller]
pub fn assert_terminal(work: &Workdir, text: &str) {
    let mut command = work.command("sh");
    command.args(["-c", text]).env("ON_TERMINAL", ON_TERMINAL);
    let mut pty = Pty::spawn(&command);
    let mut seen = pty.expect("ready\r");
    pty.resize(33, 111);
    pty.send("typed\r");
    let (rest, status) = pty.finish();
    seen.push_str(&rest);
    let lines: Vec<String> = (1..=2000).map(|number| number.to_string()).collect();
    // With some engines two terminals in a row translate a line feed, so the number of carriage returns varies.
    assert_eq!(seen.replace('\r', ""), format!("{}\nready\ntyped\ngot typed\n", lines.join("\n")), "{text}");
    assert_eq!(status.code(), Some(9), "{text}");
}
