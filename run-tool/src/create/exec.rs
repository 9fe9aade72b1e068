//! Another program in a container: joined to its namespaces and groups, under every restriction of its first one.
//!
//! libcontainer's tenant loses the seccomp filter, the user, the working directory, the limits and the OOM score.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::ExecCPUAffinity;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Signal};

use crate::cgroup;
use crate::cgroup::entrance::Entrance;
use crate::container::Container;
use crate::container::state;
use crate::create::talk::{Channel, Message};
use crate::create::{fetch_fd, send_listener, set_oom_score};
use crate::create::{init, namespace};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{log, set, terminal};
use crate::program::Program;
use crate::program::seccomp::{self, Filter};
use crate::program::{label, rlimit};

/// How a program is started in a container, beside what it is.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Whether it gets a terminal.
    pub(crate) terminal: bool,
    /// Who gets the terminal; without one it comes back to the caller.
    pub(crate) console: Option<OwnedFd>,
    /// Who gets a descriptor of the process.
    pub(crate) pidfd_socket: Option<OwnedFd>,
    /// Sub-groups of the container's groups.
    pub(crate) sub_groups: BTreeMap<String, PathBuf>,
    /// What the standard streams become, where they are not the caller's.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// `process.execCPUAffinity`.
    pub(crate) affinity: Option<ExecCPUAffinity>,
    /// The way into the container's groups.
    pub(crate) entrance: Entrance,
}

/// Starts a program. Gives its process and the terminal, if that comes here.
pub(crate) fn start(
    container: &Container,
    mut program: Program,
    mut options: Options,
) -> Result<(Pid, Option<OwnedFd>)> {
    let init = container.pidfd()?;
    if let Some(stored) = &container.state.config.seccomp {
        program.filter = Some(filter(container, stored)?);
    }
    program.personality.clone_from(&container.state.config.personality);
    program.memory_policy = container
        .state
        .config
        .memory_policy
        .clone()
        .map(serde_json::from_value)
        .transpose()
        .context("memory policy")?;
    let mut flags = 0;
    for kind in namespace::ALL {
        let (name, _) = namespace::names(kind);
        if container.state.config.namespaces.iter().any(|namespace| namespace.kind == name) {
            flags |= namespace::flag(kind);
        }
    }
    let cpus = |text: Option<&String>| -> Result<Option<Vec<u64>>> {
        let mask = set::parse(text.map_or("", String::as_str))?;
        Ok((!mask.is_empty()).then_some(mask))
    };
    let affinity = options.affinity.take();
    let affinity = affinity.as_ref();
    let initial = cpus(affinity.and_then(|affinity| affinity.initial().as_ref())).context("bad CPUAffinity.Initial")?;
    let last =
        cpus(affinity.and_then(|affinity| affinity.cpu_affinity_final().as_ref())).context("bad CPUAffinity.Final")?;
    if let Some(mask) = &initial {
        // The child inherits it; this process has nothing more to do.
        syscall::set_affinity(0, mask).fails(|| "error setting initial CPU affinity")?;
    }
    syscall::default_signals();
    let (ours, theirs) = Channel::pair()?;
    let (pid, ours) = spawn(container, &mut program, &mut options, &init, flags, ours, theirs)?;
    let last = match (&last, &initial) {
        (Some(mask), _) => Some(mask.as_slice()),
        // Whatever CPUs run-tool was bound to, the program has those of its cpuset.
        (None, None) => Some(&[u64::MAX; 128][..]),
        (None, Some(_)) => None,
    };
    // As the child began: it has this process's, and may have its final one before it could say.
    log::debug(|| format!("nsexec[{pid}]: affinity: {:#x}", affinity_mask()));
    let talked = converse(&ours, container, &program, &mut options, last, pid);
    if talked.is_err() {
        // The child may have ended by itself, and the first error is the one that is told.
        let _ = syscall::kill(pid, libc::SIGKILL);
        let _ = syscall::wait(pid, true);
    }
    Ok((pid, talked?))
}

