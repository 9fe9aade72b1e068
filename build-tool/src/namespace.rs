//! Builds without root: the program starts itself again as root of a user namespace.
//!
//! There it may mount, and files may have several owners. /etc/subuid says which ids it gets, newuidmap(1) grants them,
//! and unshare(1) of util-linux asks for them. If any of these is missing, the build goes on without: COPY needs no
//! privilege. Imports no other room.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use image_tool::address::home::Home;

/// Set in the namespace, so that the program there does not start another one.
const MARK: &str = "BUILD_TOOL_NAMESPACE";

/// Starts the program again as root of a user namespace, unless it is root already. Returns if that is not needed or
/// not possible.
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
        tracing::info!("no user namespace available: RUN will not work (see newuidmap(1), /etc/subuid)");
        return Ok(());
    }
    // Inside, the default would be root's data folder, not the caller's.
    let home = Home::from_environment();
    Err(unshare().arg(env::current_exe()?).args(arguments).env("OCI_HOME", home.path()).env(MARK, "1").exec())
}
