//! The root file system of a bundle or a build step: layer directories stacked by overlayfs, mounted and unmounted.
//!
//! The layer directories belong to `image_tool`: one for each diff id, unpacked once and shared. Three facts of the kernel shape the code:
//!
//! - `mount(2)` takes one page of options, too little for the paths of 60 layers. Since Linux 6.8 `fsconfig(2)` takes layers one by one
//!   (`lowerdir+`). Before that, each is named `/proc/self/fd/N`, which is short, needs no escapes for `:` and `,`, and cannot be replaced
//!   by another directory between check and mount.
//! - `fsconfig(2)` truncates strings at 255 bytes, so longer paths are named by descriptor as well.
//! - In a user namespace overlayfs keeps its marks in `user.overlay.*` (`userxattr`, Linux 5.11).
//!
//! `user` looks up names in the /etc/passwd of such a tree, `namespace` hides mounts from others. This room knows no other.

pub mod mapping;
mod namespace;
pub mod user;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

pub use self::namespace::{own_namespace, private_namespace};
use image_tool::error::{During as _, Io};
use image_tool::layer::mount;
pub use image_tool::layer::mount::is_mounted;
pub use image_tool::layer::owner::in_user_namespace;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};

use self::mapping::Mapping;

/// Why a root file system cannot be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel was built without overlayfs.
    #[error("this kernel has no overlayfs (modprobe overlay, or --copy)")]
    NoOverlay,
    /// The user is neither root nor in a user namespace that may mount.
    #[error("this user may not mount an overlay (run as root or in a user namespace, or --copy)")]
    NotPermitted,
    /// The file system of the upper directory does not support overlays, as is the case for another overlay.
    #[error(
        "{path}: file system does not support the writable layer of an overlay (move $OCI_HOME to ext4, xfs, btrfs or tmpfs, or --copy)"
    )]
    Unsuitable {
        /// The upper directory, or the target of a read-only stack.
        path: PathBuf,
    },
    /// More layers than overlayfs can stack.
    #[error("{count} layers exceed the {limit} that overlayfs stacks (image-tool squash)")]
    TooManyLayers {
        /// The number of layers.
        count: usize,
        /// The kernel's limit, [`LAYER_LIMIT`].
        limit: usize,
    },
    /// A process uses the mount.
    #[error("unmount {target}: in use (stop the container)")]
    Busy {
        /// The mount point in use.
        target: PathBuf,
    },
    /// The kernel does not map the ids of layers.
    #[error("this kernel cannot map the ids of an overlay's layers, which needs Linux 5.19")]
    NotMapped(#[source] io::Error),
    /// An operation that the kernel refused for another reason.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// A mount namespace cannot be created.
    #[error("create a private mount namespace")]
    Namespace(#[source] io::Error),
}

/// The number of layers that overlayfs can stack (`OVL_MAX_STACK`).
pub const LAYER_LIMIT: usize = 500;

/// A stack of layer directories, and the directory that changes go to.
///
/// ```no_run
/// # use bundle_tool::rootfs::{self, Overlay};
/// # use std::path::{Path, PathBuf};
/// rootfs::private_namespace()?;
/// Overlay::new(vec![PathBuf::from("base"), PathBuf::from("python")])
///     .writable("upper", "work")
///     .mount(Path::new("rootfs"))?;
/// # Ok::<(), rootfs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Overlay {
    lower: Vec<PathBuf>,
    writable: Option<(PathBuf, PathBuf)>,
    volatile: bool,
    /// The layers of `lower` whose ids are mapped, and how.
    mapped: Option<(Mapping, Vec<PathBuf>)>,
}

impl Overlay {
    /// A read-only stack of `lower`, the bottom layer first as in a manifest.
    ///
    /// An image may hold a layer more than once, for example of two steps that changed nothing, which overlayfs refuses. Only the topmost
    /// is kept, since it hides the ones below.
    pub fn new(mut lower: Vec<PathBuf>) -> Self {
        let mut seen = std::collections::HashSet::new();
        lower.reverse();
        lower.retain(|layer| seen.insert(layer.clone()));
        lower.reverse();
        Self { lower, writable: None, volatile: false, mapped: None }
    }

    /// Writes changes to `upper`; `work` is an empty directory on the same file system for overlayfs itself.
    #[must_use]
    pub fn writable(mut self, upper: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        self.writable = Some((upper.into(), work.into()));
        self
    }

