//! Labels of security modules: AppArmor profiles and SELinux contexts. The session keyring is here too, because it is labelled.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Result, bail};

use crate::kernel::error::Fails;
use crate::kernel::procfs::Procfs;
use crate::kernel::{log, syscall};

/// Confines the next program that this process executes to an AppArmor profile.
pub(crate) fn apply_apparmor(profile: &str, enabled: bool) -> Result<()> {
    if profile.is_empty() {
        return Ok(());
    }
    if !enabled {
        bail!("unable to apply apparmor profile: apparmor: config provided but apparmor not supported");
    }
    let proc = Procfs::open()?;
    let command = format!("exec {profile}");
    // AppArmor has a file of its own since Linux 5.8. Before that all security modules share one.
    if proc.write(Path::new("self/attr/apparmor/exec"), &command).is_ok() {
        return Ok(());
    }
    match proc.write(Path::new("self/attr/exec"), &command) {
        Ok(()) => Ok(()),
        Err(error) => bail!("unable to apply apparmor profile: {error:#}"),
    }
}

/// Labels the next program that this process executes with an SELinux context.
pub(crate) fn apply_selinux(label: &str) -> Result<()> {
    if label.is_empty() {
        return Ok(());
    }
    match Procfs::open()?.write(Path::new("self/attr/exec"), label) {
        Ok(()) => Ok(()),
        Err(error) => bail!("can't set process label: {error:#}"),
    }
}

/// Adds the option with the SELinux context of the container's files (`context="LABEL"`), which may be empty, to mount options.
pub(crate) fn mount_data(data: &str, context: &str) -> String {
    [data, context].into_iter().filter(|options| !options.is_empty()).collect::<Vec<_>>().join(",")
}

/// Joins the container's own session keyring, so that the container does not hold the caller's keys. With `made` it is the init
/// process, which creates the keyring and sets its permissions.
pub(crate) fn join_keyring(id: &str, made: bool, userns: bool) -> Result<()> {
    let name = CString::new(format!("_ses.{id}")).expect("container names hold no NUL");
    let serial = match syscall::join_session_keyring(&name) {
        // This kernel, or the container around us, has no keyrings, so nothing is inherited either.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS)) => {
            log::warn(&format!("KeyctlJoinSessionKeyring: {}", crate::kernel::error::reason(&error)));
            return Ok(());
        }
        result => result.fails(|| "unable to join session keyring: unable to create session key")?,
    };
    if !made {
        return Ok(());
    }
    let description = syscall::describe_key(serial).fails(|| "unable to mod keyring permissions")?;
    let permissions = description.split(';').nth(3).and_then(|text| u32::from_str_radix(text, 16).ok());
    let Some(permissions) = permissions else { bail!("unable to mod keyring permissions: {description:?}") };
    // Search permission for the owner. In a user namespace the owner has another id outside, so it is for everyone.
    let search = if userns { 0x8 } else { 0x8_0000 };
    syscall::set_key_permissions(serial, permissions | search).fails(|| "unable to mod keyring permissions")?;
    Ok(())
}
