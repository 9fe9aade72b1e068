//! The root file system of a bundle: an overlay on the image's layers, or a plain tree, which is a copy of the image.
//!
//! An overlay has three parts. At the bottom are the image's layers: one EROFS image that all bundles share, or a directory for each
//! layer, unpacked once for all bundles ([`image_tool::layer::stack`] chooses). On them is a layer with the mount points that the image
//! lacks, which containers of an EROFS image share if they have no other mounts than all have ([`init`]), or else `init` in the bundle. If
//! runtimes created these in the writable layer, the changes of every container would include an empty /etc/resolv.conf and a new time of
//! /etc. On top is `upper`, which holds only what the container changed.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::Root;
use image_tool::error::During as _;
use image_tool::layer::apply;
use image_tool::layer::cache::{self, Cache, Source};
use image_tool::layer::stack::{self, Stack};
use image_tool::layout::{Image, Layout};
use oci_spec::runtime::Mount;

use super::mount_point::Ground;
use super::request::Request;
use super::userns::Ids;
use super::{Error, init, joined, link, quota};
use crate::bundle::{self, Bundle, LAYERS, annotation};
use crate::option::Refused;
use crate::rootfs::mapping::Mapping;
use crate::rootfs::{self, Overlay};
use crate::volume::Store;

/// The root file system of a bundle that is not complete.
pub(super) struct Tree<'a> {
    home: &'a Home,
    folder: PathBuf,
    layout: &'a Layout,
    image: &'a Image,
    request: &'a Request,
    /// The image's layers, with their diff IDs; absent for a plain tree.
    layers: Option<(Stack, Vec<String>)>,
    /// The layer on them with the mount points that the image lacks.
    init: Option<PathBuf>,
    note: Option<String>,
}

impl<'a> Tree<'a> {
    /// Makes the root file system in `folder`: a plain tree if a copy is wanted or an overlay cannot be mounted, else an overlay.
    ///
    /// What needs an overlay is refused without one.
    pub(super) fn make(
        home: &'a Home,
        folder: &Path,
        (layout, image): (&'a Layout, &'a Image),
        request: &'a Request,
    ) -> Result<Self, Error> {
        make(&folder.join("rootfs"), 0o755)?;
        let mut tree =
            Self { home, folder: folder.into(), layout, image, request, layers: None, init: None, note: None };
        if request.copy {
            tree.copy()?;
        } else if let Err(error) = tree.stack() {
            tree.copy_instead(error)?;
        }
        Ok(tree)
    }

    /// A plain tree, if no overlay can be mounted.
    fn copy_instead(&mut self, error: Error) -> Result<(), Error> {
        let Error::Rootfs(rootfs::Error::NoOverlay | rootfs::Error::NotPermitted | rootfs::Error::Unsuitable { .. }) =
            &error
        else {
            return Err(error);
        };
        self.note = Some(format!("using a copy of the image instead of an overlay: {error}"));
        (self.layers, self.init) = (None, None);
        for name in [INIT, UPPER, "work"] {
            bundle::remove_tree(&self.folder.join(name))?;
        }
        self.copy()
    }

    fn copy(&mut self) -> Result<(), Error> {
        let request = self.request;
        if let Some(option) = request.needs_overlay() {
            let reason = self.note.as_deref().unwrap_or("the root file system is a copy of the image");
            return Err(Refused::new(option, format!("needs an overlay: {reason}")).into());
        }
        let sources = Source::of_image(self.layout, self.image)?;
        let options =
            apply::Options { entries: request.limits.entries(), size: request.limits.size, ..apply::Options::tree() };
        let skipped = image_tool::layer::cache::apply_all(&sources, self.root()?, options)?;
        if !skipped.is_empty() {
            let what: Vec<String> = skipped.iter().map(|(what, count)| format!("{count} × {what}")).collect();
            let left = format!("skipped: {}", what.join(", "));
            self.note = Some(self.note.take().map_or(left.clone(), |note| format!("{note}; {left}")));
        }
        Ok(())
    }