    /// Ignores that programs want changes on disk (fsync(2)), where the upper directory is of no use after a crash. Nor does it wait, when
    /// it is unmounted, until all of the upper directory's file system is on the disk: with a layer that has just been stored, for seconds.
    /// The work directory then is for one mount only ([`renew`]). Kernels before 5.10 cannot do that and write as ever.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Maps the ids of some layers: their files belong to others in the stack.
    #[must_use]
    pub fn mapped(mut self, mapping: Mapping, layers: Vec<PathBuf>) -> Self {
        self.mapped = Some((mapping, layers));
        self
    }

    /// Mounts the stack at `target`, an existing directory.
    ///
    /// A single directory is bind-mounted, since overlayfs needs two. The mount belongs to the caller's mount namespace and outlives the
    /// caller unless that namespace is private.
    pub fn mount(&self, target: &Path) -> Result<(), Error> {
        if self.lower.len() > LAYER_LIMIT {
            return Err(Error::TooManyLayers { count: self.lower.len(), limit: LAYER_LIMIT });
        }
        if let Some((mapping, layers)) = &self.mapped {
            return self.mount_mapped(target, mapping, layers);
        }
        match (self.lower.as_slice(), &self.writable) {
            ([], Some((only, _))) => return bind(only, target, false),
            ([only], None) => return bind(only, target, true),
            ([], None) => return Ok(Err(Errno::INVAL).during("open", target)?),
            _ => {}
        }
        let mut stack = Stack::open(self)?;
        let mut mounted = stack.mount(target);
        if self.volatile && matches!(mounted, Err(Errno::INVAL)) {
            stack.volatile = false;
            mounted = stack.mount(target);
        }
        mounted.map_err(|errno| self.reason(target, errno))
    }

    /// Makes a mount of the stack, which takes two directories at least, that is nowhere: it lasts as long as the descriptor, or what was
    /// opened by it.
    pub fn detached(&self) -> Result<OwnedFd, Error> {
        Stack::open(self)?.detached().map_err(|errno| self.reason(Path::new("an overlay"), errno))
    }

    fn reason(&self, target: &Path, errno: Errno) -> Error {
        match errno {
            Errno::NODEV => Error::NoOverlay,
            Errno::PERM | Errno::ACCESS => Error::NotPermitted,
            Errno::INVAL | Errno::OPNOTSUPP | Errno::REMOTE => Error::Unsuitable {
                path: self.writable.as_ref().map_or_else(|| target.into(), |(upper, _)| upper.clone()),
            },
            errno => refused("mount", target, errno),
        }
    }

    /// Mounts the stack with layers of mapped ids. What it is made of vanishes with the thread that makes it, and nothing but the stack is
    /// ever seen.
    fn mount_mapped(&self, target: &Path, mapping: &Mapping, layers: &[PathBuf]) -> Result<(), Error> {
        let make = || {
            private_namespace()?;
            layers.iter().try_for_each(|layer| mapping.cover(layer))?;
            Stack::open(self)?.detached().map_err(|errno| match self.reason(target, errno) {
                Error::Unsuitable { .. } => Error::NotMapped(errno.into()),
                other => other,
            })
        };
        let made = std::thread::scope(|scope| scope.spawn(make).join()).expect("mounting does not panic")?;
        attach(&made, target).map_err(|errno| refused("mount", target, errno))
    }
}

/// How overlayfs is told of its directories.
#[derive(Clone, Copy)]
enum By {
    /// By their descriptors, since Linux 6.13: it need not look for each of them again, which a stack of many layers shows.
    Descriptor,
    Name,
}

/// The opened directories of an overlay, so that those are mounted that were checked.
struct Stack<'a> {
    overlay: &'a Overlay,
    /// Top layer first, in overlayfs's order.
    lower: Vec<OwnedFd>,
    writable: Option<(OwnedFd, OwnedFd)>,
    userxattr: bool,
    volatile: bool,
}

