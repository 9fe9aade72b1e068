//! A container from a configuration: planned, cloned, placed in its groups and ids, and talked through its set-up.
//!
//! One process becomes the container's, cloned straight into its namespaces; only user and time namespaces that have to be
//! entered first need a second one in between. `init` holds what happens on the child's side.

pub(crate) mod exec;
pub(crate) mod init;
pub(crate) mod namespace;
pub(crate) mod netdev;
pub(crate) mod notify;
pub(crate) mod plan;
pub(crate) mod settle;
pub(crate) mod talk;
mod validate;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid as RustixPid, PidfdFlags, PidfdGetfdFlags};

use self::notify::Notify;
use self::plan::{Options, Plan};
use self::talk::{Channel, Message};
use crate::cgroup::rdt::Resctrl;
use crate::cgroup::systemd::Unit;
use crate::cgroup::{Cgroup, device};
use crate::container::{Container, FIFO};
use crate::container::{exit, hook, state};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{file, log, procfs, socket, terminal};
use crate::program::Program;
use crate::program::{rlimit, seccomp};
use crate::rootfs::bind;
use crate::spec::{self, Items, Namespaces as _};

/// A container whose program runs or waits for `start`.
#[derive(Debug)]
pub(crate) struct Started {
    /// The container.
    pub(crate) container: Container,
    /// Its first process.
    pub(crate) pid: Pid,
    /// The terminal, if it stays here.
    pub(crate) master: Option<OwnedFd>,
    /// Where it says that it is ready, if the caller wants to know.
    pub(crate) notify: Option<Notify>,
}

/// A program that could not be executed although everything was ready for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotExecuted(String);

/// A container of which nothing exists yet but its folder.
pub(crate) struct Begun {
    /// What is decided about it.
    pub(crate) plan: Plan,
    /// What runs in it.
    pub(crate) program: Program,
    /// Its groups.
    pub(crate) cgroup: Cgroup,
    /// Itself.
    pub(crate) container: Container,
}

/// Plans a container and takes its name.
pub(crate) fn begin(spec: &Spec, options: &mut Options) -> Result<Begun> {
    state::check_id(&options.id)?;
    let rootless = !rustix::process::geteuid().is_root();
    validate::validate(spec, rootless || options.rootless_cgroups)?;
    let folder = options.root.join(&options.id);
    if folder.exists() && !options.again {
        bail!("container with given ID already exists");
    }
    let linux = spec.linux().as_ref();
    let process = spec.process().as_ref().context("process property must not be empty")?;
    let mut program = Program::from_spec(process, rootless)?;
    if options.notify.is_some() {
        program.environment.push(notify::VARIABLE.to_owned());
    }
    program.environment.append(&mut options.environment);
    program.kept = options.kept;
    program.mask = options.mask;
    let cpu = linux.and_then(|linux| linux.resources().as_ref()).and_then(|resources| resources.cpu().as_ref());
    program.cpuset = cpu.and_then(|cpu| cpu.cpus().as_ref()).is_some_and(|cpus| !cpus.is_empty());
    program.personality = linux.and_then(|linux| linux.personality().as_ref()).map(|personality| {
        if !personality.flags().items().is_empty() {
            log::warn("ignoring unsupported personality flags");
        }
        match personality.domain() {
            libcontainer::oci_spec::runtime::LinuxPersonalityDomain::PerLinux32 => "LINUX32".to_owned(),
            libcontainer::oci_spec::runtime::LinuxPersonalityDomain::PerLinux => "LINUX".to_owned(),
        }
    });
    program.memory_policy = linux.and_then(|linux| linux.memory_policy().clone());
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let cgroup = if options.systemd_cgroup {
        let path = path.map(|path| path.to_string_lossy()).unwrap_or_default();
        let mut unit = Unit::parse(&path, &options.id, options.rootless_cgroups)?;
        let annotations = spec.annotations().iter().flatten();
        unit.annotate(annotations.map(|(name, value)| (name.as_str(), value.as_str())))?;
        unit.prepare(linux.and_then(|linux| linux.resources().as_ref()));
        Cgroup::of_unit(unit, options.rootless_cgroups)?
    } else {
        Cgroup::plan(path, &options.id, options.rootless_cgroups)?
    };
    cgroup.refuse_unified(linux.and_then(|linux| linux.resources().as_ref()))?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&options.root)
        .fails(|| format!("mkdir {}", options.root.display()))?;
    if let Some(profile) = profile {
        program.filter = seccomp::compile(profile, &options.root)?;
    }
    let plan = Plan::new(spec, options, &cgroup, rootless)?;
    match fs::DirBuilder::new().mode(0o711).create(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && options.again => {
            // Nothing of it holds for the new one; it may be missing.
            let _ = fs::remove_file(folder.join(exit::EXIT));
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("container with given ID already exists"),
        result => result.fails(|| format!("mkdir {}", folder.display()))?,
    }
    let container = Container { folder, state: plan.state.clone() };
    Ok(Begun { plan, program, cgroup, container })
}

