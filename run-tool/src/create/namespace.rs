//! Namespaces: new ones by clone, existing ones joined by path, and the id maps of user namespaces.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, LinuxTimeOffset};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;

use crate::container::state;
use crate::kernel::error::Fails;
use crate::kernel::process::{self, Process};
use crate::kernel::syscall::{self, Pid};
use crate::spec::Namespaces as _;

/// The clone flag of a kind of namespace.
pub(crate) fn flag(kind: LinuxNamespaceType) -> i32 {
    // The values in oci_spec are the kernel's flags.
    kind as i32
}

/// runc's name of a kind, and its file name in `/proc/PID/ns`.
pub(crate) fn names(kind: LinuxNamespaceType) -> (&'static str, &'static str) {
    match kind {
        LinuxNamespaceType::Mount => ("NEWNS", "mnt"),
        LinuxNamespaceType::Cgroup => ("NEWCGROUP", "cgroup"),
        LinuxNamespaceType::Uts => ("NEWUTS", "uts"),
        LinuxNamespaceType::Ipc => ("NEWIPC", "ipc"),
        LinuxNamespaceType::User => ("NEWUSER", "user"),
        LinuxNamespaceType::Pid => ("NEWPID", "pid"),
        LinuxNamespaceType::Network => ("NEWNET", "net"),
        LinuxNamespaceType::Time => ("NEWTIME", "time"),
    }
}

/// All kinds of namespaces.
pub(crate) const ALL: [LinuxNamespaceType; 8] = [
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Cgroup,
    LinuxNamespaceType::Time,
];

/// The namespaces of a container; those to join are open.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Namespaces to join: the kind, the path and the descriptor.
    pub(crate) joined: Vec<(LinuxNamespaceType, PathBuf, OwnedFd)>,
    /// New namespaces, as clone flags.
    new: i32,
    /// The clock offsets of a new time namespace (`linux.timeOffsets`).
    offsets: HashMap<String, LinuxTimeOffset>,
}

impl Namespaces {
    /// Opens the namespaces to join, while the host's paths are still accessible.
    pub(crate) fn open(
        namespaces: &[LinuxNamespace],
        offsets: Option<&HashMap<String, LinuxTimeOffset>>,
    ) -> Result<Self> {
        let mut joined = Vec::new();
        let mut new = 0;
        for namespace in namespaces {
            let kind = namespace.typ();
            match namespaces.path(kind) {
                Some(path) => {
                    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                        .fails(|| format!("failed to open namespace {}: open {}", names(kind).1, path.display()))?;
                    joined.push((kind, path.to_owned(), fd));
                }
                None => new |= flag(kind),
            }
        }
        Ok(Self { joined, new, offsets: offsets.cloned().unwrap_or_default() })
    }

    /// Opens the namespaces of a process that `flags` name.
    pub(crate) fn of(process: &Process, flags: i32) -> Result<Self> {
        let mut joined = Vec::new();
        for (kind, (_, path)) in
            ALL.into_iter().zip(paths_of(process.pid())).filter(|(kind, _)| flags & flag(*kind) != 0)
        {
            let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .fails(|| format!("open {}", path.display()))?;
            joined.push((kind, path, fd));
        }
        // Checked after they were opened: they are those of this process, even if the id is used again.
        if process.has_ended() {
            bail!("process {} has ended", process.pid());
        }
        Ok(Self { joined, new: 0, offsets: HashMap::new() })
    }

    /// Whether the container gets a new namespace of a kind.
    pub(crate) fn makes(&self, kind: LinuxNamespaceType) -> bool {
        self.new & flag(kind) != 0
    }

    fn joins(&self, kind: LinuxNamespaceType) -> bool {
        self.joined.iter().any(|(joined, ..)| *joined == kind)
    }

    /// The flags for clone. The cgroup namespace is created later, when the process is in its groups, which become the roots. The time
    /// namespace is created before, because it only applies to children.
    pub(crate) fn clone_flags(&self) -> u64 {
        (self.new & !(libc::CLONE_NEWCGROUP | flag(LinuxNamespaceType::Time))) as u64
    }

    /// Whether an intermediate process is needed: for namespaces that only apply to its children, and for those that the container's
    /// process may not join from within its user namespace.
    pub(crate) fn needs_stage(&self) -> bool {
        let user_and_joined = self.makes(LinuxNamespaceType::User) && !self.joined.is_empty();
        user_and_joined || self.joins(LinuxNamespaceType::User) || self.makes(LinuxNamespaceType::Time)
    }

    /// The PID namespace to join; the parent enters it for its next child.
    pub(crate) fn joined_pid(&self) -> Option<&OwnedFd> {
        self.joined(LinuxNamespaceType::Pid)
    }

    /// The network namespace to join.
    pub(crate) fn joined_network(&self) -> Option<&OwnedFd> {
        self.joined(LinuxNamespaceType::Network)
    }

    fn joined(&self, wanted: LinuxNamespaceType) -> Option<&OwnedFd> {
        self.joined.iter().find(|(kind, ..)| *kind == wanted).map(|(_, _, fd)| fd)
    }