impl<'a> Stack<'a> {
    fn open(overlay: &'a Overlay) -> Result<Self, Error> {
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .during("open", path)
        };
        Ok(Self {
            overlay,
            lower: overlay.lower.iter().rev().map(|path| open(path)).collect::<Result<_, _>>()?,
            writable: match &overlay.writable {
                Some((upper, work)) => Some((open(upper)?, open(work)?)),
                None => None,
            },
            userxattr: in_user_namespace(),
            volatile: overlay.volatile,
        })
    }

    /// Options that keep the upper directory self-contained. With any of these features on, it refers to lower directories by handle or
    /// path and cannot be packed as a layer. With `userxattr` they are off, and the kernel refuses the options.
    fn options(&self) -> &'static [(&'static str, &'static str)] {
        if self.userxattr { &[] } else { &[("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")] }
    }

    /// Mounts in the newest way that the kernel knows.
    fn mount(&self, target: &Path) -> Result<(), Errno> {
        let older = |errno: &Errno| matches!(*errno, Errno::INVAL | Errno::NOSYS | Errno::NAMETOOLONG);
        let mounted = self.mount_by_fsconfig(target, By::Descriptor);
        let mounted =
            mounted.or_else(|errno| if older(&errno) { self.mount_by_fsconfig(target, By::Name) } else { Err(errno) });
        mounted.or_else(|errno| if older(&errno) { self.mount_by_options(target) } else { Err(errno) })
    }

    fn mount_by_fsconfig(&self, target: &Path, by: By) -> Result<(), Errno> {
        attach(&self.create(by)?, target)
    }

    /// Makes a mount of it that is nowhere yet, since Linux 6.8.
    fn detached(&self) -> Result<OwnedFd, Errno> {
        self.create(By::Descriptor).or_else(|_| self.create(By::Name))
    }

    fn create(&self, by: By) -> Result<OwnedFd, Errno> {
        use rustix::mount::{
            fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
        };
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let context = &context;
        fsconfig_set_string(context, "source", "overlay")?;
        let add = |key: &str, path: &Path, fd: &OwnedFd| match by {
            By::Descriptor => fsconfig_set_fd(context, key, fd),
            By::Name => match fs::canonicalize(path) {
                Ok(full) if full.as_os_str().len() < 256 => fsconfig_set_string(context, key, full),
                _ => fsconfig_set_string(context, key, by_descriptor(fd)),
            },
        };
        for (path, fd) in self.overlay.lower.iter().rev().zip(&self.lower) {
            add("lowerdir+", path, fd)?;
        }
        if let (Some((upper, work)), Some((upper_fd, work_fd))) = (&self.overlay.writable, &self.writable) {
            add("upperdir", upper, upper_fd)?;
            add("workdir", work, work_fd)?;
        }
        for (key, value) in self.options() {
            fsconfig_set_string(context, *key, *value)?;
        }
        if self.userxattr {
            fsconfig_set_flag(context, "userxattr")?;
        }
        if self.volatile {
            fsconfig_set_flag(context, "volatile")?;
        }
        fsconfig_create(context)?;
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    }

    fn mount_by_options(&self, target: &Path) -> Result<(), Errno> {
        let lower: Vec<String> = self.lower.iter().map(by_descriptor).collect();
        let mut options = format!("lowerdir={}", lower.join(":"));
        if let Some((upper, work)) = &self.writable {
            options += &format!(",upperdir={},workdir={}", by_descriptor(upper), by_descriptor(work));
        }
        for (key, value) in self.options() {
            options += &format!(",{key}={value}");
        }
        if self.userxattr {
            options += ",userxattr";
        }
        if self.volatile {
            options += ",volatile";
        }
        let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())
    }
}

fn attach(mount: &OwnedFd, target: &Path) -> Result<(), Errno> {
    rustix::mount::move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes the work directory of an overlay that was volatile fit for another mount: overlayfs left a mark, since it cannot tell whether the
/// machine has crashed since.
pub fn renew(work: &Path) -> Result<(), Error> {
    let mark = work.join("work/incompat");
    match fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(Err(error).during("remove", &mark)?),
        _ => Ok(()),
    }
}

fn refused(operation: &'static str, path: &Path, errno: Errno) -> Error {
    Io { operation, path: path.to_owned(), source: errno.into() }.into()
}

/// A path to an open directory without characters that overlayfs needs escaped.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn bind(source: &Path, target: &Path, readonly: bool) -> Result<(), Error> {
    let failed = |errno: Errno| match errno {
        Errno::PERM => Error::NotPermitted,
        Errno::NOENT => refused("open", source, errno),
        errno => refused("mount", target, errno),
    };
    rustix::mount::mount_bind(source, target).map_err(failed)?;
    if readonly {
        rustix::mount::mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "").map_err(failed)?;
    }
    Ok(())
}

/// Mounts a tmpfs of at most `size` bytes at `target`, writable for all users.
pub fn mount_memory(target: &Path, size: u64) -> Result<(), Error> {
    let options = std::ffi::CString::new(format!("mode=1777,size={size}")).expect("a number has no zero byte");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("shm", target, "tmpfs", flags, options.as_c_str()).map_err(|errno| match errno {
        Errno::PERM => Error::NotPermitted,
        errno => refused("mount", target, errno),
    })
}