/// Makes a container. What was made is taken back if a step fails.
pub(crate) fn create(spec: &Spec, mut options: Options) -> Result<Started> {
    let Begun { mut plan, mut program, mut cgroup, mut container } = begin(spec, &mut options)?;
    syscall::default_signals();
    let mut pid = 0;
    let mut notify = None;
    // Someone else's groups must survive the failure that they are the reason of.
    let made = cgroup.refuse_used().and_then(|()| {
        if let Some(host) = &options.notify {
            notify = notify::prepare(&container.folder, host, options.again, options.wait_for_start)?;
        }
        launch(spec, &options, &mut plan, &mut program, &mut cgroup, &mut container, &mut pid).map_err(|error| {
            let starved = cgroup.oom_kills() > 0;
            undo_groups(&cgroup, pid);
            if let Err(error) = container.state.rdt.destroy() {
                log::warn(&format!("{error:#}"));
            }
            if starved { starvation(&error) } else { error }
        })
    });
    match made {
        Ok(master) => Ok(Started { container, pid, master, notify }),
        Err(error) => {
            undo_folder(&container);
            Err(error)
        }
    }
}

/// Whatever step it was that failed: this is why. The step itself is told to those who look for faults in run-tool.
fn starvation(error: &anyhow::Error) -> anyhow::Error {
    let (context, cause) =
        ("unable to start container process", "container init was OOM-killed (memory limit too low?)");
    if !log::debugging() {
        return anyhow::anyhow!("{context}: {cause}");
    }
    let step = format!("{error:#}");
    anyhow::anyhow!("{context}: {cause}: {}", step.trim_start_matches(context).trim_start_matches(": "))
}

/// Gives the name of a container free that did not come to be. The error that led there is the one that is told.
pub(crate) fn undo_folder(container: &Container) {
    if let Err(error) = fs::remove_dir_all(&container.folder) {
        log::warn(&format!("remove {}: {}", container.folder.display(), crate::kernel::error::reason(&error)));
    }
}

/// Ends what is left of a container that did not come to be.
pub(crate) fn undo_groups(cgroup: &Cgroup, pid: Pid) {
    if pid != 0 {
        let _ = syscall::kill(pid, libc::SIGKILL);
        let _ = syscall::wait(pid, true);
    }
    if cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
        // Processes that hooks or the container left behind.
        let _ = cgroup.kill_all();
    }
    if let Err(error) = cgroup.destroy() {
        log::warn(&format!("{error:#}"));
    }
}

/// Stores what exec, which must not be freer than the first process, needs of the program.
pub(crate) fn keep_for_exec(program: &Program, container: &mut Container) -> Result<()> {
    if let Some(filter) = &program.filter {
        file::replace(&container.folder.join(seccomp::FILE), &filter.program)?;
        if let Some(seccomp) = &mut container.state.config.seccomp {
            seccomp.flag_bits = filter.flags;
        }
    } else {
        container.state.config.seccomp = None;
    }
    container.state.config.personality.clone_from(&program.personality);
    Ok(())
}

