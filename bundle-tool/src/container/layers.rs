//! A bundle's root file system: the image's layers under a writable one, or a plain tree.
//!
//! As an overlay it has three parts. Below are the image's layers, unpacked once for all. On them lies `init`, a layer of the bundle's
//! own with the mount points that the image lacks: were they made in the writable layer, as runtimes make them, every container's
//! change would hold an empty /etc/resolv.conf and a new time of /etc. On top is `upper`, which so holds what the container did
//! and nothing else.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::{Root, Time};
use image_tool::error::During as _;
use image_tool::layer::apply;
use image_tool::layer::cache::{Cache, Layer, Source};
use image_tool::layout::{Image, Layout};
use oci_spec::runtime::Mount;

use super::Error;
use crate::bundle::{self, Bundle, LAYERS, annotation};
use crate::rootfs::{self, Overlay};

/// The root file system of a bundle in the making.
pub(super) struct Tree {
    folder: PathBuf,
    /// The image's layers; none for a plain tree.
    layers: Option<Vec<Layer>>,
    note: Option<String>,
}

impl Tree {
    /// Makes the root file system in `folder`: an overlay, or a plain tree if `copy` says so or no overlay can be had.
    pub(super) fn make(home: &Home, folder: &Path, layout: &Layout, image: &Image, copy: bool) -> Result<Self, Error> {
        let rootfs = folder.join("rootfs");
        make(&rootfs, 0o755)?;
        let mut tree = Self { folder: folder.into(), layers: None, note: None };
        if !copy {
            match probe(folder) {
                Ok(()) => {
                    let layers = Cache::of(home).image(layout, image)?;
                    tree.layers = Some(layers);
                    tree.mount("init")?;
                    return Ok(tree);
                }
                Err(
                    error @ (rootfs::Error::NoOverlay | rootfs::Error::NotPermitted | rootfs::Error::Unsuitable { .. }),
                ) => {
                    tree.note = Some(format!("a plain copy of the image, not an overlay: {error}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let sources = Source::of_image(layout, image)?;
        let skipped = image_tool::layer::cache::apply_all(&sources, Root::open(&rootfs)?, apply::Options::tree())?;
        if !skipped.is_empty() {
            let what: Vec<String> = skipped.iter().map(|(what, count)| format!("{count} × {what}")).collect();
            let left = format!("left out: {}", what.join(", "));
            tree.note = Some(tree.note.map_or(left.clone(), |note| format!("{note}; {left}")));
        }
        Ok(tree)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn note(&self) -> Option<String> {
        self.note.clone()
    }

    pub(super) fn root(&self) -> Result<Root, Error> {
        Ok(Root::open(self.folder.join("rootfs"))?)
    }

    /// Mounts the layers with `top` as the writable one.
    fn mount(&self, top: &str) -> Result<(), Error> {
        let layers: Vec<PathBuf> = self.layers.iter().flatten().map(|layer| layer.path().to_owned()).collect();
        let init = self.folder.join("init");
        make_like(&self.folder.join(top), &layers)?;
        let mut lower = layers;
        if top != "init" && init.exists() {
            lower.push(init);
        }
        overlay(&self.folder, lower, top)
    }

    /// Makes the mount points that the image lacks, and mounts the root file system as the container will have it.
    pub(super) fn finish(&self, mounts: &[Mount]) -> Result<(), Error> {
        let root = self.root()?;
        let made = make_mount_points(&root, mounts)?;
        let Some(layers) = &self.layers else {
            let text: String = made.iter().map(|path| format!("{}\n", path.display())).collect();
            let path = self.folder.join(MADE);
            return Ok(fs::write(&path, text).during("write", &path)?);
        };
        drop(root);
        rootfs::unmount(&self.folder.join("rootfs"), false)?;
        if made.is_empty() {
            bundle::remove_tree(&self.folder.join("init"))?;
        }
        // A work directory belongs to one upper directory.
        bundle::remove_tree(&self.folder.join("work"))?;
        let text: String = layers.iter().map(|layer| format!("{}\n", layer.diff_id())).collect();
        let path = self.folder.join(LAYERS);
        fs::write(&path, text).during("write", &path)?;
        self.mount("upper")
    }
}

/// The file of a plain tree's mount points that the image had not, a path a line: they are no change of the container's.
pub(crate) const MADE: &str = "mount-points";

fn make(path: &Path, mode: u32) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => Ok(other.during("create", path)?),
    }
}

/// Makes an upper directory with the mode and owner of the image's root, which overlayfs shows as the root's.
fn make_like(path: &Path, layers: &[PathBuf]) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    make(path, 0o755)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).during("chmod", path)?;
    // A layer that does not name the root has the default; the topmost that differs has named it.
    for layer in layers.iter().rev() {
        let found = fs::metadata(layer).during("stat", layer)?;
        let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
        if (mode, uid, gid) != (0o755, 0, 0) {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).during("chown", path)?;
            return Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode)).during("chmod", path)?);
        }
    }
    Ok(())
}

