//! The supervisor of a detached container whose output is kept: run-tool itself, staying behind.
//!
//! It is the parent of the container's first process: it stores the output and the status, and starts the container again as
//! its restart policy (the annotation `org.oci-tools.restart`) says. runc's `--detach` alone leaves nobody behind, and so does
//! run-tool's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{PidfdFlags, Signal};

use crate::container::Container;
use crate::container::output::Settings;
use crate::container::{exit, state};
use crate::create;
use crate::create::notify::{self, Notify};
use crate::create::plan::Options;
use crate::create::talk::{Channel, Message};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid, SignalMask};
use crate::supervise::attach::Server;
use crate::supervise::logs::Writer;
use crate::supervise::record::Stream;
use crate::supervise::signals::{reap, signals_in};

/// When a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Never,
    OnFailure(Option<u32>),
    Always,
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text.split_once(':') {
            None if matches!(text, "" | "no") => Self::Never,
            None if text == "on-failure" => Self::OnFailure(None),
            None if matches!(text, "always" | "unless-stopped") => Self::Always,
            Some(("on-failure", count)) => {
                Self::OnFailure(Some(count.parse().with_context(|| format!("restart policy {text:?}: no number"))?))
            }
            _ => bail!("restart policy {text:?}: expected no, on-failure[:N], always or unless-stopped"),
        })
    }

    fn restarts(self, status: i32, times: u32) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure(limit) => status != 0 && limit.is_none_or(|limit| times < limit),
            Self::Always => true,
        }
    }
}

/// Everything it takes to start the container, again and again.
pub(crate) struct Job<'a> {
    /// Its configuration.
    pub(crate) spec: &'a Spec,
    /// Where its output goes.
    pub(crate) log: Settings,
    /// The file for its process id.
    pub(crate) pid_file: Option<PathBuf>,
    /// Makes the options of a start.
    pub(crate) options: &'a dyn Fn() -> Result<Options>,
}

impl Job<'_> {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.spec.annotations().as_ref().and_then(|all| all.get(name)).map(String::as_str)
    }

    /// A container that is to be removed when it ends is.
    fn end(&self, container: &Container) -> Result<()> {
        if self.annotation("org.oci-tools.rm") == Some("true") { container.kill_and_destroy() } else { Ok(()) }
    }
}

/// Leaves a supervisor behind; returns once the container runs, or failed to.
pub(crate) fn leave_behind(job: &Job<'_>) -> Result<()> {
    let policy = Policy::parse(job.annotation("org.oci-tools.restart").unwrap_or_default())?;
    let (ours, theirs) = Channel::pair()?;
    let caller = rustix::process::getpid();
    let Some(child) = syscall::clone(0, None).fails(|| "clone")? else {
        drop(ours);
        supervise(job, policy, theirs, caller)
    };
    drop(theirs);
    match ours.receive()? {
        Some((Message::Pid(pid), socket)) => {
            // The caller waits until the container is ready; the supervisor has other things to do.
            if let (Some(socket), Some(host)) = (socket, notify::host()) {
                let process = rustix::process::Pid::from_raw(pid);
                let pidfd = process.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
                notify::report(Notify::new(socket, host).and_then(|notify| notify.wait(pidfd, pid)));
            }
            Ok(())
        }
        Some((Message::Error(text), _)) => {
            syscall::wait(child, true)?;
            bail!(text)
        }
        _ => bail!("the supervisor ended unexpectedly"),
    }
}

/// The supervisor. Errors before the first start are the caller's; later ones have nobody to go to.
fn supervise(job: &Job<'_>, policy: Policy, channel: Channel, caller: rustix::process::Pid) -> ! {
    let begun = Supervisor::begin(job, policy, caller).and_then(|supervisor| {
        let life = supervisor.start(false)?;
        if let Some(life) = &life {
            supervisor.let_go(&channel, life)?;
        }
        Ok((supervisor, life))
    });
    match begun {
        Ok((mut supervisor, Some(life))) => {
            drop(channel);
            let _ = supervisor.watch(life);
        }
        Ok((_, None)) => {}
        // If the caller is gone nobody wants to know.
        Err(error) => drop(channel.send(&Message::Error(format!("{error:#}")))),
    }
    syscall::exit(0)
}

