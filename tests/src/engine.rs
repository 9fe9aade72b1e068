//! Debian's container engines with storage of a test's own, as a machine without systemd lets them run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Pty, Workdir};

/// podman, with runc or what `RUNTIME` names.
pub const PODMAN: &str = "podman --root $HOME/podman/root --runroot $HOME/podman/run --tmpdir $HOME/podman/tmp --runtime ${RUNTIME:-runc} \
                          --cgroup-manager cgroupfs --storage-driver overlay --events-backend file";

/// The real docker command, not the one of this repository, that talks to a test's own daemon.
pub fn docker(words: &str) -> String {
    let real = ["/usr/bin/docker", "/usr/local/bin/docker"].into_iter().find(|path| Path::new(path).exists());
    format!("{} -H unix://$HOME/docker.sock {words}", real.expect("docker: missing: run `make setup`"))
}

/// containerd's command that talks to a test's own daemon.
pub fn ctr(words: &str) -> String {
    format!("ctr --address $HOME/containerd.sock {words}")
}

/// A daemon of a test's own; it ends with the value.
pub struct Daemon(Child);

impl Daemon {
    /// Starts dockerd with more options.
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
        // SIGTERM: it ends what it started and unmounts.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The control groups of one name at the top of every hierarchy. What was not there at first is removed in the end, and must have
/// no container in it by then.
pub struct Groups {
    name: String,
    made: Vec<PathBuf>,
    /// Where the controllers without a hierarchy would be mounted.
    unmounted: Vec<PathBuf>,
}

const TOP: &str = "/sys/fs/cgroup";

impl Groups {
    /// Those of `name`.
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
        // podman makes ordinary folders there.
        for folder in &self.unmounted {
            let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
            if device(folder) == device(Path::new(TOP)) && fs::remove_dir_all(folder.join(&self.name)).is_ok() {
                // Unless something else is in it.
                let _ = fs::remove_dir(folder);
            }
        }
        // A group is free a moment after its last process has gone.
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

/// Removes a group and those in it; one that another test has removed meanwhile is gone as well.
fn remove(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// What a terminal's program is asked to do in `assert_terminal`: to tell its size, much text, a line that was typed, its new size.
///
/// It waits at the end: containerd 1.6 and podman 4.3 lose what a program writes last, or complain of a resize that comes too late.
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

/// Runs a command, whose program is `ON_TERMINAL`, on a terminal, and compares all that came.
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
    // Some engines leave the terminal to turn a line's end into two characters once more.
    assert_eq!(seen.replace('\r', ""), format!("{}\nready\ntyped\ngot typed\n", lines.join("\n")), "{text}");
    assert_eq!(status.code(), Some(9), "{text}");
}
