//! Detection of security modules. A module that is not active cannot be asked to label or confine.

use std::fs;
use std::path::Path;

/// Whether SELinux is active.
pub(crate) fn selinux_enabled() -> bool {
    const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|statfs| statfs.f_type == SELINUX_MAGIC)
}

/// Whether AppArmor is active.
pub(crate) fn apparmor_enabled() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
        && fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|value| value.first() == Some(&b'Y'))
}