/// The container's seccomp filter. runc keeps none beside its state: its containers' filter is compiled from the bundle again.
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

fn spawn(
    container: &Container,
    program: &mut Program,
    options: &mut Options,
    init: &OwnedFd,
    flags: i32,
    ours: Channel,
    theirs: Channel,
) -> Result<(Pid, Channel)> {
    let pid_flag = flags & libc::CLONE_NEWPID;
    // Who does not own the PID namespace enters it by way of the user namespace that does.
    if program.rootless && flags & libc::CLONE_NEWUSER != 0 {
        let Some(stage) = syscall::clone(0, None).fails(|| "error starting setns process: clone")? else {
            // Or it would keep open the very end whose closing tells it that its parent is gone.
            drop(ours);
            let stage = || -> Result<Option<Pid>> {
                syscall::setns(init.as_fd(), flags).fails(|| "failed to setns into the container's namespaces")?;
                syscall::clone(libc::CLONE_PARENT as u64, None).fails(|| "clone").map_err(Into::into)
            };
            match stage() {
                Ok(None) => run(container, program, options, None, flags, &theirs),
                Ok(Some(pid)) => {
                    // Nobody to tell if the parent is gone.
                    let _ = theirs.send(&Message::Pid(pid));
                    syscall::exit(0)
                }
                Err(error) => init::fail(&theirs, &error),
            }
        };
        drop(theirs);
        let child = match ours.receive()? {
            Some((Message::Pid(child), _)) => Ok(child),
            Some((Message::Error(text), _)) => Err(anyhow::anyhow!(text)),
            _ => Err(anyhow::anyhow!("the process that enters the namespaces ended early")),
        };
        syscall::wait(stage, true)?;
        return Ok((child?, ours));
    }
    // This process does nothing more than wait for the child, so it need not leave the PID namespace again.
    if pid_flag != 0 {
        syscall::setns(init.as_fd(), pid_flag).fails(|| "failed to setns into pid namespace")?;
    }
    if options.sub_groups.is_empty() {
        options.entrance = container.cgroup().entrance();
    }
    match options.entrance.clone(0).fails(|| "error starting setns process: clone")? {
        None => {
            drop(ours);
            run(container, program, options, Some(init), flags & !pid_flag, &theirs)
        }
        Some(child) => Ok((child, ours)),
    }
}

fn converse(
    channel: &Channel,
    container: &Container,
    program: &Program,
    options: &mut Options,
    affinity: Option<&[u64]>,
    pid: Pid,
) -> Result<Option<OwnedFd>> {
    if !channel.entered(std::mem::take(&mut options.entrance))? {
        join_groups(container, options, pid)?;
    }
    container.state.rdt.join(pid)?;
    if let Some(mask) = affinity
        && let Err(error) = syscall::set_affinity(pid, mask)
    {
        if mask.len() == 128 {
            log::debug(|| format!("resetting the CPU affinity: {error}"));
        } else {
            return Err(error).fails(|| "error setting final CPU affinity").map_err(Into::into);
        }
    }
    set_oom_score(pid, program.oom_score, program.rootless)?;
    channel.send(&Message::Go)?;
    let mut master = None;
    let mut ready = false;
    loop {
        match channel.receive()? {
            Some((Message::Ready, _)) => {
                rlimit::set(pid, &program.limits)?;
                ready = true;
                channel.send(&Message::Continue)?;
            }
            Some((Message::SeccompListener(fd), _)) => {
                let listener = fetch_fd(pid, fd)?;
                channel.send(&Message::Continue)?;
                send_listener(container, "running", container.state.init_process_pid, pid, &listener)?;
            }
            Some((Message::Pty, fd)) => {
                master = fd;
                if let Some(master) = &master {
                    terminal::prepare(master)?;
                }
            }
            Some((Message::Error(text), _)) => bail!(text),
            None if ready => return Ok(master),
            None => bail!("the new process ended unexpectedly"),
            Some((message, _)) => bail!("unexpected message {message:?} from the new process"),
        }
    }
}

