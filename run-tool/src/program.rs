//! A program that runs in a container, the first one or one of `exec`: its user, its restrictions, and its execution.
//!
//! Everything here happens in the child, inside the container, in runc's order: restrictions that need privilege first, the
//! seccomp filter last if no_new_privs allows that. This room imports `spec` and `kernel`. It knows nothing of the parent; what
//! needs the parent is passed in as a function.

pub(crate) mod capability;
pub(crate) mod label;
pub(crate) mod outside;
pub(crate) mod seccomp;

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{
    Box as TerminalSize, IOPriorityClass, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit,
    Process, Scheduler,
};
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid};

use self::capability::Sets;
use self::seccomp::Filter;
use crate::kernel::device::is_pty;
use crate::kernel::error::{Fails, lacks};
use crate::kernel::procfs::Procfs;
use crate::kernel::syscall::{self, SchedulerAttributes, SignalMask};
use crate::kernel::{descriptor, log, security, set};
use crate::spec::{Items, memory_policy};

/// A program as the configuration describes it (`process`, and parts of `linux`).
#[derive(Debug)]
pub(crate) struct Program {
    /// The command line; the first argument names the program.
    pub(crate) arguments: Vec<String>,
    /// The environment as `NAME=value`. Of several entries with a name the last one counts.
    pub(crate) environment: Vec<String>,
    cwd: PathBuf,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether it has the supplementary groups of run-tool's caller instead.
    pub(crate) keeps_groups: bool,
    capabilities: Sets,
    no_new_privileges: bool,
    apparmor: String,
    apparmor_enabled: bool,
    selinux: String,
    scheduler: Option<Scheduler>,
    io_priority: Option<(IOPriorityClass, i64)>,
    /// `process.rlimits`, set by the parent.
    pub(crate) limits: Vec<PosixRlimit>,
    /// Columns and rows of the terminal; zero if the configuration gives none.
    pub(crate) size: (u16, u16),
    /// `process.oomScoreAdj`, set by the parent.
    pub(crate) oom_score: Option<i32>,
    /// The compiled seccomp filter; `None` for no filter.
    pub(crate) filter: Option<Filter>,
    /// `linux.personality.domain`.
    pub(crate) personality: Option<String>,
    /// `linux.memoryPolicy`.
    pub(crate) memory_policy: Option<LinuxMemoryPolicy>,
    /// Whether the container's CPUs are limited by a cpuset. Only used to explain a refused scheduler.
    pub(crate) cpuset: bool,
    /// The number of descriptors after the standard streams that it inherits.
    pub(crate) kept: u32,
    /// Whether the container was created by a user other than root.
    pub(crate) rootless: bool,
    /// The signal mask to start with, if run-tool has blocked signals in the parent.
    pub(crate) mask: Option<SignalMask>,
    /// Whether it waits for `start` before it is executed.
    pub(crate) waits: bool,
}

impl Program {
    /// Builds a program from `process` of a configuration. The fields from `linux` are left empty.
    pub(crate) fn from_spec(process: &Process, rootless: bool) -> Result<Self> {
        let user = process.user();
        Ok(Self {
            arguments: process.args().items().to_vec(),
            environment: process.env().items().to_vec(),
            cwd: process.cwd().clone(),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().items().to_vec(),
            keeps_groups: false,
            // Without `capabilities` the program gets none.
            capabilities: process.capabilities().as_ref().map(Sets::from_spec).unwrap_or_default(),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            apparmor: process.apparmor_profile().clone().unwrap_or_default(),
            apparmor_enabled: process.apparmor_profile().is_some() && security::apparmor_enabled(),
            selinux: process.selinux_label().clone().unwrap_or_default(),
            scheduler: process.scheduler().clone(),
            io_priority: process.io_priority().as_ref().map(|priority| (priority.class(), priority.priority())),
            limits: process.rlimits().items().to_vec(),
            size: size_of(process.console_size())?,
            oom_score: process.oom_score_adj(),
            filter: None,
            personality: None,
            memory_policy: None,
            cpuset: false,
            kept: 0,
            rootless,
            mask: None,
            waits: false,
        })
    }

    /// The working directory, `process.cwd`.
    pub(crate) fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Confines the program to its AppArmor profile; it takes effect at execve.
    pub(crate) fn confine(&self) -> Result<()> {
        label::apply_apparmor(&self.apparmor, self.apparmor_enabled)
    }

