//! Attachments as mounts of config.json, for which volumes are created and filled, and folders of the host created.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::Root;
use image_tool::error::During as _;
use oci_spec::runtime::Mount;

use super::Error;
use crate::bundle::{Used, name};
use crate::config;
use crate::option::{Refused, environment};
use crate::security::seccomp;
use crate::volume::{self, About, Attachment, Bind, Recursive, Source, Store};

/// The anonymous volumes that were created for a container. Dropped before [`Fresh::keep`], it removes them.
pub(super) struct Fresh {
    store: Store,
    names: Vec<String>,
}

impl Fresh {
    pub(super) fn new(home: &Home) -> Result<Self, Error> {
        let path = std::path::absolute(home.volumes()).during("find", home.volumes())?;
        Ok(Self { store: Store::new(path), names: Vec::new() })
    }

    pub(super) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        for name in &self.names {
            // The first error is the one to report; `volume prune` removes what stays.
            let _ = self.store.remove(name);
        }
    }
}

/// The mount of an attachment, and its volume if it is one. With `fresh` the volume is created and filled.
pub(super) fn mount(
    home: &Home,
    attachment: &Attachment,
    rootfs: &Root,
    created: &str,
    fresh: Option<&mut Fresh>,
) -> Result<(Mount, Option<Used>), Error> {
    let mode = if attachment.readonly { "ro" } else { "rw" };
    match &attachment.source {
        Source::Tmpfs { options } => {
            let mut all: Vec<&str> = options.iter().map(String::as_str).collect();
            all.push(mode);
            if !options.iter().any(|option| option.starts_with("mode=")) {
                all.push("mode=1777");
            }
            Ok((config::mount(&attachment.target, "tmpfs", "tmpfs", &all), None))
        }
        Source::Bind(bind) => Ok((
            config::mount(
                &attachment.target,
                "bind",
                source(bind, fresh.is_some())?,
                &bind_options(bind, attachment.readonly),
            ),
            None,
        )),
        Source::Volume { name, copy, subpath, labels } => {
            let volume = name.clone().unwrap_or_else(name::random_id);
            let used = Used { name: volume.clone(), anonymous: name.is_none() };
            let volumes = std::path::absolute(home.volumes()).during("find", home.volumes())?;
            let mut data = volumes.join(&volume).join("_data");
            if let Some(fresh) = fresh {
                let about = About { created: created.into(), labels: environment::labels(labels.iter().cloned())? };
                let (opened, _) = fresh.store.open_or_create(&volume, &about)?;
                if used.anonymous {
                    fresh.names.push(volume.clone());
                }
                data = opened.data;
                if *copy && subpath.is_none() {
                    volume::copy_up(rootfs.as_fd(), &attachment.target, &data)?;
                }
            }
            if let Some(subpath) = subpath {
                data = folder_in(&data, subpath)?;
            }
            let mount = config::mount(&attachment.target, "bind", data, &["rbind", "rprivate", mode]);
            Ok((mount, Some(used)))
        }
    }
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

fn bind_options(bind: &Bind, readonly: bool) -> Vec<&'static str> {
    let recursive = bind.recursive != Recursive::Disabled;
    let mut options =
        vec![if recursive { "rbind" } else { "bind" }, bind.propagation, if readonly { "ro" } else { "rw" }];
    let whole = match bind.recursive {
        Recursive::Readonly => true,
        // mount_setattr(2) needs Linux 5.12.
        Recursive::Enabled => readonly && seccomp::kernel() >= (5, 12),
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
        assert_eq!(bind_options(&bind(Recursive::Disabled), true), ["bind", "rprivate", "ro"]);
        assert_eq!(bind_options(&bind(Recursive::Readonly), true), ["rbind", "rprivate", "ro", "rro"]);
        assert_eq!(bind_options(&bind(Recursive::Enabled), false), ["rbind", "rprivate", "rw"]);
    }
}
