//! One mount of the configuration.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxIdMapping, Mount as MountSpec};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags};

use super::option::{self, Options};
use super::{Root, option::ATTR_IDMAP};
use crate::cgroup;
use crate::create::plan::Plan;
use crate::kernel::beneath;
use crate::kernel::error::{self, Fails};
use crate::kernel::syscall::{self, MountAttributes};
use crate::kernel::terminal::proc_path;
use crate::program::label;
use crate::spec::Items;

const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// A mount as it is planned.
#[derive(Debug)]
pub(crate) struct Mount {
    /// What is mounted; absolute for a bind mount.
    pub(crate) source: PathBuf,
    /// Where, within the root.
    pub(crate) destination: PathBuf,
    /// `bind`, or the file system's name.
    pub(crate) kind: String,
    /// How.
    pub(crate) options: Options,
    /// The ids of an id-mapped mount.
    pub(crate) id_maps: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
}

impl Mount {
    /// Reads an entry of `mounts`.
    pub(crate) fn from_spec(spec: &MountSpec, bundle: &Path, rootfs: &Path) -> Result<Self> {
        let options = option::parse(spec.options().items());
        let bind = options.flags & libc::MS_BIND != 0;
        let mut source = spec.source().clone().unwrap_or_default();
        if bind {
            source = beneath::clean(&bundle.join(source));
        }
        let maps = (spec.uid_mappings().items().to_vec(), spec.gid_mappings().items().to_vec());
        let mapped = !maps.0.is_empty() || !maps.1.is_empty();
        let kind = if bind { "bind".to_owned() } else { spec.typ().clone().unwrap_or_default() };
        let mount = Self {
            source,
            // A place named by its path on the host is meant inside, as runc has it.
            destination: match spec.destination().strip_prefix(rootfs) {
                Ok(inside) => Path::new("/").join(inside),
                Err(_) => spec.destination().clone(),
            },
            kind,
            options,
            id_maps: mapped.then_some(maps),
        };
        let name = || format!("invalid mount {}", mount.destination.display());
        if bind && !mount.options.data.is_empty() {
            return Err(anyhow::anyhow!("bind mounts cannot have any filesystem-specific options applied"))
                .with_context(name);
        }
        if mount.id_maps.is_some() || mount.options.idmap.is_some() {
            if !bind {
                return Err(anyhow::anyhow!("id-mapped mounts are only supported for bind-mounts")).with_context(name);
            }
            if mount.id_maps.as_ref().is_some_and(|(uids, gids)| uids.is_empty() || gids.is_empty()) {
                return Err(anyhow::anyhow!("id-mapped mounts must have both uid and gid mappings specified"))
                    .with_context(name);
            }
        }
        Ok(mount)
    }

    /// Whether it shows something that exists already.
    pub(crate) fn is_bind(&self) -> bool {
        self.kind == "bind"
    }

    /// Whether it becomes read-only only after everything else is done.
    pub(crate) fn is_late_read_only(&self) -> bool {
        self.kind == "tmpfs" || beneath::clean(&self.destination) == Path::new("/dev")
    }

    /// Whether its ids are mapped.
    pub(crate) fn is_id_mapped(&self) -> bool {
        self.id_maps.is_some() || self.options.idmap.is_some()
    }
}

/// A detached copy of what a bind mount shows.
pub(crate) fn open_source(mount: &Mount) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if mount.options.flags & libc::MS_REC != 0 {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(rustix::fs::CWD, &mount.source, flags)
}

/// Makes a mount below the root.
///
/// `from_parent` has the parent open the source of a bind mount. Gives what is to become read-only in the end.
pub(crate) fn make(
    plan: &Plan,
    root: &Root,
    mount: &Mount,
    from_parent: &dyn Fn() -> Result<OwnedFd>,
) -> Result<Option<OwnedFd>> {
    match mount.kind.as_str() {
        "bind" => {
            let tree = open_tree(plan, mount, from_parent)?;
            return bind(root, mount, &tree).map(|()| None);
        }
        "cgroup" if cgroup::is_unified() => return cgroup_v2(plan, root, mount).map(|()| None),
        "cgroup" => return cgroup_v1(plan, root, mount).map(|()| None),
        _ => {}
    }
    let present = mount.kind == "tmpfs"
        && beneath::open(root.fd.as_fd(), &mount.destination, OFlags::PATH, ResolveFlags::empty()).is_ok();
    let target = open_target(root, mount, true, None)?;
    let mut data = mount.options.data.clone();
    if present {
        // A tmpfs takes over the mode of the directory it covers, unless told otherwise.
        let mode = rustix::fs::fstat(&target).fails(|| "fstat of the mountpoint")?.st_mode & 0o7777;
        data = if data.is_empty() { format!("mode={mode:04o}") } else { format!("mode={mode:04o},{data}") };
    }
    if !matches!(mount.kind.as_str(), "proc" | "sysfs" | "mqueue") {
        data = label::mount_data(&data, &plan.mount_label);
    }
    let flags = mount.options.flags;
    let late = flags & libc::MS_RDONLY != 0 && mount.is_late_read_only();
    let flags = if late { flags & !libc::MS_RDONLY } else { flags };
    let tree = new(mount, &mount.kind, &target, flags, &data, late)?;
    Ok(tree.filter(|_| late))
}

