//! The OCI runtime: finding it, running a container, and ending one that a killed build left behind.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use bundle_tool::rootfs::{self, Overlay};
use image_tool::error::{During, Io};
use rustix::fs::{Access, Mode, OFlags, Stat};
use rustix::process::{Pid, Signal};

use super::error::Error;
use super::interrupt::Interrupt;
use crate::progress::Task;
use crate::stage::base::sibling;

/// run-tool's name.
const OURS: &str = "run-tool";

/// The variable by which run-tool knows that its program lies on such an overlay as [`seal`] makes.
const SEALED: (&str, &str) = ("_RUN_TOOL_SEALED", "overlay");

/// The runtime's program.
///
/// A container must not be able to write to the runtime's binary (CVE-2019-5736). So run-tool executes itself again from a place that
/// cannot be written to, an overlay of its folder, unless it was started from one. A build makes that once, for all commands. Other
/// programs are started from their file, since they may look for what lies beside it.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    sealed: Option<OwnedFd>,
}

impl Program {
    /// The program that the caller wants, or else the one that is found. `other` is a directory for overlayfs, which needs two.
    pub(super) fn new(wanted: Option<PathBuf>, other: &Path) -> Self {
        let path = wanted.unwrap_or_else(find);
        let sealed = if path.file_name().is_some_and(|name| name == OURS) { seal(&path, other).ok() } else { None };
        Self { path, sealed }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn command(&self) -> Command {
        let Some(sealed) = &self.sealed else { return Command::new(&self.path) };
        let mut command = Command::new(format!("/proc/self/fd/{}", sealed.as_raw_fd()));
        command.arg0(&self.path).env(SEALED.0, SEALED.1);
        command
    }
}

/// Opens a program where nobody can write to it: in an overlay without an upper directory.
fn seal(path: &Path, other: &Path) -> io::Result<OwnedFd> {
    let path = fs::canonicalize(path)?;
    let mut program = File::open(&path)?;
    // The interpreter of a script could not open it by the descriptor, which is closed by then.
    let mut head = [0; 4];
    program.read_exact(&mut head)?;
    let (Some(folder), Some(name), b"\x7fELF") = (path.parent(), path.file_name(), &head) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let overlay = Overlay::new(vec![other.to_owned(), folder.to_owned()]).detached().map_err(io::Error::other)?;
    let sealed = rustix::fs::openat(&overlay, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    // Something may be mounted over the file, which the overlay does not show. It may show another inode number, but not another time.
    let (found, wanted) = (rustix::fs::fstat(&sealed)?, rustix::fs::fstat(&program)?);
    let identity = |stat: &Stat| (stat.st_size, stat.st_ctime, stat.st_ctime_nsec);
    if identity(&found) != identity(&wanted) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(sealed)
}

/// Finds the OCI runtime: run-tool beside this program, or else run-tool, runc or crun in PATH.
fn find() -> PathBuf {
    let ours = sibling(OURS);
    if ours.is_absolute() {
        return ours;
    }
    let in_path = |name: &str| {
        env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    };
    [OURS, "runc", "crun"].iter().find_map(|name| in_path(name)).unwrap_or(ours)
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, Access::EXEC_OK).is_ok() && path.is_file()
}

/// The name of a bundle's configuration.
pub(super) const CONFIG: &str = "config.json";

/// The annotation of a container with the runtime's program.
const PROGRAM: &str = "build-tool.runtime";
/// The annotation of a container with the runtime's `--root`.
const ROOT: &str = "build-tool.root";

/// The name of the container in a job's folder, as random as that of the folder.
pub(super) fn name(folder: &Path) -> String {
    format!("build{}", folder.file_name().unwrap_or_default().to_string_lossy().replace('.', "-"))
}

/// Makes the folder for `--root`. All builds of a user share it, but with no one else: a runtime may keep in it what helps the next
/// container, such as run-tool's compiled filters.
///
/// The state of a container ends with the machine's. So it lies in memory, in /run or `$XDG_RUNTIME_DIR`, if there is a place
/// for this user; otherwise beside the jobs' folders. On a disk where many files come and go, ext4 takes milliseconds for each
/// one.
fn root(folder: &Path) -> Result<PathBuf, Io> {
    let runtime = if rootfs::is_root_of_host() {
        Some(PathBuf::from("/run"))
    } else {
        env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
    };
    // The folder is the user's alone.
    let make = |folder: &PathBuf| DirBuilder::new().mode(0o700).recursive(true).create(folder);
    if let Some(in_memory) = runtime.map(|runtime| runtime.join("build-tool")).filter(|folder| make(folder).is_ok()) {
        return Ok(in_memory);
    }
    let beside = folder.parent().unwrap_or(Path::new(".")).join("state");
    make(&beside).during("create", &beside)?;
    Ok(beside)
}

/// Ends the container that a killed build left running in its folder.
pub fn end_orphan(folder: &Path) {
    let Ok(config) = fs::read(folder.join(CONFIG)) else { return };
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let annotation = |name: &str| config["annotations"][name].as_str();
    let (Some(program), Some(root)) = (annotation(PROGRAM), annotation(ROOT)) else { return };
    let name = name(folder);
    // The runtime may only be about to create the container.
    for process in started(&name) {
        let _ = rustix::process::kill_process(process, Signal::KILL);
    }
    let mut command = Command::new(program);
    command.args(["--root", root, "delete", "--force", &name]);
    // It may have ended by itself.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// The processes whose last argument is the name of a container, which is random.
fn started(name: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let last = line.strip_suffix(b"\0").unwrap_or(&line).rsplit(|byte| *byte == 0).next();
        found.extend(process.filter(|_| last == Some(name.as_bytes())));
    }
    found
}

/// A runtime and the bundle.
pub(super) struct Runtime<'a> {
    program: &'a Program,
    bundle: &'a Path,
    root: PathBuf,
}

