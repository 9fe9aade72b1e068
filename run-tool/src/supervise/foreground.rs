//! A container in the foreground: signals and the standard streams are forwarded to it, and its exit status is returned to the caller.
//!
//! Signals are blocked before the container's process exists and read from a descriptor, so none is missed. One loop waits for
//! signals and for all directions of the terminal or of the pipes, so that none of them can hold up another.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};

use super::signals::{reap, signals_in};
use crate::create::Ends;
use crate::create::notify::{self, Notify};
use crate::kernel::error::{self, Fails};
use crate::kernel::procfs::proc_path;
use crate::kernel::syscall::{self, Pid, SignalMask};
use crate::kernel::terminal::Host;
use crate::kernel::{log, signal};

const BUFFER: usize = 64 * 1024;

/// The caller's side of a foreground container. It exists from before the container's process is cloned until that ends.
#[derive(Debug)]
pub(crate) struct Foreground {
    signals: OwnedFd,
    mask: SignalMask,
    host: Option<Host>,
    notify: Option<Notify>,
}

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SignalMask")
    }
}

/// One direction between the caller's streams and the container's: from a descriptor to another one.
struct Pump {
    from: OwnedFd,
    to: OwnedFd,
    /// Whether it carries what the container writes.
    output: bool,
    /// The most that a write takes without blocking once poll has reported room.
    room: usize,
    waiting: VecDeque<u8>,
    ended: bool,
}

impl Pump {
    fn new(from: OwnedFd, to: OwnedFd, output: bool) -> Self {
        let (to, room) = roomy(to);
        Self { from, to, output, room, waiting: VecDeque::new(), ended: false }
    }

    /// The pumps for a process's streams: two for a terminal, or one for each pipe.
    fn all(ends: &mut Ends) -> Result<Vec<Self>> {
        let own = |number: i32| -> Result<OwnedFd> {
            let stream = match number {
                0 => rustix::stdio::stdin(),
                1 => rustix::stdio::stdout(),
                _ => rustix::stdio::stderr(),
            };
            stream.try_clone_to_owned().fails(|| "dup of a standard stream").map_err(Into::into)
        };
        if let Some(master) = &ends.terminal {
            let copy = || master.try_clone().fails(|| "dup of the terminal");
            return Ok(vec![Self::new(own(0)?, copy()?, false), Self::new(copy()?, own(1)?, true)]);
        }
        let pump = |(number, pipe)| match number {
            0 => Ok(Self::new(own(0)?, pipe, false)),
            _ => Ok(Self::new(pipe, own(number)?, true)),
        };
        std::mem::take(&mut ends.pipes).into_iter().map(pump).collect()
    }

    fn wants_more(&self) -> bool {
        !self.ended && self.waiting.len() < BUFFER
    }