/// Mounts a file system of a kind. Gives the mount if it is `kept` to be changed once more, or was changed already.
fn new(mount: &Mount, kind: &str, target: &OwnedFd, flags: u64, data: &str, kept: bool) -> Result<Option<OwnedFd>> {
    let fail = || {
        format!(
            "mount src={}, dst={}, dstFd={}, flags={flags:#x}, data={data}",
            mount.source.display(),
            mount.destination.display(),
            proc_path(target.as_fd()),
        )
    };
    let copy_up = mount.options.copy_up && kind == "tmpfs";
    if !kept && !copy_up && mount.options.propagation.is_empty() && mount.options.recursive.is_none() {
        let data = std::ffi::CString::new(data).context("mount field contains null byte")?;
        let flags = MountFlags::from_bits_retain(flags as u32);
        rustix::mount::mount(&mount.source, proc_path(target.as_fd()), kind, flags, data.as_c_str()).fails(fail)?;
        return Ok(None);
    }
    // Never to be looked for by its path: whoever exchanges folders of a shared volume would have another one changed and filled.
    let tree = detached(kind, &mount.source, flags, data).fails(fail)?;
    if copy_up {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = rustix::fs::openat(target, ".", flags, Mode::empty()).fails(|| "tmpcopyup: open")?;
        super::device::copy_tree(&below, &tree)
            .with_context(|| format!("tmpcopyup: failed to copy {}", mount.destination.display()))?;
    }
    place(mount, &tree, target, fail)?;
    Ok(Some(tree))
}

/// A new mount that nobody sees, for `move_onto`.
fn detached(kind: &str, source: &Path, flags: u64, data: &str) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.as_os_str().is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
    }
    // What of the flags is the file system's and not only the mount's.
    for (flag, name) in [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_LAZYTIME, "lazytime"),
        (libc::MS_MANDLOCK, "mand"),
    ] {
        if flags & flag != 0 {
            rustix::mount::fsconfig_set_flag(&context, name)?;
        }
    }
    for option in option::split(data) {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value.trim_matches('"'))?,
            None => rustix::mount::fsconfig_set_flag(&context, option)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let options = Options { flags, ..Options::default() };
    let attributes = option::bind_attributes(&options, true).unwrap_or_default().set;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Changes a mount that nobody sees yet as its options say, and moves it onto its place.
fn place(mount: &Mount, tree: &OwnedFd, target: &OwnedFd, fail: impl Fn() -> String) -> Result<()> {
    change_tree(mount, tree)?;
    move_onto(tree, target).fails(fail)?;
    // The mount that the place is on hands on that it is shared.
    propagate(mount, tree)
}

/// Applies propagation and recursive attributes to a mount that is held by descriptor.
fn change_tree(mount: &Mount, tree: &OwnedFd) -> Result<()> {
    propagate(mount, tree)?;
    if let Some(attributes) = &mount.options.recursive {
        syscall::mount_setattr(tree.as_fd(), true, attributes).fails(|| "mount_setattr")?;
    }
    Ok(())
}

fn propagate(mount: &Mount, tree: &OwnedFd) -> Result<()> {
    for flag in &mount.options.propagation {
        let attributes = MountAttributes { propagation: flag & !libc::MS_REC, ..MountAttributes::default() };
        syscall::mount_setattr(tree.as_fd(), flag & libc::MS_REC != 0, &attributes)
            .fails(|| "change mount propagation")?;
    }
    Ok(())
}