/// Everything from the first thing made on.
fn launch(
    spec: &Spec,
    options: &Options,
    plan: &mut Plan,
    program: &mut Program,
    cgroup: &mut Cgroup,
    container: &mut Container,
    pid: &mut Pid,
) -> Result<Option<OwnedFd>> {
    let folder = container.folder.clone();
    keep_for_exec(program, container)?;
    if options.wait_for_start {
        let path = folder.join(FIFO);
        // The container's root, whose id may be any outside, writes; who owns the folder reads.
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o622), 0)
            .fails(|| format!("mkfifo {}", path.display()))?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o622)).fails(|| format!("chmod {}", path.display()))?;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        plan.fifo = Some(rustix::fs::open(&path, flags, Mode::empty()).fails(|| format!("open {}", path.display()))?);
    }
    let rdt = match &container.state.config.intel_rdt {
        Some(config) => Some((config.clone(), Resctrl::find().context("Intel RDT not available")?)),
        None => None,
    };
    if let Some((config, resctrl)) = &rdt {
        container.state.rdt =
            resctrl.create(config, &container.state.id).context("unable to start container process")?;
    }
    // Stored before anything lives: whatever interrupts us, `delete --force` finds the groups.
    container.save()?;
    cgroup.create()?;
    container.state.cgroup_paths.clone_from(&cgroup.paths);
    let (ours, theirs) = Channel::pair()?;
    let (ours, placed) =
        spawn(plan, program, cgroup, ours, theirs, pid).context("unable to start container process")?;
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let rules = device::rules(Some(&resources), linux.map_or(&[][..], |linux| linux.devices().items()));
    let context = "unable to start container process";
    if !placed {
        cgroup.place(*pid).context("unable to apply cgroup configuration").context(context)?;
    }
    if let Some(owner) = group_owner(spec) {
        cgroup.delegate(owner).context("unable to apply cgroup configuration").context(context)?;
    }
    // Whatever CPUs run-tool was bound to, the container has those of its cpuset. It is not worth a failure.
    if let Err(error) = syscall::set_affinity(*pid, &[u64::MAX; 128]) {
        log::debug(|| format!("resetting the CPU affinity: {error}"));
    }
    if let Some((_, resctrl)) = &rdt {
        resctrl.place(&container.state.rdt, *pid).context(context)?;
    }
    let init = "error during container init";
    let failed = "error setting cgroup config for procHooks process";
    cgroup.set(&resources, &rules).context(failed).context(init).context(context)?;
    if let Some((config, resctrl)) = &rdt {
        let failed = "error setting Intel RDT config for procHooks process";
        resctrl.set(config, &container.state.rdt).context(failed).context(init).context(context)?;
    }
    if plan.namespaces.makes(LinuxNamespaceType::User) {
        let linux = linux.context("linux")?;
        namespace::map(*pid, linux.uid_mappings().items(), linux.gid_mappings().items()).context(context)?;
    }
    set_oom_score(*pid, program.oom_score, program.rootless).context(context)?;
    if let Some(devices) = linux.and_then(|linux| linux.net_devices().as_ref()).filter(|devices| !devices.is_empty()) {
        // Before the child goes on: its sysctls may be about them.
        move_devices(devices, plan, *pid).context("error creating network interfaces").context(context)?;
    }
    let master = converse(&ours, plan, program, container, *pid).context(context)?;
    Ok(master)
}

fn move_devices(devices: &netdev::Devices, plan: &Plan, pid: Pid) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    // The process may not have entered yet what it joins.
    if let Some(joined) = plan.namespaces.joined_network() {
        return netdev::move_all(devices, joined.as_fd(), &path);
    }
    let namespace =
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| format!("open {path}"))?;
    netdev::move_all(devices, namespace.as_fd(), &path)
}

/// Who is to own the group of a container that sees it as a root of its own and may write to it: its user, outside.
fn group_owner(spec: &Spec) -> Option<u32> {
    let namespaces = spec::namespaces(spec);
    let own = namespaces.has(LinuxNamespaceType::Cgroup) && namespaces.path(LinuxNamespaceType::Cgroup).is_none();
    let mounts = spec.mounts().items().iter();
    let mut groups = mounts.filter(|mount| mount.destination() == std::path::Path::new(crate::cgroup::ROOT));
    let group = groups.find(|mount| mount.typ().as_deref().is_some_and(|kind| kind.starts_with("cgroup")))?;
    if !own || group.options().items().iter().any(|option| option == "ro") {
        return None;
    }
    let user = spec.process().as_ref()?.user().uid();
    if !namespaces.has(LinuxNamespaceType::User) {
        return Some(user);
    }
    let mut mappings = spec.linux().as_ref()?.uid_mappings().items().iter();
    // A user without an id outside is found out elsewhere.
    let mapping = mappings
        .find(|mapping| user.checked_sub(mapping.container_id()).is_some_and(|distance| distance < mapping.size()))?;
    Some(mapping.host_id() + (user - mapping.container_id()))
}

