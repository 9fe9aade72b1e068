//! What a bundle has beside its root file system: files of the network, volumes, ids.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use image_tool::beneath::Root;
use image_tool::error::During as _;
use image_tool::home::Home;
use oci_spec::runtime::Mount;

use super::{Error, Preparation, Request};
use crate::bundle::name;
use crate::bundle::{Bundle, Used};
use crate::config::{self, IdMaps};
use crate::network::Mode;
use crate::network::files;
use crate::option::Refused;
use crate::option::environment;
use crate::volume::{self, About, Attachment, Bind, Recursive, Source, Store};

/// Volumes that are being made for a container alone. Dropped before [`Fresh::keep`] it removes them.
pub(super) struct Fresh {
    store: Store,
    names: Vec<String>,
}

impl Fresh {
    pub(super) fn new(home: &Home) -> Result<Self, Error> {
        let path = std::path::absolute(home.volumes()).during("find", &home.volumes())?;
        Ok(Self { store: Store::new(path), names: Vec::new() })
    }

    pub(super) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        for name in &self.names {
            // Whatever stopped us is the error to tell; `volume prune` finds what stays.
            let _ = self.store.remove(name);
        }
    }
}

/// Fails if this host cannot run programs of the image's architecture.
pub(super) fn check_architecture(architecture: &str) -> Result<(), Error> {
    let host = image_tool::platform::Platform::host();
    let native = architecture == host.architecture()
        || matches!((host.architecture(), architecture), ("amd64", "386") | ("arm64", "arm"));
    if native || architecture.is_empty() {
        return Ok(());
    }
    let machine = match architecture {
        "amd64" => "x86_64",
        "386" => "i386",
        "arm64" => "aarch64",
        "loong64" => "loongarch64",
        other => other,
    };
    let folder = Path::new("/proc/sys/fs/binfmt_misc");
    let enabled = fs::read(folder.join(format!("qemu-{machine}"))).is_ok_and(|text| text.starts_with(b"enabled"));
    if enabled {
        return Ok(());
    }
    let reason = format!(
        "the image is for {architecture}, this host runs {} (apt install qemu-user-static)",
        host.architecture()
    );
    Err(Refused::new("--platform", reason).into())
}

/// The ids of a user namespace for a caller who is not root: its own as root's, and what /etc/subuid gives it.
pub(super) fn id_ranges() -> Result<Option<IdMaps>, Error> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Ok(None);
    }
    let (uid, gid) = (uid.as_raw(), rustix::process::getegid().as_raw());
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    let helper = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
    };
    let given = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            (Some(owner) == name.as_deref() || owner == uid.to_string()).then_some((1, first, count))
        })
    };
    let (mut users, mut groups) = (vec![(0, uid, 1)], vec![(0, gid, 1)]);
    if let (Some(more_users), Some(more_groups)) = (given("/etc/subuid"), given("/etc/subgid"))
        && helper("newuidmap")
        && helper("newgidmap")
    {
        users.push(more_users);
        groups.push(more_groups);
    }
    Ok(Some((users, groups)))
}

/// This host's name.
pub(super) fn host_name() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

/// The host name in another bundle's container.
pub(super) fn host_name_of(bundle: &Path) -> Option<String> {
    let bundle = Bundle::open(bundle).ok()?;
    Some(bundle.config().get("hostname")?.as_str()?.to_owned())
}

/// Writes a file that must not be there.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<(), Error> {
    let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match open.and_then(|mut file| file.write_all(content)) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::IdFile(path.into())),
        other => Ok(other.during("write", path)?),
    }
}

/// Makes the working folder in a bundle's root file system, if it is missing.
pub(super) fn make_workdir(bundle: &Path, path: Option<&Path>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let root = Root::open(bundle.join("rootfs"))?;
    let inside = path.strip_prefix("/").unwrap_or(path);
    if inside.as_os_str().is_empty() {
        return Ok(());
    }
    root.create_directories(inside, 0o755).map(drop).map_err(|source| Error::Workdir { path: path.into(), source })
}

