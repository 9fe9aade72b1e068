//! Restore: run-tool prepares the mount points and control groups, then criu restores the container's processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use rust_criu::rust_criu_protobuf::rpc::{
    Cgroup_root, Criu_notify, Criu_opts, Criu_req, Criu_req_type, Inherit_fd, Join_namespace,
};
use rustix::io::FdFlags;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::cgroup::{self, device};
use crate::checkpoint::criu::{self, Criu};
use crate::checkpoint::images::{self, DESCRIPTORS};
use crate::container::Container;
use crate::container::state;
use crate::create::begin::{self, Begun};
use crate::create::plan::{Options, Plan};
use crate::create::talk::{Channel, Message};
use crate::create::{Ends, Started};
use crate::create::{namespace, notify};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{beneath, log, terminal};
use crate::rootfs::root::Root;
use crate::rootfs::{bind, place};
use crate::spec::Items;

/// How to restore a container.
#[derive(Debug)]
pub(crate) struct Restoring {
    /// The criu to run.
    pub(crate) criu: Criu,
    /// Options that are passed to criu as they are.
    pub(crate) options: Criu_opts,
    /// The folder of the images.
    pub(crate) images: PathBuf,
    /// The folder for the log; `None` for that of the images.
    pub(crate) work: Option<PathBuf>,
}

/// Restores a container. If a step fails, everything done before is undone.
pub(crate) fn restore(spec: &Spec, mut options: Options, restoring: Restoring) -> Result<Started> {
    let mut begun = begin::begin(spec, &mut options)?;
    let made = begun.cgroup.refuse_used().and_then(|()| {
        if options.notify.is_some() {
            // The container has notified readiness before the checkpoint. Its mount needs the folder, but nobody listens.
            notify::make_folder(&begun.container.folder, options.again)?;
        }
        run(spec, &mut begun, restoring).inspect_err(|_| begun.undo_groups())
    });
    match made {
        Ok(ends) => Ok(Started { container: begun.container, pid: begun.pid, ends, notify: None }),
        Err(error) => {
            begun.undo_folder();
            Err(error)
        }
    }
}

/// The root as criu requires it: a mount point of its own, whose parent is not covered.
struct Place(PathBuf);

