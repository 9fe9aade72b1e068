//! Attachments as mounts of config.json, for which volumes are created and filled, and folders of the host created.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::beneath::Root;
use image_tool::error::During as _;
use image_tool::layer::owner::Owners;
use image_tool::layer::{apply, cache};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use oci_spec::runtime::Mount;

use super::userns::Ids;
use super::{Error, mount_point, removal};
use crate::bundle::{self, Used, name};
use crate::config;
use crate::option::{Refused, environment};
use crate::rootfs;
use crate::security::seccomp;
use crate::volume::{self, About, Attachment, Bind, Hold, Recursive, Source, Store};

/// The volumes of a container that is being created: those that exist for it alone, and claims on all of them. Dropped before
/// [`Fresh::keep`], it removes the former.
pub(super) struct Fresh {
    store: Store,
    names: Vec<String>,
    holds: Vec<Hold>,
}

impl Fresh {
    pub(super) fn new(home: &Home) -> Result<Self, Error> {
        Ok(Self { store: Store::new(volumes(home)?), names: Vec::new(), holds: Vec::new() })
    }

    /// Keeps the volumes, once config.json says that they are used.
    pub(super) fn keep(mut self) {
        self.names.clear();
    }

    /// Creates a volume and fills it.
    fn volume(&mut self, place: &Place<'_>, wanted: &Wanted<'_>) -> Result<(), Error> {
        let Place { home, rootfs, created, ids, .. } = *place;
        let about = About {
            created: created.into(),
            labels: environment::labels(wanted.labels.iter().cloned())?,
            options: environment::labels(wanted.options.iter().cloned())?,
        };
        let (opened, hold) = self.store.open_or_create(wanted.name, &about)?;
        self.holds.push(hold);
        self.store.mount(&opened)?;
        if wanted.anonymous {
            self.names.push(wanted.name.into());
        }
        if wanted.copy {
            let used = || Ok::<_, Error>(!removal::users_of_volume(&home.bundles(), wanted.name)?.is_empty());
            volume::copy_up(rootfs.as_fd(), wanted.target, &opened.data, used)?;
        }
        if let Some(ids) = ids {
            let data = Root::open(&opened.data)?;
            if data.names("")?.is_empty() {
                ids.adopt(&data, Path::new(""))?;
            }
        }
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.holds.clear();
        for name in &self.names {
            // The first error is the one to report; `volume prune` removes what stays.
            let _ = self.store.remove(name, || Ok::<_, volume::Error>(Vec::new()));
        }
    }
}

/// A volume that a container is to have.
struct Wanted<'a> {
    name: &'a str,
    anonymous: bool,
    labels: &'a [String],
    options: &'a [String],
    /// Whether it is filled with the image's files of `target`.
    copy: bool,
    target: &'a Path,
}

fn volumes(home: &Home) -> Result<PathBuf, Error> {
    Ok(std::path::absolute(home.volumes()).during("find", home.volumes())?)
}

/// What the mounts of a container are made with.
pub(super) struct Place<'a> {
    /// The data folder.
    pub(super) home: &'a Home,
    /// The folder of the bundle.
    pub(super) bundle: &'a Path,
    /// The root file system.
    pub(super) rootfs: &'a Root,
    /// When the container is created (RFC 3339).
    pub(super) created: &'a str,
    /// The ids of the container on this host, if they are others.
    pub(super) ids: Option<&'a Ids>,
}

/// The mount of the attachment number `index`, and its volume if it is one. With `fresh` the volume is created and filled.
pub(super) fn mount(
    place: &Place<'_>,
    index: usize,
    attachment: &Attachment,
    fresh: Option<&mut Fresh>,
) -> Result<(Mount, Option<Used>), Error> {
    let Place { home, bundle, rootfs, ids, .. } = *place;
    let mode = if attachment.readonly { "ro" } else { "rw" };
    let target = attachment.target.as_path();
    let (used, subpath) = match &attachment.source {
        Source::Tmpfs { options } => return Ok((tmpfs(rootfs, target, options, mode)?, None)),
        Source::Bind(bind) => {
            let source = source(bind, fresh.is_some())?;
            check_propagation(bind.propagation, &source)?;
            let beneath = attachment.readonly && rootfs::has_mounts_beneath(&source);
            let options = bind_options(bind, attachment.readonly, beneath);
            return Ok((config::mount(target, "bind", source, &options), None));
        }
        Source::Image { reference, subpath } => {
            let folder = bundle.join(bundle::IMAGES).join(index.to_string());
            if fresh.is_some() {
                image_tree(reference, &folder, ids)?;
            }
            // Before the files are there, any path may be one of them.
            let source = match subpath {
                Some(subpath) if fresh.is_some() => folder_in(&folder, subpath)?,
                Some(subpath) => folder.join(subpath),
                None => folder,
            };
            return Ok((config::mount(target, "bind", source, &["rbind", "rprivate", "ro"]), None));
        }
        Source::Volume { name, copy, subpath, labels, options } => {
            let used = Used { name: name.clone().unwrap_or_else(name::random_id), anonymous: name.is_none() };
            if let Some(fresh) = fresh {
                let copy = *copy && subpath.is_none();
                let wanted = Wanted { name: &used.name, anonymous: used.anonymous, labels, options, copy, target };
                fresh.volume(place, &wanted)?;
            }
            (used, subpath)
        }
        Source::Shared { name, anonymous, subpath } => {
            if let Some(fresh) = fresh {
                let (_, hold) = fresh.store.hold(name)?;
                fresh.holds.push(hold);
            }
            (Used { name: name.clone(), anonymous: *anonymous }, subpath)
        }
    };
    let mut data = Store::new(volumes(home)?).data(&used.name);
    if let Some(subpath) = subpath {
        data = folder_in(&data, subpath)?;
    }
    Ok((config::mount(target, "bind", data, &["rbind", "rprivate", mode]), Some(used)))
}