fn overlay(folder: &Path, mut lower: Vec<PathBuf>, top: &str) -> Result<(), Error> {
    let work = folder.join("work");
    make(&work, 0o700)?;
    if lower.is_empty() {
        // An image of no layers (FROM scratch): overlayfs wants one, so it gets an empty one.
        let none = folder.join("empty");
        make(&none, 0o755)?;
        lower.push(none);
    }
    Ok(Overlay::new(lower).writable(folder.join(top), work).mount(&folder.join("rootfs"))?)
}

/// Tries an overlay in the bundle's folder, before layers are unpacked for one.
fn probe(folder: &Path) -> Result<(), rootfs::Error> {
    let test = folder.join("probe");
    let paths = ["lower", "upper", "work", "target"].map(|name| test.join(name));
    let [lower, upper, work, target] = &paths;
    let made = paths.iter().try_for_each(fs::create_dir_all);
    let outcome = match made {
        Ok(()) => Overlay::new(vec![lower.clone()]).writable(upper, work).mount(target),
        Err(error) => Err(error).during("create", &test).map_err(rootfs::Error::from),
    };
    // A probe that stays does not hurt: it goes with the bundle.
    let _ = rootfs::unmount(target, true);
    let _ = fs::remove_dir_all(&test);
    outcome
}

/// Makes what is missing of the places that something is mounted at, and gives their paths. Times of folders stay as they were.
fn make_mount_points(root: &Root, mounts: &[Mount]) -> Result<Vec<PathBuf>, Error> {
    let mut made = Vec::new();
    let covered =
        |path: &Path| mounts.iter().any(|other| other.destination() != path && path.starts_with(other.destination()));
    for mount in mounts.iter().filter(|mount| !covered(mount.destination())) {
        let path = mount.destination();
        let inside = path.strip_prefix("/").unwrap_or(path);
        let failed = |source| Error::MountPoint { path: path.clone(), source };
        if inside.as_os_str().is_empty() || root.stat(inside).map_err(failed)?.is_some() {
            continue;
        }
        let bind = mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
        let file =
            bind && mount.source().as_ref().is_some_and(|source| source.metadata().is_ok_and(|found| !found.is_dir()));
        // The folder that is there already, above what is missing.
        let mut above = inside.parent().unwrap_or(Path::new(""));
        while root.stat(above).map_err(failed)?.is_none() {
            above = above.parent().unwrap_or(Path::new(""));
        }
        let stat = root.stat(above).map_err(failed)?;
        if file {
            let parent = root.create_directories(inside.parent().unwrap_or(Path::new("")), 0o755).map_err(failed)?;
            Root::from(parent).create(inside.file_name().unwrap_or_default(), 0o644).map_err(failed)?;
        } else {
            root.create_directories(inside, 0o755).map_err(failed)?;
        }
        if let Some(stat) = stat {
            let folder = root.directory(above).map_err(failed)?;
            let time = Time::modified(&stat);
            let stamp = rustix::fs::Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
            let stamps = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
            rustix::fs::futimens(folder.as_fd(), &stamps).during("set time of", above)?;
        }
        made.push(inside.to_owned());
    }
    Ok(made)
}

/// Mounts the memory of /dev/shm on the host, where other containers can have it too.
pub(super) fn mount_shm(folder: &Path, size: u64) -> Result<(), Error> {
    let path = folder.join(bundle::SHM);
    make(&path, 0o755)?;
    Ok(rootfs::mount_memory(&path, size)?)
}

/// The size of a shareable /dev/shm, if the bundle has one.
fn shm_size(bundle: &Bundle) -> Option<u64> {
    (bundle.annotation(annotation::IPC)? == "shareable").then_some(())?;
    let size = bundle.annotation(annotation::SHM_SIZE).and_then(|text| text.parse().ok());
    Some(size.unwrap_or(64 << 20))
}

/// Mounts a bundle's root file system again, after a reboot for example. Says whether it had to be.
pub fn mount(home: &Home, bundle: &Bundle) -> Result<bool, Error> {
    if let Some(size) = shm_size(bundle)
        && !rootfs::is_mounted(&bundle.path().join(bundle::SHM))
    {
        mount_shm(bundle.path(), size)?;
    }
    let Some(digests) = bundle.layers()? else { return Ok(false) };
    if rootfs::is_mounted(&bundle.rootfs()) {
        return Ok(false);
    }
    let cache = Cache::of(home);
    let mut layers = Vec::new();
    for text in digests {
        let missing = || {
            let image = bundle.annotation(annotation::IMAGE).unwrap_or_default();
            Error::NoLayer { digest: text.clone(), remedy: format!("bundle-tool create of {image} unpacks it again") }
        };
        let digest = image_tool::address::digest::parse(&text).map_err(|_| missing())?;
        layers.push(cache.get(&digest)?.ok_or_else(missing)?);
    }
    let mut lower: Vec<PathBuf> = layers.iter().map(|layer| layer.path().to_owned()).collect();
    let init = bundle.path().join("init");
    if init.exists() {
        lower.push(init);
    }
    overlay(bundle.path(), lower, "upper")?;
    Ok(true)
}

/// Unmounts a bundle's root file system. Says whether it was mounted.
pub fn unmount(bundle: &Bundle, lazily: bool) -> Result<bool, Error> {
    Ok(rootfs::unmount(&bundle.rootfs(), lazily)?)
}
