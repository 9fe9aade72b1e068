//! The supervisor of a detached container: a process of run-tool that stays behind with `--log-driver`.
//!
//! As the parent of the container's init process it stores the output and the exit status, and restarts the container according to
//! its restart policy (the annotation `org.oci-tools.restart`). As in runc, `--detach` alone leaves no process behind.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::container::Container;
use crate::container::output::Settings;
use crate::container::{event, exit, health, state};
use crate::create;
use crate::create::notify::{self, Notify};
use crate::create::plan::Options;
use crate::create::talk::{Channel, Message};
use crate::kernel::error::Fails;
use crate::kernel::process::Process;
use crate::kernel::syscall::{self, Pid, SignalMask};
use crate::spec::{self, annotation};
use crate::supervise::attach::{Server, Witnesses};
use crate::supervise::logs::Writer;
use crate::supervise::record::Stream;
use crate::supervise::signals::{reap, signals_in};

/// docker's restart policies.
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
            Some(("on-failure", count)) => Self::OnFailure(Some(
                count.parse().with_context(|| format!("restart policy {text:?}: the count is not a valid number"))?,
            )),
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

/// Everything needed to start the container, the first time and after each end.
pub(crate) struct Job<'a> {
    /// The container's configuration.
    pub(crate) spec: &'a Spec,
    /// Where its output is kept.
    pub(crate) log: Settings,
    /// The file for the id of its init process (`--pid-file`).
    pub(crate) pid_file: Option<PathBuf>,
    /// Makes the options for a start. Each start consumes its own.
    pub(crate) options: &'a dyn Fn() -> Result<Options>,
    /// Its health check, if it has one.
    pub(crate) health: Option<Health<'a>>,
    /// When it ended the last time, if it has run before (RFC 3339).
    pub(crate) earlier: Option<String>,
}

/// A health check.
pub(crate) struct Health<'a> {
    /// The time from the start to the first check, and between two checks.
    pub(crate) interval: Duration,
    /// Runs the check once and records its result.
    pub(crate) check: &'a dyn Fn(),
}

impl Job<'_> {
    fn annotation(&self, name: &str) -> Option<&str> {
        annotation::of(self.spec, name)
    }

    /// What follows the container's last end: it is deleted if the annotation `org.oci-tools.rm` is set; else only what it held is
    /// released, such as its network, and its status and log stay.
    fn end(&self, container: &mut Container) -> Result<()> {
        if self.annotation("org.oci-tools.rm") == Some("true") {
            if !exit::is_kept(&container.folder) {
                exit::let_read(&container.folder);
                return container.kill_and_destroy();
            }
            container.keep_bundle();
        }
        container.recycle()
    }
}

/// What is known of a container that a supervisor has started.
pub(crate) struct Left {
    /// Its init process.
    pub(crate) process: Option<Process>,
    /// The caller's end of the socket to the supervisor, if the caller was to be attached.
    pub(crate) socket: Option<OwnedFd>,
}

/// Leaves a supervisor behind. Returns once the container is running, or fails with the supervisor's error. With `attached` the
/// caller is the container's first client, and misses none of its output; `mask` is then the signal mask from before it blocked signals.
pub(crate) fn leave_behind(job: &Job<'_>, attached: Option<SignalMask>) -> Result<Left> {
    let policy = Policy::parse(job.annotation("org.oci-tools.restart").unwrap_or_default())?;
    let (ours, theirs) = Channel::pair()?;
    let (socket, first) = match attached {
        Some(_) => {
            let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
            let (ours, theirs) = pair.fails(|| "socketpair")?;
            (Some(ours), Some(theirs))
        }
        None => (None, None),
    };
    let caller = rustix::process::getpid();
    let Some(child) = syscall::clone(0, None).fails(|| "clone")? else {
        drop((ours, socket));
        supervise(job, policy, theirs, Caller { pid: caller, first, mask: attached })
    };
    drop((theirs, first));
    match ours.receive()? {
        Some((Message::Pid(pid), ready)) => {
            let process = Process::open(pid).ok();
            // The caller waits for readiness, so that the supervisor can serve the container meanwhile.
            if let (Some(ready), Some(host)) = (ready, notify::host()) {
                notify::report(Notify::new(ready, host).and_then(|notify| notify.wait(process.as_ref(), pid)));
            }
            Ok(Left { process, socket })
        }
        Some((Message::Error(text), _)) => {
            syscall::wait(child, true)?;
            bail!(text)
        }
        _ => bail!("the supervisor ended unexpectedly"),
    }
}

/// What the supervisor has of its caller.
struct Caller {
    pid: rustix::process::Pid,
    /// The caller's socket, if it is to be attached.
    first: Option<OwnedFd>,
    /// The signal mask from before the caller blocked signals; `None`: it has not.
    mask: Option<SignalMask>,
}

