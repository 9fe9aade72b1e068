//! An entry of `mounts` in the configuration, checked and with its options parsed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::{LinuxIdMapping, Mount as MountSpec};

use super::option::{self, Options};
use crate::kernel::{beneath, log};
use crate::spec::Items;

/// A mount to be made.
#[derive(Debug)]
pub(crate) struct Mount {
    /// The source: an absolute path on the host for a bind mount, otherwise free text.
    pub(crate) source: PathBuf,
    /// The mount point, a path in the container.
    pub(crate) destination: PathBuf,
    /// `bind`, or the type of the file system.
    pub(crate) kind: String,
    /// The parsed options.
    pub(crate) options: Options,
    /// The uid and gid mappings of an id-mapped mount, if it does not use the container's.
    pub(crate) id_maps: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
}

impl Mount {
    /// Checks an entry of `mounts` and parses its options.
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
            // As in runc, a destination may also be given as a path on the host.
            destination: match spec.destination().strip_prefix(rootfs) {
                Ok(inside) => Path::new("/").join(inside),
                Err(_) => spec.destination().clone(),
            },
            kind,
            options,
            id_maps: mapped.then_some(maps),
        };
        if !mount.destination.is_absolute() {
            log::warn(&format!(
                "mount destination {} is not absolute. Support for non-absolute mount destinations will be removed in a future release.",
                mount.destination.display()
            ));
        }
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

    /// Whether it is a bind mount.
    pub(crate) fn is_bind(&self) -> bool {
        self.kind == "bind"
    }

    /// Whether the mounts below its source are mounted too.
    pub(super) fn is_recursive(&self) -> bool {
        self.options.flags & libc::MS_REC != 0
    }

    /// Whether a read-only one must stay writable until all other mounts and devices are made.
    pub(crate) fn is_late_read_only(&self) -> bool {
        self.kind == "tmpfs" || beneath::clean(&self.destination) == Path::new("/dev")
    }

    /// Whether it is an id-mapped mount.
    pub(crate) fn is_id_mapped(&self) -> bool {
        self.id_maps.is_some() || self.options.idmap.is_some()
    }
}
