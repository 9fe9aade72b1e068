//! A further program in a container: it joins the container's namespaces and groups and gets all restrictions of the first program.
//!
//! libcontainer's own implementation loses the seccomp filter, the user, the working directory, the limits and the OOM score.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::ExecCPUAffinity;
use rustix::fs::Mode;

use super::child::{self, Child};
use super::namespace::Namespaces;
use super::parent::{self, Parent};
use super::talk::{Channel, Ends, Message};
use super::{agent, namespace};
use crate::cgroup;
use crate::cgroup::entrance::Entrance;
use crate::container::Container;
use crate::container::state;
use crate::kernel::error::Fails;
use crate::kernel::process::Process;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{log, set, terminal};
use crate::program::seccomp::{self, Filter};
use crate::program::{Program, label, outside};

/// How to start a program in a container.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Whether it gets a terminal.
    pub(crate) terminal: bool,
    /// The socket that receives the terminal's master; without one it is returned to the caller.
    pub(crate) console: Option<OwnedFd>,
    /// The socket that receives a pidfd of the process.
    pub(crate) pidfd_socket: Option<OwnedFd>,
    /// The sub-cgroup to join by controller; the key for all controllers is empty.
    pub(crate) sub_groups: BTreeMap<String, PathBuf>,
    /// The standard streams; `None` for those of the caller.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// Whether pipes stand between it and the caller's streams.
    pub(crate) pipes: bool,
    /// `process.execCPUAffinity`.
    pub(crate) affinity: Option<ExecCPUAffinity>,
    /// Whether its terminal translates newlines, because nobody else does.
    pub(crate) newlines: bool,
    /// How the process gets into the container's groups.
    pub(crate) entrance: Entrance,
}

/// Starts a program. Returns its process, and this side's ends of its streams; a console socket has got the terminal's.
pub(crate) fn start(container: &Container, program: Program, mut options: Options) -> Result<(Pid, Ends)> {
    let init = container.process()?;
    let affinity = options.affinity.take();
    let mut exec = Exec { container, program, options, flags: flags(container), init, staged: false };
    exec.restrict()?;
    let last = begin_on(affinity.as_ref())?;
    syscall::default_signals();
    let (pid, channel) = exec.spawn(Channel::pair()?)?;
    // The child began with the affinity of this process. Its own may already be the final one.
    log::debug(|| format!("nsexec[{pid}]: affinity: {:#x}", affinity_mask()));
    let talked = exec.place(&channel, last, pid).and_then(|()| parent::answer(&mut Running(&exec, pid), &channel, pid));
    if talked.is_err() {
        // The child may have ended by itself. The error to report is the first one.
        let _ = syscall::kill(pid, libc::SIGKILL);
        let _ = syscall::wait(pid, true);
    }
    Ok((pid, talked?))
}

/// The namespaces of a container as flags for setns.
fn flags(container: &Container) -> i32 {
    let namespaces = &container.state.config.namespaces;
    let has = |kind| namespaces.iter().any(|namespace| namespace.kind == namespace::names(kind).0);
    namespace::ALL.into_iter().filter(|kind| has(*kind)).fold(0, |flags, kind| flags | namespace::flag(kind))
}

/// The container's stored seccomp filter. runc stores none, so for its containers the profile in the bundle is compiled.
fn filter(container: &Container, stored: &state::Seccomp) -> Result<Filter> {
    let path = container.folder.join(seccomp::FILE);
    match std::fs::read(&path) {
        Ok(program) => return Ok(Filter { program, flags: stored.flag_bits }),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).fails(|| format!("open {}", path.display())).map_err(Into::into);
        }
        Err(_) => {}
    }
    let spec = container.spec()?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let root = container.folder.parent().unwrap_or(Path::new("/"));
    let filter = profile.map(|profile| seccomp::compile(profile, root)).transpose()?.flatten();
    filter.context("the bundle has no seccomp profile, and the container has one")
}

/// The CPU affinity that a program gets in the end.
enum Cpus {
    /// The initial affinity.
    Same,
    /// All CPUs of its cpuset, whatever the affinity of run-tool.
    All,
    /// A mask.
    Set(Vec<u64>),
}

