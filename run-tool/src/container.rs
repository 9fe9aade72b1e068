//! An existing container, found by its id: its folder under the root, its status, and its end.
//!
//! This room holds what is on disk of a container and everything that can be done with that alone. It imports `cgroup`, `spec`
//! and `kernel`. It knows nothing of how a container is made or supervised.

pub(crate) mod event;
pub(crate) mod exit;
pub(crate) mod health;
pub(crate) mod hook;
pub(crate) mod output;
pub(crate) mod state;
pub(crate) mod supervisor;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{Hooks, Spec};

use self::exit::Exit;
use self::state::State;
use crate::cgroup::Cgroup;
use crate::cgroup::rdt::Resctrl;
use crate::kernel::error::Fails;
use crate::kernel::process::Process;
use crate::kernel::syscall::Pid;
use crate::kernel::{log, procfs};
use crate::spec;

/// The fifo in a container's folder. As long as it exists, the container waits for `start`.
pub(crate) const FIFO: &str = "exec.fifo";

/// The status of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Set up, but its program is not started yet.
    Created,
    /// Its program is running.
    Running,
    /// Its processes are suspended by the freezer.
    Paused,
    /// Its init process has ended.
    Stopped,
}

impl Status {
    /// The runtime spec's name for it.
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
    /// Its folder under the root, named by its id.
    pub(crate) folder: PathBuf,
    /// Its state as stored in that folder.
    pub(crate) state: State,
}

/// There is no container with the given id.
#[derive(Debug, thiserror::Error)]
#[error("container does not exist")]
pub(crate) struct DoesNotExist;

/// The container has no running process to signal.
#[derive(Debug, thiserror::Error)]
#[error("container not running")]
pub(crate) struct NotRunning;

impl Container {
    /// Loads the container `id` under `root`; `DoesNotExist` if there is none.
    pub(crate) fn load(root: &Path, id: &str) -> Result<Self> {
        state::check_id(id)?;
        let folder = root.join(id);
        let state = State::load(&folder)?.ok_or(DoesNotExist)?;
        Ok(Self { folder, state })
    }

