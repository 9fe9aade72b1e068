//! Options of docker's local volume driver: a volume whose folder is a file system that is mounted when a container needs it.
//!
//! As in docker, `type`, `device` and `o` are those of mount(8). The file system is mounted at the volume's folder when a bundle with the
//! volume is created or mounted, and unmounted when no bundle has the volume any more.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use image_tool::error::During as _;
use rustix::mount::MountFlags;

use super::Error;
use crate::rootfs;

/// The file system of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileSystem {
    kind: String,
    device: String,
    flags: MountFlags,
    data: Vec<String>,
}

/// The options of mount(8) that are flags of mount(2): the name, the flag, and whether it is set or cleared.
const FLAGS: [(&str, MountFlags, bool); 17] = [
    ("async", MountFlags::SYNCHRONOUS, false),
    ("atime", MountFlags::NOATIME, false),
    ("bind", MountFlags::BIND, true),
    ("defaults", MountFlags::empty(), true),
    ("dev", MountFlags::NODEV, false),
    ("diratime", MountFlags::NODIRATIME, false),
    ("exec", MountFlags::NOEXEC, false),
    ("noatime", MountFlags::NOATIME, true),
    ("nodev", MountFlags::NODEV, true),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("noexec", MountFlags::NOEXEC, true),
    ("nosuid", MountFlags::NOSUID, true),
    ("rbind", MountFlags::BIND.union(MountFlags::REC), true),
    ("relatime", MountFlags::RELATIME, true),
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("suid", MountFlags::NOSUID, false),
];

impl FileSystem {
    /// Reads the options; `None` if there are none.
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Option<Self>, Error> {
        let wrong = |text: &str, reason: &str| Error::Syntax { text: text.into(), reason: reason.into() };
        if options.is_empty() {
            return Ok(None);
        }
        if let Some(unknown) = options.keys().find(|key| !["type", "device", "o"].contains(&key.as_str())) {
            return Err(wrong(unknown, "not an option of local volumes (type, device and o are)"));
        }
        let text = |key: &str| options.get(key).cloned().unwrap_or_default();
        let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
        for option in text("o").split(',').filter(|option| !option.is_empty()) {
            match FLAGS.iter().find(|(name, ..)| *name == option) {
                Some((_, flag, true)) => flags |= *flag,
                Some((_, flag, false)) => flags -= *flag,
                None => data.push(option.to_owned()),
            }
        }
        let bind = flags.contains(MountFlags::BIND);
        let (kind, device) = (text("type"), text("device"));
        if device.is_empty() {
            return Err(wrong(
                "device",
                "missing (a local volume with options needs type, device and o as mount(8) does)",
            ));
        }
        if kind.is_empty() && !bind {
            return Err(wrong("type", "missing (the type of the file system, or o=bind)"));
        }
        if bind && !device.starts_with('/') {
            return Err(wrong(&device, "not an absolute path"));
        }
        Ok(Some(Self { kind, device, flags, data }))
    }

    /// Mounts it at a folder, unless something is mounted there.
    pub(super) fn mount(&self, target: &Path) -> Result<(), Error> {
        if rootfs::is_mounted(target) {
            return Ok(());
        }
        let data: Vec<String> = self.data.iter().map(|option| resolved(option)).collect();
        let data = CString::new(data.join(",")).map_err(|_| Error::Syntax {
            text: self.data.join(","),
            reason: "mount options cannot hold a zero byte".into(),
        })?;
        rustix::mount::mount(self.device.as_str(), target, self.kind.as_str(), self.flags, data.as_c_str())
            .during("mount", target)?;
        if self.flags.contains(MountFlags::BIND) && self.flags.contains(MountFlags::RDONLY) {
            // mount(2): a bind mount takes other flags only when it is mounted again.
            rustix::mount::mount_remount(target, self.flags - MountFlags::REC, "").during("mount", target)?;
        }
        Ok(())
    }
}

/// An option with an address in place of a host's name: the kernel's NFS and CIFS take no names, as docker knows.
fn resolved(option: &str) -> String {
    let host = option.strip_prefix("addr=").filter(|host| host.parse::<IpAddr>().is_err());
    host.and_then(address).map_or_else(|| option.to_owned(), |address| format!("addr={address}"))
}

/// The first address of a host. getent(1) asks whatever this system is set up to ask; a static program cannot.
fn address(host: &str) -> Option<IpAddr> {
    let output =
        Command::new("getent").args(["ahosts", "--", host]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Option<FileSystem>, Error> {
        FileSystem::parse(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn options_are_those_of_mount() {
        assert_eq!(parse(&[]).unwrap(), None);
        let tmpfs = parse(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,nosuid,noexec,exec,uid=5")]);
        let tmpfs = tmpfs.unwrap().unwrap();
        assert_eq!((tmpfs.flags, tmpfs.data.join(",")), (MountFlags::NOSUID, "size=1m,uid=5".to_owned()));
        let bind = parse(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]).unwrap().unwrap();
        assert_eq!(bind.flags, MountFlags::BIND | MountFlags::RDONLY);
        for pairs in [
            &[("type", "tmpfs")][..],
            &[("device", "/srv")],
            &[("size", "1m")],
            &[("type", "none"), ("device", "relative"), ("o", "bind")],
        ] {
            assert!(parse(pairs).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn a_hosts_name_becomes_an_address() {
        assert!(["addr=127.0.0.1", "addr=::1"].contains(&resolved("addr=localhost").as_str()));
        for option in ["addr=nosuch.invalid", "addr=192.0.2.1", "addr=2001:db8::1", "ro"] {
            assert_eq!(resolved(option), option);
        }
    }
}