    /// Applies everything that can be done before the parent stores the state.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).fails(|| "prctl(SET_NO_NEW_PRIVS)")?;
        }
        if let Some(scheduler) = &self.scheduler {
            match syscall::set_scheduler(scheduler_attributes(scheduler)) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) && self.cpuset => {
                    bail!("process scheduler can't be used together with AllowedCPUs")
                }
                result => result.fails(|| "error setting scheduler")?,
            }
        }
        if let Some((class, level)) = self.io_priority {
            let class = match class {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            };
            syscall::set_io_priority(class, level as u32).fails(|| "failed to set io priority")?;
        }
        if let Some(domain) = &self.personality {
            let domain = if domain == "LINUX32" { 8 } else { 0 };
            syscall::personality(domain).fails(|| "personality")?;
        }
        if let Some(policy) = &self.memory_policy {
            set_memory_policy(policy)?;
        }
        Ok(())
    }

    /// Takes on the user, capabilities and filter, and looks up the program. After this only execve is left. `hand_over` sends the
    /// listener of the seccomp filter, if there is one, to the parent.
    ///
    /// Once the filter is installed, its profile counts for run-tool too. A profile that lets runc start its program must let
    /// run-tool start it, so nothing but what runc does, by the same system calls, may follow.
    pub(crate) fn take_on(&mut self, hand_over: &dyn Fn(RawFd) -> Result<()>) -> Result<CString> {
        label::apply_selinux(&self.selinux)?;
        descriptor::close_on_exec_from(3 + self.kept).fails(|| "error closing exec fds: close_range")?;
        self.capabilities.limit_to_own()?;
        // Without no_new_privs it takes privilege to install a filter, so it must be done now. With it the filter comes last.
        let early = self.filter.is_some() && !self.no_new_privileges;
        if early {
            self.restore_signals()?;
            self.install_filter(hand_over)?;
        }
        let entered = match rustix::process::chdir(&self.cwd) {
            Ok(()) => true,
            // The container's user may be able to enter it although root cannot (a network file system). Tried again below.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => false,
            Err(error) => return Err(error).fails(|| self.chdir_failure()).map_err(Into::into),
        };
        self.environment = prepare_environment(&self.environment, self.uid)?;
        self.capabilities.drop_bounding()?;
        rustix::thread::set_keep_capabilities(true).fails(|| "unable to set keep caps")?;
        self.set_user().context("unable to setup user")?;
        if !entered {
            rustix::process::chdir(&self.cwd).fails(|| self.chdir_failure())?;
        }
        check_cwd()?;
        rustix::thread::set_keep_capabilities(false).fails(|| "unable to clear keep caps")?;
        self.capabilities.apply()?;
        let path = look_up(&self.arguments[0], &self.environment)?;
        if !early {
            self.restore_signals()?;
            self.install_filter(hand_over)?;
        }
        CString::new(path.as_os_str().as_bytes()).context("args[0]")
    }

    /// Gives the program's process the actions and the mask of signals that it starts with. It no longer dies with its parent.
    fn restore_signals(&self) -> Result<()> {
        // run-tool ignores SIGPIPE. That was welcome so far: a dead parent must not kill this process before it reports an
        // error. The program gets the default.
        syscall::default_signal(libc::SIGPIPE);
        if self.waits {
            syscall::exit_on_signals();
        }
        if let Some(mask) = &self.mask {
            syscall::set_signal_mask(mask).fails(|| "sigprocmask")?;
        }
        // A change of user clears it too. A program that runs as root must not keep it either.
        rustix::process::set_parent_process_death_signal(None).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
        Ok(())
    }

    fn chdir_failure(&self) -> String {
        format!("chdir to cwd ({:?}) set in config.json failed", self.cwd.display().to_string())
    }

    fn install_filter(&self, hand_over: &dyn Fn(RawFd) -> Result<()>) -> Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        log::debug(|| format!("seccomp filter flags: {}", filter.flags));
        let listener =
            syscall::seccomp_load(&filter.program, filter.flags).fails(|| "unable to init seccomp: seccomp")?;
        if let Some(listener) = listener {
            // The parent fetches the listener: to send it would take system calls that the filter may stop.
            hand_over(listener)?;
            drop(syscall::own_fd(listener));
        }
        Ok(())
    }

    fn set_user(&self) -> Result<()> {
        // The kernel takes -1 for "leave it as it is".
        for (id, kind) in [(self.uid, "uid"), (self.gid, "gid")] {
            if id == u32::MAX {
                bail!("cannot set{kind} to unmapped {kind} {id} in user namespace");
            }
        }
        if self.groups.contains(&u32::MAX) {
            bail!("setgroups: invalid argument");
        }
        self.own_streams()?;
        if !self.keeps_groups {
            let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            match rustix::thread::set_thread_groups(&groups) {
                // With a single id, groups cannot be set in the user namespace of an ordinary user. Only the kernel's own procfs is
                // trusted to say so: an image could bring such a file at `/proc`, and the caller's groups would stay.
                Err(rustix::io::Errno::PERM) if Procfs::open()?.read(Path::new("self/setgroups"))?.trim() == "deny" => {
                    if self.rootless && !groups.is_empty() {
                        bail!("cannot set any additional groups in a rootless container");
                    }
                }
                result => result.fails(|| "setgroups")?,
            }
        }
        let gid = Gid::from_raw(self.gid);
        match rustix::thread::set_thread_gid(gid) {
            Err(rustix::io::Errno::INVAL) => bail!("cannot setgid to unmapped gid {} in user namespace", self.gid),
            result => result.fails(|| "setgid")?,
        }
        let uid = Uid::from_raw(self.uid);
        match rustix::thread::set_thread_uid(uid) {
            Err(rustix::io::Errno::INVAL) => bail!("cannot setuid to unmapped uid {} in user namespace", self.uid),
            result => result.fails(|| "setuid")?,
        }
        Ok(())
    }

    /// Gives the standard streams to the container's user, so that it can open them by name (`/dev/stderr`). In the foreground they
    /// are a terminal or pipes of its own. In the background they are the caller's, who expects it as runc does it; but a device that
    /// is no terminal (`/dev/null`, `/dev/full`, a disk) belongs to the host, and keeps its owner.
    fn own_streams(&self) -> Result<()> {
        for number in 0..3 {
            let Some(stream) = syscall::borrow_fd(number) else { continue };
            let stat = rustix::fs::fstat(stream).fails(|| format!("fstat fd {number}"))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) && !is_pty(&stat);
            if stat.st_uid == self.uid || device {
                continue;
            }
            match rustix::fs::fchown(stream, Some(Uid::from_raw(self.uid)), None) {
                // The owner has no id in this namespace, or the file system is read-only. The caller wanted it so.
                Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::ROFS | rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error).fails(|| format!("fchown fd {number}")).map_err(Into::into),
            }
        }
        Ok(())
    }

    /// Executes the program. Returns only if that fails.
    pub(crate) fn execute(&self, path: &CString) -> anyhow::Error {
        let strings = |strings: &[String]| -> Result<Vec<CString>, std::ffi::NulError> {
            strings.iter().map(|string| CString::new(string.as_str())).collect()
        };
        let (Ok(arguments), Ok(environment)) = (strings(&self.arguments), strings(&self.environment)) else {
            return anyhow::anyhow!("exec {:?}: argument contains a nul byte", self.arguments[0]);
        };
        let error = syscall::execve(path, &arguments, &environment);
        anyhow::anyhow!("exec {}: {}", path.to_string_lossy(), crate::kernel::error::reason(&error))
    }
}

