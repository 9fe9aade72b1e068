//! The container's `/dev`: device nodes, symlinks and the console.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::process::{Gid, Uid};

use super::node::Node;
use super::plan::Plan;
use super::root::{DIRECTORY, Root};
use super::stage::Stage;
use crate::kernel::device::is_null;
use crate::kernel::error::Fails;
use crate::kernel::procfs::proc_path;
use crate::kernel::{beneath, syscall};

/// Creates the device nodes, the usual symlinks and `/dev/ptmx`.
pub(crate) fn make_all(plan: &Plan, root: &Root) -> Result<()> {
    let dev = beneath::make_directories(root.fd.as_fd(), Path::new("/dev")).fails(|| "open /dev")?;
    for node in &plan.devices {
        // `/dev/ptmx` is a symlink, so that ptys come from the container's own devpts.
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
        return bind(&root.stage, parent, &name, node);
    }
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(parent, &name, node.kind, mode, node.number) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => return bind(&root.stage, parent, &name, node),
        Err(error) => return Err(error).fails(|| format!("mknodat {}", node.path.display())).map_err(Into::into),
    }
    // mknod applies the umask, so the mode is set again. In a shared directory the file could have been exchanged: check it.
    let fd = rustix::fs::openat(parent, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .fails(|| format!("open new device inode {}", node.path.display()))?;
    let stat = rustix::fs::fstat(&fd).fails(|| format!("fstat {}", node.path.display()))?;
    if FileType::from_raw_mode(stat.st_mode) != node.kind || (node.number != 0 && stat.st_rdev != node.number) {
        bail!("new device inode {} is not the one that was created", node.path.display());
    }
    if stat.st_mode & 0o7777 != node.mode {
        rustix::fs::chmod(proc_path(fd.as_fd()), mode)
            .fails(|| format!("update new device inode {} file mode", node.path.display()))?;
    }
    if (stat.st_uid, stat.st_gid) != (node.uid, node.gid) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        rustix::fs::chownat(&fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .fails(|| format!("update new device inode {} owner", node.path.display()))?;
    }
    Ok(())
}

/// Bind mounts the host's device, because a user namespace cannot create one.
fn bind(stage: &Stage, parent: &OwnedFd, name: &std::ffi::OsStr, node: &Node) -> Result<()> {
    let fail = || format!("create device inode {}", node.path.display());
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o666)).fails(fail)?;
    let target = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .fails(fail)?;
    let tree = stage.copy_path(&node.path, false).fails(|| format!("open_tree {}", node.path.display()))?;
    stage.attach(&tree, &target).fails(|| format!("mount {}", node.path.display()))?;
    Ok(())
}

/// Replaces standard streams that are the host's `/dev/null` by the container's, so that nothing of the host's `/dev` stays open.
pub(crate) fn reopen_null() -> Result<()> {
    // The image may have something else there, and merely opening that could have an effect. So it is checked first with O_PATH,
    // and again once it is open.
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

/// Bind mounts the container's terminal on `/dev/console`.
pub(crate) fn mount_console(stage: &Stage, slave: &OwnedFd) -> Result<()> {
    let root = rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /")?;
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
    let tree = stage.copy(slave.as_fd(), false).fails(|| "open_tree of the console")?;
    stage.attach(&tree, &target).fails(|| "mount console over /dev/console")?;
    Ok(())
}
