//! Builds without root: the program becomes root of a user namespace and starts itself again there.
//!
//! There it may mount, and files may have several owners. /etc/subuid and /etc/subgid say which ids it gets, newuidmap(1) and
//! newgidmap(1) grant them. If any of these is missing, the build goes on without: COPY needs no privilege. Imports no other room.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use bundle_tool::config::IdRange;
use bundle_tool::container::id_ranges;
use image_tool::address::home::Home;
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

/// Starts the program again as root of a user namespace, unless it is root already. Returns if that is not needed or
/// not possible. There must be no other thread.
pub fn enter(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let Some((users, groups)) = id_ranges() else { return Ok(()) };
    // Inside, the default would be root's data folder, not the caller's.
    let home = Home::from_environment();
    let obstacle = match users.len() {
        0 | 1 => {
            Some("/etc/subuid and /etc/subgid name no ids for this user, or newuidmap(1) is not installed".to_owned())
        }
        _ => become_root(&users, &groups)?,
    };
    let Some(obstacle) = obstacle else {
        return Err(Command::new(env::current_exe()?).args(arguments).env("OCI_HOME", home.path()).exec());
    };
    tracing::info!("no user namespace available, RUN will not work: {obstacle}");
    Ok(())
}

/// Maps the ids once it is told to. When the program that should tell it is killed, it ends.
const MAPPER: &str = "read -r go && newuidmap $1 $2 && newgidmap $1 $3";

/// Enters a user namespace. Returns what prevented that; this process then is who it was.
fn become_root(users: &[IdRange], groups: &[IdRange]) -> io::Result<Option<String>> {
    let mut mapper = Command::new("sh");
    mapper.args(["-c", MAPPER, "sh", &std::process::id().to_string(), &words(users), &words(groups)]);
    let mut mapper = mapper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    #[expect(
        deprecated,
        reason = "the unsafe variant guards against unsharing the descriptor table, which this flag does not"
    )]
    let unshared = rustix::thread::unshare(UnshareFlags::NEWUSER);
    let told = match (unshared, mapper.stdin.take()) {
        (Ok(()), Some(mut pipe)) => pipe.write_all(b"\n"),
        _ => Ok(()),
    };
    let output = mapper.wait_with_output()?;
    if let Err(errno) = unshared {
        return Ok(Some(io::Error::from(errno).to_string()));
    }
    if told.is_ok() && output.status.success() {
        return Ok(None);
    }
    // Without any id the build could not even open a file of its own.
    stay_oneself(users, groups)?;
    Ok(Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The operands of newuidmap(1).
fn words(ranges: &[IdRange]) -> String {
    ranges.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count} ")).collect()
}

/// Maps the caller's ids to themselves, which everybody may (user_namespaces(7)), and gives up the capabilities that the namespace
/// brought: what cannot work without more ids shall fail as it does outside.
fn stay_oneself(users: &[IdRange], groups: &[IdRange]) -> io::Result<()> {
    let map = |file: &str, ranges: &[IdRange]| {
        let own = ranges.first().map_or(0, |(_, outside, _)| *outside);
        fs::write(format!("/proc/self/{file}"), format!("{own} {own} 1"))
    };
    fs::write("/proc/self/setgroups", "deny")?;
    map("uid_map", users)?;
    map("gid_map", groups)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}
