//! Labels of security modules: AppArmor profiles and SELinux contexts, and the session keyring that goes with them.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Result, bail};

use crate::kernel::error::Fails;
use crate::kernel::procfs::Procfs;
use crate::kernel::{log, syscall};

/// Confines the next program that the caller executes.
pub(crate) fn apply_apparmor(profile: &str, enabled: bool) -> Result<()> {
    if profile.is_empty() {
        return Ok(());
    }
    if !enabled {
        bail!("unable to apply apparmor profile: apparmor: config provided but apparmor not supported");
    }
    let proc = Procfs::open()?;
    let command = format!("exec {profile}");
    // The file of its own exists since Linux 5.8; before, all modules share one.
    if proc.write(Path::new("self/attr/apparmor/exec"), &command).is_ok() {
        return Ok(());
    }
    match proc.write(Path::new("self/attr/exec"), &command) {
        Ok(()) => Ok(()),
        Err(error) => bail!("unable to apply apparmor profile: {error:#}"),
    }
}

/// Labels the next program that the caller executes.
pub(crate) fn apply_selinux(label: &str) -> Result<()> {
    if label.is_empty() {
        return Ok(());
    }
    match Procfs::open()?.write(Path::new("self/attr/exec"), label) {
        Ok(()) => Ok(()),
        Err(error) => bail!("can't set process label: {error:#}"),
    }
}

/// Mount options with the SELinux context of the container's files.
pub(crate) fn mount_data(data: &str, label: &str) -> String {
    if label.is_empty() {
        return data.to_owned();
    }
    if data.is_empty() { format!("context=\"{label}\"") } else { format!("{data},context=\"{label}\"") }
}

/// Gives the container a session keyring of its own, so that it does not hold the caller's keys. `made` is the container's
/// first process; others join what it made.
pub(crate) fn join_keyring(id: &str, made: bool, userns: bool) -> Result<()> {
    let name = CString::new(format!("_ses.{id}")).expect("container names hold no NUL");
    let serial = match syscall::join_session_keyring(&name) {
        // A kernel, or an outer container, without keyrings: nothing is inherited either.
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
    // Search for the owner, or for everyone where the owner's id is another one outside.
    let search = if userns { 0x8 } else { 0x8_0000 };
    syscall::set_key_permissions(serial, permissions | search).fails(|| "unable to mod keyring permissions")?;
    Ok(())
}
