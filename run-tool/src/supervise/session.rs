//! A program of `exec` that outlives its caller: a process of run-tool stays behind with it, as a supervisor does with a container, and
//! the caller is its client or leaves it at once.
//!
//! The container's own processes do not reap the program, and as long as nobody does, the container cannot end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::attach::{Server, Witnesses};
use super::client::{Client, End, Streams};
use super::keys::Keys;
use super::logs::Writer;
use super::monitor;
use super::record::Stream;
use crate::container::Container;
use crate::container::event::Call;
use crate::container::output::Settings;
use crate::create::exec::{self, Options};
use crate::create::talk::{Channel, Message};
use crate::kernel::error::Fails;
use crate::kernel::file;
use crate::kernel::process::Process;
use crate::kernel::syscall::{self, Pid};
use crate::program::Program;

/// A program to be started in a container.
pub(crate) struct Session<'a> {
    /// The container.
    pub(crate) container: &'a Container,
    /// What the journal says of it.
    pub(crate) call: &'a Call<'a>,
    /// The program.
    pub(crate) program: Program,
    /// How it is started.
    pub(crate) options: Options,
    /// The file for its process id.
    pub(crate) pid_file: Option<&'a Path>,
}

impl Session<'_> {
    /// Starts the program and leaves it. None of the caller's streams stay with it.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.options.streams = Some(nothing()?);
        self.begin(None).map(drop)
    }

    /// Starts the program on a terminal, and serves the caller as its client until it ends or the caller presses `keys`.
    pub(crate) fn attend(mut self, keys: Keys) -> Result<End> {
        self.options.newlines = true;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.fails(|| "socketpair")?;
        let (pid, socket) = self.begin(Some((ours, theirs)))?;
        let socket = socket.context("no socket to the program")?;
        let streams = Streams { input: true, output: true, error: true };
        let client = Client { streams, keys, sig_proxy: true, to_the_end: true };
        client.serve(&socket, Process::open(pid).ok().as_ref())
    }

    /// Leaves the process behind that starts the program. Returns once that runs, with the caller's end of the sockets. Signals are blocked
    /// from then on.
    fn begin(mut self, sockets: Option<(OwnedFd, OwnedFd)>) -> Result<(Pid, Option<OwnedFd>)> {
        self.program.mask = Some(syscall::block_signals().fails(|| "sigprocmask")?);
        let (socket, first) = sockets.unzip();
        let (ours, theirs) = Channel::pair()?;
        let Some(child) = syscall::clone(0, None).fails(|| "clone")? else {
            // It would not see the caller's end if it had this one too.
            drop((ours, socket));
            self.stay(first, &theirs)
        };
        drop((theirs, first));
        match ours.receive()? {
            Some((Message::Pid(pid), _)) => Ok((pid, socket)),
            Some((Message::Error(text), _)) => {
                syscall::wait(child, true)?;
                bail!(text)
            }
            _ => bail!("the process that starts the program ended unexpectedly"),
        }
    }

    /// The process that stays behind.
    fn stay(self, first: Option<OwnedFd>, channel: &Channel) -> ! {
        // The keys of the caller's terminal are for the caller.
        let _ = rustix::process::setsid();
        let started = exec::start(self.container, self.program, self.options)
            .context("unable to start container process")
            .and_then(|(pid, ends)| file::write_pid(self.pid_file, pid).map(|()| (pid, ends)));
        let (pid, ends) = match started {
            Ok(started) => started,
            Err(error) => {
                // If the caller is gone there is nobody to tell.
                let _ = channel.send(&Message::Error(format!("{error:#}")));
                syscall::exit(1)
            }
        };
        // Nothing of the caller stays with it.
        if let Ok(null) = nothing() {
            for (number, stream) in null.iter().enumerate() {
                let _ = syscall::dup_to(stream.as_fd(), number as i32);
            }
        }
        self.call.started();
        let _ = channel.send(&Message::Pid(pid));
        if let Ok((status, _witnesses)) = watch(pid, ends.terminal, first) {
            self.call.ended(status);
        }
        syscall::exit(0)
    }
}

/// Passes on what is written to the terminal and typed by the client, until the program ends. Returns its exit status.
fn watch(pid: Pid, terminal: Option<OwnedFd>, first: Option<OwnedFd>) -> Result<(i32, Witnesses)> {
    let signals = syscall::signalfd().fails(|| "signalfd")?;
    let input = terminal.as_ref().map(OwnedFd::try_clone).transpose()?;
    let server = Server::of_one(first, input)?;
    let sources = terminal.into_iter().map(|master| (Stream::Out, master)).collect();
    monitor::serve(pid, sources, &signals, &mut Writer::open(Settings::none())?, server)
}

/// Three streams without content.
fn nothing() -> Result<[OwnedFd; 3]> {
    let null =
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).fails(|| "open /dev/null")?;
    Ok([null.try_clone()?, null.try_clone()?, null])
}
