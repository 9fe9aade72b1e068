//! Checkpoint: run-tool tells criu which mounts and namespaces of the container belong to the host, and criu saves the rest.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::Spec;
use protobuf::MessageField;
use rust_criu::rust_criu_protobuf::rpc::{Criu_features, Criu_notify, Criu_opts, Criu_page_server_info, Criu_req_type};
use rustix::fs::OFlags;

use super::images::{DESCRIPTORS, open_folder, place};
use crate::cgroup;
use crate::checkpoint::criu::{self, Criu};
use crate::container::Container;
use crate::create::{namespace, notify};
use crate::kernel::error::Fails;
use crate::kernel::syscall;
use crate::rootfs::node;
use crate::rootfs::root::Root;
use crate::spec::{self, Items};

/// How to save a container.
#[derive(Debug)]
pub(crate) struct Saving {
    /// The criu to run.
    pub(crate) criu: Criu,
    /// Options that are passed to criu as they are.
    pub(crate) options: Criu_opts,
    /// The folder for the images, which exists.
    pub(crate) images: PathBuf,
    /// The folder for the log; `None` for that of the images.
    pub(crate) work: Option<PathBuf>,
    /// The folder of a previous pre-dump, relative to that of the images.
    pub(crate) parent: Option<PathBuf>,
    /// Whether to save only memory and leave the container running.
    pub(crate) pre_dump: bool,
    /// Address and port of a page server.
    pub(crate) page_server: Option<(String, i32)>,
    /// The descriptor to write a NUL byte to once lazy pages can be fetched.
    pub(crate) status_fd: Option<i32>,
}

/// Marks the container's mounts that belong to the host as external.
fn leave_mounts(options: &mut Criu_opts, container: &Container, spec: &Spec) -> Result<()> {
    let root = Root::open(&container.state.config.rootfs)?;
    let mut leave_place = |path: &Path| {
        let place = place(&root, path);
        criu::leave(options, &place, &place);
    };
    let cgroup_namespace = container.state.config.namespaces.iter().any(|namespace| namespace.kind == "NEWCGROUP");
    let bundle = PathBuf::from(container.state.bundle().unwrap_or_default());
    for mount in spec.mounts().items() {
        let mount = crate::rootfs::mount::Mount::from_spec(mount, &bundle, &root.path)?;
        if mount.is_bind() {
            leave_place(&mount.destination);
        } else if mount.kind == "cgroup" && !cgroup::is_unified() && !cgroup_namespace {
            // Without a cgroup namespace the hierarchies of cgroup v1 are bind mounts.
            for hierarchy in cgroup::v1::hierarchies(&cgroup::membership::own()?)? {
                if let Some(name) = hierarchy.mountpoint.file_name() {
                    leave_place(&mount.destination.join(name));
                }
            }
        }
    }
    if container.folder.join(notify::FOLDER).exists() {
        leave_place(Path::new(notify::INSIDE));
    }
    let linux = spec.linux().as_ref();
    for node in node::nodes(linux.map_or(&[][..], |linux| linux.devices().items()))? {
        leave_place(node.path());
    }
    for path in linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten() {
        let seen = format!("/proc/{}/root/{path}", container.state.init_process_pid);
        match fs::metadata(&seen) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => criu::leave(options, Path::new(path), Path::new("/dev/null")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).fails(|| format!("stat {seen}")).map_err(Into::into),
        }
    }
    Ok(())
}

/// Marks namespaces that the container joined as external, each with a key for the restore.
fn leave_namespaces(options: &mut Criu_opts, container: &Container, version: i32) -> Result<()> {
    for (kind, key, since) in criu::EXTERNAL {
        let (kind, name) = namespace::names(kind);
        if version < since {
            bail!("criu lacks support for external {name} namespace during checkpointing process (old criu version?)");
        }
        let joined = container.state.config.namespaces.iter().find(|namespace| namespace.kind == kind);
        let Some(path) = joined.map(|joined| &joined.path).filter(|path| !path.as_os_str().is_empty()) else {
            continue;
        };
        let inode = fs::metadata(path).fails(|| format!("stat {}", path.display()))?.ino();
        options.external.push(format!("{name}[{inode}]:{key}"));
    }
    Ok(())
}

