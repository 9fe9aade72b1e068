//! How a new process comes into groups without the kernel's lock on all of them.
//!
//! To move another process, the kernel first waits until nobody forks or ends: a grace period of RCU, about 10 ms on an idle
//! machine and more than all else that a container's start waits for. It need not wait for a process that is cloned into a version
//! 2 group (clone3, Linux 5.7), nor for a single thread that moves itself (`0` to a version 1 group's `tasks`). Where neither can
//! be had, or fails, the process is moved from outside, and that says what is wrong.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::kernel::syscall::{self, Pid};

/// The way into a container's groups; by default there is none.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    /// The version 2 group.
    pub(super) group: Option<OwnedFd>,
    /// The `tasks` of the version 1 groups.
    pub(super) tasks: Vec<OwnedFd>,
}

impl Entrance {
    /// Clones a process with `flags`, into the version 2 group if there is one. `None` is the child: it calls `enter`.
    pub(crate) fn clone(&mut self, flags: u64) -> io::Result<Option<Pid>> {
        match syscall::clone(flags, self.group.as_ref().map(AsFd::as_fd)) {
            Err(_) if self.group.is_some() => {
                *self = Self::default();
                syscall::clone(flags, None)
            }
            result => result,
        }
    }

    /// The child: moves itself into the version 1 groups. Gives whether it is in all of them; `None`: there are none, and the parent
    /// knows as much.
    pub(crate) fn enter(self) -> Option<bool> {
        (!self.tasks.is_empty()).then(|| self.tasks.iter().all(|group| rustix::io::write(group, b"0").is_ok()))
    }

    /// The parent: whether the child is in all the groups. `None`: only the child can say.
    pub(crate) fn entered(self) -> Option<bool> {
        self.tasks.is_empty().then_some(self.group.is_some())
    }
}