/// Whether something is mounted beneath the folder `path`, in the mount namespace of this process.
pub fn has_mounts_beneath(path: &Path) -> bool {
    let Ok(full) = fs::canonicalize(path) else { return false };
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&table).any(|point| point != full && point.starts_with(&full))
}

/// The mount that has `path`: where it is mounted, and the optional fields that tell of its propagation (`shared:N`, `master:N`).
pub fn mount_of(path: &Path) -> Option<(PathBuf, Vec<String>)> {
    let full = fs::canonicalize(path).ok()?;
    let table = fs::read("/proc/self/mountinfo").ok()?;
    // The last of several at one place hides those before it.
    let lines = table.split(|byte| *byte == b'\n').filter_map(|line| Some((mount_point(line)?, line)));
    let (point, line) =
        lines.filter(|(point, _)| full.starts_with(point)).max_by_key(|(point, _)| point.as_os_str().len())?;
    let fields = line.split(|byte| *byte == b' ').skip(6).take_while(|field| *field != b"-");
    Some((point, fields.map(|field| String::from_utf8_lossy(field).into_owned()).collect()))
}

/// The mount points of /proc/self/mountinfo.
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table.split(|byte| *byte == b'\n').filter_map(mount_point)
}

/// The mount point in a line of /proc/self/mountinfo (proc(5)), where blanks, line feeds and backslashes are octal escapes.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let path = mount::unescape(line.split(|byte| *byte == b' ').nth(4)?);
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

/// Unmounts all mounts at `target` and returns whether there were any.
///
/// `lazily` detaches a mount that is in use, which is [`Error::Busy`] otherwise.
pub fn unmount(target: &Path, lazily: bool) -> Result<bool, Error> {
    mount::unmount_all(target, lazily).map_err(|errno| match errno {
        Errno::BUSY => Error::Busy { target: target.into() },
        Errno::PERM => Error::NotPermitted,
        errno => refused("unmount", target, errno),
    })
}

