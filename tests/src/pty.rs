//! A program on a real terminal: a test types, and reads what it prints.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The master side of a pseudo-terminal, and the program whose controlling terminal is the other side.
pub struct Pty {
    terminal: File,
    child: Child,
    seen: Vec<u8>,
}

impl Pty {
    /// Starts a command made by `Workdir::command` on a terminal of 24 rows and 80 columns.
    pub fn spawn(command: &Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let open = || File::options().read(true).write(true).open(&name).unwrap();
        // setsid(1) starts a new session and makes its standard input the controlling terminal.
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        leader.env("TERM", "xterm");
        if let Some(folder) = command.get_current_dir() {
            leader.current_dir(folder);
        }
        leader.stdin(open()).stdout(open()).stderr(open());
        let child = leader.spawn().unwrap();
        let pty = Self { terminal: terminal.into(), child, seen: Vec::new() };
        pty.resize(24, 80);
        pty
    }

    /// Resizes the terminal; its foreground programs get SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` appears, and returns everything read since the last call.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(at) = self.seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                let rest = self.seen.split_off(at + text.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.seen, rest)).into_owned();
            }
            assert!(self.read_until(deadline), "{text:?} did not appear: {}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// Reads to the end, and returns the rest of the output and the program's status.
    #[track_caller]
    pub fn finish(mut self) -> (String, ExitStatus) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.read_until(deadline) {}
        assert!(Instant::now() < deadline, "did not end: {}", String::from_utf8_lossy(&self.seen));
        (String::from_utf8_lossy(&self.seen).into_owned(), self.child.wait().unwrap())
    }

    /// Reads once; false at the end of the output or at the deadline.
    fn read_until(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = rustix::time::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut ready = [PollFd::new(&self.terminal, PollFlags::IN)];
        if poll(&mut ready, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        // On Linux a read of the master fails with EIO once the last program has closed the other side.
        let Ok(count) = self.terminal.read(&mut bytes) else { return false };
        self.seen.extend_from_slice(&bytes[..count]);
        count > 0
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