/// What the supervisor has from one life of the container to the next.
struct Supervisor<'a> {
    job: &'a Job<'a>,
    policy: Policy,
    /// The mask of signals from before, for the container's program.
    mask: SignalMask,
    signals: OwnedFd,
    writer: Writer,
    null: OwnedFd,
}

/// A life of the container: from a start to the end of its first process.
struct Life {
    container: Container,
    pid: Pid,
    begun: Instant,
    notify: Option<Notify>,
    sources: Vec<(Stream, OwnedFd)>,
    server: Server,
}

impl<'a> Supervisor<'a> {
    fn begin(job: &'a Job<'a>, policy: Policy, caller: rustix::process::Pid) -> Result<Self> {
        // Until it runs the container is the caller's affair: one that appeared after its caller was killed would outlive a
        // `delete` that came in between.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
        if rustix::process::getppid() != Some(caller) {
            bail!("the caller is gone");
        }
        rustix::process::setsid().fails(|| "setsid")?;
        let own = rustix::process::Pid::from_raw(1);
        rustix::process::set_child_subreaper(own).fails(|| "prctl(PR_SET_CHILD_SUBREAPER)")?;
        let mask = syscall::block_signals().fails(|| "sigprocmask")?;
        let signals = syscall::signalfd().fails(|| "signalfd")?;
        let writer = Writer::open(job.log.clone())?;
        let null =
            rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).fails(|| "open /dev/null")?;
        Ok(Self { job, policy, mask, signals, writer, null })
    }

    /// Starts the container. `None`: it was deleted at once.
    fn start(&self, again: bool) -> Result<Option<Life>> {
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).fails(|| "pipe");
        let ((out, out_end), (err, err_end)) = (pipe()?, pipe()?);
        let mut options = (self.job.options)()?;
        // An interactive container's input waits for someone to attach; that of others has an end.
        let (input, typed) = if self.job.annotation("org.oci-tools.interactive") == Some("true") {
            let (input, typed) = pipe()?;
            (input, Some(typed))
        } else {
            (self.null.try_clone()?, None)
        };
        options.streams = Some([input, out_end, err_end]);
        options.mask = Some(self.mask);
        options.again = again;
        options.log = Some(self.job.log.clone());
        let started = create::start(self.job.spec, options, self.job.pid_file.as_deref())?;
        let begun = Instant::now();
        let (sources, terminal, input) = match started.master {
            Some(master) => {
                let input = master.try_clone()?;
                (vec![(Stream::Out, master)], true, Some(input))
            }
            None => (vec![(Stream::Out, out), (Stream::Err, err)], false, typed),
        };
        let folder = &started.container.folder;
        let server = match Server::listen(folder, terminal, input) {
            Ok(server) => server,
            // Deleted already.
            Err(_) if !folder.exists() => return Ok(None),
            Err(error) => {
                // Nobody would read what it writes.
                let _ = syscall::kill(started.pid, libc::SIGKILL);
                return Err(error);
            }
        };
        let (container, pid, notify) = (started.container, started.pid, started.notify);
        Ok(Some(Life { container, pid, begun, notify, sources, server }))
    }

    /// Tells the caller that the container runs, and has nothing more of his.
    fn let_go(&self, channel: &Channel, life: &Life) -> Result<()> {
        rustix::process::set_parent_process_death_signal(None).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
        match &life.notify {
            Some(notify) => channel.send_fd(&Message::Pid(life.pid), notify.as_fd())?,
            None => channel.send(&Message::Pid(life.pid))?,
        }
        // Whoever reads the caller's output waits for its end.
        for number in 0..3 {
            syscall::dup_to(self.null.as_fd(), number).fails(|| "dup")?;
        }
        Ok(())
    }

    /// Watches the container through all its lives.
    fn watch(&mut self, mut life: Life) -> Result<()> {
        let mut times = 0;
        let mut pause = Duration::from_millis(100);
        loop {
            // Its socket for readiness stays as long as it may write there.
            let Life { container, pid, begun, notify: _socket, sources, server } = life;
            let folder = &container.folder;
            let status = serve(pid, sources, &self.signals, &mut self.writer, server)?;
            if !folder.exists() {
                return Ok(());
            }
            exit::record(folder, status)?;
            if folder.join(exit::STOPPED).exists() || !self.policy.restarts(status, times) {
                return self.job.end(&container);
            }
            times += 1;
            // docker's: a container that ran for a while starts anew at once.
            pause = if begun.elapsed() > Duration::from_secs(10) { Duration::from_millis(100) } else { pause };
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(60));
            // Deleted, stopped or deleted and made anew while we waited.
            match state::State::load(folder)? {
                Some(state) if state.init_process_pid == pid && !folder.join(exit::STOPPED).exists() => {}
                _ => return Ok(()),
            }
            container.recycle()?;
            let Some(next) = self.start(true)? else { return Ok(()) };
            life = next;
        }
    }
}