    /// Takes the image's layers, and mounts them unless they are one folder already; the folder for mount points is the writable one.
    fn stack(&mut self) -> Result<(), Error> {
        let cache = Cache::of(self.home).within(self.request.limits);
        // Nothing is stored for an overlay that cannot be. A trial costs as much as the overlay itself, so an image that is stored has none.
        if !stack::is_stored(&cache, self.image) {
            probe(&self.folder)?;
        }
        let stack = Stack::of_image(&cache, self.layout, self.image)?;
        let diff_ids = self.image.layers().map(|(_, diff_id)| diff_id.to_owned()).collect();
        self.layers = Some((stack, diff_ids));
        if self.shared().is_some() { Ok(()) } else { self.mount(INIT) }
    }

    /// The folder that shows the image's files to all its containers alike.
    fn shared(&self) -> Option<PathBuf> {
        let mut lower = self.layers.as_ref()?.0.lower();
        lower.pop().filter(|_| lower.is_empty() && self.ids().is_none())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn note(&self) -> Option<String> {
        self.note.clone()
    }

    /// The ids of the container on this host, if they are others.
    fn ids(&self) -> Option<&'a Ids> {
        self.request.ids.as_ref()
    }

    /// The image's files, which are not to be changed.
    pub(super) fn root(&self) -> Result<Root, Error> {
        Ok(Root::open(self.shared().unwrap_or_else(|| self.folder.join("rootfs")))?)
    }

    /// Mounts the layers with the folder `top` as the writable one.
    fn mount(&self, top: &str) -> Result<(), Error> {
        let layers = self.lower();
        make_like(&place(&self.folder, top).join(top), &layers, self.ids())?;
        let mut lower = layers;
        let mapped = self.ids().map(|ids| Ok::<_, Error>((ids.mapping()?, lower.clone()))).transpose()?;
        lower.extend(self.init.clone());
        overlay(&self.folder, lower, top, mapped, self.request.rm)
    }

    fn lower(&self) -> Vec<PathBuf> {
        self.layers.as_ref().map(|(stack, _)| stack.lower()).unwrap_or_default()
    }

    /// Creates the mount points and the files of docker that the image lacks, and mounts the root file system as the container gets it: with
    /// a writable layer of `size` bytes, if that is given.
    pub(super) fn finish(&mut self, mounts: &[Mount], size: Option<u64>) -> Result<(), Error> {
        let made = self.add(mounts)?;
        let Some((_, diff_ids)) = &self.layers else {
            let text: String = made.iter().map(|path| format!("{}\n", path.display())).collect();
            let path = self.folder.join(MADE);
            return Ok(fs::write(&path, text).during("write", &path)?);
        };
        let text: String = diff_ids.iter().map(|diff_id| format!("{diff_id}\n")).collect();
        let path = self.folder.join(LAYERS);
        fs::write(&path, text).during("write", &path)?;
        if let Some(size) = size {
            quota::make(&self.folder, size)?;
        }
        let Err(error) = self.mount(UPPER) else { return Ok(()) };
        self.copy_instead(error)?;
        fs::remove_file(&path).during("remove", &path)?;
        self.finish(mounts, size)
    }

    /// Makes what the image lacks, in a layer of its own if there are layers, and returns its paths in a plain tree.
    fn add(&mut self, mounts: &[Mount]) -> Result<Vec<PathBuf>, Error> {
        let root = self.root()?;
        let own = self.folder.join(INIT);
        if let (Some((stack, _)), Some(_)) = (&self.layers, self.shared()) {
            let for_all = if init::suffices(&root, mounts)? { init::layer(stack, &root, mounts)? } else { None };
            if for_all.is_none() {
                make(&own, 0o755)?;
                init::fill(&own, &root, mounts)?;
            }
            self.init = for_all.or(Some(own));
            return Ok(Vec::new());
        }
        let ground = Ground::tree(&root);
        let made = [ground.make(mounts)?, ground.furnish()?].concat();
        if let Some(ids) = self.ids() {
            made.iter().try_for_each(|path| ids.adopt(&root, path))?;
        }
        if self.layers.is_some() {
            drop(root);
            rootfs::unmount(&self.folder.join("rootfs"), false)?;
            // A work directory cannot be used with another upper directory.
            bundle::remove_tree(&self.folder.join("work"))?;
            self.init = Some(own);
        }
        Ok(made)
    }