/// Makes a copy of an image's files: of a ref in the default layout, as docker names images, or else of an address.
fn image_tree(reference: &str, folder: &Path, ids: Option<&Ids>) -> Result<(), Error> {
    let open = |address: Address| {
        let layout = Layout::of(&address)?;
        let image = layout.image(&address, &Platform::host())?;
        Ok::<_, Error>((layout, image))
    };
    let malformed = |error| volume::Error::Syntax { text: reference.into(), reason: format!("{error}") };
    let (layout, image) = match format!(":{reference}").parse().map_err(malformed).map(open) {
        Ok(Ok(found)) => found,
        first => match reference.parse().map_err(malformed).map(open) {
            Ok(Ok(found)) => found,
            // The first is the error that docker's users understand.
            second => first.or(second)??,
        },
    };
    fs::create_dir_all(folder).during("create", folder)?;
    let owners = ids.map_or_else(Owners::here, Ids::owners);
    let options = apply::Options { owners, ..apply::Options::tree() };
    cache::apply_all(&cache::Source::of_image(&layout, &image)?, Root::open(folder)?, options)?;
    Ok(())
}

/// A tmpfs. Over a folder of the image it has that folder's mode, as in docker.
fn tmpfs(rootfs: &Root, target: &Path, options: &[String], mode: &str) -> Result<Mount, Error> {
    let mut all: Vec<&str> = options.iter().map(String::as_str).collect();
    all.push(mode);
    let own = format!("mode={:o}", mount_point::folder_mode(rootfs, target)?.unwrap_or(0o1777));
    if !options.iter().any(|option| option.starts_with("mode=")) {
        all.push(&own);
    }
    Ok(config::mount(target, "tmpfs", "tmpfs", &all))
}

/// A folder in a volume. Links are refused, since whoever writes to the volume may have made them.
fn folder_in(data: &Path, subpath: &Path) -> Result<PathBuf, Error> {
    let path = data.join(subpath);
    let beneath = Root::open(data)?;
    beneath.directory(subpath).map_err(|source| Error::MountPoint { path: path.clone(), source })?;
    let mut above = subpath.ancestors().filter(|path| !path.as_os_str().is_empty());
    if above.any(|path| data.join(path).is_symlink()) {
        return Err(volume::Error::Unusable { path, reason: "a symbolic link" }.into());
    }
    Ok(path)
}

fn source(bind: &Bind, write: bool) -> Result<PathBuf, Error> {
    if bind.relabel && Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(
            Refused::new("--volume", "z, Z: SELinux labels are not supported (chcon -Rt container_file_t)").into()
        );
    }
    match fs::metadata(&bind.path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && bind.create => {
            if write {
                fs::create_dir_all(&bind.path).during("create", &bind.path)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(volume::Error::NoSource(bind.path.clone()).into());
        }
        Err(error) => Err(error).during("stat", &bind.path)?,
    }
    Ok(bind.path.clone())
}

/// Refuses a propagation that the mount of the source does not have. The runtime would make the mount all the same, without the effect.
fn check_propagation(propagation: &str, source: &Path) -> Result<(), Error> {
    let wanted: &[_] = match propagation {
        "shared" | "rshared" => &["shared:"],
        "slave" | "rslave" => &["shared:", "master:"],
        _ => return Ok(()),
    };
    // Where a folder is that is yet to be created.
    let existing = source.ancestors().find(|path| path.exists()).unwrap_or(source);
    let Some((point, peers)) = rootfs::mount_of(existing) else { return Ok(()) };
    if peers.iter().any(|peer| wanted.iter().any(|kind| peer.starts_with(kind))) {
        return Ok(());
    }
    let kinds = if wanted.len() > 1 { "shared or slave" } else { "shared" };
    let reason = format!("path {} is mounted on {} but it is not a {kinds} mount", source.display(), point.display());
    Err(Refused::new("--volume", reason).into())
}

/// The options of a bind mount. `beneath` says whether something is mounted in its source.
fn bind_options(bind: &Bind, readonly: bool, beneath: bool) -> Vec<&'static str> {
    let recursive = bind.recursive != Recursive::Disabled;
    let mut options =
        vec![if recursive { "rbind" } else { "bind" }, bind.propagation, if readonly { "ro" } else { "rw" }];
    let whole = match bind.recursive {
        Recursive::Readonly => true,
        // mount_setattr(2) needs Linux 5.12. Runtimes of the specification's version 1.0 refuse `rro`, so it is used where it matters.
        Recursive::Enabled => readonly && beneath && seccomp::kernel() >= (5, 12),
        Recursive::Disabled | Recursive::Writable => false,
    };
    if whole {
        options.push("rro");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_mount_is_so_with_what_is_mounted_in_it() {
        let bind =
            |recursive| Bind { path: "/x".into(), create: true, propagation: "rprivate", recursive, relabel: false };
        let options = |recursive, readonly, beneath| bind_options(&bind(recursive), readonly, beneath);
        assert_eq!(options(Recursive::Disabled, true, true), ["bind", "rprivate", "ro"]);
        assert_eq!(options(Recursive::Readonly, true, false), ["rbind", "rprivate", "ro", "rro"]);
        assert_eq!(options(Recursive::Enabled, false, true), ["rbind", "rprivate", "rw"]);
        assert_eq!(options(Recursive::Enabled, true, false), ["rbind", "rprivate", "ro"], "nothing newer than needed");
        if seccomp::kernel() >= (5, 12) {
            assert_eq!(options(Recursive::Enabled, true, true), ["rbind", "rprivate", "ro", "rro"]);
        }
    }
}