    /// The config.json in its bundle.
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
            hierarchies: Vec::new(),
        }
    }

    /// Whether its init process is alive.
    pub(crate) fn is_alive(&self) -> bool {
        match procfs::process_stat(self.state.init_process_pid) {
            Some((start, process)) => start == self.state.init_process_start && !matches!(process, 'Z' | 'X'),
            None => false,
        }
    }

    /// Its status at this moment.
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

    /// Its init process, certainly no other one.
    pub(crate) fn process(&self) -> Result<Process> {
        let process = Process::open(self.state.init_process_pid).map_err(|_| NotRunning)?;
        // Checked after it was opened: from here on it is this process, even if the id is used again.
        if !self.is_alive() {
            return Err(NotRunning.into());
        }
        Ok(process)
    }

    /// Sends a signal to its init process. A SIGKILL reaches all its processes, also if they share the host's PID namespace.
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
        self.process()?.signal(signal).fails(|| "unable to signal init")?;
        if signal == libc::SIGKILL {
            let cgroup = self.cgroup();
            // With cgroup v1 a frozen process dies only once it is thawed.
            if cgroup.is_frozen() {
                cgroup.freeze(false)?;
            }
        }
        Ok(())
    }

    /// Kills the container, waits until its init process is gone, and removes everything of it.
    pub(crate) fn kill_and_destroy(&self) -> Result<()> {
        // A container that is no longer running is just what is wanted.
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

    /// Waits until the init process is gone. Returns whether it is gone within the limit.
    pub(crate) fn wait_until_gone(&self, limit: Duration) -> bool {
        if let Ok(process) = self.process() {
            // The check below decides.
            let _ = process.wait(None, Some(limit));
        }
        for _ in 0..20 {
            if !self.is_alive() {
                return true;
            }
            sleep(Duration::from_millis(5));
        }
        false
    }

    /// Removes a container that is not running: its control groups and its folder. Then its poststop hooks run.
    pub(crate) fn destroy(&self) -> Result<()> {
        self.release()?;
        remove_folder(&self.folder)
            .fails(|| format!("unable to remove container state dir: unlinkat {}", self.folder.display()))?;
        self.run_poststop()
    }

    /// Removes everything of a container but its folder, before it is started again.
    pub(crate) fn recycle(&self) -> Result<()> {
        self.release()?;
        self.run_poststop()
    }

    fn release(&self) -> Result<()> {
        let cgroup = self.cgroup();
        if cgroup.exists() && (!self.state.has_new_namespace("NEWPID") || self.state.init_process_pid == 0) {
            // Other processes may have outlived init, or the container's creation was interrupted.
            if let Err(error) = cgroup.kill_all() {
                log::debug(|| format!("{error:#}"));
            }
        } else if cgroup.is_frozen() {
            cgroup.freeze(false)?;
        }
        cgroup.destroy().context("unable to destroy container")?;
        self.state.rdt.destroy()
    }

    /// The statistics that `events` prints.
    pub(crate) fn stats(&self) -> Result<serde_json::Value> {
        let mut stats = self.cgroup().stats();
        if self.state.rdt.exist() {
            // resctrl has been unmounted since the container was made.
            let resctrl =
                Resctrl::find().context("unable to get container Intel RDT stats: Intel RDT not available")?;
            stats["intel_rdt"] = resctrl.stats(&self.state.rdt)?;
        }
        Ok(stats)
    }

    /// Lets the bundle of a container with `--rm` stay, which its poststop hooks would remove.
    pub(crate) fn keep_bundle(&mut self) {
        self.state.config.labels.retain(|label| label != "org.oci-tools.rm=true");
    }

    fn run_poststop(&self) -> Result<()> {
        let hooks = self.hooks()?;
        hook::run_for(&self.state, "poststop", hooks.as_ref().and_then(|hooks| hooks.poststop().as_ref()), "stopped", 0)
    }

    /// The hooks of its configuration, as stored in its state.
    pub(crate) fn hooks(&self) -> Result<Option<Hooks>> {
        self.state.config.hooks.clone().map(serde_json::from_value).transpose().map_err(Into::into)
    }

    /// Stores the state in its folder.
    pub(crate) fn save(&self) -> Result<()> {
        self.state.save(&self.folder)
    }

    /// The document that `state` prints. `list` adds the owner and the exit status.
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
            earlier: None,
            health: None,
            health_checks: None,
            restart_count: 0,
            restarting: false,
        }
    }
}

/// Removes a container's folder. A supervisor that has just seen the end of the container may write the exit status into the
/// folder meanwhile, so that it is no longer empty. That happens once.
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
    /// The id of the container.
    pub(crate) id: String,
    /// Its init process; 0 for a stopped container.
    pub(crate) pid: Pid,
    /// `Status::name`.
    pub(crate) status: &'static str,
    /// The absolute path of its bundle; empty if unknown.
    pub(crate) bundle: String,
    rootfs: PathBuf,
    /// The time of its creation (RFC 3339).
    pub(crate) created: String,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    annotations: serde_json::Map<String, serde_json::Value>,
    /// The user who owns its folder, by name. Only `list` fills it in.
    pub(crate) owner: String,
    /// How it ended, if a supervisor or `run --keep` recorded that.
    #[serde(flatten)]
    pub(crate) exit: Option<Exit>,
    /// When it ended before it was started again, if it runs. Only `list` fills it in.
    #[serde(rename = "earlierExitTime", skip_serializing_if = "Option::is_none")]
    pub(crate) earlier: Option<String>,
    /// The result of its health checks, if it has one and runs. Only `list` fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<String>,
    /// The results of its last health checks, as docker's `State.Health` object. Only `list` fills it in.
    #[serde(rename = "healthChecks", skip_serializing_if = "Option::is_none")]
    pub(crate) health_checks: Option<serde_json::Value>,
    /// How often its supervisor has restarted it. Only `list` fills it in.
    #[serde(rename = "restartCount", skip_serializing_if = "is_zero")]
    pub(crate) restart_count: u32,
    /// Whether its supervisor is about to restart it. Only `list` fills it in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) restarting: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_while_a_supervisor_still_writes_to_it() {
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
                        // Fails once the folder is gone.
                        let _ = fs::write(folder.join(format!("late-{name}")), "");
                    }
                });
                remove_folder(&folder).unwrap();
            });
            assert!(!folder.exists());
        }
    }
}
