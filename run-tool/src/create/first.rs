//! The init process of a container, from the parent's side: it is cloned, put into its groups, given its ids, and answered.
//!
//! It is cloned directly into its new namespaces. Only user and time namespaces that must be entered first require an intermediate
//! process. `init` is the child's side.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{FileType, Mode, OFlags};

use super::begin::Begun;
use super::init::Init;
use super::parent::{self, Parent};
use super::plan::Plan;
use super::talk::{Channel, Ends, Message};
use super::{agent, child, namespace, netdev};
use crate::cgroup::{self, device, rdt};
use crate::container::FIFO;
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{log, terminal};
use crate::program::outside;
use crate::rootfs::{bind, stage};
use crate::spec::{self, Items, Namespaces as _};

/// runc's words before an error between `Go` and execve. Engines look for them.
const IN_INIT: &str = "error during container init";

/// execve failed, although everything before it had succeeded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotExecuted(String);

/// The container's Intel RDT configuration, and resctrl; `None` if it has none.
type Shares = Option<(rdt::Config, rdt::Resctrl)>;

/// Does everything that must be undone if it fails. Returns this side's ends of the streams; a console socket has got the terminal's.
pub(super) fn make(begun: &mut Begun, spec: &Spec, wait_for_start: bool) -> Result<Ends> {
    begun.keep_for_exec()?;
    if wait_for_start {
        begun.plan.fifo = Some(make_fifo(&begun.container.folder.join(FIFO))?);
    }
    let context = "unable to start container process";
    let state = &mut begun.container.state;
    let shares = match &state.config.intel_rdt {
        Some(config) => Some((config.clone(), rdt::Resctrl::find().context("Intel RDT not available")?)),
        None => None,
    };
    if let Some((config, resctrl)) = &shares {
        state.rdt = resctrl.create(config, &state.id).context(context)?;
    }
    // Stored before any process exists, so that `delete --force` finds the groups whatever interrupts us.
    begun.container.save()?;
    begun.cgroup.create()?;
    begun.container.state.cgroup_paths.clone_from(&begun.cgroup.paths);
    let ends = Channel::pair()?;
    bring_up(begun, spec, &shares, ends).context(context)
}

/// Creates the fifo at which the container waits for `start`, and opens it with O_PATH.
fn make_fifo(path: &Path) -> Result<OwnedFd> {
    // The container's root, which may have any id on the host, writes to it. The owner of the folder reads.
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
        .fails(|| format!("mkfifo {}", path.display()))?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o622)).fails(|| format!("chmod {}", path.display()))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).fails(|| format!("open {}", path.display())).map_err(Into::into)
}

/// Clones the child, gives it what it cannot give itself, and answers it until its program runs.
fn bring_up(begun: &mut Begun, spec: &Spec, shares: &Shares, ends: (Channel, Channel)) -> Result<Ends> {
    let (channel, placed) = spawn(begun, ends)?;
    limit(begun, spec, shares, placed)?;
    let (plan, program, pid) = (&begun.plan, &begun.program, begun.pid);
    let linux = spec.linux().as_ref();
    if plan.namespaces.makes(LinuxNamespaceType::User) {
        let linux = linux.context("linux")?;
        namespace::map(pid, linux.uid_mappings().items(), linux.gid_mappings().items())?;
    }
    outside::set_oom_score(pid, program.oom_score, program.rootless)?;
    if let Some(devices) = linux.and_then(|linux| linux.net_devices().as_ref()).filter(|devices| !devices.is_empty()) {
        // Before the child continues: its sysctls may name these devices.
        move_devices(devices, plan, pid).context("error creating network interfaces")?;
    }
    parent::answer(begun, &channel, pid)
}

/// Clones the child, which never returns from here. Returns the parent's end of the channel, and whether the child is in its groups.
fn spawn(begun: &mut Begun, ends: (Channel, Channel)) -> Result<(Channel, bool)> {
    let flags = begun.plan.namespaces.clone_flags();
    if begun.plan.namespaces.needs_stage() {
        let mut init = Init { plan: &mut begun.plan, program: &mut begun.program };
        let (pid, ours) = parent::clone_by_stage(&mut init, ends, flags, "clone")?;
        begun.pid = pid;
        return Ok((ours, false));
    }
    let own = match begun.plan.namespaces.joined_pid() {
        // setns applies to later children only. It is reverted after the clone.
        Some(joined) => {
            let path = "/proc/self/ns/pid";
            let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| path)?;
            syscall::setns(joined.as_fd(), libc::CLONE_NEWPID).fails(|| "failed to setns into pid namespace")?;
            Some(own)
        }
        None => None,
    };
    begun.plan.entrance = begun.cgroup.entrance();
    let (ours, theirs) = ends;
    let Some(pid) = begun.plan.entrance.clone(flags).fails(|| "clone")? else {
        drop(ours);
        child::run(&mut Init { plan: &mut begun.plan, program: &mut begun.program }, &theirs)
    };
    begun.pid = pid;
    drop(theirs);
    if let Some(own) = own {
        syscall::setns(own.as_fd(), libc::CLONE_NEWPID).fails(|| "failed to setns back into pid namespace")?;
    }
    let placed = ours.entered(std::mem::take(&mut begun.plan.entrance)).context(IN_INIT)?;
    Ok((ours, placed))
}