/// Writes hosts, hostname and resolv.conf, and gives their mounts. `path` is where the bundle is, `folder` where it is made.
pub(super) fn network_files(
    request: &Request,
    plan: &Preparation,
    path: &Path,
    folder: &Path,
    write: bool,
) -> Result<Vec<Mount>, Error> {
    let base = request.network.shared.as_deref().unwrap_or(path);
    let mode = if request.options.readonly { "ro" } else { "rw" };
    let mounts = ["resolv.conf", "hostname", "hosts"]
        .map(|name| config::mount(Path::new("/etc").join(name), "bind", base.join(name), &["rbind", "rprivate", mode]));
    if request.network.shared.is_some() {
        if !request.extra_hosts.is_empty() {
            return Err(Refused::new(
                "--add-host",
                "the container has another's network and hosts file (add it there)",
            )
            .into());
        }
        if !request.dns.servers.is_empty() || !request.dns.search.is_empty() || !request.dns.options.is_empty() {
            return Err(
                Refused::new("--dns", "the container has another's network and resolv.conf (set it there)").into()
            );
        }
        return Ok(mounts.to_vec());
    }
    if write {
        let mode = &request.network.mode;
        let own = !matches!(mode, Mode::Host);
        let hosts = if own {
            files::hosts(&request.extra_hosts, None)
        } else {
            let mut text = fs::read_to_string("/etc/hosts").unwrap_or_default();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            let added = request
                .extra_hosts
                .iter()
                .map(|host| format!("{}\t{}\n", host.address.unwrap_or([127, 0, 0, 1].into()), host.name));
            text + &added.collect::<String>()
        };
        if matches!(mode, Mode::None) && request.extra_hosts.iter().any(|host| host.address.is_none()) {
            return Err(
                Refused::new("--add-host", "host-gateway: without a network there is no way to the host").into()
            );
        }
        let resolv = files::resolv_conf(&files::host_resolv_conf(), &request.dns, own);
        let hostname = format!("{}\n", plan.hostname.as_deref().unwrap_or_default());
        for (name, text) in [("hosts", hosts), ("resolv.conf", resolv), ("hostname", hostname)] {
            let file = folder.join(name);
            fs::write(&file, text).during("write", &file)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).during("chmod", &file)?;
        }
    }
    Ok(mounts.to_vec())
}

/// Turns an attachment into a mount; makes and fills its volume.
pub(super) fn attach(
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
            let volumes = std::path::absolute(home.volumes()).during("find", &home.volumes())?;
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
                // Resolved beneath the volume: whoever writes to it may have put a link there.
                let beneath = Root::open(&data)?;
                beneath.directory(subpath).map_err(|source| Error::MountPoint { path: data.join(subpath), source })?;
                let link = subpath
                    .ancestors()
                    .filter(|path| !path.as_os_str().is_empty())
                    .any(|path| data.join(path).is_symlink());
                if link {
                    return Err(volume::Error::Unusable { path: data.join(subpath), reason: "a symbolic link" }.into());
                }
                data = data.join(subpath);
            }
            let mount = config::mount(&attachment.target, "bind", data, &["rbind", "rprivate", mode]);
            Ok((mount, Some(used)))
        }
    }
}

fn source(bind: &Bind, write: bool) -> Result<PathBuf, Error> {
    if bind.relabel && Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(Refused::new(
            "--volume",
            "z, Z: SELinux labels are not set by this tool (chcon -Rt container_file_t does it)",
        )
        .into());
    }
    match fs::metadata(&bind.path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && bind.create => {
            if write {
                fs::create_dir_all(&bind.path).during("create", &bind.path)?;
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
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
        // mount_setattr(2) came with 5.12.
        Recursive::Enabled => readonly && crate::security::seccomp::kernel() >= (5, 12),
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
    fn a_foreign_architecture_is_refused_with_the_way_out() {
        assert!(check_architecture(image_tool::platform::Platform::host().architecture()).is_ok());
        let message = check_architecture("s390x").map_err(|error| error.to_string());
        if let Err(message) = message {
            assert!(
                message.starts_with("--platform: the image is for s390x") && message.contains("qemu-user-static"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_read_only_mount_is_so_with_what_is_mounted_in_it() {
        let bind =
            |recursive| Bind { path: "/x".into(), create: true, propagation: "rprivate", recursive, relabel: false };
        assert_eq!(bind_options(&bind(Recursive::Disabled), true), ["bind", "rprivate", "ro"]);
        assert_eq!(bind_options(&bind(Recursive::Readonly), true), ["rbind", "rprivate", "ro", "rro"]);
        assert_eq!(bind_options(&bind(Recursive::Enabled), false), ["rbind", "rprivate", "rw"]);
    }

    #[test]
    fn an_id_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        write_new(&path, b"abc").unwrap();
        assert!(matches!(write_new(&path, b"def"), Err(Error::IdFile(_))));
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
