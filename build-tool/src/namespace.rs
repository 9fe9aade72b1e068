//! Builds without root: the program starts itself again as root of a user namespace.
//!
//! There it may mount, and files may belong to other users. Which ids it gets is /etc/subuid's to say and newuidmap(1)'s to give;
//! unshare(1) of util-linux knows how to ask. Where there is none of this, a build goes on as it is: COPY needs no privilege.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use image_tool::address::home::Home;

/// Set for the program in the namespace, so that it starts no other.
const MARK: &str = "BUILD_TOOL_NAMESPACE";

/// If this is not root, go on as root of a user namespace. Returns if there is no need or no way.
pub fn enter(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    if rustix::process::geteuid().is_root() || env::var_os(MARK).is_some() {
        return Ok(());
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--map-auto", "--"]);
        command
    };
    let probe = unshare().arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        tracing::info!("no user namespace to be had: RUN will not work (see newuidmap(1), /etc/subuid)");
        return Ok(());
    }
    // Root's own folder is not the one that was meant.
    let home = Home::from_environment();
    Err(unshare().arg(env::current_exe()?).args(arguments).env("OCI_HOME", home.path()).env(MARK, "1").exec())
}
