//! Devices of the host in a container: `--device`, `--device-cgroup-rule`, and the devices of `--privileged`.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::option::Refused;

/// A `--device`: `HOST[:CONTAINER][:rwm]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    host: PathBuf,
    container: PathBuf,
    access: String,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let access =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte)) && text.len() <= 3;
        let (host, container, rights) = match *parts.as_slice() {
            [host] => (host, host, "rwm"),
            [host, rights] if access(rights) => (host, host, rights),
            [host, container] => (host, container, "rwm"),
            [host, container, rights] if access(rights) => (host, container, rights),
            _ => return Err(format!("{text:?} is not HOST[:CONTAINER][:rwm]")),
        };
        match [host, container].iter().find(|path| !path.starts_with('/')) {
            Some(path) => Err(format!("{path:?} is not an absolute path")),
            None => Ok(Self { host: host.into(), container: container.into(), access: rights.into() }),
        }
    }
}

/// A `--device-cgroup-rule`, such as `c 1:3 rwm`, `b *:* m` or `a *:* rwm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(LinuxDeviceCgroup);

impl Rule {
    /// The rule as config.json holds it.
    pub fn to_oci(&self) -> LinuxDeviceCgroup {
        self.0.clone()
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not \"TYPE MAJOR:MINOR ACCESS\", such as \"c 1:3 rwm\"");
        let [kind, numbers, access] = text.split_whitespace().collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let kind = match kind {
            "a" => LinuxDeviceType::A,
            "b" => LinuxDeviceType::B,
            "c" => LinuxDeviceType::C,
            _ => return Err(wrong()),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            text => text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
        if access.is_empty() || access.len() > 3 || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
            return Err(wrong());
        }
        Ok(Self(allow(kind, number(major)?, number(minor)?, access)))
    }
}

pub(crate) fn allow(kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true);
    rule.set_typ(Some(kind));
    rule.set_major(major);
    rule.set_minor(minor);
    rule.set_access(Some(access.to_owned()));
    rule
}

/// The rules of every container: all devices are denied but for a few. The runtime adds those that it creates itself.
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{B, C};
    let mut deny = LinuxDeviceCgroup::default();
    deny.set_allow(false);
    deny.set_typ(None);
    deny.set_major(None);
    deny.set_minor(None);
    deny.set_access(Some("rwm".into()));
    let mut rules = vec![deny];
    // Creating device nodes is harmless if they cannot be opened.
    rules.extend([allow(C, None, None, "m"), allow(B, None, None, "m")]);
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(allow(C, Some(major), Some(minor), "rwm"));
    }
    rules.push(allow(C, Some(136), None, "rwm"));
    rules
}

/// The rules of a privileged container: all devices are allowed.
pub fn privileged_rules() -> Vec<LinuxDeviceCgroup> {
    vec![allow(LinuxDeviceType::A, None, None, "rwm")]
}

/// The node of a `--device`, or the nodes in its folder, with a rule for each.
pub fn resolve(device: &Device) -> Result<Vec<(LinuxDevice, LinuxDeviceCgroup)>, Refused> {
    let refused = |reason: String| Refused::new("--device", format!("{}: {reason}", device.host.display()));
    // A link (/dev/cdrom) is followed, and keeps its own name in the container.
    let found = fs::metadata(&device.host).map_err(|error| refused(error.to_string()))?;
    if found.is_dir() {
        let mut nodes = Vec::new();
        collect(&device.host, &device.container, &device.access, &mut nodes)
            .map_err(|error| refused(error.to_string()))?;
        if nodes.is_empty() {
            return Err(refused("not a device node, nor a folder with one".into()));
        }
        return Ok(nodes);
    }
    let node = node(&found, &device.container, &device.access);
    node.map(|node| vec![node]).ok_or_else(|| refused("not a device node (mount files and folders with -v)".into()))
}