/// Converts `process.consoleSize` to columns and rows.
fn size_of(size: Option<TerminalSize>) -> Result<(u16, u16)> {
    let Some(size) = size else { return Ok((0, 0)) };
    let number = |value: u64| u16::try_from(value).context("consoleSize");
    Ok((number(size.width())?, number(size.height())?))
}

fn scheduler_attributes(scheduler: &Scheduler) -> SchedulerAttributes {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = scheduler.flags().items().iter().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
            LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
        }
    });
    SchedulerAttributes {
        policy,
        flags,
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedulerAttributes::default()
    }
}

fn set_memory_policy(policy: &LinuxMemoryPolicy) -> Result<()> {
    // Serialized, the mode has the name that the spec gives it.
    let mode = serde_json::to_value(policy.mode())?;
    let mode = memory_policy::MODES.iter().position(|name| mode.as_str() == Some(name));
    let mut mode = mode.context("invalid memory policy mode")? as i32;
    for flag in policy.flags().items() {
        mode |= match serde_json::to_value(flag)?.as_str() {
            Some("MPOL_F_STATIC_NODES") => 1 << 15,
            Some("MPOL_F_RELATIVE_NODES") => 1 << 14,
            Some("MPOL_F_NUMA_BALANCING") => 1 << 13,
            other => bail!("invalid memory policy flag {other:?}"),
        };
    }
    let nodes = set::parse(policy.nodes().as_deref().unwrap_or_default()).context("invalid memory policy nodes")?;
    syscall::set_memory_policy(mode, &nodes).fails(|| "set_mempolicy")?;
    Ok(())
}

