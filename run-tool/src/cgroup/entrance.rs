//! How a new process gets into groups without the kernel's lock on all groups.
//!
//! Before the kernel moves another process, it waits until no process forks or exits. That takes an RCU grace period: about 10 ms on
//! an idle machine, more than everything else in the start of a container. It does not wait for a process that is cloned into a group
//! of cgroup v2 (clone3, Linux 5.7), nor for a single thread that moves itself (`0` written to `tasks` in cgroup v1). If neither works,
//! the process is moved from outside, which also reports the error.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::kernel::syscall::{self, Pid};

/// The open groups of a container. By default there are none, and the process must be moved from outside.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    /// The folder in cgroup v2.
    pub(super) group: Option<OwnedFd>,
    /// The files `tasks` in cgroup v1.
    pub(super) tasks: Vec<OwnedFd>,
}

impl Entrance {
    /// Clones a process with `flags`, directly into the group of cgroup v2 if there is one. Returns `None` in the child, which must call
    /// `enter`.
    pub(crate) fn clone(&mut self, flags: u64) -> io::Result<Option<Pid>> {
        match syscall::clone(flags, self.group.as_ref().map(AsFd::as_fd)) {
            Err(_) if self.group.is_some() => {
                *self = Self::default();
                syscall::clone(flags, None)
            }
            result => result,
        }
    }

    /// In the child: moves itself into the groups of cgroup v1, and returns whether it is in all of them. `None`: there are none, which
    /// the parent knows.
    pub(crate) fn enter(self) -> Option<bool> {
        (!self.tasks.is_empty()).then(|| self.tasks.iter().all(|group| rustix::io::write(group, b"0").is_ok()))
    }

    /// In the parent: whether the child is in all groups. `None`: only the child knows.
    pub(crate) fn entered(self) -> Option<bool> {
        self.tasks.is_empty().then_some(self.group.is_some())
    }
}
