//! The mounts of a command: the entries of config.json, and the mount points that they need.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bundle_tool::config;
use bundle_tool::rootfs::{Overlay, has_mounts_beneath, in_user_namespace};
use image_tool::beneath::Root;
use image_tool::error::During;
use oci_spec::runtime::Mount;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::error::Error;
use super::network::Network;
use super::place::{FILES, Place};
use crate::source::files::Files;
use crate::source::ignore::Ignore;

/// A mount whose source is known.
#[derive(Debug)]
pub struct Prepared {
    /// The absolute path in the container.
    pub target: String,
    /// Whether the command may write to it.
    pub read_only: bool,
    /// What is mounted there.
    pub source: Source,
}

/// What is mounted.
#[derive(Debug)]
pub enum Source {
    /// A path in a directory of the host. If it is writable, what is written is discarded.
    Bind {
        /// The directory.
        root: PathBuf,
        /// The path in the directory.
        path: PathBuf,
    },
    /// A path in a stack of layers.
    Layers {
        /// The layers' directories, the lowest first.
        lower: Vec<PathBuf>,
        /// The path in the layers.
        path: PathBuf,
    },
    /// A directory of the host that keeps what is written.
    Cache(PathBuf),
    /// A file system in memory, with its limit in bytes.
    Tmpfs(Option<u64>),
    /// A socket of this host.
    Socket(PathBuf),
    /// A file that only this command sees and that is never written to a disk.
    Secret {
        /// The content.
        bytes: Vec<u8>,
        /// The user id and the group id.
        owner: (u32, u32),
        /// The permission bits.
        mode: u32,
    },
}

/// The mounts of one command, in its private mount namespace.
pub(super) struct Mounts<'a> {
    folder: &'a Path,
    /// The entries of config.json.
    pub(super) entries: Vec<Mount>,
    /// The mount points that not every container has.
    pub(super) places: Vec<Place>,
}

impl<'a> Mounts<'a> {
    /// The mounts that every container has: those that go with its network. `files` is the folder of its files in /etc.
    pub(super) fn new(folder: &'a Path, files: &Path, network: Network) -> Self {
        let options = ["rbind", "rprivate", "ro", "nosuid", "nodev", "noexec"];
        let file = |(name, target): (&str, &str)| config::mount(target, "bind", files.join(name), &options);
        let mut entries: Vec<Mount> = FILES.map(file).to_vec();
        if in_user_namespace() && network == Network::Host {
            // Only the owner of a network namespace may mount sysfs, so the host's is bound instead.
            let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"];
            entries.extend(["/sys", "/sys/fs/cgroup"].map(|path| config::mount(path, "bind", path, &options)));
        }
        Self { folder, entries, places: Vec::new() }
    }

    /// Adds the command's mount of that number.
    pub(super) fn add(&mut self, number: usize, mount: &Prepared) -> Result<(), Error> {
        let mode = if mount.read_only { "ro" } else { "rw" };
        let (entry, is_file) = match &mount.source {
            Source::Tmpfs(size) => {
                let size = size.map(|size| format!("size={size}"));
                // The mode is given, since a runtime would take that of the mount point.
                let options = ["nosuid", "nodev", "mode=1777", mode].into_iter().chain(size.as_deref());
                (config::mount(&mount.target, "tmpfs", "tmpfs", &options.collect::<Vec<_>>()), false)
            }
            source => {
                let (path, is_file) = self.find(number, source, mount.read_only)?;
                let mut options = vec!["rbind", "rprivate", mode];
                options.extend(match source {
                    // What is mounted below a directory of this host is to be read-only as well.
                    Source::Bind { .. } if mount.read_only && has_mounts_beneath(&path) => &["rro"][..],
                    Source::Secret { mode, .. } if mode & 0o111 == 0 => &["nosuid", "nodev", "noexec"],
                    Source::Secret { .. } => &["nosuid", "nodev"],
                    _ => &[],
                });
                (config::mount(&mount.target, "bind", path, &options), is_file)
            }
        };
        self.entries.push(entry);
        self.places.push(Place { path: mount.target.clone(), is_file });
        Ok(())
    }

    /// Returns the path on this host to bind, and whether it is a file.
    fn find(&self, number: usize, source: &Source, read_only: bool) -> Result<(PathBuf, bool), Error> {
        match source {
            Source::Tmpfs(_) => unreachable!("it has no path"),
            Source::Cache(path) => Ok((path.clone(), false)),
            Source::Socket(path) => Ok((path.clone(), true)),
            Source::Bind { root, path } if read_only => beneath_root(root, path),
            Source::Bind { root, path } => self.scratch_over(number, vec![root.clone()], path),
            Source::Layers { lower, path } if read_only => {
                let target = self.folder(&format!("from-{number}"))?;
                if !lower.is_empty() {
                    Overlay::new(lower.clone()).mount(&target)?;
                }
                beneath_root(&target, path)
            }
            Source::Layers { lower, path } => {
                let lower =
                    if lower.is_empty() { vec![self.folder(&format!("empty-{number}"))?] } else { lower.clone() };
                self.scratch_over(number, lower, path)
            }
            Source::Secret { bytes, owner, mode } => {
                let folder = self.folder(&format!("secret-{number}"))?;
                rustix::mount::mount("tmpfs", &folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=700")
                    .during("mount", &folder)?;
                let path = folder.join("secret");
                fs::write(&path, bytes).during("write", &path)?;
                std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).during("chown", &path)?;
                fs::set_permissions(&path, Permissions::from_mode(*mode)).during("chmod", &path)?;
                Ok((path, true))
            }
        }
    }

    /// Mounts a writable directory, to be discarded, over `lower`, and returns a path in it.
    fn scratch_over(&self, number: usize, lower: Vec<PathBuf>, path: &Path) -> Result<(PathBuf, bool), Error> {
        let folder = |name: &str| self.folder(&format!("{name}-{number}"));
        let (upper, work, target) = (folder("over")?, folder("work")?, folder("from")?);
        Overlay::new(lower).writable(upper, work).volatile().mount(&target)?;
        rustix::mount::mount_change(&target, MountPropagationFlags::PRIVATE).during("mount", &target)?;
        beneath_root(&target, path)
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        fs::create_dir(&path).during("create", &path)?;
        Ok(path)
    }
}

/// Resolves a path inside a directory of the host, and tells whether it is a file.
fn beneath_root(root: &Path, path: &Path) -> Result<(PathBuf, bool), Error> {
    let files = Files::new(Root::open(root)?, Ignore::default(), "its source");
    let source = files.sources(&path.to_string_lossy()).map_err(|_| Error::MountSource(path.to_owned()))?;
    let source = source.first().ok_or_else(|| Error::MountSource(path.to_owned()))?;
    Ok((root.join(&source.path), !source.directory))
}
