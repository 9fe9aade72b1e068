//! The beginning of a container: everything is decided and its folder is created. The functions that undo it are here too.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxPersonality, LinuxPersonalityDomain, Process, Spec};

use super::plan::{Options, Plan};
use super::{namespace, notify, validate};
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::{self, Unit};
use crate::container::{Container, exit, state};
use crate::kernel::error::{self, Fails};
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{file, log, procfs};
use crate::program::{Program, seccomp};
use crate::spec::{Items, annotation};

/// A container in the making, of which at least the folder exists.
pub(crate) struct Begun {
    /// The plan for the child.
    pub(crate) plan: Plan,
    /// The program that runs in it.
    pub(crate) program: Program,
    /// Its control groups.
    pub(crate) cgroup: Cgroup,
    /// The container itself, with the state as far as it is known.
    pub(crate) container: Container,
    /// Its init process; 0 until it is cloned.
    pub(crate) pid: Pid,
}

/// Plans a container and creates its folder, which reserves its id.
pub(crate) fn begin(spec: &Spec, options: &mut Options) -> Result<Begun> {
    state::check_id(&options.id)?;
    let rootless = !rustix::process::geteuid().is_root();
    validate::validate(spec, rootless || options.rootless_cgroups)?;
    let folder = options.root.join(&options.id);
    if folder.exists() && !options.again {
        bail!("container with given ID already exists");
    }
    let process = spec.process().as_ref().context("process property must not be empty")?;
    let mut program = plan_program(spec, process, options, rootless)?;
    let cgroup = plan_groups(spec, options)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&options.root)
        .fails(|| format!("mkdir {}", options.root.display()))?;
    if let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        if annotation::of(spec, annotation::FAIL_UNKNOWN_CALL).is_some() {
            seccomp::refuse_unknown_calls(profile)?;
        }
        program.filter = seccomp::compile(profile, &options.root)?;
    }
    let plan = Plan::new(spec, options, &cgroup, rootless)?;
    match fs::DirBuilder::new().mode(0o711).create(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && options.again => {
            // The exit status of the previous run. The file may be missing.
            let _ = fs::remove_file(folder.join(exit::EXIT));
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("container with given ID already exists"),
        result => result.fails(|| format!("mkdir {}", folder.display()))?,
    }
    let container = Container { folder, state: plan.state.clone() };
    Ok(Begun { plan, program, cgroup, container, pid: 0 })
}

fn plan_program(spec: &Spec, process: &Process, options: &mut Options, rootless: bool) -> Result<Program> {
    let linux = spec.linux().as_ref();
    let mut program = Program::from_spec(process, rootless)?;
    if options.notify.is_some() {
        program.environment.push(notify::VARIABLE.to_owned());
    }
    program.environment.append(&mut options.environment);
    program.keeps_groups = annotation::keeps_groups(annotation::of(spec, annotation::KEEP_GROUPS));
    program.kept = options.kept;
    program.mask = options.mask;
    program.waits = options.wait_for_start;
    let cpu = linux.and_then(|linux| linux.resources().as_ref()).and_then(|resources| resources.cpu().as_ref());
    program.cpuset = cpu.and_then(|cpu| cpu.cpus().as_ref()).is_some_and(|cpus| !cpus.is_empty());
    program.personality = linux.and_then(|linux| linux.personality().as_ref()).map(personality);
    program.memory_policy = linux.and_then(|linux| linux.memory_policy().clone());
    Ok(program)
}

fn personality(personality: &LinuxPersonality) -> String {
    if !personality.flags().items().is_empty() {
        log::warn("ignoring unsupported personality flags");
    }
    match personality.domain() {
        LinuxPersonalityDomain::PerLinux32 => "LINUX32".to_owned(),
        LinuxPersonalityDomain::PerLinux => "LINUX".to_owned(),
    }
}

fn plan_groups(spec: &Spec, options: &Options) -> Result<Cgroup> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let path = path.map(Path::to_string_lossy).unwrap_or_default();
    let unit = || -> Result<Cgroup> {
        let mut unit = Unit::parse(&path, &options.id, options.rootless_cgroups)?;
        let annotations = spec.annotations().iter().flatten();
        unit.annotate(annotations.map(|(name, value)| (name.as_str(), value.as_str())))?;
        unit.prepare(resources);
        Cgroup::of_unit(unit, options.rootless_cgroups)
    };
    let cgroup = if options.systemd_cgroup {
        unit()?
    } else if options.rootless_cgroups
        && path.is_empty()
        && systemd::serves_users()
        && let Ok(cgroup) = unit()
    {
        // The session of an ordinary user is no place for groups: it belongs to root, or has processes. The user's systemd has one.
        cgroup
    } else {
        Cgroup::plan(Some(Path::new(&*path)), &options.id, options.rootless_cgroups)?
    };
    cgroup.refuse_unified(resources)?;
    Ok(cgroup)
}

impl Begun {
    /// Stores the restrictions of the program that `exec` must apply too.
    pub(crate) fn keep_for_exec(&mut self) -> Result<()> {
        let config = &mut self.container.state.config;
        if let Some(filter) = &self.program.filter {
            file::replace(&self.container.folder.join(seccomp::FILE), &filter.program)?;
            if let Some(seccomp) = &mut config.seccomp {
                seccomp.flag_bits = filter.flags;
            }
        } else {
            config.seccomp = None;
        }
        config.personality.clone_from(&self.program.personality);
        Ok(())
    }

    /// Completes the state with the init process, and stores it.
    pub(crate) fn store(&mut self) -> Result<()> {
        let (start, _) = procfs::process_stat(self.pid).context("the container's process is gone")?;
        let state = &mut self.container.state;
        state.init_process_pid = self.pid;
        state.init_process_start = start;
        state.namespace_paths = namespace::paths_of(self.pid).collect();
        state.external_descriptors = Some((0..3).map(|number| descriptor_name(self.pid, number)).collect());
        self.container.save().context("unable to store init state")
    }

    /// Removes the folder of a container that could not be created, which frees its id. A failure is only a warning.
    pub(crate) fn undo_folder(&self) {
        let folder = &self.container.folder;
        if let Err(error) = fs::remove_dir_all(folder) {
            log::warn(&format!("remove {}: {}", folder.display(), error::reason(&error)));
        }
    }

    /// Kills the processes of a container that could not be created, and removes its groups.
    pub(crate) fn undo_groups(&self) {
        if self.pid != 0 {
            let _ = syscall::kill(self.pid, libc::SIGKILL);
            let _ = syscall::wait(self.pid, true);
        }
        if self.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
            // Hooks or the container have left processes behind.
            let _ = self.cgroup.kill_all();
        }
        if let Err(error) = self.cgroup.destroy() {
            log::warn(&format!("{error:#}"));
        }
    }
}

fn descriptor_name(pid: Pid, number: i32) -> String {
    fs::read_link(format!("/proc/{pid}/fd/{number}")).map_or_else(|_| String::new(), |path| path.display().to_string())
}