impl<'a> Runtime<'a> {
    pub(super) fn new(program: &'a Program, bundle: &'a Path) -> Result<Self, Error> {
        Ok(Self { program, bundle, root: root(bundle)? })
    }

    /// What [`end_orphan`] must know of the container.
    pub(super) fn annotations(&self) -> [(String, String); 2] {
        [(PROGRAM, self.program.path()), (ROOT, &self.root)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    }

    /// Runs the container under that name, passes on its output line by line, and waits for its end.
    pub(super) fn run(&self, name: &str, task: &Task<'_>, interrupt: &Interrupt) -> Result<ExitStatus, Error> {
        let Self { program, bundle, root } = self;
        let failed = |source| Error::Runtime { runtime: program.path.clone(), source };
        let (reader, writer) = io::pipe().map_err(failed)?;
        let mut command = program.command();
        command.arg("--root").arg(root).arg("run").arg("--bundle").arg(bundle).arg(name);
        // A build step is not the service that a supervisor waits for, and the socket's folder must not get into the
        // image.
        command.env_remove("NOTIFY_SOCKET");
        // Nor are the sockets that a supervisor passes to the build for the command; a runtime would hand them on.
        command.env_remove("LISTEN_FDS").env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES");
        command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        // An interrupt from the terminal is for the build, which then ends the container in an orderly way.
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the pipe's writing ends; with them open, the reader would never see the end.
        drop(command);
        let _running = interrupt.running(&program.path, root, name);
        lines(reader, |line| task.output(line)).map_err(failed)?;
        child.wait().map_err(failed)
    }
}

/// Splits a program's output into lines; a line that is too long is cut.
fn lines(reader: impl Read, mut each: impl FnMut(&str)) -> io::Result<()> {
    const LINE: u64 = 16 << 10;
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        // A progress bar returns to the start of its line; what it wrote last counts.
        let text = text.trim_end_matches(['\n', '\r']);
        each(text.rsplit('\r').next().unwrap_or(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_run_tool_is_started_from_where_nobody_can_write_to_it() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let script = "#!/bin/sh\n";
        for (name, text, sealed) in
            [(OURS, None, rootfs::is_root_of_host()), ("runc", None, false), (OURS, Some(script), false)]
        {
            let path = folder.path().join(name);
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => drop(fs::copy("/bin/true", &path).unwrap()),
            }
            let program = Program::new(Some(path.clone()), other.path());
            let mut command = program.command();
            assert_eq!(command.get_program() != path, sealed, "{name} {text:?}");
            assert!(command.status().unwrap().success());
            if sealed {
                let error = File::options().write(true).open(command.get_program()).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
            }
        }
    }

    #[test]
    fn output_comes_in_lines_and_bars_show_their_end() {
        let mut seen = Vec::new();
        lines(&b"one\r\n 1%\r 50%\r100%\n\xff\nlast"[..], |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "100%", "\u{fffd}", "last"]);
    }
}
