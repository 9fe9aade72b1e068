//! Properties of this host: its architecture, the ids that its user may map, its name.

use std::fs;
use std::path::Path;

use super::Error;
use crate::config::IdMaps;
use crate::option::Refused;

/// Fails if this host cannot run programs of the image's architecture.
pub(super) fn check_architecture(architecture: &str) -> Result<(), Error> {
    let host = image_tool::layout::platform::Platform::host();
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
    let reason =
        format!("the image is for {architecture}, this host is {} (apt install qemu-user-static)", host.architecture());
    Err(Refused::new("--platform", reason).into())
}

/// The ids of a user namespace for a caller who is not root: its own id as root, and those of /etc/subuid and /etc/subgid.
///
/// Without the latter, or without newuidmap(1) and newgidmap(1) to map them, there is one range of users and one of groups.
#[must_use]
pub fn id_ranges() -> Option<IdMaps> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return None;
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
    Some((users, groups))
}

/// The host name of this host.
pub(super) fn name() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_architecture_is_refused_with_the_way_out() {
        assert!(check_architecture(image_tool::layout::platform::Platform::host().architecture()).is_ok());
        let message = check_architecture("s390x").map_err(|error| error.to_string());
        if let Err(message) = message {
            assert!(
                message.starts_with("--platform: the image is for s390x") && message.contains("qemu-user-static"),
                "{message}"
            );
        }
    }
}
