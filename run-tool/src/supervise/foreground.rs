//! A container in the foreground: signals and the terminal are forwarded to it, and its exit status is returned to the caller.
//!
//! Signals are blocked before the container's process exists and read from a descriptor, so none is missed. One loop waits for
//! signals and for both directions of the terminal, so that none of them can hold up another.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::signals::{reap, signals_in};
use crate::create::notify;
use crate::create::notify::Notify;
use crate::kernel::error::{self, Fails};
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

/// The bytes in one direction of the terminal that have been read but not yet written.
#[derive(Default)]
struct Stream {
    waiting: VecDeque<u8>,
    ended: bool,
}

impl Stream {
    fn wants_more(&self) -> bool {
        !self.ended && self.waiting.len() < BUFFER
    }

    /// Reads what is available. An error counts as the end: a terminal that has hung up returns EIO.
    fn fill(&mut self, from: BorrowedFd<'_>) {
        let mut bytes = [0; 16 * 1024];
        match rustix::io::read(from, &mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.waiting.extend(&bytes[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Writes a small piece. It does not block, because poll has reported room.
    fn drain(&mut self, to: BorrowedFd<'_>) {
        let (first, _) = self.waiting.as_slices();
        let piece = &first[..first.len().min(4096)];
        match rustix::io::write(to, piece) {
            Ok(count) => drop(self.waiting.drain(..count)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => {
                // The reader is gone.
                self.waiting.clear();
                self.ended = true;
            }
        }
    }
}

impl Foreground {
    /// Blocks signals, to read them from a descriptor, and finds the caller's terminal if the container has one.
    pub(crate) fn begin(terminal: bool) -> Result<Self> {
        let host = if terminal { Some(Host::find()?) } else { None };
        let mask = syscall::block_signals().fails(|| "sigprocmask")?;
        let signals = syscall::signalfd().fails(|| "signalfd")?;
        Ok(Self { signals, mask, host, notify: None })
    }

    /// The signal mask from before, for the container's program.
    pub(crate) fn mask(&self) -> SignalMask {
        self.mask
    }

    /// Serves the container until its init process ends. Returns the exit status.
    pub(crate) fn serve(mut self, pid: Pid, master: Option<OwnedFd>, notify: Option<Notify>) -> Result<i32> {
        self.notify = notify;
        if let (Some(_), Some(host)) = (&master, &mut self.host) {
            host.set_raw()?;
        }
        let (mut input, mut output) = (Stream::default(), Stream::default());
        let mut status = None;
        while status.is_none() {
            self.wait(master.as_ref(), &mut input, &mut output, None)?;
            status = self.handle_signals(pid, master.as_ref())?;
            self.pass_on_notify();
        }
        // The container has ended, so no readiness will come.
        self.notify = None;
        if let Some(master) = &master {
            // Output from before the end may still be in the terminal. The hang-up comes after it.
            for _ in 0..100 {
                if output.ended && output.waiting.is_empty() {
                    break;
                }
                input.ended = true;
                let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                if !self.wait(Some(master), &mut input, &mut output, Some(&tick))? && output.waiting.is_empty() {
                    break;
                }
            }
        }
        Ok(status.unwrap_or(255))
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

    /// Waits for something to happen, and moves bytes between the terminals. Returns whether anything happened before the timeout.
    fn wait(
        &self,
        master: Option<&OwnedFd>,
        input: &mut Stream,
        output: &mut Stream,
        timeout: Option<&Timespec>,
    ) -> Result<bool> {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        polled.extend(self.notify.iter().map(|notify| PollFd::new(notify, PollFlags::IN)));
        let mut sides = [None; 3];
        if let Some(master) = master {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, output.wants_more());
            flags.set(PollFlags::OUT, !input.waiting.is_empty());
            if !flags.is_empty() {
                sides[0] = Some(polled.len());
                polled.push(PollFd::new(master, flags));
            }
            if input.wants_more() {
                sides[1] = Some(polled.len());
                polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            if !output.waiting.is_empty() {
                sides[2] = Some(polled.len());
                polled.push(PollFd::from_borrowed_fd(stdout, PollFlags::OUT));
            }
        }
        let ready = loop {
            match rustix::event::poll(&mut polled, timeout) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result.fails(|| "poll")?,
            }
        };
        let got = |side: Option<usize>| side.map_or(PollFlags::empty(), |side| polled[side].revents());
        let (from_master, from_stdin, to_stdout) = (got(sides[0]), got(sides[1]), got(sides[2]));
        if let Some(master) = master {
            if from_master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                output.fill(master.as_fd());
            }
            if from_master.contains(PollFlags::OUT) {
                input.drain(master.as_fd());
            }
            if from_stdin.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                input.fill(stdin);
            }
            if to_stdout.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                output.drain(stdout);
            }
        }
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
