//! A process that is certainly the one that was meant, even when its id is used again.
//!
//! A pidfd stands for it. Linux before 5.3 has none, and some seccomp profiles forbid them: then the id counts together with the
//! start time, and the process is looked at again and again until it has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;

use super::error::lacks;
use super::procfs::process_stat;
use super::syscall::{self, Pid};

/// The time between two looks at a process that has no pidfd.
const TICK: Duration = Duration::from_millis(10);

/// A process, running or ended.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    start: u64,
    pidfd: Option<OwnedFd>,
}

/// What a wait has ended with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The process has ended.
    pub(crate) ended: bool,
    /// The other descriptor can be read.
    pub(crate) readable: bool,
}

impl Process {
    /// Opens the process that has the id now. Fails with ESRCH if there is none.
    pub(crate) fn open(pid: Pid) -> io::Result<Self> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let id = rustix::process::Pid::from_raw(pid).ok_or_else(gone)?;
        let pidfd = match rustix::process::pidfd_open(id, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            Err(error) if lacks(error) => None,
            Err(error) => return Err(error.into()),
        };
        let (start, _) = process_stat(pid).ok_or_else(gone)?;
        Ok(Self { pid, start, pidfd })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd, where the kernel gives one.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has ended. A zombie has.
    pub(crate) fn has_ended(&self) -> bool {
        process_stat(self.pid).is_none_or(|(start, state)| start != self.start || matches!(state, 'Z' | 'X'))
    }

    /// Sends it a signal. Fails with ESRCH if it has ended.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        if let Some(pidfd) = &self.pidfd {
            match syscall::pidfd_send_signal(pidfd.as_fd(), signal) {
                Err(error) if rustix::io::Errno::from_io_error(&error).is_some_and(lacks) => {}
                result => return result,
            }
        }
        if self.has_ended() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        syscall::kill(self.pid, signal)
    }

    /// Waits until it has ended, until `other` can be read, or until the timeout.
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> io::Result<Event> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let mut polled = Vec::with_capacity(2);
            polled.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
            polled.extend(self.pidfd().map(|pidfd| PollFd::from_borrowed_fd(pidfd, PollFlags::IN)));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let step = if self.pidfd.is_some() { left } else { Some(left.map_or(TICK, |left| left.min(TICK))) };
            let step =
                step.map(|step| Timespec { tv_sec: step.as_secs() as i64, tv_nsec: i64::from(step.subsec_nanos()) });
            match rustix::event::poll(&mut polled, step.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let happened = |index: usize| polled.get(index).is_some_and(|fd| !fd.revents().is_empty());
            let readable = other.is_some() && happened(0);
            let ended = if self.pidfd.is_some() { happened(usize::from(other.is_some())) } else { self.has_ended() };
            if ended || readable || left.is_some_and(|left| left.is_zero()) {
                return Ok(Event { ended, readable });
            }
        }
    }
}

/// Starts a program.
///
/// The C library starts it with clone3, and does without only where the kernel lacks that. Where a seccomp profile forbids it, the
/// standard library's other way is taken, which forks. A group id, here the one that this process has anyway, brings it about.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            command.gid(rustix::process::getegid().as_raw()).spawn()
        }
        result => result,
    }
}

/// Starts a program without input, and waits for its output and its end.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways(test: impl Fn(Process, &mut Child)) {
        for with_pidfd in [true, false] {
            let mut child = spawn(Command::new("sleep").arg("100")).unwrap();
            let mut process = Process::open(child.id().cast_signed()).unwrap();
            if !with_pidfd {
                process.pidfd = None;
            }
            test(process, &mut child);
            // Ended already in most tests.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    #[test]
    fn an_end_is_noticed_with_and_without_a_pidfd() {
        both_ways(|process, _| {
            assert_eq!(process.wait(None, Some(Duration::from_millis(1))).unwrap(), Event::default());
            assert!(!process.has_ended());
            process.signal(libc::SIGTERM).unwrap();
            assert!(process.wait(None, None).unwrap().ended);
            assert!(process.has_ended());
        });
    }

    #[test]
    fn a_descriptor_that_becomes_readable_ends_the_wait() {
        both_ways(|process, _| {
            let (read, write) = rustix::pipe::pipe().unwrap();
            rustix::io::write(&write, b"x").unwrap();
            let event = process.wait(Some(read.as_fd()), None).unwrap();
            assert_eq!(event, Event { ended: false, readable: true });
        });
    }

    #[test]
    fn a_process_that_is_gone_is_not_signalled() {
        both_ways(|process, child| {
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(process.signal(0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        });
        assert!(Process::open(0).is_err());
    }
}