/// The first 64 CPUs of the caller's affinity.
fn affinity_mask() -> u64 {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return 0 };
    (0..64).filter(|cpu| set.is_set(*cpu)).fold(0, |mask, cpu| mask | 1 << cpu)
}

fn join_groups(container: &Container, options: &Options, pid: Pid) -> Result<()> {
    let groups = container.cgroup();
    let joined = groups.join(pid, &options.sub_groups);
    if joined.is_ok() || !groups.unified() || options.sub_groups.contains_key("") {
        return joined;
    }
    // The container may have moved itself to a sub-group, after which its first group takes no process.
    let path = format!("/proc/{}/cgroup", container.state.init_process_pid);
    let text = std::fs::read_to_string(&path).fails(|| format!("open {path}"))?;
    let membership = cgroup::membership::parse(&text);
    let Some(own) = membership.get("") else { return joined };
    let path = PathBuf::from(cgroup::ROOT).join(own.trim_start_matches('/')).join("cgroup.procs");
    cgroup::file::write(&path, &pid.to_string()).or(joined)
}

fn run(
    container: &Container,
    program: &mut Program,
    options: &mut Options,
    init: Option<&OwnedFd>,
    flags: i32,
    channel: &Channel,
) -> ! {
    channel.take_log();
    let error = match set_up(container, program, options, init, flags, channel) {
        Ok(error) | Err(error) => error,
    };
    init::fail(channel, &error)
}

/// Returns only if execve failed.
fn set_up(
    container: &Container,
    program: &mut Program,
    options: &mut Options,
    init: Option<&OwnedFd>,
    flags: i32,
    channel: &Channel,
) -> Result<anyhow::Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    // The container's processes can see this one, which still holds descriptors of the host (CVE-2016-9962).
    let hide =
        || rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).fails(|| "prctl(PR_SET_DUMPABLE)");
    if !program.rootless {
        hide()?;
    }
    channel.enter(std::mem::take(&mut options.entrance))?;
    channel.expect(&Message::Go)?;
    hide()?;
    if let Some(init) = init
        && flags != 0
    {
        syscall::setns(init.as_fd(), flags).fails(|| "failed to setns into the container's namespaces")?;
    }
    if flags & libc::CLONE_NEWUSER != 0 {
        namespace::become_root()?;
        // Again: the kernel forgets it when the ids change.
        hide()?;
    }
    rustix::process::setsid().fails(|| "setsid")?;
    log::debug(|| "nsexec container setup".to_owned());
    log::debug(|| "child process in init()".to_owned());
    if !container.state.config.no_new_keyring {
        label::join_keyring(&container.state.id, false, false)?;
    }
    for (number, stream) in options.streams.take().iter().flatten().enumerate() {
        syscall::dup_to(stream.as_fd(), number as i32).fails(|| "dup3")?;
    }
    if options.terminal {
        let (master, slave) = terminal::allocate()?;
        let (width, height) = program.size;
        terminal::resize(master.as_fd(), width, height)?;
        init::hand_over(options.console.take(), &master, channel)?;
        terminal::become_controlling(&slave)?;
    }
    if let Some(socket) = options.pidfd_socket.take() {
        init::send_pidfd(&socket)?;
    }
    if let Some(umask) = container.state.config.umask {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    program.confine()?;
    program.settle()?;
    channel.send(&Message::Ready)?;
    channel.expect(&Message::Continue)?;
    let path = program.take_on(&|listener| channel.hand_over_listener(listener))?;
    rustix::process::set_parent_process_death_signal(None).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    log::debug(|| "setns_init: about to exec".to_owned());
    Ok(program.execute(&path))
}
