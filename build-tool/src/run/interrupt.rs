//! Interrupts: SIGINT, SIGTERM and SIGHUP kill the running containers and end what is being fetched; then the build ends like any
//! other that failed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::source::transfer::Transfers;

/// Whether the build is to end, and the containers to kill then.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    set: AtomicBool,
    signal: AtomicI32,
    running: Mutex<Vec<Container>>,
    transfers: Transfers,
}

/// How long a build may take to end after a signal. What waits for someone else, such as standard input, cannot be ended.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq)]
struct Container {
    runtime: PathBuf,
    state: PathBuf,
    name: String,
}

impl Interrupt {
    /// Handles the signals from now on.
    pub fn listen() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let interrupt = Self::default();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let listener = interrupt.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if listener.shared.signal.swap(signal, Ordering::SeqCst) != 0 {
                    // A second signal ends the program at once; the next build removes what is left.
                    std::process::exit(128 + signal);
                }
                // Killing takes a while, and a second signal must be noticed meanwhile.
                let listener = listener.clone();
                std::thread::spawn(move || {
                    listener.set();
                    std::thread::sleep(PATIENCE);
                    std::process::exit(128 + signal);
                });
            }
        })?;
        Ok(interrupt)
    }

    /// What is being fetched, and ended with the containers.
    pub fn transfers(&self) -> Transfers {
        self.shared.transfers.clone()
    }

    /// Kills the running containers and ends what is being fetched, and lets nothing more start.
    pub fn set(&self) {
        self.shared.set.store(true, Ordering::SeqCst);
        self.shared.transfers.end();
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for container in &running {
            self.end(container);
        }
    }

    /// Whether the build is to end.
    pub fn is_set(&self) -> bool {
        self.shared.set.load(Ordering::SeqCst)
    }

    /// The signal that was received, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.shared.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Kills a container. Its runtime may only just have been started, so this is tried for two seconds.
    fn end(&self, container: &Container) {
        let running = || self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).contains(container);
        for _ in 0..40 {
            let mut command = Command::new(&container.runtime);
            command.arg("--root").arg(&container.state).arg("kill").arg(&container.name).arg("KILL");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if !running() || command.status().is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Notes that a container runs, for as long as the value lives.
    pub fn running(&self, runtime: &Path, state: &Path, name: &str) -> Running<'_> {
        let container = Container { runtime: runtime.into(), state: state.into(), name: name.into() };
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).push(container.clone());
        if self.is_set() {
            self.end(&container);
        }
        Running { interrupt: self, container }
    }
}

/// A running container.
#[derive(Debug)]
pub struct Running<'a> {
    interrupt: &'a Interrupt,
    container: Container,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.interrupt.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|container| *container != self.container);
    }
}