/// Sets the OOM score; the usual one needs no right that the caller may lack.
pub(crate) fn set_oom_score(pid: Pid, score: Option<i32>, rootless: bool) -> Result<()> {
    let Some(score) = score else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    match fs::write(&path, score.to_string()) {
        Ok(()) => Ok(()),
        Err(_) if fs::read_to_string(&path).is_ok_and(|text| text.trim() == score.to_string()) => Ok(()),
        Err(error) if rootless && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).fails(|| format!("failed to update {path}")).map_err(Into::into),
    }
}

/// Clones the container's process, which never returns from here. Gives this side's channel, and whether the process is in its
/// groups.
fn spawn(
    plan: &mut Plan,
    program: &mut Program,
    cgroup: &Cgroup,
    ours: Channel,
    theirs: Channel,
    pid: &mut Pid,
) -> Result<(Channel, bool)> {
    let flags = plan.namespaces.clone_flags();
    if plan.namespaces.needs_stage() {
        let Some(stage) = syscall::clone(0, None).fails(|| "clone")? else {
            // Or it would keep open the very end whose closing tells it that its parent is gone.
            drop(ours);
            init::run_stage(plan, program, &theirs, flags)
        };
        drop(theirs);
        let child = match ours.receive()? {
            Some((Message::Pid(child), _)) => Ok(child),
            Some((Message::Error(text), _)) => Err(anyhow::anyhow!(text)),
            _ => Err(anyhow::anyhow!("the process that enters the namespaces ended early")),
        };
        syscall::wait(stage, true)?;
        *pid = child?;
        return Ok((ours, false));
    }
    let own = match plan.namespaces.joined_pid() {
        // Entered for the next child only; left again at once.
        Some(joined) => {
            let path = "/proc/self/ns/pid";
            let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| path)?;
            syscall::setns(joined.as_fd(), libc::CLONE_NEWPID).fails(|| "failed to setns into pid namespace")?;
            Some(own)
        }
        None => None,
    };
    plan.entrance = cgroup.entrance();
    let Some(child) = plan.entrance.clone(flags).fails(|| "clone")? else {
        drop(ours);
        init::run(plan, program, &theirs)
    };
    *pid = child;
    drop(theirs);
    if let Some(own) = own {
        syscall::setns(own.as_fd(), libc::CLONE_NEWPID).fails(|| "failed to setns back into pid namespace")?;
    }
    let placed = ours.entered(std::mem::take(&mut plan.entrance)).context("error during container init")?;
    Ok((ours, placed))
}

/// Answers the child until its program runs or waits for `start`. Gives the terminal, if it comes here.
fn converse(
    channel: &Channel,
    plan: &mut Plan,
    program: &Program,
    container: &mut Container,
    pid: Pid,
) -> Result<Option<OwnedFd>> {
    channel.send(&Message::Go)?;
    let mut master = None;
    let mut ready = false;
    loop {
        match channel.receive()? {
            Some((Message::Hooks, _)) => {
                let state = container.state.for_hooks("creating", pid);
                hook::run("prestart", plan.hooks.prestart().as_ref(), &state).context("error during container init")?;
                hook::run("createRuntime", plan.hooks.create_runtime().as_ref(), &state)
                    .context("error during container init")?;
                channel.send(&Message::Continue)?;
            }
            Some((Message::Ready, _)) => {
                rlimit::set(pid, &program.limits).context("error during container init")?;
                let (start, _) = procfs::process_stat(pid).context("the container's process is gone")?;
                store(container, pid, start)?;
                ready = true;
                channel.send(&Message::Continue)?;
            }
            Some((Message::SeccompListener(fd), _)) => {
                let listener = fetch_fd(pid, fd)?;
                channel.send(&Message::Continue)?;
                send_listener(container, "creating", pid, pid, &listener)?;
            }
            Some((Message::Tree(index), _)) => send_tree(channel, plan, pid, index)?,
            Some((Message::Pty, fd)) => {
                master = fd;
                if let Some(master) = master.as_ref().filter(|_| plan.foreground) {
                    terminal::prepare(master)?;
                }
            }
            Some((Message::Waiting, _)) => return Ok(master),
            // Everything but execve itself has succeeded: the words are those of the container's own process.
            Some((Message::Error(text), _)) if ready && text.starts_with("exec ") => {
                return Err(NotExecuted(text).into());
            }
            Some((Message::Error(text), _)) => {
                return Err(anyhow::anyhow!(text)).context("error during container init");
            }
            // The end of a socket that closes at execve: the program runs.
            None if ready => return Ok(master),
            None => bail!("error during container init: the container's process ended unexpectedly"),
            Some((message, _)) => bail!("unexpected message {message:?} from the container's process"),
        }
    }
}

