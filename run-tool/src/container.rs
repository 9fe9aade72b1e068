//! A container by name: its folder under the root, its status, and its end.
//!
//! Here is what is on disk of a container and what can be said and done with that alone: this room imports `cgroup`, `spec` and
//! `kernel`, and knows nothing of how a container is made or watched.

pub(crate) mod exit;
pub(crate) mod hook;
pub(crate) mod output;
pub(crate) mod state;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{Hooks, Spec};
use rustix::process::{Pid as RustixPid, PidfdFlags};

use self::exit::Exit;
use self::state::State;
use crate::cgroup::Cgroup;
use crate::cgroup::rdt::Resctrl;
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{log, procfs};
use crate::spec;

/// The fifo whose presence means that the container waits for `start`.
pub(crate) const FIFO: &str = "exec.fifo";

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Set up, its program not started.
    Created,
    /// Running.
    Running,
    /// Stopped by the freezer.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl Status {
    /// The word of the runtime spec.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container that exists.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its stored state.
    pub(crate) state: State,
}

/// What asking for a container came to, when it is not there.
#[derive(Debug, thiserror::Error)]
#[error("container does not exist")]
pub(crate) struct DoesNotExist;

/// What a signal came to, when nobody was there to get it.
#[derive(Debug, thiserror::Error)]
#[error("container not running")]
pub(crate) struct NotRunning;

impl Container {
    /// Finds a container.
    pub(crate) fn load(root: &Path, id: &str) -> Result<Self> {
        state::check_id(id)?;
        let folder = root.join(id);
        let state = State::load(&folder)?.ok_or(DoesNotExist)?;
        Ok(Self { folder, state })
    }

    /// The configuration in its bundle.
    pub(crate) fn spec(&self) -> Result<Spec> {
        let bundle = self.state.bundle().context("bundle not found in labels")?;
        spec::load_from(Path::new(bundle))
    }

