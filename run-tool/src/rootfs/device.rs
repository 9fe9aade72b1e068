//! `/dev`: device nodes, links, the console; and copying a tree for a tmpfs that starts with what it covers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Gid, Uid};

use super::{Root, mount::move_onto};
use crate::cgroup::device::DEFAULT;
use crate::create::plan::Plan;
use crate::kernel::error::Fails;
use crate::kernel::{beneath, syscall};

/// A device node of the container.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    path: PathBuf,
    kind: FileType,
    number: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Node {
    /// Where it is in the container.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The nodes of a container: the configuration's, then the default ones that it does not name itself.
pub(crate) fn nodes(devices: &[LinuxDevice]) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for device in devices {
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => bail!("invalid device type \"a\""),
        };
        let number = |number: i64| u32::try_from(number).context("device number");
        let number = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(number(device.major())?, number(device.minor())?),
        };
        nodes.push(Node {
            path: beneath::clean(device.path()),
            kind,
            number,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    for (path, major, minor) in DEFAULT {
        if !nodes.iter().any(|node| node.path == Path::new(path)) {
            let number = rustix::fs::makedev(major, minor);
            nodes.push(Node {
                path: path.into(),
                kind: FileType::CharacterDevice,
                number,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    Ok(nodes)
}

/// Makes the nodes, the usual links and `/dev/ptmx`.
pub(crate) fn make_all(plan: &Plan, root: &Root) -> Result<()> {
    let dev = beneath::make_directories(root.fd.as_fd(), Path::new("/dev")).fails(|| "open /dev")?;
    for node in &plan.devices {
        // A pty must come from the container's own devpts.
        if node.path == Path::new("/dev/ptmx") {
            continue;
        }
        make(plan, root, &dev, node).context("error creating device nodes")?;
    }
    beneath::remove(root.fd.as_fd(), Path::new("/dev/ptmx")).fails(|| "error setting up ptmx: remove /dev/ptmx")?;
    let mut links = vec![
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        links.push(("/proc/kcore", "core"));
    }
    for (target, name) in links {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => {
                return Err(error)
                    .fails(|| format!("error setting up /dev symlinks: symlink /dev/{name}"))
                    .map_err(Into::into);
            }
        }
    }
    Ok(())
}

fn make(plan: &Plan, root: &Root, dev: &OwnedFd, node: &Node) -> Result<()> {
    let made;
    let (parent, name) = match node.path.strip_prefix("/dev") {
        Ok(name) if name.components().count() == 1 => (dev, name.as_os_str().to_owned()),
        _ => {
            let (parent, name) = beneath::make_parent(root.fd.as_fd(), &node.path)
                .fails(|| format!("mkdir parent of device inode {:?}", node.path.display().to_string()))?;
            made = parent;
            (&made, name)
        }
    };
    if plan.binds_devices {
        return bind(parent, &name, node);
    }
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(parent, &name, node.kind, mode, node.number) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => return bind(parent, &name, node),
        Err(error) => return Err(error).fails(|| format!("mknodat {}", node.path.display())).map_err(Into::into),
    }
    // The umask has its say in mknod, and a shared directory could have another file there by now.
    let fd = rustix::fs::openat(parent, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .fails(|| format!("open new device inode {}", node.path.display()))?;
    let stat = rustix::fs::fstat(&fd).fails(|| format!("fstat {}", node.path.display()))?;
    if FileType::from_raw_mode(stat.st_mode) != node.kind || (node.number != 0 && stat.st_rdev != node.number) {
        bail!("new device inode {} is not the one that was made", node.path.display());
    }
    if stat.st_mode & 0o7777 != node.mode {
        rustix::fs::chmod(crate::kernel::terminal::proc_path(fd.as_fd()), mode)
            .fails(|| format!("update new device inode {} file mode", node.path.display()))?;
    }
    if (stat.st_uid, stat.st_gid) != (node.uid, node.gid) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        rustix::fs::chownat(&fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .fails(|| format!("update new device inode {} owner", node.path.display()))?;
    }
    Ok(())
}

/// Nobody in a user namespace makes devices: the host's are shown instead.
fn bind(parent: &OwnedFd, name: &std::ffi::OsStr, node: &Node) -> Result<()> {
    let fail = || format!("create device inode {}", node.path.display());
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o666)).fails(fail)?;
    let target = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .fails(fail)?;
    let tree = rustix::mount::open_tree(
        rustix::fs::CWD,
        &node.path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .fails(|| format!("open_tree {}", node.path.display()))?;
    move_onto(&tree, &target).fails(|| format!("mount {}", node.path.display()))?;
    Ok(())
}

/// Whether something is `/dev/null`, by its numbers.
pub(crate) fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Makes standard streams that are the host's `/dev/null` the container's, so that it holds nothing of the host's `/dev`.
pub(crate) fn reopen_null() -> Result<()> {
    // The image may have put something else there, whose opening alone does something: it is looked at first, and again once
    // it is open.
    let open = |flags| -> Result<OwnedFd> {
        let null = rustix::fs::open("/dev/null", flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .fails(|| "error reopening /dev/null inside container: open /dev/null")?;
        let stat = rustix::fs::fstat(&null).fails(|| "fstat /dev/null")?;
        if !is_null(&stat) {
            bail!(
                "error reopening /dev/null inside container: can't reopen /dev/null: container's /dev/null is invalid"
            );
        }
        Ok(null)
    };
    open(OFlags::PATH)?;
    let null = open(OFlags::RDWR)?;
    for number in 0..3 {
        let Some(stream) = syscall::borrow_fd(number) else { continue };
        if rustix::fs::fstat(stream).is_ok_and(|stat| is_null(&stat)) {
            syscall::dup_to(null.as_fd(), number).fails(|| "dup3")?;
        }
    }
    Ok(())
}

/// Shows the container's terminal at `/dev/console`.
pub(crate) fn mount_console(slave: &OwnedFd) -> Result<()> {
    let root = rustix::fs::open("/", super::DIRECTORY, Mode::empty()).fails(|| "open /")?;
    let target = match beneath::open(
        root.as_fd(),
        Path::new("/dev/console"),
        OFlags::PATH | OFlags::NOFOLLOW,
        ResolveFlags::empty(),
    ) {
        Err(rustix::io::Errno::NOENT) => beneath::make_file(root.as_fd(), Path::new("/dev/console")),
        result => result,
    };
    let target = target.fails(|| "create /dev/console mount target")?;
    let stat = rustix::fs::fstat(&target).fails(|| "fstat /dev/console")?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        bail!("create /dev/console mount target: open /dev/console: too many levels of symbolic links");
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(slave, "", flags).fails(|| "open_tree of the console")?;
    move_onto(&tree, &target).fails(|| "mount console over /dev/console")?;
    Ok(())
}

/// Copies what a directory holds into another: files, directories, links, with owners and modes; no devices.
pub(super) fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut entries = rustix::fs::Dir::read_from(from).fails(|| "readdir")?;
    while let Some(entry) = entries.read() {
        let entry = entry.fails(|| "readdir")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let show = || name.to_string_lossy().into_owned();
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).fails(show)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let follow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, mode).fails(show)?;
                let source = rustix::fs::openat(from, name, follow | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                    .fails(show)?;
                let copy = rustix::fs::openat(to, name, follow | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                    .fails(show)?;
                copy_tree(&source, &copy)?;
            }
            FileType::RegularFile => {
                // By now it may be a fifo, which nobody writes to.
                let flags = follow | OFlags::RDONLY | OFlags::NONBLOCK;
                let source = rustix::fs::openat(from, name, flags, Mode::empty()).fails(show)?;
                let stat = rustix::fs::fstat(&source).fails(show)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    bail!("{}: changed while it was copied", show());
                }
                let copy = rustix::fs::openat(to, name, follow | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)
                    .fails(show)?;
                std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(copy)).fails(show)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new()).fails(show)?;
                rustix::fs::symlinkat(&target, to, name).fails(show)?;
            }
            _ => continue,
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).fails(show)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // After chown, which clears the set-user-id bits.
            rustix::fs::chmodat(to, name, mode, AtFlags::empty()).fails(show)?;
        }
    }
    Ok(())
}
