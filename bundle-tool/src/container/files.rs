//! Files of a bundle: hosts, hostname and resolv.conf, the file for the id, the working directory.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use image_tool::beneath::Root;
use image_tool::error::During as _;
use oci_spec::runtime::Mount;

use super::Error;
use super::request::Request;
use super::userns::Ids;
use crate::bundle::Bundle;
use crate::config;
use crate::network::Mode;
use crate::network::files;

/// The host's address on docker's own default network.
const DOCKERS_GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));

/// The host name of the container in a bundle.
pub(super) fn host_name_of(bundle: &Path) -> Option<String> {
    let bundle = Bundle::open(bundle).ok()?;
    Some(bundle.config().get("hostname")?.as_str()?.to_owned())
}

/// Writes a file that must not exist.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<(), Error> {
    let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match open.and_then(|mut file| file.write_all(content)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::IdFile(path.into())),
        other => Ok(other.during("write", path)?),
    }
}

/// Creates the working directory in the root file system, if it is missing.
pub(super) fn make_workdir(bundle: &Path, path: Option<&Path>, ids: Option<&Ids>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let root = Root::open(bundle.join("rootfs"))?;
    let inside = path.strip_prefix("/").unwrap_or(path);
    if inside.as_os_str().is_empty() {
        return Ok(());
    }
    let made = root.create_directories(inside, 0o755).and_then(|_| {
        let folders = inside.ancestors().filter(|folder| !folder.as_os_str().is_empty());
        ids.map_or(Ok(()), |ids| folders.into_iter().try_for_each(|folder| ids.adopt(&root, folder)))
    });
    made.map_err(|source| Error::Workdir { path: path.into(), source })
}

/// The mounts of hosts, hostname and resolv.conf: the files of the bundle at `path`, or of the container whose network is shared.
pub(super) fn mounts(request: &Request, path: &Path) -> Vec<Mount> {
    let base = request.network.shared.as_deref().unwrap_or(path);
    let mode = if request.options.readonly { "ro" } else { "rw" };
    let mount =
        |name| config::mount(Path::new("/etc").join(name), "bind", base.join(name), &["rbind", "rprivate", mode]);
    ["resolv.conf", "hostname", "hosts"].map(mount).to_vec()
}

/// Writes hosts, hostname and resolv.conf to `folder`, unless the container shares the network of another.
pub(super) fn write(request: &Request, hostname: Option<&str>, folder: &Path) -> Result<(), Error> {
    if request.network.shared.is_some() {
        return Ok(());
    }
    let mode = &request.network.mode;
    let own = !matches!(mode, Mode::Host);
    // Without a network it leads nowhere, but its name is known, as in docker.
    let gateway = matches!(mode, Mode::None).then_some(DOCKERS_GATEWAY);
    let hosts = if own { files::hosts(&request.extra_hosts, gateway) } else { hosts_of_host(request) };
    let resolv = files::resolv_conf(&files::host_resolv_conf(), &request.dns, own);
    let hostname = format!("{}\n", hostname.unwrap_or_default());
    for (name, text) in [("hosts", hosts), ("resolv.conf", resolv), ("hostname", hostname)] {
        let file = folder.join(name);
        fs::write(&file, text).during("write", &file)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).during("chmod", &file)?;
        if let Some((uid, gid)) = request.ids.as_ref().map(Ids::root) {
            std::os::unix::fs::chown(&file, Some(uid), Some(gid)).during("chown", &file)?;
        }
    }
    Ok(())
}

/// This host's /etc/hosts with the names of `--add-host`; host-gateway is the loopback address.
fn hosts_of_host(request: &Request) -> String {
    let mut text = fs::read_to_string("/etc/hosts").unwrap_or_default();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for host in &request.extra_hosts {
        text += &format!("{}\t{}\n", host.address.unwrap_or([127, 0, 0, 1].into()), host.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        write_new(&path, b"abc").unwrap();
        assert!(matches!(write_new(&path, b"def"), Err(Error::IdFile(_))));
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
