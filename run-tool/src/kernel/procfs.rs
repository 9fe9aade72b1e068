//! `/proc`: information on processes, and `Procfs`, which is certainly the kernel's. An image can put anything at `/proc`, and
//! labels or sysctls would then be written elsewhere (CVE-2025-52881).

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::error::{Fails, lacks};
use super::file::read_kernels;
use super::syscall::Pid;
use super::walk::{self, Rules};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const ROOT_INODE: u64 = 1;

/// The root of a procfs that is certainly the kernel's.
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    /// Opens a new procfs if the kernel permits one, otherwise the one at `/proc`, which is checked.
    pub(crate) fn open() -> Result<Self> {
        Self::detached().or_else(|_| Self::mounted())
    }

    /// A new procfs that is not attached anywhere, so nobody can mount anything over its files.
    fn detached() -> rustix::io::Result<Self> {
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let attributes =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(Self(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?))
    }

    /// Opens `/proc`. Fails unless it is the root of a procfs.
    pub(crate) fn mounted() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).fails(|| "open /proc")?;
        let statfs = rustix::fs::fstatfs(&proc).fails(|| "fstatfs /proc")?;
        let stat = rustix::fs::fstat(&proc).fails(|| "fstat /proc")?;
        if statfs.f_type != PROC_SUPER_MAGIC || stat.st_ino != ROOT_INODE {
            bail!("/proc is not procfs");
        }
        Ok(Self(proc))
    }

    /// Writes a file of this procfs. Fails if something is mounted over it.
    pub(crate) fn write(&self, path: &Path, value: &str) -> Result<()> {
        let mut file = File::from(self.open_file(path, OFlags::WRONLY)?);
        file.write_all(value.as_bytes()).fails(|| format!("write /proc/{}", path.display()))?;
        Ok(())
    }

    /// Reads a file of this procfs. Fails if something is mounted over it.
    pub(crate) fn read(&self, path: &Path) -> Result<String> {
        let mut text = String::new();
        let mut file = File::from(self.open_file(path, OFlags::RDONLY)?);
        file.read_to_string(&mut text).fails(|| format!("read /proc/{}", path.display()))?;
        Ok(text)
    }

    /// Opens a file of this procfs. Fails if something is mounted over it.
    pub(crate) fn open_file(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let opened = match rustix::fs::openat2(self.0.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(error) if lacks(error) => self.walk(path, flags),
            result => result,
        };
        opened.fails(|| format!("open /proc/{}", path.display())).map_err(Into::into)
    }

    fn walk(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mount = Some(walk::mount_id(self.0.as_fd())?);
        walk::open(self.0.as_fd(), path, flags, Rules { mount, ..Rules::default() })
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The path of one of this process's descriptors.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The start time (in clock ticks since boot) and the state of a process, from `/proc/PID/stat`. `None`: there is no such process.
pub(crate) fn process_stat(pid: Pid) -> Option<(u64, char)> {
    if pid <= 0 {
        return None;
    }
    parse_stat(&read_kernels(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(u64, char)> {
    // The command in parentheses can itself contain parentheses and spaces.
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((start, state))
}

/// Whether this process is in a user namespace that does not have all ids.
pub(crate) fn in_user_namespace() -> bool {
    read_kernels("/proc/self/uid_map")
        .is_ok_and(|text| text.split_ascii_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_procfs_is_accepted_and_paths_stay_in_it() {
        let proc = Procfs::mounted().unwrap();
        assert!(proc.write(Path::new("../etc/passwd"), "x").is_err());
        assert!(proc.write(Path::new("self/root/etc/passwd"), "x").is_err());
        // The same without openat2.
        assert!(proc.walk(Path::new("../etc/passwd"), OFlags::RDONLY).is_err());
        assert!(proc.walk(Path::new("self/root/etc/passwd"), OFlags::RDONLY).is_err());
        assert!(proc.walk(Path::new("self/exe"), OFlags::RDONLY).is_err());
        proc.walk(Path::new("self/attr/current"), OFlags::PATH).unwrap();
    }

    #[test]
    fn the_start_time_is_found_behind_a_command_with_parentheses() {
        let text = "12 (a) S (b)) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(text), Some((4242, 'Z')));
    }
}
