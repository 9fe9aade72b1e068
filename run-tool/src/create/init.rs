//! The container's first process, from the clone to execve: it makes the container around itself.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid as RustixPid, PidfdFlags, Signal};

use crate::container::hook;
use crate::create::namespace;
use crate::create::plan::Plan;
use crate::create::talk::{Channel, Gone, Message};
use crate::kernel::error::Fails;
use crate::kernel::procfs::Procfs;
use crate::kernel::{log, socket, syscall, terminal};
use crate::program::Program;
use crate::program::label;
use crate::rootfs;

/// Ends a child, having said why.
pub(crate) fn fail(channel: &Channel, error: &anyhow::Error) -> ! {
    let text = format!("{error:#}");
    // A parent that has gone while it was to answer has failed, and says itself why.
    let gone = error.chain().any(|cause| cause.is::<Gone>());
    if channel.send(&Message::Error(text.clone())).is_err() && !gone {
        // The parent has gone on: what is left is the container's own standard error, as with runc.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    syscall::exit(1)
}

/// The process in between: joins what only its child may be born into, clones it as a child of its own parent, and goes.
pub(crate) fn run_stage(plan: &mut Plan, program: &mut Program, channel: &Channel, flags: u64) -> ! {
    channel.take_log();
    let stage = || -> Result<Option<syscall::Pid>> {
        plan.namespaces.join(true)?;
        plan.namespaces.make_time()?;
        syscall::clone(flags | libc::CLONE_PARENT as u64, None).fails(|| "clone").map_err(Into::into)
    };
    match stage() {
        Ok(None) => run(plan, program, channel),
        Ok(Some(pid)) => {
            // See `fail`.
            let _ = channel.send(&Message::Pid(pid));
            syscall::exit(0)
        }
        Err(error) => fail(channel, &error),
    }
}

/// The container's process.
pub(crate) fn run(plan: &mut Plan, program: &mut Program, channel: &Channel) -> ! {
    channel.take_log();
    let error = match set_up(plan, program, channel) {
        Ok(error) | Err(error) => error,
    };
    fail(channel, &error)
}

/// Returns only if execve failed.
fn set_up(plan: &mut Plan, program: &mut Program, channel: &Channel) -> Result<anyhow::Error> {
    // Without its parent a half-made container has no purpose.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    // Others in a joined PID namespace could look into this process while it still holds the host (CVE-2016-9962). An ordinary
    // user cannot give ids to a process that is not his own to look into: that one waits for them.
    let hide =
        || rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).fails(|| "prctl(PR_SET_DUMPABLE)");
    if !program.rootless {
        hide()?;
    }
    channel.enter(std::mem::take(&mut plan.entrance))?;
    if !plan.namespaces.needs_stage() {
        plan.namespaces.join(false)?;
    }
    channel.expect(&Message::Go)?;
    log::debug(|| "nsexec container setup".to_owned());
    if plan.namespaces.makes(LinuxNamespaceType::User) {
        namespace::become_root()?;
    }
    // Again: the kernel forgets it when the ids change.
    hide()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    if plan.namespaces.makes(LinuxNamespaceType::Cgroup) {
        syscall::unshare(libc::CLONE_NEWCGROUP).fails(|| "failed to unshare cgroup namespace")?;
    }
    rustix::process::setsid().fails(|| "setsid")?;
    log::debug(|| "child process in init()".to_owned());
    if plan.keyring {
        label::join_keyring(&plan.id, true, plan.rootfs.userns)?;
    }
    if plan.namespaces.makes(LinuxNamespaceType::Network) {
        syscall::loopback_up().fails(|| "failed to bring the loopback interface up")?;
    }
    set_streams(plan)?;
    // Kept for the fifo: the container may have no /proc, or its own idea of one.
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .fails(|| "open /proc")?;
    // What is made below gets exactly the modes that are asked for.
    rustix::process::umask(Mode::empty());
    let late = make_root(plan, channel)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    make_cwd(program)?;
    if plan.terminal {
        make_terminal(plan, program, channel)?;
    }
    if let Some(socket) = plan.pidfd_socket.take() {
        send_pidfd(&socket)?;
    }
    if plan.rootfs.mount_namespace {
        rootfs::finish(&plan.rootfs, late)?;
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes()).fails(|| "sethostname")?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes()).fails(|| "setdomainname")?;
    }
    program.confine()?;
    write_sysctls(plan)?;
    rootfs::mask::make_read_only(&plan.rootfs.read_only_paths)?;
    rootfs::mask::mask(&plan.rootfs.masked_paths, &plan.rootfs.mount_label)?;
    program.settle()?;
    channel.send(&Message::Ready)?;
    channel.expect(&Message::Continue)?;
    let path = program.take_on(&|listener| channel.hand_over_listener(listener))?;
    // Changing the user has cleared it already; a program that starts as root must not have it either.
    rustix::process::set_parent_process_death_signal(None).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    log::debug(|| "init: closing the pipe to signal completion".to_owned());
    if let Some(fifo) = plan.fifo.take() {
        syscall::exit_on_signals();
        channel.send(&Message::Waiting)?;
        wait_for_start(&proc, fifo)?;
    }
    // The hooks below are programs of the container: nothing of the host for them to find here.
    drop(proc);
    let hooks = plan.hooks.start_container().as_ref();
    if hooks.is_some_and(|hooks| !hooks.is_empty()) {
        let state = plan.state.for_hooks("created", std::process::id() as syscall::Pid);
        hook::run_with("startContainer", hooks, &state, &program.environment)?;
    }
    Ok(program.execute(&path))
}