/// Stores what is known once the first process is there.
pub(crate) fn store(container: &mut Container, pid: Pid, start: u64) -> Result<()> {
    container.state.init_process_pid = pid;
    container.state.init_process_start = start;
    container.state.namespace_paths = namespace::paths_of(pid).collect();
    container.state.external_descriptors = Some((0..3).map(descriptor_name).collect());
    container.save().context("unable to store init state")
}

/// Opens the source of a mount for the child: what its user may not reach, or whose ids only the host can map. A process in the
/// child's mount namespace does it, since the source can lie in what the child has mounted.
fn send_tree(channel: &Channel, plan: &Plan, pid: Pid, index: i32) -> Result<()> {
    let mount = usize::try_from(index).ok().and_then(|index| plan.rootfs.mounts.get(index)).context("no such mount")?;
    let ids = if mount.is_id_mapped() {
        let joined = plan.namespaces.joined.iter().find(|(kind, ..)| *kind == LinuxNamespaceType::User);
        Some(match (&mount.id_maps, joined) {
            (Some((uids, gids)), _) => namespace::user_namespace(uids, gids)?,
            (None, Some((_, _, fd))) => fd.try_clone()?,
            (None, None) => namespace::user_namespace(&plan.id_maps.0, &plan.id_maps.1)?,
        })
    } else {
        None
    };
    let path = format!("/proc/{pid}/ns/mnt");
    let mounts =
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| format!("open {path}"))?;
    let Some(helper) = syscall::clone(0, None).fails(|| "clone")? else {
        let open = || -> Result<()> {
            syscall::setns(mounts.as_fd(), libc::CLONE_NEWNS).fails(|| "failed to setns into mount namespace")?;
            let tree = bind::open_source(mount).fails(|| format!("open_tree {}", mount.source.display()))?;
            if let Some(ids) = &ids {
                bind::map_ids(mount, &tree, ids)?;
            }
            channel.send_fd(&Message::Tree(index), tree.as_fd())
        };
        match open() {
            Ok(()) => syscall::exit(0),
            Err(error) => init::fail(channel, &error),
        }
    };
    syscall::wait(helper, true)?;
    Ok(())
}

fn descriptor_name(number: i32) -> String {
    fs::read_link(format!("/proc/self/fd/{number}")).map_or_else(|_| String::new(), |path| path.display().to_string())
}

/// Takes a copy of a child's descriptor.
pub(crate) fn fetch_fd(pid: Pid, fd: i32) -> Result<OwnedFd> {
    let pid = RustixPid::from_raw(pid).context("pid")?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).fails(|| "pidfd_open")?;
    rustix::process::pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).fails(|| "pidfd_getfd").map_err(Into::into)
}

/// Hands the seccomp listener to the agent (runtime-spec config-linux.md, "The Container Process State").
pub(crate) fn send_listener(
    container: &Container,
    status: &str,
    init_pid: Pid,
    pid: Pid,
    listener: &OwnedFd,
) -> Result<()> {
    let seccomp = container.state.config.seccomp.as_ref().context("seccomp listenerPath is not set")?;
    let path = seccomp.listener_path.as_ref().context("seccomp listenerPath is not set")?;
    let socket =
        socket::connect(path).context("failed to connect with seccomp agent specified in the seccomp profile")?;
    let state: serde_json::Value = serde_json::from_str(&container.state.for_hooks(status, init_pid))?;
    let mut document = serde_json::Map::new();
    document.insert("ociVersion".into(), spec::SPEC_VERSION.into());
    document.insert("fds".into(), serde_json::json!(["seccompFd"]));
    document.insert("pid".into(), pid.into());
    if let Some(metadata) = &seccomp.listener_metadata {
        document.insert("metadata".into(), metadata.clone().into());
    }
    document.insert("state".into(), state);
    let text = serde_json::Value::Object(document).to_string();
    socket::send_fd(socket.as_fd(), text.as_bytes(), listener.as_fd())
        .fails(|| format!("cannot send seccomp fd to {}", path.display()))?;
    Ok(())
}
