//! Namespaces of the process itself, in which it mounts what nobody else sees.

use std::fs;
use std::path::Path;

use rustix::io::Errno;

use super::Error;

/// Moves the calling thread, and the processes that it starts, to a new mount namespace.
///
/// Mounts made there vanish with the last process in it, so a crash leaves none behind. Threads that run already are not moved.
pub fn private_namespace() -> Result<(), Error> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    #[expect(
        deprecated,
        reason = "the unsafe variant guards against unsharing the descriptor table, which these flags do not"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS).map_err(
        |errno| match errno {
            Errno::PERM => Error::NotPermitted,
            errno => Error::Namespace(errno.into()),
        },
    )?;
    // Mounts made here must not propagate to the namespace that we left.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Error::Namespace(errno.into()))
}

/// Moves the calling thread to a new mount namespace in which it may mount: where it may not already, in a user namespace of its own, in
/// which its files are its own as before.
pub fn own_namespace() -> Result<(), Error> {
    match private_namespace() {
        Err(Error::NotPermitted) => {}
        other => return other,
    }
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    #[expect(deprecated, reason = "as in private_namespace")]
    let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER);
    unshared.map_err(|errno| Error::Namespace(errno.into()))?;
    // user_namespaces(7): who has no privilege outside maps no other id than its own, and no group before setgroups(2) is given up.
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ];
    for (name, text) in maps {
        fs::write(Path::new("/proc/self").join(name), text).map_err(Error::Namespace)?;
    }
    private_namespace()
}
