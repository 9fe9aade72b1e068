//! RUN: one command in a container over the layers so far. What it leaves in the overlay's upper directory is the
//! layer.
//!
//! A thread makes the mounts in a private mount namespace and starts the runtime from there, so they vanish with it,
//! whatever happens. The container gets what BuildKit gives it: docker's default capabilities and seccomp filter, the
//! host name `buildkitsandbox`, the host's resolv.conf; what is beyond, its caller must have granted. Mount points that the image lacks are put *below* its layers,
//! so they are never created in the upper directory and cannot end up in the layer.
//!
//! This room may import [`crate::source`], [`crate::stage`], [`crate::cache`], the words of
//! [`crate::dockerfile::mount`] and [`crate::dockerfile::device`], and [`crate::progress`]. It knows no step: it is told which command to run over which
//! layers.

pub mod agent;
pub mod cache_mount;
pub mod emulation;
pub mod entitlement;
mod error;
pub mod interrupt;
pub mod mount;
pub mod network;
mod place;
mod rootfs;
pub mod runtime;
pub mod sandbox;
pub mod site;
pub mod watch;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use bundle_tool::config::cdi::Edits;
use bundle_tool::config::image;
use bundle_tool::config::{self, Container, Options};
use bundle_tool::option::limit::Limits;
use bundle_tool::rootfs::private_namespace;
use bundle_tool::rootfs::user;
use image_tool::address::home::Home;
use image_tool::error::During;
use oci_spec::runtime::Mount;

pub use error::Error;
use interrupt::Interrupt;
use mount::{Mounts, Prepared};
use network::Network;
use rootfs::Rootfs;
use runtime::{CONFIG, Runtime};
use sandbox::Sandbox;
use site::Site;

use crate::progress::Task;

/// A command to run, and what it runs in.
#[derive(Debug)]
pub struct Job<'a> {
    /// The layers' directories, the lowest first.
    pub lower: Vec<PathBuf>,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The environment, as `NAME=VALUE` pairs.
    pub env: Vec<String>,
    /// The working directory, absolute.
    pub workdir: String,
    /// The user, `USER[:GROUP]`, looked up in the root file system.
    pub user: &'a str,
    /// The image's architecture, which decides the seccomp filter.
    pub architecture: &'a str,
    /// The mounts of this command, their sources known.
    pub mounts: Vec<Prepared>,
    /// The network that the command can reach.
    pub network: Network,
    /// Whether everything is allowed: `--security=insecure`.
    pub insecure: bool,
    /// What the devices of this command need.
    pub devices: Edits,
    /// What all commands of the build get.
    pub sandbox: &'a Sandbox,
    /// What they have in common.
    pub site: &'a Site,
    /// The data folder.
    pub home: &'a Home,
    /// A directory on the layer cache's file system, empty or [cleared](clear); it becomes the bundle.
    pub folder: &'a Path,
}

/// Makes the folder of a job that was run fit for the next one; `false` if it cannot be.
pub fn clear(folder: &Path) -> bool {
    rootfs::clear(folder)
}

/// Where the job leaves what its command changed.
pub fn upper(folder: &Path) -> PathBuf {
    folder.join(rootfs::UPPER)
}

/// Runs the command. Afterwards [`upper`] in the job's folder holds what it changed, and nothing is mounted.
pub fn run(job: &Job<'_>, task: &Task<'_>, interrupt: &Interrupt) -> Result<(), Error> {
    std::thread::scope(|scope| {
        // A mount namespace belongs to a thread, and is left when this one ends.
        let thread = scope.spawn(|| in_namespace(job, task, interrupt));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn in_namespace(job: &Job<'_>, task: &Task<'_>, interrupt: &Interrupt) -> Result<(), Error> {
    private_namespace()?;
    let files = job.site.files(job.network, job.folder, job.sandbox)?;
    let mut mounts = Mounts::new(job.folder, &files, job.network);
    for (number, mount) in job.mounts.iter().enumerate() {
        mounts.add(number, mount)?;
    }
    let Mounts { entries, places, .. } = mounts;
    let rootfs = Rootfs::mount(job.folder, &job.lower, &places, job.site)?;
    let name = runtime::name(job.folder);
    let runtime = Runtime::new(job.site.runtime(), job.folder)?;
    configure(job, &runtime, &name, &rootfs, entries)?;
    let status = runtime.run(&name, task, interrupt)?;
    rootfs.unmount()?;
    if interrupt.is_set() { Err(Error::Interrupted) } else { outcome(status, job.site.runtime().path()) }
}

/// Writes the container's config.json.
fn configure(
    job: &Job<'_>,
    runtime: &Runtime<'_>,
    name: &str,
    rootfs: &Rootfs,
    mounts: Vec<Mount>,
) -> Result<(), Error> {
    let identity = user::resolve(rootfs.root().as_fd(), job.user, &[])
        .map_err(|source| Error::User { name: job.user.to_owned(), source })?;
    rootfs.make_workdir(&job.workdir, identity.uid, identity.gid)?;
    let image = image::Runtime { env: job.env.clone(), working_dir: job.workdir.clone(), ..image::Runtime::default() };
    let mut network = job.network.settings(job.home, job.sandbox.gateway_names())?;
    network.annotations.extend(runtime.annotations());
    let default = Options::default();
    let options = Options {
        entrypoint: job.arguments.first().cloned(),
        command: job.arguments.get(1..).unwrap_or_default().to_vec(),
        privileged: job.insecure,
        network: network.namespace,
        limits: Limits { ulimits: job.sandbox.ulimits.clone(), ..Limits::default() },
        shm_size: job.sandbox.shm_size.unwrap_or(default.shm_size),
        cgroup_parent: job.sandbox.cgroup_parent.clone(),
        cdi: job.devices.clone(),
        ..default
    };
    let mut spec = config::build(Container {
        id: name,
        options: &options,
        image: &image,
        architecture: job.architecture,
        identity: &identity,
        rootfs: rootfs.path(),
        mounts,
        hooks: network.hooks,
        annotations: network.annotations,
        id_ranges: None,
    })?;
    // As an option it would be the variable HOSTNAME too, which BuildKit does not set.
    spec.set_hostname(Some(job.sandbox.hostname.clone()));
    let path = job.folder.join(CONFIG);
    let spec = serde_json::to_vec(&spec).expect("a spec is serialisable");
    let write = || -> io::Result<()> {
        // ext4 writes a file to disk that was truncated before it was written.
        let mut file = File::options().write(true).create(true).truncate(false).open(&path)?;
        file.write_all(&spec)?;
        file.set_len(spec.len() as u64)
    };
    Ok(write().during("write", &path)?)
}

/// What the runtime's exit status says about the command.
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