    /// Its control groups.
    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup {
            paths: self.state.cgroup_paths.clone(),
            rootless: self.state.config.rootless_cgroups,
            explicit: false,
            unit: self.state.config.cgroups.clone(),
        }
    }

    /// Whether its first process lives.
    pub(crate) fn is_alive(&self) -> bool {
        match procfs::process_stat(self.state.init_process_pid) {
            Some((start, process)) => start == self.state.init_process_start && !matches!(process, 'Z' | 'X'),
            None => false,
        }
    }

    /// What it does.
    pub(crate) fn status(&self) -> Status {
        if !self.is_alive() {
            Status::Stopped
        } else if self.cgroup().is_frozen() {
            Status::Paused
        } else if self.folder.join(FIFO).exists() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// A descriptor of its first process, for certain that process.
    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        let pid = RustixPid::from_raw(self.state.init_process_pid).ok_or(NotRunning)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| NotRunning)?;
        // Checked after it was opened: from here on the id cannot be used again without our noticing.
        if !self.is_alive() {
            return Err(NotRunning.into());
        }
        Ok(pidfd)
    }

    /// Sends a signal to its first process; a SIGKILL reaches every process even where they share the host's PID namespace.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL && !self.state.has_new_namespace("NEWPID") {
            let cgroup = self.cgroup();
            if !cgroup.exists() {
                if self.is_alive() && self.state.config.rootless_cgroups {
                    return self.signal_init(signal);
                }
                return Err(NotRunning).context("unable to kill all processes");
            }
            match cgroup.kill_all() {
                Err(error) if self.state.config.rootless_cgroups => {
                    log::warn(&format!("failed to kill all processes, possibly due to lack of cgroup: {error:#}"));
                    return self.signal_init(signal);
                }
                result => return result.context("unable to kill all processes"),
            }
        }
        self.signal_init(signal)
    }

    fn signal_init(&self, signal: i32) -> Result<()> {
        let pidfd = self.pidfd()?;
        syscall::pidfd_send_signal(pidfd.as_fd(), signal).fails(|| "unable to signal init")?;
        if signal == libc::SIGKILL {
            let cgroup = self.cgroup();
            // A frozen version 1 process dies only once it is thawed.
            if cgroup.is_frozen() {
                cgroup.freeze(false)?;
            }
        }
        Ok(())
    }

    /// Kills it, waits until it is gone, and removes it.
    pub(crate) fn kill_and_destroy(&self) -> Result<()> {
        // Not running any more is what is wanted.
        if let Err(error) = self.signal(libc::SIGKILL)
            && error.downcast_ref::<NotRunning>().is_none()
        {
            log::debug(|| format!("{error:#}"));
        }
        if !self.wait_until_gone(Duration::from_secs(10)) {
            bail!("container init still running");
        }
        self.destroy()
    }

    /// Waits until the first process is gone.
    pub(crate) fn wait_until_gone(&self, limit: Duration) -> bool {
        if let Ok(pidfd) = self.pidfd() {
            let timeout =
                rustix::event::Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
            let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            // A signal cuts the wait short; the status below is what counts.
            let _ = rustix::event::poll(&mut poll, Some(&timeout));
        }
        for _ in 0..20 {
            if !self.is_alive() {
                return true;
            }
            sleep(Duration::from_millis(5));
        }
        false
    }

    /// Removes a container that does not run: its groups, its folder, then its poststop hooks.
    pub(crate) fn destroy(&self) -> Result<()> {
        self.release()?;
        remove_folder(&self.folder)
            .fails(|| format!("unable to remove container state dir: unlinkat {}", self.folder.display()))?;
        self.run_poststop()
    }

    /// Ends a container that is to be started again: all of it but its folder.
    pub(crate) fn recycle(&self) -> Result<()> {
        self.release()?;
        self.run_poststop()
    }

    fn release(&self) -> Result<()> {
        let cgroup = self.cgroup();
        if cgroup.exists() && (!self.state.has_new_namespace("NEWPID") || self.state.init_process_pid == 0) {
            // Others of the container may have outlived its first process, or it was interrupted while it was made.
            if let Err(error) = cgroup.kill_all() {
                log::debug(|| format!("{error:#}"));
            }
        } else if cgroup.is_frozen() {
            cgroup.freeze(false)?;
        }
        cgroup.destroy().context("unable to destroy container")?;
        self.state.rdt.destroy()
    }

    /// What `events` prints.
    pub(crate) fn stats(&self) -> Result<serde_json::Value> {
        let mut stats = self.cgroup().stats();
        if self.state.rdt.exist() {
            // Nothing can be said of what is no longer mounted.
            let resctrl =
                Resctrl::find().context("unable to get container Intel RDT stats: Intel RDT not available")?;
            stats["intel_rdt"] = resctrl.stats(&self.state.rdt)?;
        }
        Ok(stats)
    }

    fn run_poststop(&self) -> Result<()> {
        let state = self.state.for_hooks("stopped", 0);
        let hooks = self.hooks()?;
        hook::run("poststop", hooks.as_ref().and_then(|hooks| hooks.poststop().as_ref()), &state)
    }

    /// The hooks that were configured.
    pub(crate) fn hooks(&self) -> Result<Option<Hooks>> {
        self.state.config.hooks.clone().map(serde_json::from_value).transpose().map_err(Into::into)
    }

    /// Stores the state.
    pub(crate) fn save(&self) -> Result<()> {
        self.state.save(&self.folder)
    }

    /// The document that `state` and `list` print, without the owner.
    pub(crate) fn describe(&self) -> Description {
        let status = self.status();
        let pid: Pid = if status == Status::Stopped { 0 } else { self.state.init_process_pid };
        Description {
            version: self.state.config.version.clone(),
            id: self.state.id.clone(),
            pid,
            status: status.name(),
            bundle: self.state.bundle().unwrap_or_default().to_owned(),
            rootfs: self.state.config.rootfs.clone(),
            created: self.state.created.clone(),
            annotations: self.state.annotations(),
            owner: String::new(),
            exit: None,
        }
    }
}

/// Removes a container's folder. Its supervisor, which has just seen it end, may put the status there meanwhile, so that the folder
/// is not empty any more when its own turn comes; it does that once.
fn remove_folder(folder: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && tries < 10 => {
                tries += 1;
                sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// A container as `state` and `list` show it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Description {
    #[serde(rename = "ociVersion")]
    version: String,
    /// The container's name.
    pub(crate) id: String,
    /// Its first process; zero when stopped.
    pub(crate) pid: Pid,
    /// What it does.
    pub(crate) status: &'static str,
    /// Its bundle.
    pub(crate) bundle: String,
    rootfs: PathBuf,
    /// When it was made.
    pub(crate) created: String,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    annotations: serde_json::Map<String, serde_json::Value>,
    /// Who owns its folder.
    pub(crate) owner: String,
    /// How it ended, where its supervisor or a foreground `run --keep` has said so.
    #[serde(flatten)]
    pub(crate) exit: Option<Exit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_its_supervisor_still_writes_to_is_removed() {
        for _ in 0..50 {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("container");
            fs::create_dir(&folder).unwrap();
            for name in 0..20 {
                fs::write(folder.join(name.to_string()), "").unwrap();
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for name in 0..5 {
                        // It fails once the folder is gone.
                        let _ = fs::write(folder.join(format!("late-{name}")), "");
                    }
                });
                remove_folder(&folder).unwrap();
            });
            assert!(!folder.exists());
        }
    }
}
