//! Interrupts: SIGINT, SIGTERM and SIGHUP end the containers that are running, and then the build like any other failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether the build shall end, and what to end with it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    set: AtomicBool,
    signal: AtomicI32,
    running: Mutex<Vec<Container>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Container {
    runtime: PathBuf,
    state: PathBuf,
    name: String,
}

impl Interrupt {
    /// Listen for the signals from now on.
    pub fn listen() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let interrupt = Self::default();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let listener = interrupt.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if listener.shared.signal.swap(signal, Ordering::SeqCst) != 0 {
                    // Somebody is out of patience; the next build clears away what is left.
                    std::process::exit(128 + signal);
                }
                // Killing takes a while, in which a second signal must be heard.
                let listener = listener.clone();
                std::thread::spawn(move || listener.set());
            }
        })?;
        Ok(interrupt)
    }

    /// End what is running, and let nothing more begin.
    pub fn set(&self) {
        self.shared.set.store(true, Ordering::SeqCst);
        for container in self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            container.kill();
        }
    }

    /// Whether the build shall end.
    pub fn is_set(&self) -> bool {
        self.shared.set.load(Ordering::SeqCst)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.shared.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// A container runs as long as the value lives.
    pub fn running(&self, runtime: &Path, state: &Path, name: &str) -> Running<'_> {
        let container = Container { runtime: runtime.into(), state: state.into(), name: name.into() };
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).push(container.clone());
        if self.is_set() {
            container.kill();
        }
        Running { interrupt: self, container }
    }
}

impl Container {
    fn kill(&self) {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(&self.state).arg("kill").arg(&self.name).arg("KILL");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It may have ended by itself; or not be there yet, a moment after its runtime was started.
        for _ in 0..20 {
            if command.status().is_ok_and(|status| status.success()) || !self.state.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// A container that runs.
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
