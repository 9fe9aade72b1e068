//! Interrupts: a signal that ends the program lets it first remove what it has begun.
//!
//! A program that has said [`listen`] goes on after SIGINT, SIGTERM or SIGHUP until its next [`check`], whose error it treats as
//! any other. [`finish`] then ends it by the signal, as its caller expects. A second signal ends it at once. The room knows no
//! other; those that read much data look at it, whoever started them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// The program is to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Notes the signals from now on instead of dying from them. For a program that calls [`check`] often and [`finish`] at its end.
///
/// # Errors
/// The error of the system call.
pub fn listen() -> io::Result<()> {
    if SIGNAL.get().is_some() {
        return Ok(());
    }
    let signal = Arc::new(AtomicUsize::new(0));
    let second = Arc::new(AtomicBool::new(false));
    for number in [SIGHUP, SIGINT, SIGTERM] {
        // In this order: the first signal sets the condition for the next.
        signal_hook::flag::register_conditional_default(number, Arc::clone(&second))?;
        signal_hook::flag::register(number, Arc::clone(&second))?;
        signal_hook::flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or(0))?;
    }
    // Another thread may have been faster; then its flag is set by the same signals.
    let _ = SIGNAL.set(signal);
    Ok(())
}

fn signal() -> i32 {
    SIGNAL.get().map_or(0, |signal| i32::try_from(signal.load(Ordering::SeqCst)).unwrap_or(0))
}

/// Whether to go on.
///
/// # Errors
/// [`Interrupted`] inside, after a signal.
pub fn check() -> io::Result<()> {
    if signal() == 0 { Ok(()) } else { Err(io::Error::other(Interrupted)) }
}

/// Ends the program by the signal that interrupted it, if one did. For the end of `main`, after everything has been removed.
pub fn finish() {
    let signal = signal();
    if signal != 0 {
        // If it cannot be raised, the exit status has to do.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}
