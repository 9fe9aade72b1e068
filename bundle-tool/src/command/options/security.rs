//! What a container is kept from, and which namespaces it shares.

use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use bundle_tool::bundle::{self, Bundle};
use bundle_tool::config::{Ipc, Namespace};
use bundle_tool::security::SecurityOption;
use bundle_tool::security::capability::Capability;
use clap::ArgAction;
use image_tool::address::home::Home;

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Confinement")]
pub(super) struct Security {
    /// Give the container every capability and device, and take confinement away.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) privileged: bool,
    /// Add a capability, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    pub(super) cap_add: Vec<Capability>,
    /// Take a capability away, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    pub(super) cap_drop: Vec<Capability>,
    /// Set seccomp=FILE|unconfined, apparmor=PROFILE, label=disable, no-new-privileges, systempaths=unconfined.
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<SecurityOption>,
    /// Set a kernel setting of the container's own: NAME=VALUE.
    #[arg(long, value_name = "SETTING")]
    pub(super) sysctl: Vec<String>,
    /// The PID namespace: host or container:NAME.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) pid: Option<String>,
    /// The IPC namespace: private, shareable, none, host or container:NAME.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) ipc: Option<String>,
    /// The UTS namespace: host.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) uts: Option<String>,
    /// The user namespace: host.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) userns: Option<String>,
    /// The cgroup namespace: host or private.
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) cgroupns: Option<String>,
    /// The technology of isolation: default.
    #[arg(long, value_name = "TECHNOLOGY")]
    pub(super) isolation: Option<String>,
}

impl Security {
    pub(super) fn pid(&self, home: &Home) -> anyhow::Result<Namespace> {
        namespace(home, "--pid", "pid", self.pid.as_deref())
    }

    pub(super) fn uts(&self) -> anyhow::Result<Namespace> {
        if let Some(value) = self.userns.as_deref().filter(|value| !["", "host"].contains(value)) {
            return refuse("--userns", format!("{value:?}: only host is supported"));
        }
        if let Some(value) = self.isolation.as_deref().filter(|value| !["", "default"].contains(value)) {
            return refuse("--isolation", format!("{value}: for Windows alone"));
        }
        match self.uts.as_deref() {
            None | Some("") => Ok(Namespace::Private),
            Some("host") => Ok(Namespace::Host),
            Some(other) => refuse("--uts", format!("{other:?} is not host")),
        }
    }

    pub(super) fn ipc(&self, home: &Home) -> anyhow::Result<Ipc> {
        match self.ipc.as_deref() {
            None | Some("" | "private" | "shareable") => Ok(Ipc::Private { shm: true }),
            Some("none") => Ok(Ipc::Private { shm: false }),
            Some("host") => Ok(Ipc::Shared { namespace: Namespace::Host, shm: "/dev/shm".into() }),
            Some(text) => match text.strip_prefix("container:") {
                Some(name) => {
                    let (bundle, pid) = process_of(home, "--ipc", name)?;
                    if bundle.annotation(annotation::IPC) != Some("shareable") {
                        return refuse(
                            "--ipc",
                            format!("container {name} does not share (create it with --ipc shareable)"),
                        );
                    }
                    let namespace = Namespace::Path(format!("/proc/{pid}/ns/ipc").into());
                    let shm = std::path::absolute(bundle.path().join(bundle::SHM)).context("--ipc")?;
                    Ok(Ipc::Shared { namespace, shm })
                }
                None => refuse("--ipc", format!("{text:?} is none of private, shareable, none, host, container:NAME")),
            },
        }
    }

    pub(super) fn cgroup(&self) -> anyhow::Result<Option<Namespace>> {
        match self.cgroupns.as_deref() {
            None | Some("") => Ok(None),
            Some("host") => Ok(Some(Namespace::Host)),
            Some("private") => Ok(Some(Namespace::Private)),
            Some(other) => refuse("--cgroupns", format!("{other:?} is none of host, private")),
        }
    }
}

/// A process of another container, by which its namespaces are reached.
pub(super) fn process_of(home: &Home, option: &'static str, name: &str) -> anyhow::Result<(Bundle, i32)> {
    let bundle = Bundle::find(&home.bundles(), name).context(option)?;
    match bundle.occupant() {
        Some(pid) => Ok((bundle, pid)),
        None => refuse(option, format!("container {name} does not run")),
    }
}

/// `host`, `container:NAME`, or the container's own.
pub(super) fn namespace(
    home: &Home,
    option: &'static str,
    kind: &str,
    text: Option<&str>,
) -> anyhow::Result<Namespace> {
    match text {
        None | Some("" | "private") => Ok(Namespace::Private),
        Some("host") => Ok(Namespace::Host),
        Some(text) => match text.strip_prefix("container:") {
            Some(name) => {
                let (_, pid) = process_of(home, option, name)?;
                Ok(Namespace::Path(format!("/proc/{pid}/ns/{kind}").into()))
            }
            None => refuse(option, format!("{text:?} is none of host, container:NAME")),
        },
    }
}
