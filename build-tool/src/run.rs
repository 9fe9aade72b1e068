//! RUN: one command in a container over the layers so far; what it leaves in the overlay's upper directory is the layer.
//!
//! The mounts are made on a thread of their own in a private mount namespace, where the runtime is started from: whatever happens,
//! they vanish with it. What the container is given is what BuildKit gives it: docker's default capabilities and filter, the
//! host name `buildkitsandbox`, the host's resolv.conf. Places to mount on that the image lacks are put *below* its layers, so
//! they are never made in the upper directory and cannot end up in the layer.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use bundle_tool::config::image::Runtime;
use bundle_tool::config::{self, Container, Options};
use bundle_tool::network::files::{Dns, host_resolv_conf, resolv_conf};
use bundle_tool::rootfs::user;
use bundle_tool::rootfs::{self, Overlay};
use image_tool::beneath::{self, Root};
use image_tool::address::home::Home;
use oci_spec::runtime::Mount;
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::interrupt::Interrupt;
use crate::network::Network;
use crate::progress::Task;

/// The host name of every RUN.
const HOSTNAME: &str = "buildkitsandbox";

/// A command to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// The layers' directories, the lowest first.
    pub lower: Vec<PathBuf>,
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// `NAME=VALUE` pairs.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: String,
    /// `USER[:GROUP]`, looked up in the root filesystem.
    pub user: &'a str,
    /// The image's architecture, for the seccomp filter.
    pub architecture: &'a str,
    /// What is mounted for the command.
    pub mounts: Vec<Prepared>,
    /// Its network.
    pub network: Network,
    /// `--security=insecure`: everything allowed.
    pub insecure: bool,
    /// The OCI runtime.
    pub runtime: &'a Path,
    /// The data folder.
    pub home: &'a Home,
    /// An empty directory on the file system of the layer cache.
    pub folder: &'a Path,
}

/// A mount whose source is known.
#[derive(Debug)]
pub struct Prepared {
    /// Where, absolute.
    pub target: String,
    /// Whether the command may write to it.
    pub read_only: bool,
    /// What.
    pub source: Source,
}