impl Place {
    fn make(rootfs: &Path, folder: &Path) -> Result<Self> {
        let path = folder.join("criu-root");
        fs::create_dir(&path).fails(|| format!("mkdir {}", path.display()))?;
        let path = fs::canonicalize(&path).fails(|| format!("lstat {}", path.display()))?;
        rustix::mount::mount_bind_recursive(rootfs, &path).fails(|| format!("mount {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(&self.0, UnmountFlags::DETACH).map_err(Into::into);
        if let Err(error) = gone.and_then(|()| fs::remove_dir(&self.0)) {
            log::warn(&format!("remove {}: {}", self.0.display(), crate::kernel::error::reason(&error)));
        }
    }
}

fn run(spec: &Spec, begun: &mut Begun, mut restoring: Restoring) -> Result<Ends> {
    const LOG: &str = "restore.log";
    let version = restoring.criu.version()?;
    let images = File::open(&restoring.images).fails(|| format!("open {}", restoring.images.display()))?;
    let work = restoring.work.as_deref().map(images::open_folder).transpose()?;
    begun.keep_for_exec()?;
    // Stored before any process exists, so that `delete --force` finds the groups whatever interrupts us.
    begun.container.save()?;
    let plan = &begun.plan;
    let place = Place::make(&plan.rootfs.path, &begun.container.folder)?;
    let options = &mut restoring.options;
    if version < 31600 && options.has_lsm_profile() {
        bail!("--lsm-profile requires at least CRIU 3.16");
    }
    if version < 31600 && options.has_lsm_mount_context() {
        bail!("--lsm-mount-context requires at least CRIU 3.16");
    }
    criu::configure(options, &begun.container, LOG);
    options.set_images_dir_fd(images.as_raw_fd());
    if let Some(work) = &work {
        options.set_work_dir_fd(work.as_raw_fd());
    }
    options.set_root(place.0.display().to_string());
    options.set_evasive_devices(true);
    // The init process must be a child of run-tool.
    options.set_rst_sibling(true);
    join_namespaces(options, plan, version)?;
    make_mountpoints(plan)?;
    leave_mounts(options, plan)?;
    let (lent, mut ends) =
        inherit_pipes(options, &restoring.images.join(DESCRIPTORS), plan.foreground && !plan.terminal)?;
    begun.cgroup.create()?;
    begun.container.state.cgroup_paths.clone_from(&begun.cgroup.paths);
    let request = criu::request(Criu_req_type::RESTORE, Some(std::mem::take(options)));
    let mut restore = Restore { spec, begun, version, master: None };
    let result = restoring.criu.carry_out(request, &mut restore);
    ends.terminal = restore.master;
    // From here on only the container holds them.
    drop(lent);
    if let Err(error) = result {
        criu::quote_errors(&restoring.work.as_ref().unwrap_or(&restoring.images).join(LOG));
        return Err(error);
    }
    if begun.pid == 0 {
        bail!("criu did not report the process that it restored");
    }
    Ok(ends)
}

/// Tells criu to join the namespaces that the container had joined.
fn join_namespaces(options: &mut Criu_opts, plan: &Plan, version: i32) -> Result<()> {
    for (kind, _, since) in criu::EXTERNAL {
        if version < since {
            let name = namespace::names(kind).1;
            bail!(
                "criu lacks support for external {name} namespace during the restoration process (old criu version?)"
            );
        }
    }
    for (kind, path, fd) in &plan.namespaces.joined {
        if *kind == LinuxNamespaceType::Cgroup {
            bail!("Do not know how to handle namespace NEWCGROUP");
        }
        let Some((_, key, _)) = criu::EXTERNAL.iter().find(|(external, ..)| external == kind) else {
            let mut join = Join_namespace::new();
            join.set_ns(namespace::names(*kind).1.to_owned());
            join.set_ns_file(path.display().to_string());
            options.join_ns.push(join);
            continue;
        };
        // criu inherits the descriptor under the same number.
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).fails(|| "fcntl(F_SETFD)")?;
        let mut inherit = Inherit_fd::new();
        inherit.set_key((*key).to_owned());
        inherit.set_fd(fd.as_raw_fd());
        options.inherit_fd.push(inherit);
    }
    Ok(())
}

/// Creates missing mount points, also those inside bind mounts. That needs the mounts themselves for a while, so a child process
/// makes them in a mount namespace that ends with it.
fn make_mountpoints(plan: &Plan) -> Result<()> {
    let (ours, theirs) = Channel::pair()?;
    let Some(child) = syscall::clone(libc::CLONE_NEWNS as u64, None).fails(|| "clone")? else {
        match make_in_namespace(plan) {
            Ok(()) => syscall::exit(0),
            Err(error) => theirs.fail(&error),
        }
    };
    drop(theirs);
    let failed = ours.receive()?;
    syscall::wait(child, true)?;
    match failed {
        None => Ok(()),
        Some((Message::Error(text), _)) => bail!(text),
        Some((message, _)) => bail!("unexpected message {message:?} from the process that makes mountpoints"),
    }
}

fn make_in_namespace(plan: &Plan) -> Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .fails(|| "mount / private")?;
    rustix::mount::mount_bind_recursive(&plan.rootfs.path, &plan.rootfs.path).fails(|| "mount of the root")?;
    let mut root = Root::open(&plan.rootfs.path)?;
    root.stage.begin(&plan.rootfs.path)?;
    let on_tmpfs = |path: &Path| {
        plan.rootfs.mounts.iter().any(|mount| {
            let on = beneath::clean(&mount.destination);
            mount.kind == "tmpfs" && path != on && path.starts_with(on)
        })
    };
    for mount in &plan.rootfs.mounts {
        // criu restores a tmpfs with its content. The mounts of cgroup v1 are on one.
        if mount.kind == "cgroup" || on_tmpfs(&beneath::clean(&mount.destination)) {
            continue;
        }
        let made = if mount.is_bind() {
            bind::open_source(&root.stage, mount)
                .fails(|| format!("open_tree {}", mount.source.display()))
                .map_err(Into::into)
                .and_then(|tree| bind::bind(&root, mount, &tree))
        } else {
            place::open_target(&root, mount, true, None).map(drop)
        };
        made.with_context(|| format!("create criu restore mountpoint for {} mount", mount.destination.display()))?;
    }
    Ok(())
}