/// Runs the supervisor. Errors of the first start are reported to the caller. For later ones there is nobody to report to.
fn supervise(job: &Job<'_>, policy: Policy, channel: Channel, caller: Caller) -> ! {
    let begun = Supervisor::begin(job, policy, caller).and_then(|mut supervisor| {
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
        // If the caller is gone there is nobody to tell.
        Err(error) => drop(channel.send(&Message::Error(format!("{error:#}")))),
    }
    syscall::exit(0)
}

/// The supervisor, with what it keeps from one life of the container to the next.
struct Supervisor<'a> {
    job: &'a Job<'a>,
    policy: Policy,
    /// The signal mask from before, for the container's program.
    mask: SignalMask,
    signals: OwnedFd,
    writer: Writer,
    null: OwnedFd,
    /// The socket of the client that the container is first started with.
    first: Option<OwnedFd>,
}

/// One life of the container, from a start to the end of its init process.
struct Life {
    container: Container,
    pid: Pid,
    begun: Instant,
    notify: Option<Notify>,
    sources: Vec<(Stream, OwnedFd)>,
    server: Server,
}

impl<'a> Supervisor<'a> {
    fn begin(job: &'a Job<'a>, policy: Policy, caller: Caller) -> Result<Self> {
        // Until the container is running the supervisor dies with the caller. A container that appeared after its caller was killed
        // would survive a `delete` in between.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
        if rustix::process::getppid() != Some(caller.pid) {
            bail!("the caller is gone");
        }
        rustix::process::setsid().fails(|| "setsid")?;
        let own = rustix::process::Pid::from_raw(1);
        rustix::process::set_child_subreaper(own).fails(|| "prctl(PR_SET_CHILD_SUBREAPER)")?;
        let blocked = syscall::block_signals().fails(|| "sigprocmask")?;
        let mask = caller.mask.unwrap_or(blocked);
        let signals = syscall::signalfd().fails(|| "signalfd")?;
        let writer = Writer::open(job.log.clone())?;
        let null =
            rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).fails(|| "open /dev/null")?;
        Ok(Self { job, policy, mask, signals, writer, null, first: caller.first })
    }

    /// Starts the container. `None`: someone deleted it right away.
    fn start(&mut self, again: bool) -> Result<Option<Life>> {
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).fails(|| "pipe");
        let ((out, out_end), (err, err_end)) = (pipe()?, pipe()?);
        let mut options = (self.job.options)()?;
        // An interactive container waits for input from attached clients. Others read the end of file.
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
        event::record(&started.container.state, "start", &[]);
        let begun = Instant::now();
        let (sources, terminal, input) = match started.ends.terminal {
            Some(master) => {
                let input = master.try_clone()?;
                (vec![(Stream::Out, master)], true, Some(input))
            }
            None => (vec![(Stream::Out, out), (Stream::Err, err)], false, typed),
        };
        let folder = &started.container.folder;
        let server = match Server::listen(folder, terminal, input, self.first.take()) {
            Ok(server) => server.keep_input(self.job.annotation("org.oci-tools.detach") == Some("true")),
            // Someone has deleted the container already.
            Err(_) if !folder.exists() => return Ok(None),
            Err(error) => {
                // Nobody would read its output.
                let _ = syscall::kill(started.pid, libc::SIGKILL);
                return Err(error);
            }
        };
        let (container, pid, notify) = (started.container, started.pid, started.notify);
        Ok(Some(Life { container, pid, begun, notify, sources, server }))
    }

    /// Tells the caller that the container is running, and lets go of the caller's streams.
    fn let_go(&self, channel: &Channel, life: &Life) -> Result<()> {
        rustix::process::set_parent_process_death_signal(None).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
        match &life.notify {
            Some(notify) => channel.send_fd(&Message::Pid(life.pid), notify.as_fd())?,
            None => channel.send(&Message::Pid(life.pid))?,
        }
        // A reader of the caller's output would otherwise wait for the supervisor to close it.
        for number in 0..3 {
            syscall::dup_to(self.null.as_fd(), number).fails(|| "dup")?;
        }
        Ok(())
    }

    /// Checks the container's health at intervals, in a process of its own that ends with the supervisor or by its signal.
    fn check_for_ever(&self) -> ! {
        let ready = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
            && syscall::set_signal_mask(&self.mask).is_ok();
        // It never ends by itself, so that its id stays its own until it is killed.
        loop {
            std::thread::sleep(self.job.health.as_ref().map_or(Duration::MAX, |health| health.interval));
            if let (true, Some(health)) = (ready, &self.job.health) {
                (health.check)();
            }
        }
    }

    /// The restart policy, which may have been changed in the bundle since the container was started.
    fn policy(&self) -> Policy {
        let now = spec::load()
            .ok()
            .and_then(|spec| Policy::parse(annotation::of(&spec, "org.oci-tools.restart").unwrap_or_default()).ok());
        now.unwrap_or(self.policy)
    }

    /// Watches the container through all its lives.
    fn watch(&mut self, mut life: Life) -> Result<()> {
        let mut times = 0;
        let mut pause = Duration::from_millis(100);
        loop {
            // The socket for readiness stays open as long as the container may write to it.
            let Life { mut container, pid, begun, notify: _socket, sources, server } = life;
            let folder = &container.folder;
            if let Some(time) = exit::of(folder).map(|exit| exit.time).or_else(|| self.job.earlier.clone()) {
                // It is only shown.
                let _ = exit::keep(folder, &time);
            }
            health::forget(folder);
            let checker =
                match self.job.health.as_ref().map(|_| syscall::clone(0, None).fails(|| "clone")).transpose()? {
                    Some(None) => {
                        // A client that closes the container's input must be the last to have it.
                        drop((sources, server));
                        self.check_for_ever()
                    }
                    other => other.flatten(),
                };
            // The clients are released last: one that waits for the end of a container may rely on it.
            let (status, _witnesses) = serve(pid, sources, &self.signals, &mut self.writer, server)?;
            if let Some(checker) = checker {
                // The container may be gone, and the next one has a checker of its own.
                let _ = syscall::kill(checker, libc::SIGKILL);
            }
            let is_starved = container.cgroup().oom_kills() > 0;
            if is_starved {
                event::record(&container.state, "oom", &[]);
            }
            event::record(&container.state, "die", &[("exitCode", status.to_string())]);
            if !folder.exists() {
                return Ok(());
            }
            exit::record(folder, status, is_starved)?;
            if folder.join(exit::STOPPED).exists() || !self.policy().restarts(status, times) {
                return self.job.end(&mut container);
            }
            times += 1;
            exit::record_restarts(folder, exit::Restarts { count: times, pending: true })?;
            // As in docker: after a run of ten seconds the pause starts at its minimum again.
            pause = if begun.elapsed() > Duration::from_secs(10) { Duration::from_millis(100) } else { pause };
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(60));
            // Meanwhile someone may have deleted the container, stopped it, or created another with its id.
            match state::State::load(folder)? {
                Some(state) if state.init_process_pid == pid => {}
                _ => return Ok(()),
            }
            if folder.join(exit::STOPPED).exists() {
                return self.job.end(&mut container);
            }
            container.recycle()?;
            let Some(next) = self.start(true)? else { return Ok(()) };
            exit::record_restarts(&next.container.folder, exit::Restarts { count: times, pending: false })?;
            life = next;
        }
    }
}