    /// Whether nothing is left to carry.
    fn is_done(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    /// Reads what is available. An error counts as the end: a terminal that has hung up returns EIO.
    fn fill(&mut self) {
        let mut bytes = [0; 16 * 1024];
        match rustix::io::read(&self.from, &mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.waiting.extend(&bytes[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Writes a piece. It does not block, because poll has reported room.
    fn drain(&mut self) {
        let (first, _) = self.waiting.as_slices();
        let piece = &first[..first.len().min(self.room)];
        match rustix::io::write(&self.to, piece) {
            Ok(count) => drop(self.waiting.drain(..count)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => {
                // The reader is gone. Once this pump is dropped, the writer learns it too.
                self.waiting.clear();
                self.ended = true;
            }
        }
    }
}

/// The descriptor to write to, and the most that a write takes without blocking. A file never blocks for long. A pipe is opened once
/// more without blocking, since that is a property of what the caller shares with others. For all else it is a page.
fn roomy(to: OwnedFd) -> (OwnedFd, usize) {
    const PAGE: usize = 4096;
    let kind = rustix::fs::fstat(&to).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile) => (to, BUFFER),
        Ok(FileType::Fifo) => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match rustix::fs::open(proc_path(to.as_fd()), flags, Mode::empty()) {
                Ok(own) => (own, BUFFER),
                Err(_) => (to, PAGE),
            }
        }
        _ => (to, PAGE),
    }
}

impl Foreground {
    /// Blocks signals, to read them from a descriptor, and finds the caller's terminal if the container has one.
    pub(crate) fn begin(terminal: bool) -> Result<Self> {
        Self::begin_with(if terminal { Some(Host::find()?) } else { None })
    }

    /// As `begin`, but the caller needs no terminal. One that reads nothing from it keeps its settings.
    pub(crate) fn begin_if_there_is_a_terminal(terminal: bool) -> Result<Self> {
        let reads = terminal && rustix::termios::isatty(rustix::stdio::stdin());
        Self::begin_with(if reads { Host::find().ok() } else { None })
    }

    fn begin_with(host: Option<Host>) -> Result<Self> {
        let mask = syscall::block_signals().fails(|| "sigprocmask")?;
        let signals = syscall::signalfd().fails(|| "signalfd")?;
        Ok(Self { signals, mask, host, notify: None })
    }

    /// The signal mask from before, for the container's program.
    pub(crate) fn mask(&self) -> SignalMask {
        self.mask
    }

    /// Serves the container until its init process ends and its output has been passed on. Returns the exit status.
    pub(crate) fn serve(mut self, pid: Pid, mut ends: Ends, notify: Option<Notify>) -> Result<i32> {
        self.notify = notify;
        if let (Some(_), Some(host)) = (&ends.terminal, &mut self.host) {
            host.set_raw(true)?;
        }
        let mut pumps = Pump::all(&mut ends)?;
        let master = ends.terminal;
        let mut status = None;
        while status.is_none() {
            self.wait(&mut pumps, None)?;
            status = self.handle_signals(pid, master.as_ref())?;
            self.pass_on_notify();
        }
        // The container has ended, so no readiness will come, and nobody reads its input.
        self.notify = None;
        pumps.retain(|pump| pump.output);
        let finished = if master.is_some() { self.finish_terminal(&mut pumps) } else { self.finish_pipes(&mut pumps) };
        finished?;
        Ok(status.unwrap_or(255))
    }

    /// Passes on what is still in the terminal. The hang-up comes after it, unless a process that was left behind holds the terminal.
    fn finish_terminal(&self, pumps: &mut Vec<Pump>) -> Result<()> {
        let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        for _ in 0..100 {
            if pumps.is_empty() || (!self.wait(pumps, Some(&tick))? && pumps.iter().all(|pump| pump.waiting.is_empty()))
            {
                break;
            }
        }
        Ok(())
    }

    /// Passes on what is still in the pipes. As with runc they end when all processes that hold them have ended, also those that the
    /// program has left behind. A signal that asks run-tool to end is obeyed now, as there is no program to forward it to.
    fn finish_pipes(&self, pumps: &mut Vec<Pump>) -> Result<()> {
        while !pumps.is_empty() {
            self.wait(pumps, None)?;
            let ends = |number: &i32| matches!(*number, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM);
            if signals_in(&self.signals)?.iter().any(ends) {
                break;
            }
        }
        Ok(())
    }

    /// Passes readiness on, with this process as the main one. It does not wait until the host has read it.
    fn pass_on_notify(&mut self) {
        if let Some(notify) = &mut self.notify {
            let served = notify.serve(std::process::id() as Pid);
            if served.is_err() {
                self.notify = None;
            }
            notify::report(served);
        }
    }

    /// Waits for something to happen, and moves bytes. Pumps that have nothing left to carry are removed. Returns whether anything
    /// happened before the timeout.
    fn wait(&self, pumps: &mut Vec<Pump>, timeout: Option<&Timespec>) -> Result<bool> {
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        polled.extend(self.notify.iter().map(|notify| PollFd::new(notify, PollFlags::IN)));
        let mut sides = Vec::new();
        for (index, pump) in pumps.iter().enumerate() {
            if pump.wants_more() {
                sides.push((polled.len(), index, false));
                polled.push(PollFd::new(&pump.from, PollFlags::IN));
            }
            if !pump.waiting.is_empty() {
                sides.push((polled.len(), index, true));
                polled.push(PollFd::new(&pump.to, PollFlags::OUT));
            }
        }
        let ready = loop {
            match rustix::event::poll(&mut polled, timeout) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result.fails(|| "poll")?,
            }
        };
        // A hang-up or an error is for the read or the write to find out.
        sides.retain(|(place, ..)| !polled[*place].revents().is_empty());
        drop(polled);
        for (_, index, writable) in sides {
            if writable { pumps[index].drain() } else { pumps[index].fill() }
        }
        pumps.retain(|pump| !pump.is_done());
        Ok(ready > 0)
    }

    /// Handles the signals that have come. Returns the exit status once the container's process has ended.
    fn handle_signals(&self, pid: Pid, master: Option<&OwnedFd>) -> Result<Option<i32>> {
        let mut status = None;
        for number in signals_in(&self.signals)? {
            match number {
                libc::SIGCHLD => status = status.or(reap(pid)?),
                libc::SIGWINCH => {
                    if let (Some(host), Some(master)) = (&self.host, master) {
                        // Fails if a terminal has hung up.
                        let _ = host.copy_size(master.as_fd());
                    }
                }
                // SIGPIPE concerns run-tool's own writes. SIGURG is Go's own signal, which runc does not forward either.
                libc::SIGPIPE | libc::SIGURG => {}
                number if status.is_none() => {
                    log::debug(|| format!("forwarding signal {number} ({}) to {pid}", signal::name(number)));
                    // The child has not been reaped, so its id is not reused yet.
                    if let Err(error) = syscall::kill(pid, number) {
                        log::debug(|| error::reason(&error));
                    }
                }
                _ => {}
            }
        }
        Ok(status)
    }
}