/// Whether the caller is root of the host, who can make network interfaces, control groups and mounts that all see.
#[must_use]
pub fn is_root_of_host() -> bool {
    rustix::process::geteuid().is_root() && !in_user_namespace()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_layer_that_comes_twice_is_stacked_once_at_its_highest_place() {
        let overlay = Overlay::new(["a", "b", "a", "c"].map(PathBuf::from).to_vec());
        assert_eq!(overlay.lower, ["b", "a", "c"].map(PathBuf::from));
    }

    /// Runs `body` on a thread in a private mount namespace, or skips it where the user may not mount.
    fn mounting(body: impl FnOnce(&Path) + Send + 'static) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        std::thread::spawn(move || match private_namespace() {
            Ok(()) => body(&path),
            Err(Error::NotPermitted) => {}
            Err(other) => panic!("{other}"),
        })
        .join()
        .unwrap();
    }

    fn directory(base: &Path, name: &str) -> PathBuf {
        let path = base.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn stack(base: &Path, count: usize) -> Vec<PathBuf> {
        (0..count)
            .map(|number| {
                let layer = directory(base, &format!("layer,with:odd-name-{}-{number}", "x".repeat(40)));
                fs::write(layer.join("who"), number.to_string()).unwrap();
                fs::write(layer.join(format!("only-{number}")), "").unwrap();
                layer
            })
            .collect()
    }

    #[test]
    fn upper_layers_hide_lower_ones_and_changes_go_to_the_upper_directory() {
        mounting(|base| {
            let overlay = Overlay::new(stack(base, 3)).writable(directory(base, "upper"), directory(base, "work"));
            let target = directory(base, "rootfs");
            overlay.mount(&target).unwrap();
            assert_eq!(fs::read_to_string(target.join("who")).unwrap(), "2");
            fs::write(target.join("new"), "").unwrap();
            assert!(base.join("upper/new").exists());
            assert!(is_mounted(&target));
            assert!(unmount(&target, false).unwrap());
            assert!(!unmount(&target, false).unwrap(), "a second time there is nothing to do");
        });
    }

    #[test]
    fn layers_whose_ids_are_mapped_belong_to_others_in_the_stack_alone() {
        mounting(|base| {
            // Only the host's root maps the ids of others.
            if !is_root_of_host() {
                return;
            }
            let (layers, target) = (stack(base, 2), directory(base, "rootfs"));
            let mapping = Mapping::new("0 100000 10\n", "0 200000 10\n").unwrap();
            let overlay = Overlay::new(layers.clone()).writable(directory(base, "upper"), directory(base, "work"));
            overlay.mapped(mapping, layers.clone()).mount(&target).unwrap();
            let owner = |path: PathBuf| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
            assert_eq!(owner(target.join("who")), (100_000, 200_000));
            assert_eq!((owner(layers[1].join("who")), is_mounted(&layers[1])), ((0, 0), false));
            assert!(unmount(&target, false).unwrap());
        });
    }

    #[test]
    fn a_hundred_and_twenty_seven_layers_mount_without_fsconfig() {
        mounting(|base| {
            let overlay = Overlay::new(stack(base, 127)).writable(directory(base, "upper"), directory(base, "work"));
            let target = directory(base, "rootfs");
            Stack::open(&overlay).unwrap().mount_by_options(&target).unwrap();
            assert_eq!(fs::read_to_string(target.join("who")).unwrap(), "126");
            assert!(target.join("only-0").exists());
            unmount(&target, false).unwrap();
        });
    }

    #[test]
    fn a_work_directory_that_was_volatile_is_renewed_for_another_mount() {
        mounting(|base| {
            let (upper, work, target) = (directory(base, "upper"), directory(base, "work"), directory(base, "rootfs"));
            let overlay = Overlay::new(stack(base, 2)).writable(&upper, &work).volatile();
            overlay.mount(&target).unwrap();
            let options = fs::read_to_string("/proc/thread-self/mounts").unwrap();
            let mounted = format!(" {} overlay ", target.display());
            let of_target = options.lines().find(|line| line.contains(&mounted)).unwrap();
            // Newer kernels print "fsync=volatile".
            assert!(of_target.contains("volatile"), "{of_target}");
            unmount(&target, false).unwrap();
            assert!(matches!(overlay.mount(&target), Err(Error::Unsuitable { .. })));
            renew(&work).unwrap();
            overlay.mount(&target).unwrap();
            unmount(&target, false).unwrap();
            renew(&work).unwrap();
            Stack::open(&overlay).unwrap().mount_by_options(&target).unwrap();
            unmount(&target, false).unwrap();
        });
    }

    #[test]
    fn layers_with_long_paths_mount() {
        mounting(|base| {
            let deep = directory(base, &format!("{}/{}", "d".repeat(200), "e".repeat(200)));
            let overlay = Overlay::new(stack(&deep, 2)).writable(directory(&deep, "upper"), directory(&deep, "work"));
            let target = directory(base, "rootfs");
            overlay.mount(&target).unwrap();
            assert_eq!(fs::read_to_string(target.join("who")).unwrap(), "1");
            unmount(&target, false).unwrap();
        });
    }

    #[test]
    fn one_layer_without_an_upper_directory_is_read_only() {
        mounting(|base| {
            let target = directory(base, "rootfs");
            Overlay::new(stack(base, 1)).mount(&target).unwrap();
            assert!(fs::write(target.join("new"), "").is_err());
            unmount(&target, false).unwrap();
        });
    }

    #[test]
    fn a_mount_in_use_is_busy_unless_taken_lazily() {
        mounting(|base| {
            let target = directory(base, "rootfs");
            Overlay::new(stack(base, 2)).mount(&target).unwrap();
            let _held = fs::File::open(target.join("who")).unwrap();
            assert!(matches!(unmount(&target, false), Err(Error::Busy { .. })));
            assert!(unmount(&target, true).unwrap());
        });
    }

    #[test]
    fn an_upper_directory_on_an_overlay_is_unsuitable() {
        mounting(|base| {
            let first = directory(base, "first");
            let overlay = Overlay::new(stack(base, 2)).writable(directory(base, "upper"), directory(base, "work"));
            overlay.mount(&first).unwrap();
            let nested = Overlay::new(stack(base, 2)).writable(directory(&first, "upper"), directory(&first, "work"));
            let outcome = nested.mount(&directory(base, "second"));
            assert!(matches!(outcome, Err(Error::Unsuitable { .. })), "{outcome:?}");
            unmount(&first, false).unwrap();
        });
    }

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = b"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /a\\040b\\134c rw shared:1 - tmpfs t rw\n\nshort line\n";
        assert_eq!(mount_points(table).collect::<Vec<_>>(), [Path::new("/"), Path::new("/a b\\c")]);
        assert!(has_mounts_beneath(Path::new("/")) && !has_mounts_beneath(Path::new("/nonexistent")));
    }

    #[test]
    fn a_layer_that_is_gone_is_named() {
        let overlay = Overlay::new(vec!["/nonexistent/a".into(), "/nonexistent/b".into()]);
        assert_eq!(overlay.mount(Path::new("/nonexistent")).unwrap_err().to_string(), "open /nonexistent/b");
    }
}