/// Stores output and sends it to attached clients until the container's init process has ended and all output is stored. Returns the
/// exit status.
pub(super) fn serve(
    pid: Pid,
    mut sources: Vec<(Stream, OwnedFd)>,
    signals: &OwnedFd,
    writer: &mut Writer,
    mut server: Server,
) -> Result<(i32, Witnesses)> {
    let mut status = None;
    let mut deadline = None;
    loop {
        // What a client has not taken yet is not lost, however long it takes.
        let late = deadline.is_some_and(|deadline| Instant::now() > deadline);
        if status.is_some() && !server.is_behind() && (sources.is_empty() || late) {
            break;
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut polled = vec![PollFd::new(signals, PollFlags::IN)];
        let wanted = if server.is_behind() { PollFlags::empty() } else { PollFlags::IN };
        polled.extend(sources.iter().map(|(_, source)| PollFd::new(source, wanted)));
        polled.extend(server.watched().into_iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        match rustix::event::poll(&mut polled, status.map(|_| &tick)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.fails(|| "poll")?,
        };
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<bool>>().into_iter();
        drop(polled);
        let signalled = ready.next() == Some(true);
        // `ready` has the order of `polled`: signals, sources, then the server's descriptors.
        sources.retain(|(stream, source)| ready.next() != Some(true) || pass_on(*stream, source, writer, &mut server));
        if ready.any(|ready| ready) {
            server.serve();
        }
        if signalled {
            forward(signals, pid, status.is_some())?;
            if status.is_none() {
                status = reap(pid)?;
                // Processes that the container left behind may keep the streams open for ever.
                deadline = status.map(|_| Instant::now() + Duration::from_secs(2));
            }
        }
    }
    for stream in [Stream::Out, Stream::Err] {
        // A full disk must not stop the container; the output is then lost.
        let _ = writer.flush(stream);
    }
    let status = status.unwrap_or(255);
    Ok((status, server.end(status)))
}

/// Stores what a stream has, and sends it to attached clients. Returns false at the end of the stream.
fn pass_on(stream: Stream, source: &OwnedFd, writer: &mut Writer, server: &mut Server) -> bool {
    let mut buffer = [0; 16 * 1024];
    match rustix::io::read(source, &mut buffer) {
        Ok(count) if count > 0 => {
            // A full disk must not stop the container; the output is then lost.
            let _ = writer.write(stream, &buffer[..count]);
            server.show(stream, &buffer[..count]);
            true
        }
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
        _ => false,
    }
}

/// Forwards the supervisor's signals to the container: whoever terminates the supervisor means the container.
fn forward(signals: &OwnedFd, pid: Pid, ended: bool) -> Result<()> {
    for signal in signals_in(signals)? {
        if !ended && !matches!(signal, libc::SIGCHLD | libc::SIGPIPE | libc::SIGHUP) {
            // The child has not been reaped, so its id is not reused yet.
            let _ = syscall::kill(pid, signal);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_dockers() {
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