/// Puts the child into its groups unless it is `placed` already, and sets their limits.
fn limit(begun: &mut Begun, spec: &Spec, shares: &Shares, placed: bool) -> Result<()> {
    let (cgroup, pid) = (&mut begun.cgroup, begun.pid);
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let rules = device::rules(Some(&resources), linux.map_or(&[][..], |linux| linux.devices().items()));
    if !placed {
        cgroup.place(pid).context("unable to apply cgroup configuration")?;
    }
    if let Some(owner) = group_owner(spec) {
        cgroup.delegate(owner).context("unable to apply cgroup configuration")?;
    }
    // The container gets all CPUs of its cpuset, whatever the affinity of run-tool. A failure does not matter.
    if let Err(error) = syscall::set_affinity(pid, &[u64::MAX; 128]) {
        log::debug(|| format!("resetting the CPU affinity: {error}"));
    }
    let groups = &begun.container.state.rdt;
    if let Some((_, resctrl)) = shares {
        resctrl.place(groups, pid)?;
    }
    cgroup.set(&resources, &rules).context("error setting cgroup config for procHooks process").context(IN_INIT)?;
    if let Some((config, resctrl)) = shares {
        let failed = "error setting Intel RDT config for procHooks process";
        resctrl.set(config, groups).context(failed).context(IN_INIT)?;
    }
    Ok(())
}

fn move_devices(devices: &netdev::Devices, plan: &Plan, pid: Pid) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    // The child may not have joined the namespace yet, so its own cannot be used.
    if let Some(joined) = plan.namespaces.joined_network() {
        return netdev::move_all(devices, joined.as_fd(), &path);
    }
    let namespace =
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| format!("open {path}"))?;
    netdev::move_all(devices, namespace.as_fd(), &path)
}

/// The host's id of the user who is to own the container's group. `None`: the container has no cgroup namespace of its own, or sees
/// its group read-only.
fn group_owner(spec: &Spec) -> Option<u32> {
    let namespaces = spec::namespaces(spec);
    let own = namespaces.has(LinuxNamespaceType::Cgroup) && namespaces.path(LinuxNamespaceType::Cgroup).is_none();
    let mounts = spec.mounts().items().iter();
    let mut groups = mounts.filter(|mount| mount.destination() == Path::new(cgroup::ROOT));
    let group = groups.find(|mount| mount.typ().as_deref().is_some_and(|kind| kind.starts_with("cgroup")))?;
    if !own || group.options().items().iter().any(|option| option == "ro") {
        return None;
    }
    let user = spec.process().as_ref()?.user().uid();
    if !namespaces.has(LinuxNamespaceType::User) {
        return Some(user);
    }
    let mut mappings = spec.linux().as_ref()?.uid_mappings().items().iter();
    // A user without an id on the host is refused elsewhere.
    let mapping = mappings
        .find(|mapping| user.checked_sub(mapping.container_id()).is_some_and(|distance| distance < mapping.size()))?;
    Some(mapping.host_id() + (user - mapping.container_id()))
}

impl Parent for Begun {
    const CHILD: &'static str = "the container's process";

    fn run_hooks(&mut self) -> Result<()> {
        let state = self.container.state.for_hooks("creating", self.pid);
        self.plan.run_outer_hooks(state).context(IN_INIT)
    }

    fn open_tree(&mut self, channel: &Channel, index: i32) -> Result<()> {
        send_tree(channel, &self.plan, self.pid, index)
    }

    fn prepare(&mut self, terminal: &OwnedFd) -> Result<()> {
        match self.plan.size {
            _ if self.plan.foreground => terminal::prepare(terminal),
            Some((columns, rows)) => terminal::resize(terminal.as_fd(), columns, rows),
            None => Ok(()),
        }
    }

    fn ready(&mut self) -> Result<()> {
        outside::set_limits(self.pid, &self.program.limits).context(IN_INIT)?;
        self.store()
    }

    fn hand_on(&mut self, listener: &OwnedFd) -> Result<()> {
        agent::send(&self.container, "creating", self.pid, self.pid, listener)
    }

    fn failed(&self, text: String, ready: bool) -> anyhow::Error {
        // Only execve itself has failed. runc prints this message without a prefix.
        if ready && text.starts_with("exec ") {
            return NotExecuted(text).into();
        }
        anyhow::anyhow!(text).context(IN_INIT)
    }

    fn ended(&self) -> anyhow::Error {
        anyhow::anyhow!("{IN_INIT}: {} ended unexpectedly", Self::CHILD)
    }
}

/// Opens the source of a mount for the child, which has no access to it or cannot map its ids. A helper process does it in the child's
/// mount namespace, because the source can be below another mount of the container.
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
            let tree = stage::lend(mount).fails(|| format!("open_tree {}", mount.source.display()))?;
            if let Some(ids) = &ids {
                bind::map_ids(mount, &tree, ids)?;
            }
            channel.send_fd(&Message::Tree(index), tree.as_fd())
        };
        match open() {
            Ok(()) => syscall::exit(0),
            Err(error) => channel.fail(&error),
        }
    };
    syscall::wait(helper, true)?;
    Ok(())
}
