//! Which security modules there are.

use std::fs;
use std::path::Path;

/// Whether SELinux is there to give labels to.
pub(crate) fn selinux_enabled() -> bool {
    const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|statfs| statfs.f_type == SELINUX_MAGIC)
}

/// Whether AppArmor is there to confine with.
pub(crate) fn apparmor_enabled() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
        && fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|value| value.first() == Some(&b'Y'))
}