/// All devices of the host, for a privileged container.
pub fn all() -> std::io::Result<Vec<LinuxDevice>> {
    let mut nodes = Vec::new();
    collect(Path::new("/dev"), Path::new("/dev"), "rwm", &mut nodes)?;
    // The runtime creates these itself.
    const MADE: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
    nodes.retain(|(node, _)| !MADE.iter().any(|name| node.path() == &Path::new("/dev").join(name)));
    Ok(nodes.into_iter().map(|(node, _)| node).collect())
}

fn collect(
    host: &Path,
    container: &Path,
    access: &str,
    nodes: &mut Vec<(LinuxDevice, LinuxDeviceCgroup)>,
) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(host)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // A node may disappear meanwhile.
        let Ok(found) = entry.metadata() else { continue };
        let (from, to) = (entry.path(), container.join(entry.file_name()));
        if found.is_dir() {
            // These are file systems, and a container has its own.
            if !["pts", "shm", "fd", "mqueue", "hugepages"].iter().any(|name| from == Path::new("/dev").join(name)) {
                collect(&from, &to, access, nodes)?;
            }
        } else {
            nodes.extend(node(&found, &to, access));
        }
    }
    Ok(())
}

fn node(found: &fs::Metadata, path: &Path, access: &str) -> Option<(LinuxDevice, LinuxDeviceCgroup)> {
    let kind = match found.file_type() {
        kind if kind.is_char_device() => LinuxDeviceType::C,
        kind if kind.is_block_device() => LinuxDeviceType::B,
        _ => return None,
    };
    let (major, minor) = (rustix::fs::major(found.rdev()).into(), rustix::fs::minor(found.rdev()).into());
    let mut device = LinuxDevice::default();
    device.set_path(path.to_owned());
    device.set_typ(kind);
    device.set_major(major);
    device.set_minor(minor);
    device.set_file_mode(Some(found.mode() & 0o7777));
    device.set_uid(Some(found.uid()));
    device.set_gid(Some(found.gid()));
    Some((device, allow(kind, Some(major), Some(minor), access)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn devices_are_read_as_docker_reads_them() {
        let cases = [
            ("/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
            ("/dev/fuse:r", ("/dev/fuse", "/dev/fuse", "r")),
            ("/dev/fuse:/dev/x", ("/dev/fuse", "/dev/x", "rwm")),
            ("/dev/fuse:/dev/x:rw", ("/dev/fuse", "/dev/x", "rw")),
        ];
        for (text, (host, container, access)) in cases {
            let expected = Device { host: host.into(), container: container.into(), access: access.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "fuse", "/dev/a:/dev/b:x", "/dev/a:b", "/a:/b:r:w"] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_has_its_numbers_and_a_rule() {
        let nodes = resolve(&"/dev/null:/dev/hole:r".parse().unwrap()).unwrap();
        let (node, rule) = &nodes[0];
        assert_eq!((node.path().as_path(), node.major(), node.minor()), (Path::new("/dev/hole"), 1, 3));
        assert_eq!((rule.major(), rule.minor(), rule.access().as_deref()), (Some(1), Some(3), Some("r")));
        let message = |text: &str| resolve(&text.parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            message("/etc/passwd"),
            "--device: /etc/passwd: not a device node (mount files and folders with -v)"
        );
        assert!(message("/dev/nonexistent").starts_with("--device: /dev/nonexistent: No such file"));
    }

    #[test]
    fn rules_are_read() {
        let rule = "c 42:* rm".parse::<Rule>().unwrap().to_oci();
        assert_eq!((rule.major(), rule.minor(), rule.access().as_deref()), (Some(42), None, Some("rm")));
        for text in ["", "c 1:3", "x 1:3 r", "c 1 r", "c a:b r", "c 1:3 x", "c -1:3 r"] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }

    #[test]
    fn privileged_gives_no_device_that_the_runtime_makes() {
        let nodes = all().unwrap();
        assert!(nodes.iter().all(|node| node.path() != Path::new("/dev/null")));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[a-c0-9:/* rwm-]{0,20}") {
            let _ = text.parse::<Device>();
            let _ = text.parse::<Rule>();
        }
    }
}