    /// Leaves the finished root file system to the bundle.
    pub(super) fn leave(self) {
        if let Some((stack, _)) = self.layers {
            stack.leave();
        }
    }
}

/// The folder of mount points that the image lacks.
const INIT: &str = "init";

/// The writable folder.
const UPPER: &str = "upper";

/// The file that lists what was created in a plain tree beside the image's files, which are not changes of the container.
pub(crate) const MADE: &str = "mount-points";

/// The folder of a writable layer and its work directory.
fn place(folder: &Path, top: &str) -> PathBuf {
    if top == INIT { folder.to_owned() } else { bundle::writable(folder) }
}

fn make(path: &Path, mode: u32) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => Ok(other.during("create", path)?),
    }
}

/// Creates an upper directory with the mode and owner of the image's root, since overlayfs shows those of the upper directory.
fn make_like(path: &Path, layers: &[PathBuf], ids: Option<&Ids>) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    make(path, 0o755)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).during("chmod", path)?;
    // A layer without an entry for the root has the default mode; the topmost other one has set it.
    let (mut mode, mut owner) = (0o755, (0, 0));
    for layer in layers.iter().rev() {
        let found = fs::metadata(layer).during("stat", layer)?;
        (mode, owner) = (found.mode() & 0o7777, (found.uid(), found.gid()));
        if (mode, owner) != (0o755, (0, 0)) {
            break;
        }
    }
    let outside = ids.map(|ids| ids.owners().on_disk(owner.0, owner.1).ok().flatten().unwrap_or_else(|| ids.root()));
    let (uid, gid) = outside.unwrap_or(owner);
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).during("chown", path)?;
    }
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode)).during("chmod", path)?)
}

/// Mounts `lower` with `top` as the writable layer. `mapped` are those whose ids are mapped.
///
/// Unmounting an overlay writes all that waits to be written to the file system of its writable layer, for which the end of a container would
/// wait. For a writable layer that is removed with its container, as `is_temporary`, nothing is written in vain.
fn overlay(
    folder: &Path,
    mut lower: Vec<PathBuf>,
    top: &str,
    mapped: Option<(Mapping, Vec<PathBuf>)>,
    is_temporary: bool,
) -> Result<(), Error> {
    let place = place(folder, top);
    let work = place.join("work");
    make(&work, 0o700)?;
    if is_temporary {
        rootfs::renew(&work)?;
    }
    if lower.is_empty() {
        // An image without layers (FROM scratch): overlayfs needs one, so it gets an empty one.
        let none = folder.join("empty");
        make(&none, 0o755)?;
        lower.push(none);
    }
    let overlay = Overlay::new(lower).writable(place.join(top), work);
    let overlay = if is_temporary || top == INIT { overlay.volatile() } else { overlay };
    let overlay = match mapped {
        Some((mapping, layers)) => overlay.mapped(mapping, layers),
        None => overlay,
    };
    Ok(overlay.mount(&folder.join("rootfs"))?)
}

/// Tries an overlay in the bundle's folder before layers are unpacked for one.
fn probe(folder: &Path) -> Result<(), rootfs::Error> {
    let test = folder.join(bundle::PROBE);
    let paths = ["lower", "upper", "work", "target"].map(|name| test.join(name));
    let [lower, upper, work, target] = &paths;
    let made = paths.iter().try_for_each(fs::create_dir_all);
    let outcome = match made {
        Ok(()) => Overlay::new(vec![lower.clone()]).writable(upper, work).volatile().mount(target),
        Err(error) => Err(error).during("create", &test).map_err(rootfs::Error::from),
    };
    // What stays is removed with the bundle.
    let _ = rootfs::unmount(target, true);
    let _ = fs::remove_dir_all(&test);
    outcome
}

/// Mounts a shareable /dev/shm on the host, where other containers can use it.
pub(super) fn mount_shm(folder: &Path, size: u64) -> Result<(), Error> {
    let path = folder.join(bundle::SHM);
    make(&path, 0o755)?;
    Ok(rootfs::mount_memory(&path, size)?)
}