/// Marks the container's mounts that belong to the host as external.
fn leave_mounts(options: &mut Criu_opts, plan: &Plan) -> Result<()> {
    let root = Root::open(&plan.rootfs.path)?;
    let mut leave = |path: &Path, value: &Path| criu::leave(options, &images::place(&root, path), value);
    for mount in &plan.rootfs.mounts {
        if mount.is_bind() {
            leave(&mount.destination, &mount.source);
        } else if mount.kind == "cgroup" && !cgroup::is_unified() && !plan.rootfs.cgroup_namespace {
            let membership = cgroup::membership::own()?;
            for hierarchy in cgroup::v1::hierarchies(&membership)? {
                let own = hierarchy.controllers.iter().find_map(|controller| membership.get(controller));
                let (Some(name), Some(own)) = (hierarchy.mountpoint.file_name(), own) else { continue };
                let own = own.strip_prefix(hierarchy.root.trim_end_matches('/')).unwrap_or(own);
                leave(&mount.destination.join(name), &hierarchy.mountpoint.join(own.trim_start_matches('/')));
            }
        }
    }
    if !plan.rootfs.masked_paths.is_empty() {
        leave(Path::new("/dev/null"), Path::new("/dev/null"));
    }
    for node in &plan.rootfs.devices {
        leave(node.path(), node.path());
    }
    Ok(())
}

/// Replaces standard streams that were pipes: in the foreground by new ones, as `run` has them, otherwise by run-tool's own. Returns
/// the new ones, the container's ends first.
fn inherit_pipes(options: &mut Criu_opts, path: &Path, foreground: bool) -> Result<(Vec<OwnedFd>, Ends)> {
    let text = fs::read(path).fails(|| format!("open {}", path.display()))?;
    let names: Option<Vec<String>> = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let (mut lent, mut ends) = (Vec::new(), Ends::default());
    for (number, name) in (0..).zip(names.unwrap_or_default()) {
        if name.contains("pipe:") {
            let mut inherit = Inherit_fd::new();
            inherit.set_key(name);
            inherit.set_fd(number);
            if foreground {
                let (theirs, ours) = Ends::pipe(number)?;
                rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).fails(|| "fcntl(F_SETFD)")?;
                inherit.set_fd(theirs.as_raw_fd());
                ends.pipes.push((number, ours));
                lent.push(theirs);
            }
            options.inherit_fd.push(inherit);
        }
    }
    Ok((lent, ends))
}

/// A restore in progress.
struct Restore<'a> {
    spec: &'a Spec,
    begun: &'a mut Begun,
    version: i32,
    master: Option<OwnedFd>,
}

impl criu::Caller for Restore<'_> {
    const LENDS_STREAMS: bool = true;

    /// Puts criu into the control groups, so that all processes it creates are in them from the start.
    fn begun(&mut self, criu: Pid, request: &mut Criu_req) -> Result<()> {
        let cgroup = &mut self.begun.cgroup;
        cgroup.place(criu).context("unable to apply cgroup configuration")?;
        self.begun.container.state.cgroup_paths.clone_from(&cgroup.paths);
        let linux = self.spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
        let rules = device::rules(Some(&resources), linux.map_or(&[][..], |linux| linux.devices().items()));
        cgroup.set(&resources, &rules).context("error setting cgroup config")?;
        let path = format!("/proc/{criu}/cgroup");
        let membership: BTreeMap<_, _> =
            cgroup::membership::parse(&fs::read_to_string(&path).fails(|| format!("open {path}"))?);
        let options = request.opts.as_mut().context("a restore has options")?;
        for (controller, path) in membership {
            let mut root = Cgroup_root::new();
            root.set_ctrl(controller);
            root.set_path(path);
            options.cg_root.push(root);
        }
        Ok(())
    }

    fn notified(&mut self, step: &Criu_notify, fd: Option<OwnedFd>) -> Result<()> {
        let (plan, container) = (&self.begun.plan, &mut self.begun.container);
        match step.script() {
            "setup-namespaces" => {
                let state = container.state.for_hooks("creating", step.pid());
                plan.run_outer_hooks(state)?;
            }
            "post-restore" => {
                note_time_namespace(container, self.version);
                container.state.created = jiff::Timestamp::now().to_string();
                self.begun.pid = step.pid();
                self.begun.store()?;
            }
            "orphan-pts-master" => {
                let master = fd.context("criu sent no terminal")?;
                match &plan.console {
                    Some(socket) => terminal::send_to_socket(socket.as_fd(), master.as_fd())?,
                    None => {
                        if plan.foreground {
                            terminal::prepare(&master)?;
                        }
                        self.master = Some(master);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Records that criu has put the container into a time namespace, which keeps its clocks monotonic.
fn note_time_namespace(container: &mut Container, version: i32) {
    let namespaces = &mut container.state.config.namespaces;
    if version >= 31400
        && Path::new("/proc/self/ns/time").exists()
        && !namespaces.iter().any(|namespace| namespace.kind == "NEWTIME")
    {
        namespaces.push(state::Namespace { kind: "NEWTIME".to_owned(), path: PathBuf::new() });
    }
}