/// Sets the initial affinity, on this process: its child inherits it. Returns the final one.
fn begin_on(affinity: Option<&ExecCPUAffinity>) -> Result<Cpus> {
    let cpus = |text: Option<&String>| -> Result<Option<Vec<u64>>> {
        let mask = set::parse(text.map_or("", String::as_str))?;
        Ok((!mask.is_empty()).then_some(mask))
    };
    let first = cpus(affinity.and_then(|affinity| affinity.initial().as_ref())).context("bad CPUAffinity.Initial")?;
    let last =
        cpus(affinity.and_then(|affinity| affinity.cpu_affinity_final().as_ref())).context("bad CPUAffinity.Final")?;
    if let Some(mask) = &first {
        syscall::set_affinity(0, mask).fails(|| "error setting initial CPU affinity")?;
    }
    Ok(match (last, first) {
        (Some(mask), _) => Cpus::Set(mask),
        (None, None) => Cpus::All,
        (None, Some(_)) => Cpus::Same,
    })
}

/// The affinity of this process, as a mask of the first 64 CPUs.
fn affinity_mask() -> u64 {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return 0 };
    (0..64).filter(|cpu| set.is_set(*cpu)).fold(0, |mask, cpu| mask | 1 << cpu)
}

/// A program that is being started in a container.
struct Exec<'a> {
    container: &'a Container,
    program: Program,
    options: Options,
    /// The namespaces to join, as flags for setns.
    flags: i32,
    /// The container's init process, whose namespaces are joined.
    init: Process,
    /// Whether an intermediate process has already entered the namespaces.
    staged: bool,
}

impl Exec<'_> {
    /// Copies the container's restrictions to the program.
    fn restrict(&mut self) -> Result<()> {
        let config = &self.container.state.config;
        if let Some(stored) = &config.seccomp {
            self.program.filter = Some(filter(self.container, stored)?);
        }
        self.program.personality.clone_from(&config.personality);
        let policy = config.memory_policy.clone().map(serde_json::from_value);
        self.program.memory_policy = policy.transpose().context("memory policy")?;
        Ok(())
    }

    /// Clones the child, which never returns from here. Returns its id and the parent's end of the channel.
    fn spawn(&mut self, ends: (Channel, Channel)) -> Result<(Pid, Channel)> {
        let what = "error starting setns process: clone";
        // An ordinary user can enter the PID namespace only from within the user namespace that owns it.
        if self.program.rootless && self.flags & libc::CLONE_NEWUSER != 0 {
            self.staged = true;
            return parent::clone_by_stage(self, ends, 0, what);
        }
        // setns applies to later children only. This process clones no other child, so it need not go back.
        let pid_flag = self.flags & libc::CLONE_NEWPID;
        if pid_flag != 0 {
            self.enter(pid_flag).context("failed to setns into pid namespace")?;
            self.flags &= !pid_flag;
        }
        if self.options.sub_groups.is_empty() {
            self.options.entrance = self.container.cgroup().entrance();
        }
        let (ours, theirs) = ends;
        let Some(pid) = self.options.entrance.clone(0).fails(|| what)? else {
            drop(ours);
            child::run(self, &theirs)
        };
        Ok((pid, ours))
    }

    /// Enters namespaces of the container. One call does it since Linux 5.8, by a pidfd; before that, each has a file.
    fn enter(&self, flags: i32) -> Result<()> {
        if let Some(pidfd) = self.init.pidfd() {
            match syscall::setns(pidfd, flags) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => return result.fails(|| "setns").map_err(Into::into),
            }
        }
        Namespaces::of(&self.init, flags)?.join(true)
    }

    /// Puts the child into the container's groups, and sets its affinity and OOM score.
    fn place(&mut self, channel: &Channel, cpus: Cpus, pid: Pid) -> Result<()> {
        if !channel.entered(std::mem::take(&mut self.options.entrance))? {
            join_groups(self.container, &self.options, pid)?;
        }
        self.container.state.rdt.join(pid)?;
        match cpus {
            Cpus::Same => {}
            Cpus::All => {
                if let Err(error) = syscall::set_affinity(pid, &[u64::MAX; 128]) {
                    log::debug(|| format!("resetting the CPU affinity: {error}"));
                }
            }
            Cpus::Set(mask) => syscall::set_affinity(pid, &mask).fails(|| "error setting final CPU affinity")?,
        }
        outside::set_oom_score(pid, self.program.oom_score, self.program.rootless)
    }
}