/// The size of a bundle's shareable /dev/shm; `None` if it has none.
fn shm_size(bundle: &Bundle) -> Option<u64> {
    (bundle.annotation(annotation::IPC)? == "shareable").then_some(())?;
    let size = bundle.annotation(annotation::SHM_SIZE).and_then(|text| text.parse().ok());
    Some(size.unwrap_or(64 << 20))
}

/// Mounts a bundle's root file system, for example after a reboot, and renews what changes with each start: the namespaces of other
/// containers and the addresses of links. Returns false if the root file system was mounted.
pub fn mount(home: &Home, bundle: &Bundle) -> Result<bool, Error> {
    let mounted = mount_files(home, bundle)?;
    joined::renew(home, bundle)?;
    link::renew(home, bundle)?;
    Ok(mounted)
}

/// Mounts a bundle's root file system and its volumes, as [`mount`] does, for somebody who only looks at the files. What a start needs
/// besides, such as another container that runs, need not be there.
pub fn mount_files(home: &Home, bundle: &Bundle) -> Result<bool, Error> {
    let mounted = mount_rootfs(home, bundle)?;
    let store = Store::new(home.volumes());
    for used in bundle.volumes() {
        // A volume that was removed by force is missed by the runtime.
        if let Ok(volume) = store.open(&used.name) {
            store.mount(&volume)?;
        }
    }
    Ok(mounted)
}

/// The layers beneath a bundle's writable one, as they are stored: the image may be gone. `None` for a plain tree.
pub(super) fn beneath(home: &Home, bundle: &Bundle) -> Result<Option<Stack>, Error> {
    let Some(digests) = bundle.layers()? else { return Ok(None) };
    let missing = |digest: &str| {
        let image = bundle.annotation(annotation::IMAGE).unwrap_or_default();
        Error::NoLayer { digest: digest.to_owned(), remedy: format!("unpack it again with bundle-tool create {image}") }
    };
    let parsed: Result<Vec<_>, Error> =
        digests.iter().map(|text| image_tool::address::digest::parse(text).map_err(|_| missing(text))).collect();
    let none = |number: usize| Err(cache::Error::Missing { diff_id: digests[number].clone() });
    let diff_ids = parsed?;
    let stack = Stack::new(&Cache::of(home), &diff_ids, diff_ids.len(), &none).map_err(|error| match error {
        stack::Error::Cache(cache::Error::Missing { diff_id }) => missing(&diff_id),
        error => error.into(),
    })?;
    Ok(Some(stack))
}

fn mount_rootfs(home: &Home, bundle: &Bundle) -> Result<bool, Error> {
    if let Some(size) = shm_size(bundle)
        && !rootfs::is_mounted(&bundle.path().join(bundle::SHM))
    {
        mount_shm(bundle.path(), size)?;
    }
    if rootfs::is_mounted(&bundle.rootfs()) {
        return Ok(false);
    }
    let Some(stack) = beneath(home, bundle)? else { return Ok(false) };
    quota::mount(bundle.path())?;
    let mut lower = stack.lower();
    let mapped = Ids::of(bundle).map(|ids| Ok::<_, Error>((ids.mapping()?, lower.clone()))).transpose()?;
    let own = bundle.path().join(INIT);
    if own.exists() {
        lower.push(own);
    } else if let (None, [image]) = (&mapped, lower.as_slice()) {
        let root = Root::open(image)?;
        let mounts = bundle.config().get("mounts").cloned().unwrap_or_default();
        // What is no mount has no mount point either, and is refused by whoever runs the bundle.
        let mounts: Vec<Mount> = serde_json::from_value(mounts).unwrap_or_default();
        lower.extend(init::layer(&stack, &root, &mounts)?);
    }
    let is_temporary = bundle.annotation(annotation::RM) == Some("true");
    overlay(bundle.path(), lower, UPPER, mapped, is_temporary)?;
    stack.leave();
    Ok(true)
}

/// Unmounts a bundle's root file system, and its image if no other bundle uses it. Returns false if it was not mounted.
pub fn unmount(home: &Home, bundle: &Bundle, lazily: bool) -> Result<bool, Error> {
    let unmounted = bundle::unmount_rootfs(bundle.path(), &bundle.rootfs(), lazily)?;
    stack::sweep(&Cache::of(home));
    Ok(unmounted)
}
