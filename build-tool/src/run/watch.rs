//! The watch: a process that ends what is left of a build that is killed.
//!
//! SIGKILL and the kernel, when memory runs out, give a build no time to end its containers, and a container has the
//! runtime for a parent, which does not care. So before the first container starts, this program is started once more;
//! it reads a pipe that only the build holds open. When the pipe ends, so has the build.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use image_tool::address::home::Home;
use image_tool::layer::cache::Cache;
use image_tool::layer::stack;

use crate::cache::folder;

use super::runtime;

/// The word on the command line that makes this program a watch.
pub const COMMAND: &str = "watch";

/// A running watch. It is ended when the value is dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    _pipe: Option<ChildStdin>,
}

impl Watch {
    /// Starts a watch over the folders of builds.
    pub fn start(builds: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(COMMAND)
            .arg(builds)
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // What is sent to the build's group is not meant for it.
        command.process_group(0);
        let mut child = command.spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, _pipe: pipe })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Watches the build whose process has this number: returns once it has ended, and what it left behind is gone.
pub fn watch(builds: &Path, build: u32) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    // A process that is killed closes its files one after the other: the pipe may end while the folders are still locked.
    // Its children get another parent when all are closed.
    while std::os::unix::process::parent_id() == build {
        std::thread::sleep(Duration::from_millis(1));
    }
    folder::sweep(builds, runtime::end_orphan);
    // An image of base layers is mounted for all builds; whoever goes last unmounts it.
    if let Some(home) = builds.parent() {
        stack::sweep(&Cache::of(&Home::at(home)));
    }
    Ok(())
}
