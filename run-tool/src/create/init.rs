//! The container's init process, from clone to execve: it sets up the container around itself.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::Result;
use libcontainer::oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::{Mode, OFlags};

use super::child::{self, Child};
use super::namespace;
use super::plan::Plan;
use super::talk::{Channel, Message};
use crate::container::hook::{self, Environment, Given};
use crate::kernel::error::Fails;
use crate::kernel::procfs::Procfs;
use crate::kernel::{log, syscall};
use crate::program::{Program, label};
use crate::rootfs;
use crate::rootfs::root::Root;
use crate::rootfs::stage::Stage;
use crate::spec;

/// The init process of a container in the making.
pub(super) struct Init<'a> {
    /// The plan of the container.
    pub(super) plan: &'a mut Plan,
    /// The program that the process executes.
    pub(super) program: &'a mut Program,
}

impl Child for Init<'_> {
    fn enter_first(&self) -> Result<()> {
        self.plan.namespaces.join(true)?;
        self.plan.namespaces.make_time()
    }

    fn set_up(&mut self, channel: &Channel) -> Result<anyhow::Error> {
        let (plan, program) = (&mut *self.plan, &mut *self.program);
        isolate(plan, program.rootless, channel)?;
        child::set_streams(plan.streams.take())?;
        if plan.foreground && !plan.terminal {
            child::make_pipes(channel)?;
        }
        // Needed for the fifo later: the container's own /proc may be missing or fake.
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .fails(|| "open /proc")?;
        let mut stage = make_file_system(plan, program, channel)?;
        configure(plan, program, &stage)?;
        stage.end()?;
        // The stage has a descriptor of the host's `/proc`.
        drop(stage);
        let path = child::take_on(program, channel)?;
        log::debug(|| "init: closing the pipe to signal completion".to_owned());
        if let Some(fifo) = plan.fifo.take() {
            channel.send(&Message::Waiting)?;
            wait_for_start(&proc, fifo)?;
        }
        // The hooks below are programs of the container, which must not inherit anything of the host.
        drop(proc);
        let hooks = plan.hooks.start_container().as_ref();
        if hooks.is_some_and(|hooks| !hooks.is_empty()) {
            let state = plan.state.for_hooks("created", std::process::id() as syscall::Pid);
            let environment = Environment::Program(&program.environment);
            hook::run("startContainer", hooks, &Given { state, environment, output: &plan.hook_output })?;
        }
        Ok(program.execute(&path))
    }
}

/// Enters the groups and namespaces, starts a session and joins the keyring.
fn isolate(plan: &mut Plan, rootless: bool, channel: &Channel) -> Result<()> {
    child::die_with_parent()?;
    // An ordinary user could not write the id maps of a hidden process, so a rootless container hides it later.
    if !rootless {
        child::hide()?;
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
    // Again, because the kernel resets it when the ids change.
    child::hide()?;
    child::die_with_parent()?;
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
    Ok(())
}

/// Sets up the file system, the working directory and the terminal. Returns the stage for the last mounts.
fn make_file_system(plan: &mut Plan, program: &Program, channel: &Channel) -> Result<Stage> {
    // The files created below get exactly the requested modes.
    rustix::process::umask(Mode::empty());
    let root = make_root(plan, channel)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    make_cwd(program)?;
    let mounts = plan.rootfs.mount_namespace;
    if plan.terminal {
        child::make_terminal(plan.console.take(), program.size, channel, |slave| {
            if mounts { rootfs::device::mount_console(&root.stage, slave) } else { Ok(()) }
        })?;
    }
    child::send_pidfd(plan.pidfd_socket.take())?;
    if mounts {
        rootfs::finish(&plan.rootfs, &root.stage, root.late)?;
    }
    Ok(root.stage)
}

/// Applies settings of the whole container: umask, names, AppArmor profile, sysctls, read-only and masked paths.
fn configure(plan: &Plan, program: &Program, stage: &Stage) -> Result<()> {
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes()).fails(|| "sethostname")?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes()).fails(|| "setdomainname")?;
    }
    program.confine()?;
    write_sysctls(plan)?;
    rootfs::mask::make_read_only(stage, &plan.rootfs.read_only_paths)?;
    rootfs::mask::mask(stage, &plan.rootfs.masked_paths, &plan.rootfs.mount_context)
}

/// Sets up the root file system and enters it; the hooks run in between.
fn make_root(plan: &Plan, channel: &Channel) -> Result<Root> {
    let mut root = rootfs::prepare(&plan.rootfs, &|index| channel.ask_for_tree(index))?;
    channel.tell_and_wait(&Message::Hooks)?;
    rustix::process::fchdir(&root.fd).fails(|| format!("chdir {}", root.path.display()))?;
    run_inner_hooks(plan)?;
    rootfs::enter(&plan.rootfs, &root)?;
    if plan.rootfs.makes_devices() {
        rootfs::device::reopen_null()?;
    }
    if plan.rootfs.mount_namespace {
        root.stage.begin(Path::new("/"))?;
    }
    Ok(root)
}

fn run_inner_hooks(plan: &Plan) -> Result<()> {
    let hooks = plan.hooks.create_container().as_ref();
    if hooks.is_some_and(|hooks| !hooks.is_empty()) {
        let state = plan.state.for_hooks("creating", std::process::id() as syscall::Pid);
        // They are programs of the container in the making: neither the caller's environment nor the program's is theirs.
        let environment = Environment::Program(&[]);
        hook::run("createContainer", hooks, &Given { state, environment, output: &plan.hook_output })?;
    }
    Ok(())
}

/// Creates the working directory if the image lacks it. After the change of root no symlink leads outside.
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

fn write_sysctls(plan: &Plan) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let proc = Procfs::open()?;
    for (name, value) in &plan.sysctls {
        // In the form with dots, a slash stands for a dot in the name of an interface.
        let path: String = spec::dotted(name)
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

/// Blocks until `start` opens the fifo for reading.
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
