//! `events`: resource usage of a container at intervals, and its out-of-memory events.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use rustix::fs::inotify;
use serde_json::{Value, json};

use super::global::Global;
use super::stdout::print_json;
use crate::cgroup;
use crate::container::{Container, Status};
use crate::kernel::error::Fails;
use crate::kernel::{log, syscall};

/// Display container events such as OOM notifications and resource usage statistics.
///
/// Each event is a line of JSON.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Set the stats collection interval, such as 500ms, 5s or 1m.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, allow_hyphen_values = true)]
    interval: Interval,
    /// Display the container's stats, then exit.
    #[arg(long)]
    stats: bool,
    /// ID of the container.
    id: String,
}

/// The time between two events. `None` stands for zero or less, which `run` refuses.
pub(super) type Interval = Option<Duration>;

/// Parses a duration in Go's notation (`1m30s`).
pub(super) fn duration(text: &str) -> Result<Interval, String> {
    let fail = || format!("invalid duration {text:?}");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.is_empty() {
        return Err(fail());
    }
    if unsigned == "0" || text.starts_with('-') {
        return if text.starts_with('-') { duration(unsigned).map(|_| None) } else { Ok(None) };
    }
    let mut rest = unsigned;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(fail)?;
        let number: f64 = rest[..end].parse().map_err(|_| fail())?;
        rest = &rest[end..];
        let end = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(fail()),
            };
        rest = &rest[end..];
    }
    let duration = Duration::try_from_secs_f64(total).map_err(|_| fail())?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

impl Events {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        let Some(interval) = self.interval else { bail!("duration interval must be greater than 0") };
        if container.status() == Status::Stopped {
            bail!("container with id {} is not running", self.id);
        }
        let emit = |kind: &str, data: Option<Value>| {
            // The keys are in runc's order, because scripts match the text.
            let id = json!(self.id);
            match data {
                Some(data) => print_json(&format!("{{\"type\":\"{kind}\",\"id\":{id},\"data\":{data}}}\n")),
                None => print_json(&format!("{{\"type\":\"{kind}\",\"id\":{id}}}\n")),
            }
        };
        if self.stats {
            return emit("stats", Some(container.stats()?));
        }
        let process = container.process()?;
        let mut watch = Watch::new(&container)?;
        let mut next = Instant::now() + interval;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            let event = process.wait(watch.as_ref().map(Watch::fd), Some(left)).fails(|| "poll")?;
            if event.readable
                && let Some(watch) = &mut watch
            {
                for _ in 0..watch.count() {
                    emit("oom", None)?;
                }
            }
            if event.ended {
                return Ok(());
            }
            if Instant::now() >= next {
                match container.stats() {
                    Ok(stats) => emit("stats", Some(stats))?,
                    Err(error) => crate::kernel::log::record(crate::kernel::log::Level::Error, &format!("{error:#}")),
                }
                next += interval;
            }
        }
    }
}

/// The kernel's notification of out-of-memory events: an eventfd with cgroup v1, a change of `memory.events` with v2.
enum Watch {
    V1(std::os::fd::OwnedFd),
    V2 { notify: std::os::fd::OwnedFd, folder: std::path::PathBuf, seen: u64 },
}

impl Watch {
    /// Starts to watch. `None`: the container has no memory cgroup.
    fn new(container: &Container) -> Result<Option<Self>> {
        let groups = container.cgroup();
        if groups.unified() {
            let folder = groups.paths[""].clone();
            let notify = inotify::init(inotify::CreateFlags::CLOEXEC).fails(|| "inotify_init")?;
            let file = folder.join("memory.events");
            inotify::add_watch(&notify, &file, inotify::WatchFlags::MODIFY)
                .fails(|| format!("watch {}", file.display()))?;
            let seen = kills(&folder);
            return Ok(Some(Self::V2 { notify, folder, seen }));
        }
        let Some(folder) = groups.paths.get("memory") else {
            log::warn("getting OOM notifications needs the memory cgroup");
            return Ok(None);
        };
        let event = syscall::eventfd().fails(|| "eventfd")?;
        let path = folder.join("memory.oom_control");
        let control = fs::File::open(&path).fails(|| format!("open {}", path.display()))?;
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        cgroup::file::write(&folder.join("cgroup.event_control"), &line)?;
        Ok(Some(Self::V1(event)))
    }

    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::V1(fd) | Self::V2 { notify: fd, .. } => fd.as_fd(),
        }
    }

    /// The number of out-of-memory events since the last call.
    fn count(&mut self) -> u64 {
        let mut buffer = [0; 4096];
        match self {
            Self::V1(event) => {
                let read = rustix::io::read(&*event, &mut buffer[..8]);
                if read == Ok(8) { u64::from_ne_bytes(buffer[..8].try_into().expect("eight bytes")) } else { 0 }
            }
            Self::V2 { notify, folder, seen } => {
                // The notification only says that the file changed; the count is in the file.
                let _ = rustix::io::read(&*notify, &mut buffer);
                let now = kills(folder);
                let new = now.saturating_sub(*seen);
                *seen = now;
                new
            }
        }
    }
}

fn kills(folder: &std::path::Path) -> u64 {
    let text = fs::read_to_string(folder.join("memory.events")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_as_in_go() {
        assert_eq!(duration("500ms"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(duration("1m30s"), Ok(Some(Duration::from_secs(90))));
        for none in ["0", "0s", "-1s"] {
            assert_eq!(duration(none), Ok(None), "{none}");
        }
        for wrong in ["", "5", "x", "-", "-x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