/// Stores output until the container's first process has ended and what it wrote is stored, and shows it to those who attach.
fn serve(
    pid: Pid,
    mut sources: Vec<(Stream, OwnedFd)>,
    signals: &OwnedFd,
    writer: &mut Writer,
    mut server: Server,
) -> Result<i32> {
    let mut status = None;
    let mut deadline = None;
    loop {
        if status.is_some() && (sources.is_empty() || deadline.is_some_and(|deadline| Instant::now() > deadline)) {
            break;
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut polled = vec![PollFd::new(signals, PollFlags::IN)];
        polled.extend(sources.iter().map(|(_, source)| PollFd::new(source, PollFlags::IN)));
        for (fd, to_write) in server.watched() {
            let flags = if to_write { PollFlags::OUT } else { PollFlags::IN };
            polled.push(PollFd::from_borrowed_fd(fd, flags));
        }
        match rustix::event::poll(&mut polled, status.map(|_| &tick)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.fails(|| "poll")?,
        };
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<bool>>().into_iter();
        drop(polled);
        let signalled = ready.next() == Some(true);
        // In the order in which they were polled.
        sources.retain(|(stream, source)| ready.next() != Some(true) || pass_on(*stream, source, writer, &mut server));
        if ready.any(|ready| ready) {
            server.serve();
        }
        if signalled {
            forward(signals, pid, status.is_some())?;
            if status.is_none() {
                status = reap(pid)?;
                // Processes that the container left behind may hold the streams open for ever.
                deadline = status.map(|_| Instant::now() + Duration::from_secs(2));
            }
        }
    }
    for stream in [Stream::Out, Stream::Err] {
        // A full disk must not stop the container; what is lost is lost.
        let _ = writer.flush(stream);
    }
    let status = status.unwrap_or(255);
    server.end(status);
    Ok(status)
}

/// Stores and shows what has come from a stream. False: it has ended.
fn pass_on(stream: Stream, source: &OwnedFd, writer: &mut Writer, server: &mut Server) -> bool {
    let mut buffer = [0; 16 * 1024];
    match rustix::io::read(source, &mut buffer) {
        Ok(count) if count > 0 => {
            // A full disk must not stop the container; what is lost is lost.
            let _ = writer.write(stream, &buffer[..count]);
            server.show(stream, &buffer[..count]);
            true
        }
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
        _ => false,
    }
}

/// Sends the container what came for the supervisor: who ends that means the container.
fn forward(signals: &OwnedFd, pid: Pid, ended: bool) -> Result<()> {
    for signal in signals_in(signals)? {
        if !ended && !matches!(signal, libc::SIGCHLD | libc::SIGPIPE | libc::SIGHUP) {
            // It is our child and not yet waited for.
            let _ = syscall::kill(pid, signal);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        for (text, status, times, again) in [
            ("no", 1, 0, false),
            ("", 1, 0, false),
            ("on-failure", 1, 99, true),
            ("on-failure", 0, 0, false),
            ("on-failure:2", 1, 1, true),
            ("on-failure:2", 1, 2, false),
            ("always", 0, 9, true),
            ("unless-stopped", 0, 9, true),
        ] {
            assert_eq!(Policy::parse(text).unwrap().restarts(status, times), again, "{text} {status} {times}");
        }
        assert!(Policy::parse("sometimes").is_err());
        assert!(Policy::parse("on-failure:x").is_err());
    }
}
