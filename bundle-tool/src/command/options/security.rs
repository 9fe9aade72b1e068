//! Privileges, confinement and the namespaces that a container shares.

use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use bundle_tool::bundle::{self, Bundle};
use bundle_tool::config::{Ipc, Namespace};
use bundle_tool::container::userns::Ids;
use bundle_tool::option::boolean;
use bundle_tool::security::SecurityOption;
use bundle_tool::security::capability::Capability;
use clap::ArgAction;
use image_tool::address::home::Home;

use super::{candidates, refuse};

#[derive(clap::Args)]
#[command(next_help_heading = "Confinement")]
pub(super) struct Security {
    /// Give the container all capabilities and devices, and do not confine it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) privileged: bool,
    /// Add a Linux capability; ALL adds all; may be repeated.
    #[arg(long, value_name = "CAPABILITY", allow_hyphen_values = true, add = candidates::capabilities())]
    pub(super) cap_add: Vec<Capability>,
    /// Drop a Linux capability; ALL drops all; may be repeated.
    #[arg(long, value_name = "CAPABILITY", allow_hyphen_values = true, add = candidates::capabilities())]
    pub(super) cap_drop: Vec<Capability>,
    /// Security option: seccomp=FILE|unconfined, apparmor=PROFILE, label=disable, no-new-privileges, systempaths=unconfined or
    /// writable-cgroups; may be repeated.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, add = candidates::words(candidates::SECURITY_OPTIONS))]
    pub(super) security_opt: Vec<SecurityOption>,
    /// Set a namespaced kernel parameter; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub(super) sysctl: Vec<String>,
    /// PID namespace to use: host or container:NAME.
    #[arg(long, value_name = "NAMESPACE", allow_hyphen_values = true, add = candidates::namespaces(&["host"]))]
    pub(super) pid: Option<String>,
    /// IPC mode to use: private, shareable, none, host or container:NAME.
    #[arg(long, value_name = "NAMESPACE", allow_hyphen_values = true, add = candidates::namespaces(&["private", "shareable", "none", "host"]))]
    pub(super) ipc: Option<String>,
    /// UTS namespace to use: host.
    #[arg(long, value_name = "NAMESPACE", allow_hyphen_values = true, add = candidates::words(&["host"]))]
    pub(super) uts: Option<String>,
    /// User namespace to use: host, FIRST:COUNT for the IDs of this host that the container's are, or USER[:GROUP] for those in /etc/subuid
    /// and /etc/subgid.
    #[arg(long, value_name = "NAMESPACE", allow_hyphen_values = true, add = candidates::words(&["host"]))]
    pub(super) userns: Option<String>,
    /// Cgroup namespace to use: host or private.
    #[arg(long, value_name = "NAMESPACE", allow_hyphen_values = true, add = candidates::words(&["host", "private"]))]
    pub(super) cgroupns: Option<String>,
    /// Container isolation technology: default.
    #[arg(long, value_name = "TECHNOLOGY", allow_hyphen_values = true, add = candidates::words(&["default"]))]
    pub(super) isolation: Option<String>,
}

impl Security {
    /// The IDs of a user namespace of the container's own.
    pub(super) fn ids(&self) -> anyhow::Result<Option<Ids>> {
        Ok(Ids::parse(self.userns.as_deref().unwrap_or_default())?)
    }

    pub(super) fn pid(&self, home: &Home) -> anyhow::Result<Namespace> {
        namespace(home, "--pid", "pid", self.pid.as_deref())
    }

    pub(super) fn uts(&self) -> anyhow::Result<Namespace> {
        if let Some(value) = self.isolation.as_deref().filter(|value| !["", "default"].contains(value)) {
            return refuse("--isolation", format!("{value}: only for Windows"));
        }
        match self.uts.as_deref() {
            None | Some("") => Ok(Namespace::Private),
            Some("host") => Ok(Namespace::Host),
            Some(other) => refuse("--uts", format!("{other:?} is not supported (only host is)")),
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
                            format!("container {name} does not share its memory (create it with --ipc shareable)"),
                        );
                    }
                    let namespace = Namespace::Path(format!("/proc/{pid}/ns/ipc").into());
                    let shm = std::path::absolute(bundle.path().join(bundle::SHM)).context("--ipc")?;
                    Ok(Ipc::Shared { namespace, shm })
                }
                None => refuse(
                    "--ipc",
                    format!("{text:?} is not supported (private, shareable, none, host and container:NAME are)"),
                ),
            },
        }
    }

    pub(super) fn cgroup(&self) -> anyhow::Result<Option<Namespace>> {
        match self.cgroupns.as_deref() {
            None | Some("") => Ok(None),
            Some("host") => Ok(Some(Namespace::Host)),
            Some("private") => Ok(Some(Namespace::Private)),
            Some(other) => refuse("--cgroupns", format!("{other:?} is not supported (host and private are)")),
        }
    }
}

/// A process of another container, through which its namespaces are reached.
pub(super) fn process_of(home: &Home, option: &'static str, name: &str) -> anyhow::Result<(Bundle, i32)> {
    let bundle = Bundle::find(&home.bundles(), name).context(option)?;
    match bundle.occupant() {
        Some(pid) => Ok((bundle, pid)),
        None => refuse(option, format!("container {name} is not running")),
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
            None => refuse(option, format!("{text:?} is not supported (host and container:NAME are)")),
        },
    }
}

/// The id of the container whose namespace is joined, if `text` names one that has an id.
pub(super) fn joined(home: &Home, text: Option<&str>) -> Option<String> {
    let bundle = Bundle::find(&home.bundles(), text?.strip_prefix("container:")?).ok()?;
    bundle.annotation(annotation::ID).map(str::to_owned)
}