/// What is mounted.
#[derive(Debug)]
pub enum Source {
    /// A path below a directory of the host. If it may be written to, what is written is thrown away.
    Bind {
        /// The directory.
        root: PathBuf,
        /// The path in it.
        path: PathBuf,
    },
    /// A path below a stack of layers.
    Layers {
        /// The layers' directories, the lowest first.
        lower: Vec<PathBuf>,
        /// The path in them.
        path: PathBuf,
    },
    /// A directory of the host that keeps what is written.
    Cache(PathBuf),
    /// Memory, of at most so many bytes.
    Tmpfs(Option<u64>),
    /// A file that only this command sees, never on a disk.
    Secret {
        /// Its content.
        bytes: Vec<u8>,
        /// Its owner.
        owner: (u32, u32),
        /// Its permission bits.
        mode: u32,
    },
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It ended with an exit status other than 0.
    #[error("exit status {0}")]
    Status(i32),
    /// It ended with 137 of its own, which is what a kill by the kernel looks like.
    #[error("exit status 137 (killed, for want of memory perhaps)")]
    Killed,
    /// The runtime was ended by a signal.
    #[error("{runtime}: ended by signal {signal}")]
    Signal {
        /// The runtime.
        runtime: String,
        /// The signal.
        signal: i32,
    },
    /// The build was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The runtime cannot be started.
    #[error("start {} (--runtime names another)", .runtime.display())]
    Runtime {
        /// The runtime.
        runtime: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root filesystem cannot be mounted.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// The user cannot be looked up.
    #[error("USER {name}")]
    User {
        /// As written.
        name: String,
        /// Why.
        source: user::Error,
    },
    /// The network cannot be had.
    #[error(transparent)]
    Network(#[from] bundle_tool::network::Error),
    /// The container's configuration cannot be made.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A mount's source is missing.
    #[error("--mount: {}: not found in its source", .0.display())]
    MountSource(PathBuf),
    /// Something beneath a root.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// The system refused an operation.
    #[error("{operation} {}", .path.display())]
    Io {
        /// The operation.
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { operation, path, source }
}

/// Run the command. Afterwards `upper` in the job's folder holds the change and nothing is mounted.
pub fn run(job: &Job<'_>, task: &Task<'_>, interrupt: &Interrupt) -> Result<(), Error> {
    std::thread::scope(|scope| {
        // A thread of its own: a mount namespace belongs to a thread, and this one is left with the thread's end.
        let thread = scope.spawn(|| in_namespace(job, task, interrupt));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn in_namespace(job: &Job<'_>, task: &Task<'_>, interrupt: &Interrupt) -> Result<(), Error> {
    rootfs::private_namespace()?;
    let make = |name: &str, mode: u32| -> Result<PathBuf, Error> {
        let path = job.folder.join(name);
        fs::create_dir(&path).map_err(io_error("create", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("chmod", &path))?;
        Ok(path)
    };
    let (upper, work, target, stubs) =
        (make("upper", 0o755)?, make("work", 0o700)?, make("rootfs", 0o755)?, make("stubs", 0o755)?);
    if let Some(top) = job.lower.last() {
        // The root directory of an overlay is that of its upper directory.
        let metadata = fs::metadata(top).map_err(io_error("stat", top))?;
        std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid()))
            .map_err(io_error("chown", &upper))?;
        fs::set_permissions(&upper, Permissions::from_mode(metadata.mode() & 0o7777))
            .map_err(io_error("chmod", &upper))?;
    }
    let (mounts, places) = mounts(job)?;
    for (place, is_file) in &places {
        stub(&stubs, place, *is_file)?;
    }
    let lower = std::iter::once(stubs).chain(job.lower.iter().cloned()).collect();
    Overlay::new(lower).writable(&upper, &work).mount(&target)?;
    let root = Root::open(&target)?;
    // What is not there even now hides behind a deletion or a link of the image; the runtime will make it, and it has to go again.
    let mut made = Vec::new();
    for (place, is_file) in &places {
        if root.stat(relative(place))?.is_none() {
            made.push((place.clone(), *is_file));
        }
    }
    let identity = user::resolve(root.as_fd(), job.user, &[])
        .map_err(|source| Error::User { name: job.user.to_owned(), source })?;
    let image = Runtime { env: job.env.clone(), working_dir: job.workdir.clone(), ..Runtime::default() };
    let network = job.network.settings(job.home)?;
    let options = Options {
        entrypoint: job.arguments.first().cloned(),
        command: job.arguments.get(1..).unwrap_or_default().to_vec(),
        hostname: Some(HOSTNAME.to_owned()),
        privileged: job.insecure,
        network: network.namespace,
        ..Options::default()
    };
    let name = format!("build{}", job.folder.file_name().unwrap_or_default().to_string_lossy().replace('.', "-"));
    let spec = config::build(Container {
        name: &name,
        options: &options,
        image: &image,
        architecture: job.architecture,
        identity: &identity,
        rootfs: Path::new("rootfs"),
        mounts,
        hooks: network.hooks,
        annotations: network.annotations,
        id_ranges: None,
    })?;
    let path = job.folder.join("config.json");
    fs::write(&path, config::to_json(&spec)).map_err(io_error("write", &path))?;
    let status = start(job, &name, task, interrupt)?;
    drop(root);
    rootfs::unmount(&target, true)?;
    remove_made(&upper, &made)?;
    match (status.code(), status.signal()) {
        _ if interrupt.is_set() => Err(Error::Interrupted),
        (Some(0), _) => Ok(()),
        (Some(137), _) => Err(Error::Killed),
        (Some(code), _) => Err(Error::Status(code)),
        (None, signal) => {
            Err(Error::Signal { runtime: job.runtime.display().to_string(), signal: signal.unwrap_or_default() })
        }
    }
}

/// The file in a job's folder that says which runtime runs which container.
const RUNNING: &str = "running";

/// End the container that a killed build left running in its folder.
pub fn end_orphan(folder: &Path) {
    let Ok(text) = fs::read_to_string(folder.join(RUNNING)) else { return };
    let [runtime, state, name] = text.lines().collect::<Vec<_>>()[..] else { return };
    let mut command = Command::new(runtime);
    command.args(["--root", state, "delete", "--force", name]);
    // It may have ended by itself long ago.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Start the runtime, hand its output on line by line and wait for it.
fn start(job: &Job<'_>, name: &str, task: &Task<'_>, interrupt: &Interrupt) -> Result<ExitStatus, Error> {
    let failed = |source| Error::Runtime { runtime: job.runtime.to_owned(), source };
    // One for all builds, and not the one that people look at: a runtime may keep there what serves the next container too, as
    // run-tool does with compiled filters.
    let state = job.home.builds().join("state");
    let mut folder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.recursive(true).create(&state).map_err(io_error("create", &state))?;
    let note = job.folder.join(RUNNING);
    fs::write(&note, format!("{}\n{}\n{name}\n", job.runtime.display(), state.display()))
        .map_err(io_error("write", &note))?;
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(job.runtime);
    command.arg("--root").arg(&state).arg("run").arg("--bundle").arg(job.folder).arg(name);
    // A step of a build is not the service that someone waits for, nor does an image want the socket's folder.
    command.env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    // An interrupt from the terminal is for the build, which then ends the container in good order.
    command.process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the writing ends of the pipe; the reader would never see its end.
    drop(command);
    let _running = interrupt.running(job.runtime, &state, name);
    lines(reader, |line| task.output(line)).map_err(failed)?;
    child.wait().map_err(failed)
}

/// The lines of a program's output; one that never ends is cut.
fn lines(reader: impl Read, mut each: impl FnMut(&str)) -> io::Result<()> {
    const LINE: u64 = 16 << 10;
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        // A progress bar returns to the start of its line: what stands there last is what it says.
        let text = text.trim_end_matches(['\n', '\r']);
        each(text.rsplit('\r').next().unwrap_or(text));
    }
}

/// A place that something is mounted on, and whether that is a file.
type Place = (String, bool);

/// The mounts for config.json, and the places that they need: whether each is a file.
fn mounts(job: &Job<'_>) -> Result<(Vec<Mount>, Vec<Place>), Error> {
    let mut mounts = Vec::new();
    let mut places: Vec<Place> = ["/proc", "/dev", "/sys"].map(|place| (place.to_owned(), false)).to_vec();
    let mut file = |name: &str, target: &str, bytes: &[u8]| -> Result<(), Error> {
        let path = job.folder.join(name);
        fs::write(&path, bytes).map_err(io_error("write", &path))?;
        // Whatever the caller's umask is, every user of the container may read it.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(io_error("chmod", &path))?;
        mounts.push(config::mount(target, "bind", path, &["rbind", "rprivate", "ro"]));
        places.push((target.to_owned(), true));
        Ok(())
    };
    let resolv = resolv_conf(&host_resolv_conf(), &Dns::default(), job.network == Network::Bridge);
    file("resolv.conf", "/etc/resolv.conf", resolv.as_bytes())?;
    let hosts = format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    file("hosts", "/etc/hosts", hosts.as_bytes())?;
    if rootfs::in_user_namespace() && job.network == Network::Host {
        // sysfs belongs to a network namespace, and only who owns that may mount it: the host's is shown instead.
        for path in ["/sys", "/sys/fs/cgroup"] {
            mounts.push(config::mount(path, "bind", path, &["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"]));
        }
    }
    for (number, mount) in job.mounts.iter().enumerate() {
        let mode = if mount.read_only { "ro" } else { "rw" };
        let (source, is_file) = match &mount.source {
            Source::Tmpfs(size) => {
                let size = size.map(|size| format!("size={size}"));
                let options: Vec<&str> = ["nosuid", "nodev", mode].into_iter().chain(size.as_deref()).collect();
                mounts.push(config::mount(&mount.target, "tmpfs", "tmpfs", &options));
                places.push((mount.target.clone(), false));
                continue;
            }
            Source::Cache(path) => (path.clone(), false),
            Source::Bind { root, path } if mount.read_only => beneath_root(root, path)?,
            Source::Bind { root, path } => scratch_over(job, number, vec![root.clone()], path)?,
            Source::Layers { lower, path } if mount.read_only => {
                let target = folder(job, &format!("from-{number}"))?;
                match lower.is_empty() {
                    true => {}
                    false => Overlay::new(lower.clone()).mount(&target)?,
                }
                beneath_root(&target, path)?
            }
            Source::Layers { lower, path } => {
                let lower =
                    if lower.is_empty() { vec![folder(job, &format!("empty-{number}"))?] } else { lower.clone() };
                scratch_over(job, number, lower, path)?
            }
            Source::Secret { bytes, owner, mode } => {
                let folder = folder(job, &format!("secret-{number}"))?;
                rustix::mount::mount("tmpfs", &folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=700")
                    .map_err(|errno| io_error("mount", &folder)(errno.into()))?;
                let path = folder.join("secret");
                fs::write(&path, bytes).map_err(io_error("write", &path))?;
                std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).map_err(io_error("chown", &path))?;
                fs::set_permissions(&path, Permissions::from_mode(*mode)).map_err(io_error("chmod", &path))?;
                (path, true)
            }
        };
        mounts.push(config::mount(&mount.target, "bind", source, &["rbind", "rprivate", mode]));
        places.push((mount.target.clone(), is_file));
    }
    Ok((mounts, places))
}

fn folder(job: &Job<'_>, name: &str) -> Result<PathBuf, Error> {
    let path = job.folder.join(name);
    fs::create_dir(&path).map_err(io_error("create", &path))?;
    Ok(path)
}

/// A path below a directory of the host, reached through no link that leads out of it, and whether it is a file.
fn beneath_root(root: &Path, path: &Path) -> Result<(PathBuf, bool), Error> {
    let opened = Root::open(root)?;
    let files = crate::files::Files::new(opened, crate::ignore::Ignore::default(), "its source");
    let source = files.sources(&path.to_string_lossy()).map_err(|_| Error::MountSource(path.to_owned()))?;
    let source = source.first().ok_or_else(|| Error::MountSource(path.to_owned()))?;
    Ok((root.join(&source.path), !source.directory))
}

/// The same, over a writable directory that is thrown away.
fn scratch_over(job: &Job<'_>, number: usize, lower: Vec<PathBuf>, path: &Path) -> Result<(PathBuf, bool), Error> {
    let [upper, work, target] = [
        folder(job, &format!("over-{number}"))?,
        folder(job, &format!("work-{number}"))?,
        folder(job, &format!("from-{number}"))?,
    ];
    Overlay::new(lower).writable(upper, work).mount(&target)?;
    rustix::mount::mount_change(&target, MountPropagationFlags::PRIVATE)
        .map_err(|errno| io_error("mount", &target)(errno.into()))?;
    beneath_root(&target, path)
}

/// An empty file or directory at `place`, and the directories above it.
fn stub(stubs: &Path, place: &str, is_file: bool) -> Result<(), Error> {
    let place = relative(place);
    let mut path = stubs.to_owned();
    for name in place.components() {
        path.push(name);
        let last = path == stubs.join(&place);
        let made = if is_file && last { fs::File::create_new(&path).map(drop) } else { fs::create_dir(&path) };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(io_error("create", &path)(error)),
        }
        let mode = if is_file && last { 0o644 } else { 0o755 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("chmod", &path))?;
    }
    Ok(())
}

fn relative(place: &str) -> PathBuf {
    crate::files::inside(place)
}

/// Take out of the upper directory what the runtime made to mount on. What the command put there meanwhile is not empty and stays.
fn remove_made(upper: &Path, made: &[Place]) -> Result<(), Error> {
    let root = Root::open(upper)?;
    for (place, is_file) in made {
        let place = relative(place);
        let Some(stat) = root.lstat(&place)? else { continue };
        let before = place.parent().and_then(|parent| Some((parent, root.lstat(parent).ok().flatten()?)));
        let removed = match is_file {
            true if stat.st_size == 0 => root.remove(&place).is_ok(),
            true => false,
            false => root.names(&place).is_ok_and(|names| names.is_empty()) && root.remove(&place).is_ok(),
        };
        if let (true, Some((parent, stat))) = (removed, before) {
            root.set_modified(parent, beneath::Time::modified(&stat))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_in_lines_and_bars_show_their_end() {
        let mut seen = Vec::new();
        lines(&b"one\r\n 1%\r 50%\r100%\n\xff\nlast"[..], |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "100%", "\u{fffd}", "last"]);
    }

    #[test]
    fn stubs_are_made_and_unmade() {
        let folder = tempfile::tempdir().unwrap();
        stub(folder.path(), "/etc/hosts", true).unwrap();
        stub(folder.path(), "/run/x", false).unwrap();
        assert!(folder.path().join("etc/hosts").is_file() && folder.path().join("run/x").is_dir());
        fs::write(folder.path().join("etc/kept"), "x").unwrap();
        let made = [("/etc/hosts", true), ("/run/x", false), ("/etc/kept", true), ("/none", true)];
        remove_made(folder.path(), &made.map(|(place, is_file)| (place.to_owned(), is_file))).unwrap();
        assert!(!folder.path().join("etc/hosts").exists() && !folder.path().join("run/x").exists());
        assert!(folder.path().join("etc/kept").exists());
    }
}