fn join_groups(container: &Container, options: &Options, pid: Pid) -> Result<()> {
    let groups = container.cgroup();
    let joined = groups.join(pid, &options.sub_groups);
    if joined.is_ok() || !groups.unified() || options.sub_groups.contains_key("") {
        return joined;
    }
    // The container may have moved into a sub-cgroup. Then its own cgroup accepts no processes.
    let path = format!("/proc/{}/cgroup", container.state.init_process_pid);
    let text = std::fs::read_to_string(&path).fails(|| format!("open {path}"))?;
    let membership = cgroup::membership::parse(&text);
    let Some(own) = membership.get("") else { return joined };
    let path = PathBuf::from(cgroup::ROOT).join(own.trim_start_matches('/')).join("cgroup.procs");
    cgroup::file::write(&path, &pid.to_string()).or(joined)
}

impl Child for Exec<'_> {
    fn enter_first(&self) -> Result<()> {
        self.enter(self.flags).context("failed to setns into the container's namespaces")
    }

    fn set_up(&mut self, channel: &Channel) -> Result<anyhow::Error> {
        self.isolate(channel)?;
        child::set_streams(self.options.streams.take())?;
        if self.options.pipes {
            child::make_pipes(channel)?;
        }
        let (program, options) = (&mut self.program, &mut self.options);
        if options.terminal {
            child::make_terminal(options.console.take(), program.size, channel, |_| Ok(()))?;
        }
        child::send_pidfd(options.pidfd_socket.take())?;
        if let Some(umask) = self.container.state.config.umask {
            rustix::process::umask(Mode::from_raw_mode(umask));
        }
        program.confine()?;
        let path = child::take_on(program, channel)?;
        log::debug(|| "setns_init: about to exec".to_owned());
        Ok(program.execute(&path))
    }
}

impl Exec<'_> {
    /// Enters the container's groups, namespaces and keyring, and starts a session.
    fn isolate(&mut self, channel: &Channel) -> Result<()> {
        child::die_with_parent()?;
        if !self.program.rootless {
            child::hide()?;
        }
        channel.enter(std::mem::take(&mut self.options.entrance))?;
        channel.expect(&Message::Go)?;
        child::hide()?;
        if !self.staged && self.flags != 0 {
            self.enter_first()?;
        }
        if self.flags & libc::CLONE_NEWUSER != 0 {
            namespace::become_root()?;
            // Again, because the kernel resets it when the ids change.
            child::hide()?;
        }
        rustix::process::setsid().fails(|| "setsid")?;
        log::debug(|| "nsexec container setup".to_owned());
        log::debug(|| "child process in init()".to_owned());
        if !self.container.state.config.no_new_keyring {
            label::join_keyring(&self.container.state.id, false, false)?;
        }
        Ok(())
    }
}

/// The parent of a child for `exec`, with the child's id.
struct Running<'a>(&'a Exec<'a>, Pid);

impl Parent for Running<'_> {
    const CHILD: &'static str = "the new process";

    fn prepare(&mut self, terminal: &OwnedFd) -> Result<()> {
        if self.0.options.newlines {
            terminal::copy_size(terminal);
            return Ok(());
        }
        terminal::prepare(terminal)
    }

    fn ready(&mut self) -> Result<()> {
        outside::set_limits(self.1, &self.0.program.limits)
    }

    fn hand_on(&mut self, listener: &OwnedFd) -> Result<()> {
        let container = self.0.container;
        agent::send(container, "running", container.state.init_process_pid, self.1, listener)
    }

    fn failed(&self, text: String, _ready: bool) -> anyhow::Error {
        anyhow::anyhow!(text)
    }

    fn ended(&self) -> anyhow::Error {
        anyhow::anyhow!("{} ended unexpectedly", Self::CHILD)
    }
}
