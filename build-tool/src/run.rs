//! RUN: one command in a container over the layers so far; what it leaves in the overlay's upper directory is the layer.
//!
//! The mounts are made on a thread of their own in a private mount namespace, where the runtime is started from: whatever happens,
//! they vanish with it. What the container is given is what BuildKit gives it: docker's default capabilities and filter, the
//! host name `buildkitsandbox`, the host's resolv.conf. Places to mount on that the image lacks are put *below* its layers, so
//! they are never made in the upper directory and cannot end up in the layer.
//!
//! Knows the files of [`crate::source`] and [`crate::stage`], and no step: which command, over which layers, is told to it.

pub mod cache_mount;
mod error;
pub mod interrupt;
pub mod mount;
pub mod network;
mod rootfs;
pub mod runtime;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use bundle_tool::config::image;
use bundle_tool::config::{self, Container, Options};
use bundle_tool::rootfs::private_namespace;
use bundle_tool::rootfs::user;
use image_tool::address::home::Home;
use image_tool::beneath::Root;
use image_tool::error::During;
use oci_spec::runtime::Mount;

pub use error::Error;
use interrupt::Interrupt;
use mount::{HOSTNAME, Mounts, Prepared};
use network::Network;
use rootfs::Rootfs;
use runtime::Runtime;

use crate::progress::Task;

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

/// Run the command. Afterwards `upper` in the job's folder holds the change and nothing is mounted.
pub fn run(job: &Job<'_>, task: &Task<'_>, interrupt: &Interrupt) -> Result<(), Error> {
    std::thread::scope(|scope| {
        // A thread of its own: a mount namespace belongs to a thread, and this one is left with the thread's end.
        let thread = scope.spawn(|| in_namespace(job, task, interrupt));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn in_namespace(job: &Job<'_>, task: &Task<'_>, interrupt: &Interrupt) -> Result<(), Error> {
    private_namespace()?;
    let mut mounts = Mounts::new(job.folder);
    mounts.network(job.network)?;
    for (number, mount) in job.mounts.iter().enumerate() {
        mounts.add(number, mount)?;
    }
    let Mounts { entries, places, .. } = mounts;
    let rootfs = Rootfs::mount(job.folder, &job.lower, &places)?;
    let name = format!("build{}", job.folder.file_name().unwrap_or_default().to_string_lossy().replace('.', "-"));
    configure(job, &name, rootfs.root(), entries)?;
    let runtime = Runtime { program: job.runtime, state: job.home.builds().join("state"), bundle: job.folder };
    let status = runtime.run(&name, task, interrupt)?;
    rootfs.unmount()?;
    if interrupt.is_set() { Err(Error::Interrupted) } else { outcome(status, job.runtime) }
}

/// Write the container's config.json.
fn configure(job: &Job<'_>, name: &str, root: &Root, mounts: Vec<Mount>) -> Result<(), Error> {
    let identity = user::resolve(root.as_fd(), job.user, &[])
        .map_err(|source| Error::User { name: job.user.to_owned(), source })?;
    let image = image::Runtime { env: job.env.clone(), working_dir: job.workdir.clone(), ..image::Runtime::default() };
    let network = job.network.settings(job.home)?;
    let options = Options {
        entrypoint: job.arguments.first().cloned(),
        command: job.arguments.get(1..).unwrap_or_default().to_vec(),
        hostname: Some(HOSTNAME.to_owned()),
        privileged: job.insecure,
        network: network.namespace,
        ..Options::default()
    };
    let spec = config::build(Container {
        name,
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
    Ok(fs::write(&path, config::to_json(&spec)).during("write", &path)?)
}

/// What the runtime's exit status says of the command.
fn outcome(status: ExitStatus, runtime: &Path) -> Result<(), Error> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(137), _) => Err(Error::Killed),
        (Some(code), _) => Err(Error::Status(code)),
        (None, signal) => {
            Err(Error::Signal { runtime: runtime.display().to_string(), signal: signal.unwrap_or_default() })
        }
    }
}
