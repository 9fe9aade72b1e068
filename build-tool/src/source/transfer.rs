//! What is being fetched: an interrupt ends it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// The transfers of a build.
#[derive(Debug, Clone, Default)]
pub struct Transfers {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    /// The processes that fetch something, each the head of a group.
    running: Vec<Pid>,
}

/// A process that fetches something, for as long as it is to be ended with the build.
#[derive(Debug)]
pub(super) struct Running<'a> {
    transfers: &'a Transfers,
    process: Option<Pid>,
}

impl Transfers {
    /// Ends what is being fetched, and lets nothing more begin.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        for process in &state.running {
            // It may have ended by itself.
            let _ = kill_process_group(*process, Signal::KILL);
        }
    }

    /// Whether the build is to end.
    pub fn is_ended(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Starts a process with all that it starts in a group of its own; `None` if the build is to end.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Option<(Child, Running<'_>)>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Ok(None);
        }
        let child = command.process_group(0).spawn()?;
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        state.running.extend(process);
        drop(state);
        Ok(Some((child, Running { transfers: self, process })))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.transfers.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running.retain(|process| Some(*process) != self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_ended_and_nothing_more_begins() {
        let transfers = Transfers::default();
        let (mut child, running) =
            transfers.start(Command::new("sh").args(["-c", "sleep 60 & wait"])).unwrap().unwrap();
        transfers.end();
        assert!(!child.wait().unwrap().success());
        drop(running);
        assert!(transfers.start(&mut Command::new("true")).unwrap().is_none());
    }
}