/// The environment without repeated names (the last entry counts) and with a HOME.
fn prepare_environment(environment: &[String], uid: u32) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let mut prepared = Vec::with_capacity(environment.len() + 1);
    let mut home = false;
    for variable in environment.iter().rev() {
        let (name, value) = match variable.split_once('=') {
            None => bail!("invalid environment variable: missing '='"),
            Some(("", _)) => bail!("invalid environment variable: name cannot be empty"),
            Some(pair) => pair,
        };
        if !seen.insert(name) {
            continue;
        }
        if variable.contains('\0') {
            bail!("invalid environment variable {name:?}: contains nul byte (\\x00)");
        }
        if name == "HOME" {
            if value.is_empty() {
                continue;
            }
            home = true;
        }
        prepared.push(variable.clone());
    }
    prepared.reverse();
    if !home {
        prepared.push(format!("HOME={}", home_of(uid)));
    }
    Ok(prepared)
}

/// The home of a user in the container's own `/etc/passwd`, or `/`.
fn home_of(uid: u32) -> String {
    use std::io::Read;
    let mut text = Vec::new();
    // An image can have anything there: an endless device, or a fifo without a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open("/etc/passwd", flags, Mode::empty())
        && rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    {
        // On an error the part that was read is searched.
        let _ = fs::File::from(file).take(16 << 20).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 5 && fields[2].parse() == Ok(uid))
        .map_or_else(|| "/".to_owned(), |fields| fields[5].to_owned())
}

/// Fails if the working directory is outside the container: the kernel then cannot name it (CVE-2024-21626).
fn check_cwd() -> Result<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().first() == Some(&b'/') => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) => bail!(
            "current working directory is outside of container mount namespace root -- possible container breakout detected"
        ),
        Err(error) => Err(error).fails(|| "failed to verify if current working directory is safe").map_err(Into::into),
    }
}

/// Looks up a program as Go's LookPath does. The messages are Go's too, because engines derive exit statuses from them.
fn look_up(name: &str, environment: &[String]) -> Result<PathBuf> {
    let executable = |path: &Path| -> Result<(), String> {
        let stat = rustix::fs::stat(path)
            .map_err(|error| format!("stat {}: {}", path.display(), crate::kernel::error::reason(&error.into())))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err("is a directory".to_owned());
        }
        let allowed = match rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
            // Linux before 5.8 lacks the call, and profiles from then do not know it. As in Go, the mode decides.
            Err(error) if lacks(error) => true,
            result => result.is_ok(),
        };
        if !allowed || stat.st_mode & 0o111 == 0 {
            return Err("permission denied".to_owned());
        }
        Ok(())
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(reason) => bail!("exec: {name:?}: {reason}"),
        };
    }
    let path = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
    for folder in path.unwrap_or_default().split(':') {
        // An empty entry would mean the working directory. As in Go, it is skipped.
        if !folder.is_empty() {
            let candidate = Path::new(folder).join(name);
            if !name.is_empty() && executable(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
    }
    bail!("exec: {name:?}: executable file not found in $PATH")
}

/// The number of descriptors after the standard streams that the program inherits: those of socket activation, then `preserved`
/// more. Fails if one of the latter was not inherited from the caller: descriptors that run-tool opened are close-on-exec.
pub(crate) fn inherited(listen: u32, preserved: u32) -> Result<u32> {
    for (index, number) in (3 + listen..3 + listen + preserved).enumerate() {
        let open = syscall::borrow_fd(number as RawFd)
            .and_then(|fd| rustix::io::fcntl_getfd(fd).ok())
            .is_some_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC));
        if !open {
            bail!("unable to stat preserved-fd {index} (of {preserved}): no such file or directory");
        }
    }
    Ok(listen + preserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_repeated_variables_the_last_counts_and_home_is_added() {
        let given = ["A=1", "B=2", "A=3", "HOME="].map(str::to_owned);
        let prepared = prepare_environment(&given, 4_000_000_000).unwrap();
        assert_eq!(prepared, ["B=2", "A=3", "HOME=/"]);
        assert!(prepare_environment(&["x".to_owned()], 0).is_err());
    }

    #[test]
    fn a_missing_program_is_reported_in_gos_words() {
        let path = ["PATH=/bin:/usr/bin".to_owned()];
        let fail = |name: &str| look_up(name, &path).unwrap_err().to_string();
        assert_eq!(fail("no-such"), "exec: \"no-such\": executable file not found in $PATH");
        assert_eq!(fail("/no-such"), "exec: \"/no-such\": stat /no-such: no such file or directory");
        assert_eq!(fail("/etc/passwd"), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(fail("/etc"), "exec: \"/etc\": is a directory");
        assert_eq!(look_up("sh", &path).unwrap(), Path::new("/bin/sh"));
    }
}