fn set_streams(plan: &mut Plan) -> Result<()> {
    if let Some(streams) = plan.streams.take() {
        for (number, stream) in streams.iter().enumerate() {
            syscall::dup_to(stream.as_fd(), number as i32).fails(|| "dup3")?;
        }
    }
    Ok(())
}

/// Makes the file system and goes into it, with the hooks that belong in between. Gives what is to become read-only.
fn make_root(plan: &Plan, channel: &Channel) -> Result<Vec<OwnedFd>> {
    let root = rootfs::prepare(&plan.rootfs, &|index| channel.ask_for_tree(index))?;
    channel.send(&Message::Hooks)?;
    channel.expect(&Message::Continue)?;
    rustix::process::fchdir(&root.fd).fails(|| format!("chdir {}", root.path.display()))?;
    run_inner_hooks(plan)?;
    rootfs::enter(&plan.rootfs, &root)?;
    if plan.rootfs.makes_devices() {
        rootfs::device::reopen_null()?;
    }
    Ok(root.late)
}

fn run_inner_hooks(plan: &Plan) -> Result<()> {
    let hooks = plan.hooks.create_container().as_ref();
    if hooks.is_some_and(|hooks| !hooks.is_empty()) {
        let state = plan.state.for_hooks("creating", std::process::id() as syscall::Pid);
        hook::run("createContainer", hooks, &state)?;
    }
    Ok(())
}

/// The working directory may be missing in the image: it is made, inside, where nothing leads out any more.
fn make_cwd(program: &Program) -> Result<()> {
    let cwd = program.cwd();
    if rustix::fs::access(cwd, rustix::fs::Access::EXISTS) == Err(rustix::io::Errno::NOENT) {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(cwd)
            .fails(|| format!("mkdir {}", cwd.display()))?;
    }
    Ok(())
}

fn make_terminal(plan: &mut Plan, program: &Program, channel: &Channel) -> Result<()> {
    let (master, slave) = terminal::allocate()?;
    let (width, height) = program.size;
    terminal::resize(master.as_fd(), width, height)?;
    if plan.rootfs.mount_namespace {
        rootfs::device::mount_console(&slave)?;
    }
    hand_over(plan.console.take(), &master, channel)?;
    terminal::become_controlling(&slave)
}

/// Sends the terminal to the console socket, or to the parent.
pub(crate) fn hand_over(console: Option<OwnedFd>, master: &OwnedFd, channel: &Channel) -> Result<()> {
    match console {
        Some(socket) => terminal::send_to_socket(socket.as_fd(), master.as_fd()),
        None => channel.send_fd(&Message::Pty, master.as_fd()),
    }
}

/// Sends a descriptor of the caller to `--pidfd-socket`.
pub(crate) fn send_pidfd(socket: &OwnedFd) -> Result<()> {
    let own = RustixPid::from_raw(std::process::id() as i32).context("pid")?;
    let pidfd = rustix::process::pidfd_open(own, PidfdFlags::empty()).fails(|| "failed to setup pidfd: pidfd_open")?;
    socket::send_fd(socket.as_fd(), b"standard", pidfd.as_fd()).fails(|| "failed to send pidfd on socket")?;
    Ok(())
}

fn write_sysctls(plan: &Plan) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let proc = Procfs::open()?;
    for (name, value) in &plan.sysctls {
        // In the name with dots a slash stands for a dot of an interface's name.
        let path: String = crate::spec::dotted(name)
            .chars()
            .map(|character| match character {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        proc.write(&Path::new("sys").join(path), value)?;
    }
    Ok(())
}

/// Blocks until `start` opens the other end.
fn wait_for_start(proc: &OwnedFd, fifo: OwnedFd) -> Result<()> {
    let name = format!("self/fd/{}", fifo.as_raw_fd());
    let end = loop {
        match rustix::fs::openat(proc, &name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.fails(|| "reopen exec fifo")?,
        }
    };
    rustix::io::write(&end, b"0").fails(|| "write exec fifo")?;
    Ok(())
}
