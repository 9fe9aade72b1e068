//! Images that the layout lacks, pulled by registry-tool.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bundle_tool::container::Request;
use image_tool::address::{Address, name};
use image_tool::program::limits::Limits;
use image_tool::program::{Said, caller, say};

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Missing,
    Always,
    Never,
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "missing" => Ok(Self::Missing),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("expected missing, always or never"),
        }
    }
}

/// When and how an image is pulled.
#[derive(Clone, Copy)]
pub(super) struct Pulling {
    pub(super) when: When,
    pub(super) quiet: bool,
    pub(super) limits: Limits,
}

/// Whether an address has a name that a registry may know, and not an ID.
pub(super) fn is_name(address: &Address) -> bool {
    let is_id = |name: &str| {
        let hex = name.strip_prefix("sha256:");
        let digits = hex.unwrap_or(name);
        (hex.is_some() || digits.len() == 64) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    address.reference().is_some_and(|name| !is_id(name.as_str()))
}

/// Pulls the image of an address into its layout; for a container that lies on its layers, they are stored while they arrive.
pub(super) fn image(request: &Request, pulling: Pulling) -> anyhow::Result<()> {
    let address = &request.address;
    let Some(typed) = address.reference() else { bail!("{address}: no name to pull it by") };
    let mut reference = typed.to_string();
    if let Some(digest) = address.digest() {
        reference += &format!("@{digest}");
    }
    if pulling.when == When::Missing && !pulling.quiet && caller::caller().is_some() {
        let tagged = if address.digest().is_some() { reference.clone() } else { name::short(&reference) };
        say(&format!("Unable to find image '{tagged}' locally"));
    }
    let mut command = Command::new(sibling("registry-tool"));
    command.arg("pull").args(pulling.quiet.then_some("--quiet")).args(pulling.limits.words());
    // Another user's containers are copies.
    command.args((!request.copy && rustix::process::geteuid().is_root()).then_some("--unpack"));
    if let Some(platform) = &request.platform {
        command.args(["--platform", &platform.to_string()]);
    }
    command.arg(&reference);
    if !address.layout().is_empty() {
        command.arg(address.layout());
    }
    // Its address is not ours to print; what it says to people is on standard error.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| {
        format!("start registry-tool to pull {reference} (install it beside bundle-tool or in PATH)")
    })?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said why.
        Some(_) => Err(Said(if caller::caller().is_some_and(|name| name == "docker run") { 125 } else { 1 }).into()),
        None => bail!("pull {reference}: registry-tool was killed ({status})"),
    }
}

/// The path of a program of this family: beside this one, or else its bare name, to be found in PATH.
fn sibling(name: &str) -> PathBuf {
    let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_name_to_pull() {
        let hex = "0".repeat(64);
        for (text, is) in [
            (":busybox".to_owned(), true),
            (":cafe:1".to_owned(), true),
            (format!(":{hex}"), false),
            (format!(":sha256:{hex}"), false),
            (":sha256:0123".to_owned(), false),
            (format!("@sha256:{hex}"), false),
        ] {
            assert_eq!(is_name(&text.parse().unwrap()), is, "{text}");
        }
    }
}