/// Opens the place of a mount, making it if it is missing: a file for a file, a directory for everything else.
pub(crate) fn open_target(root: &Root, mount: &Mount, directory: bool, tree: Option<&OwnedFd>) -> Result<OwnedFd> {
    let fail = || format!("create mountpoint for {} mount", mount.destination.display());
    if matches!(mount.kind.as_str(), "proc" | "sysfs") {
        // These go where the configuration says or nowhere: never through a symlink of the image.
        let path = beneath::clean(&mount.destination);
        check_proc(mount, &path, None)?;
        return match beneath::open(root.fd.as_fd(), &path, OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd).fails(fail)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    bail!("filesystem {:?} must be mounted on ordinary directory", mount.kind);
                }
                Ok(fd)
            }
            Err(Errno::LOOP) => bail!("filesystem {:?} must be mounted on ordinary directory", mount.kind),
            Err(_) => Ok(beneath::make_directories(root.fd.as_fd(), &path).fails(fail)?),
        };
    }
    let target = match beneath::open(root.fd.as_fd(), &mount.destination, OFlags::PATH, ResolveFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) if directory => beneath::make_directories(root.fd.as_fd(), &mount.destination).fails(fail)?,
        Err(Errno::NOENT) => beneath::make_file(root.fd.as_fd(), &mount.destination).fails(fail)?,
        Err(error) => return Err(error).fails(fail).map_err(Into::into),
    };
    let path = root.path_of(&target)?;
    if path == Path::new("/") {
        bail!("mountpoint {:?} is on the top of rootfs {:?}", mount.destination.display(), root.path.display());
    }
    check_proc(mount, &path, tree)
        .with_context(|| format!("check proc-safety of {} mount", mount.destination.display()))?;
    Ok(target)
}

/// Nothing may be mounted over files of `/proc`, which the container and run-tool itself trust, except what lxcfs emulates.
fn check_proc(mount: &Mount, path: &Path, tree: Option<&OwnedFd>) -> Result<()> {
    const ALLOWED: [&str; 10] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    let Ok(inside) = path.strip_prefix("/proc") else { return Ok(()) };
    if inside.as_os_str().is_empty() {
        let procfs = if mount.is_bind() {
            let statfs = match tree {
                Some(tree) => rustix::fs::fstatfs(tree),
                None => rustix::fs::statfs(&mount.source),
            };
            statfs.fails(|| format!("statfs {}", mount.source.display()))?.f_type == PROC_SUPER_MAGIC
        } else {
            mount.kind == "proc"
        };
        if procfs {
            return Ok(());
        }
        bail!("{:?} cannot be mounted because it is not of type proc", path.display().to_string());
    }
    if ALLOWED.iter().any(|allowed| inside == Path::new(allowed)) {
        return Ok(());
    }
    bail!("{:?} cannot be mounted because it is inside /proc", path.display().to_string())
}

/// What a bind mount shows. In a user namespace the container's user may not reach it, and only the host can map ids.
fn open_tree(plan: &Plan, mount: &Mount, from_parent: &dyn Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
    if mount.is_id_mapped() {
        return from_parent();
    }
    match open_source(mount) {
        Err(Errno::ACCESS | Errno::PERM) if plan.userns && !plan.rootless => from_parent(),
        result => result.fails(|| format!("open_tree {}", mount.source.display())).map_err(Into::into),
    }
}

/// A bind mount: a copy of the tree, changed while nobody sees it, then moved onto its place.
pub(crate) fn bind(root: &Root, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(tree).fails(|| format!("stat {}", mount.source.display()))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = open_target(root, mount, directory, Some(tree))?;
    set_bind_flags(mount, tree)?;
    place(mount, tree, &target, || {
        format!("mount src={}, dst={}, flags=MS_BIND", mount.source.display(), mount.destination.display())
    })
}

/// Moves a detached mount onto what a descriptor refers to.
pub(super) fn move_onto(tree: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match rustix::mount::move_mount(tree, "", target, "", flags) {
        // A directory onto a file or a file onto a directory: mount(2) calls that ENOTDIR, and docker, which adds what may be
        // wrong, knows it by that word.
        Err(Errno::INVAL) if is_directory(tree)? != is_directory(target)? => Err(Errno::NOTDIR),
        result => result,
    }
}