/// Checks that criu supports lazy pages. Returns the descriptor to write to once they can be fetched, unless criu does that itself.
fn status_fd(
    criu: &Criu,
    options: &mut Criu_opts,
    number: Option<i32>,
    version: i32,
) -> Result<Option<BorrowedFd<'static>>> {
    let mut features = Criu_features::new();
    features.set_lazy_pages(true);
    criu.require(&features)?;
    let Some(number) = number else { return Ok(None) };
    let fd = syscall::borrow_fd(number)
        .with_context(|| format!("invalid --status-fd argument {number}: bad file descriptor"))?;
    let flags = rustix::fs::fcntl_getfl(fd).fails(|| format!("invalid --status-fd argument {number}"))?;
    if !flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        bail!("invalid --status-fd argument {number}: not writable");
    }
    // Since 3.15 criu notifies run-tool instead (`status-ready`).
    if version < 31500 {
        options.set_status_fd(number);
        return Ok(None);
    }
    Ok(Some(fd))
}

/// Handles what criu does not save: mounts of the host are marked as external, and the standard streams are listed beside the images.
fn leave_behind(options: &mut Criu_opts, container: &Container, images: &Path) -> Result<()> {
    let bundle = Path::new(container.state.bundle().unwrap_or_default()).join("config.json");
    let text = fs::read(&bundle).fails(|| format!("open {}", bundle.display()))?;
    leave_mounts(options, container, &spec::parse(&text)?)?;
    let path = images.join(DESCRIPTORS);
    let text = serde_json::to_vec(&container.state.external_descriptors)?;
    let mut create = fs::OpenOptions::new();
    let file = create.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, &text));
    written.fails(|| format!("open {}", path.display()))?;
    Ok(())
}

/// Saves a container. It is up to the caller to remove it afterwards.
pub(crate) fn save(container: &Container, mut saving: Saving) -> Result<()> {
    const LOG: &str = "dump.log";
    let version = saving.criu.version()?;
    let images = open_folder(&saving.images)?;
    let work = saving.work.as_deref().map(open_folder).transpose()?;
    let options = &mut saving.options;
    options.set_images_dir_fd(images.as_raw_fd());
    if let Some(work) = &work {
        options.set_work_dir_fd(work.as_raw_fd());
    }
    criu::configure(options, container, LOG);
    options.set_root(container.state.config.rootfs.display().to_string());
    options.set_pid(container.state.init_process_pid);
    leave_namespaces(options, container, version)?;
    let cgroup = container.cgroup();
    if !cgroup.unified() || version >= 31400 {
        let freezer = cgroup.paths.get("freezer").or_else(|| cgroup.paths.get("").filter(|_| cgroup.unified()));
        if let Some(path) = freezer {
            options.set_freeze_cgroup(path.display().to_string());
        }
    }
    if let Some((address, port)) = saving.page_server.take() {
        let mut server = Criu_page_server_info::new();
        server.set_address(address);
        server.set_port(port);
        options.ps = MessageField::some(server);
    }
    if let Some(parent) = &saving.parent {
        options.set_parent_img(parent.display().to_string());
        options.set_track_mem(true);
    }
    if saving.pre_dump {
        let mut features = Criu_features::new();
        features.set_mem_track(true);
        saving.criu.require(&features)?;
    }
    let status_fd =
        if options.lazy_pages() { status_fd(&saving.criu, options, saving.status_fd, version)? } else { None };
    if !saving.pre_dump {
        leave_behind(options, container, &saving.images)?;
    }
    let kind = if saving.pre_dump { Criu_req_type::PRE_DUMP } else { Criu_req_type::DUMP };
    let request = criu::request(kind, Some(std::mem::take(&mut saving.options)));
    saving
        .criu
        .carry_out(request, &mut Dump { container, status_fd })
        .map(drop)
        .inspect_err(|_| criu::quote_errors(&saving.work.as_ref().unwrap_or(&saving.images).join(LOG)))
}

/// A checkpoint in progress.
struct Dump<'a> {
    container: &'a Container,
    status_fd: Option<BorrowedFd<'static>>,
}

impl criu::Caller for Dump<'_> {
    fn notified(&mut self, step: &Criu_notify, _: Option<OwnedFd>) -> Result<()> {
        match step.script() {
            "post-dump" => {
                let path = self.container.folder.join("checkpoint");
                fs::write(&path, "").fails(|| format!("open {}", path.display()))?;
            }
            "status-ready" => {
                if let Some(fd) = self.status_fd.take() {
                    rustix::io::write(fd, &[0]).fails(|| "can't write \\0 to status fd")?;
                }
            }
            // The network belongs to the engine and its hooks.
            _ => {}
        }
        Ok(())
    }
}