    /// Joins the namespaces. `with_pid` includes the PID namespace, for an intermediate process whose child is to be in it.
    pub(crate) fn join(&self, with_pid: bool) -> Result<()> {
        let mut waiting = Vec::new();
        let mut user = None;
        for (kind, path, fd) in &self.joined {
            match kind {
                LinuxNamespaceType::User => {
                    user = Some((path, fd));
                    continue;
                }
                LinuxNamespaceType::Pid if !with_pid => continue,
                _ => {}
            }
            // Namespaces that belong to the joined user namespace can only be joined from within it.
            match syscall::setns(fd.as_fd(), flag(*kind)) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => waiting.push((*kind, path, fd)),
                result => {
                    result.fails(|| format!("failed to setns into {} namespace {}", names(*kind).1, path.display()))?;
                }
            }
        }
        if let Some((path, fd)) = user {
            syscall::setns(fd.as_fd(), libc::CLONE_NEWUSER)
                .fails(|| format!("failed to setns into user namespace {}", path.display()))?;
            become_root()?;
        }
        for (kind, path, fd) in waiting {
            syscall::setns(fd.as_fd(), flag(kind))
                .fails(|| format!("failed to setns into {} namespace {}", names(kind).1, path.display()))?;
        }
        Ok(())
    }

    /// Creates the new time namespace, for later children of this process.
    pub(crate) fn make_time(&self) -> Result<()> {
        if !self.makes(LinuxNamespaceType::Time) {
            return Ok(());
        }
        syscall::unshare(flag(LinuxNamespaceType::Time)).fails(|| "failed to unshare time namespace")?;
        for (clock, offset) in &self.offsets {
            let line = format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            fs::write("/proc/self/timens_offsets", &line).fails(|| "failed to update /proc/self/timens_offsets")?;
        }
        Ok(())
    }
}

/// Takes on root's ids in the user namespace just entered. If the namespace maps no root, the ids stay as they are.
pub(crate) fn become_root() -> Result<()> {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    match rustix::thread::set_thread_res_gid(gid, gid, gid) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        result => result.fails(|| "failed to set gid to root")?,
    }
    match rustix::thread::set_thread_res_uid(uid, uid, uid) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        result => result.fails(|| "failed to set uid to root")?,
    }
    Ok(())
}

/// Converts id mappings to the form of the state.
pub(crate) fn stored(mappings: &[LinuxIdMapping]) -> Vec<state::Mapping> {
    mappings
        .iter()
        .map(|mapping| state::Mapping {
            container_id: mapping.container_id(),
            host_id: mapping.host_id(),
            size: mapping.size(),
        })
        .collect()
}

/// Writes the id maps of a process in a new user namespace.
pub(crate) fn map(pid: Pid, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<()> {
    let text = |mappings: &[LinuxIdMapping]| -> String {
        mappings
            .iter()
            .map(|mapping| format!("{} {} {}\n", mapping.container_id(), mapping.host_id(), mapping.size()))
            .collect()
    };
    let privileged = rustix::process::geteuid().is_root();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = |mappings: &[LinuxIdMapping], id: u32| matches!(mappings, [mapping] if mapping.size() == 1 && mapping.host_id() == id);
    if privileged || own(uids, uid) {
        write(pid, "uid_map", &text(uids))?;
    } else {
        helper("newuidmap", pid, uids)?;
    }
    if privileged || own(gids, gid) {
        if !privileged {
            // The kernel requires this of an unprivileged process (CVE-2014-8989).
            write(pid, "setgroups", "deny")?;
        }
        write(pid, "gid_map", &text(gids))
    } else {
        helper("newgidmap", pid, gids)
    }
}

fn write(pid: Pid, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    fs::write(&path, text).fails(|| format!("failed to update {path}")).map_err(Into::into)
}

/// Lets the set-user-ID helper newuidmap or newgidmap write a map that this process may not write.
fn helper(name: &str, pid: Pid, mappings: &[LinuxIdMapping]) -> Result<()> {
    let mut command = Command::new(name);
    command.arg(pid.to_string());
    for mapping in mappings {
        command.args([mapping.container_id(), mapping.host_id(), mapping.size()].map(|number| number.to_string()));
    }
    let output = match process::output(&mut command) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("rootless container requires {name} (package uidmap) for more than one mapped id")
        }
        result => result.with_context(|| name.to_owned())?,
    };
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Opens a new user namespace with the given id maps, for an id-mapped mount. A child process creates it, and is killed afterwards.
pub(crate) fn user_namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let Some(pid) = syscall::clone(libc::CLONE_NEWUSER as u64, None).fails(|| "clone of a user namespace")? else {
        loop {
            std::thread::park();
        }
    };
    let open = || -> Result<OwnedFd> {
        map(pid, uids, gids)?;
        let path = format!("/proc/{pid}/ns/user");
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .fails(|| format!("open {path}"))?;
        Ok(fd)
    };
    let opened = open();
    // It is an idle child of this process, so neither call can fail.
    let _ = syscall::kill(pid, libc::SIGKILL);
    let _ = syscall::wait(pid, true);
    opened
}

/// The paths of a process's namespaces, with runc's names of the kinds.
pub(crate) fn paths_of(pid: Pid) -> impl Iterator<Item = (String, PathBuf)> {
    ALL.into_iter().map(move |kind| {
        let (name, link) = names(kind);
        (name.to_owned(), Path::new("/proc").join(pid.to_string()).join("ns").join(link))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_kernels() {
        assert_eq!(flag(LinuxNamespaceType::Pid), libc::CLONE_NEWPID);
        assert_eq!(flag(LinuxNamespaceType::Mount), libc::CLONE_NEWNS);
        assert_eq!(flag(LinuxNamespaceType::Time), 0x80);
    }
}