fn is_directory(fd: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

fn set_bind_flags(mount: &Mount, tree: &OwnedFd) -> Result<()> {
    let Some(attributes) = option::bind_attributes(&mount.options, false) else { return Ok(()) };
    let first = syscall::mount_setattr(tree.as_fd(), false, &attributes);
    let Err(error) = first else { return Ok(()) };
    if error.raw_os_error() != Some(libc::EPERM) {
        return Err(error).fails(|| "failed to set user-requested vfs flags on bind-mount").map_err(Into::into);
    }
    // Flags that came with the mount from another user namespace are locked: keep them, unless they were asked to be off.
    let keep = option::bind_attributes(&mount.options, true).unwrap_or_default();
    syscall::mount_setattr(tree.as_fd(), false, &keep)
        .fails(|| "failed to set user-requested vfs flags on bind-mount: cannot clear locked flags")?;
    Ok(())
}

/// Maps the ids of a detached mount by those of a user namespace.
pub(crate) fn map_ids(mount: &Mount, tree: &OwnedFd, userns: &OwnedFd) -> Result<()> {
    let attributes =
        MountAttributes { set: ATTR_IDMAP, userns: userns.as_raw_fd() as u64, ..MountAttributes::default() };
    let recursive = mount.options.idmap == Some(true);
    syscall::mount_setattr(tree.as_fd(), recursive, &attributes)
        .fails(|| format!("failed to set MOUNT_ATTR_IDMAP on {}", mount.source.display()))
        .with_context(|| "maybe the filesystem used doesn't support idmap mounts on this kernel?")
}

fn cgroup_v2(plan: &Plan, root: &Root, mount: &Mount) -> Result<()> {
    let target = open_target(root, mount, true, None)?;
    match new(mount, "cgroup2", &target, mount.options.flags, &mount.options.data, false) {
        Err(error) if matches!(error::errno(&error), Some(libc::EPERM | libc::EBUSY)) => {}
        result => return result.map(drop).context("mount cgroup2"),
    }
    // In a user namespace without a cgroup namespace the file system cannot be mounted: show it, or the container's part.
    let source = match plan.cgroup_path.as_ref().filter(|_| plan.cgroup_namespace) {
        Some(path) => path.clone(),
        None => PathBuf::from(cgroup::ROOT),
    };
    let options = Options { flags: libc::MS_BIND | libc::MS_REC | mount.options.flags, ..mount.options.clone() };
    let shown =
        Mount { source, destination: mount.destination.clone(), kind: "bind".to_owned(), options, id_maps: None };
    let tree = open_source(&shown).fails(|| format!("open_tree {}", shown.source.display()));
    match tree.map_err(anyhow::Error::from).and_then(|tree| bind(root, &shown, &tree)) {
        Err(error) if plan.rootless && error::errno(&error) == Some(libc::ENOENT) => {
            super::mask::mask_directory(&target, &plan.mount_label)
        }
        result => result,
    }
}

/// A tmpfs with a mount, or in the caller's cgroup namespace a view of the own group, for each hierarchy.
fn cgroup_v1(plan: &Plan, root: &Root, mount: &Mount) -> Result<()> {
    let hierarchies = cgroup::v1::hierarchies()?;
    let membership = cgroup::own_membership()?;
    let target = open_target(root, mount, true, None)?;
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    let data = label::mount_data("mode=755", &plan.mount_label);
    let base = detached("tmpfs", Path::new("tmpfs"), flags.bits().into(), &data).fails(|| "mount tmpfs")?;
    move_onto(&base, &target).fails(|| "mount tmpfs")?;
    let read_only = if mount.options.flags & libc::MS_RDONLY != 0 { MountFlags::RDONLY } else { MountFlags::empty() };
    for hierarchy in &hierarchies {
        let Some(name) = hierarchy.mountpoint.file_name() else { continue };
        rustix::fs::mkdirat(&base, name, Mode::from_raw_mode(0o755)).fails(|| format!("mkdir {}", name.display()))?;
        let place = rustix::fs::openat(&base, name, super::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .fails(|| format!("open {}", name.display()))?;
        if plan.cgroup_namespace {
            let data = std::ffi::CString::new(hierarchy.controllers.join(","))?;
            rustix::mount::mount("cgroup", proc_path(place.as_fd()), "cgroup", flags | read_only, data.as_c_str())
                .fails(|| format!("mount cgroup {}", name.display()))?;
            continue;
        }
        let Some(own) = hierarchy.controllers.iter().find_map(|controller| membership.get(controller)) else {
            continue;
        };
        let own = own.strip_prefix(hierarchy.root.trim_end_matches('/')).unwrap_or(own);
        let options = Options { flags: libc::MS_BIND | libc::MS_REC | mount.options.flags, ..Options::default() };
        let shown = Mount {
            source: hierarchy.mountpoint.join(own.trim_start_matches('/')),
            destination: mount.destination.join(name),
            kind: "bind".to_owned(),
            options,
            id_maps: None,
        };
        let tree = open_source(&shown).fails(|| format!("open_tree {}", shown.source.display()))?;
        set_bind_flags(&shown, &tree)?;
        move_onto(&tree, &place).fails(|| format!("mount {}", shown.source.display()))?;
    }
    // Hierarchies with several controllers are found under each one's name.
    for hierarchy in hierarchies.iter().filter(|hierarchy| hierarchy.controllers.len() > 1) {
        let Some(name) = hierarchy.mountpoint.file_name() else { continue };
        for controller in &hierarchy.controllers {
            match rustix::fs::symlinkat(name, &base, controller.as_str()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).fails(|| format!("symlink {controller}")).map_err(Into::into),
            }
        }
    }
    change_tree(mount, &base)?;
    if read_only == MountFlags::RDONLY {
        let attributes = MountAttributes { set: 1, ..MountAttributes::default() };
        syscall::mount_setattr(base.as_fd(), false, &attributes).fails(|| "remount of the cgroup tmpfs read-only")?;
    }
    Ok(())
}
