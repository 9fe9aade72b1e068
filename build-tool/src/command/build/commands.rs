//! The options of `build` for its RUN commands: what they get, and what they may have if they ask for it.

use anyhow::{Result, bail};
use build_tool::run::entitlement::Entitlement;
use build_tool::run::network::Network;
use build_tool::run::sandbox::Sandbox;
use bundle_tool::network::files::ExtraHost;
use bundle_tool::option::quantity::Size;
use bundle_tool::option::ulimit::Ulimit;

#[derive(clap::Args)]
#[command(next_help_heading = "Options of RUN commands")]
pub(super) struct Commands {
    /// Allow what a Dockerfile may only ask for: security.insecure, network.host or device[=NAME]; may be repeated.
    ///
    /// `security.insecure` is for RUN --security=insecure, which has all capabilities and devices and is not confined;
    /// `network.host` for RUN --network=host where the build has another network; `device` for RUN --device, with any device or
    /// the one named. `device=NAME,alias=ALIAS` gives it another name in the Dockerfile.
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(super) allow: Vec<Entitlement>,
    /// Add a name to /etc/hosts; the address host-gateway means this host; may be repeated.
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    hosts: Vec<ExtraHost>,
    /// Size of /dev/shm, such as 256m [default: 64m].
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<Size>,
    /// Set a resource limit; may be repeated.
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<Ulimit>,
    /// Parent cgroup, a path or a systemd slice.
    #[arg(long, value_name = "CGROUP")]
    cgroup_parent: Option<String>,
    /// Forward an SSH agent to RUN --mount=type=ssh: default for $SSH_AUTH_SOCK, or a socket, or an agent with private keys;
    /// may be repeated.
    ///
    /// A command can list the keys and sign with them, but neither add nor remove any. For private keys, ssh-agent is
    /// started; one with a passphrase has to be in an agent of yours.
    #[arg(long, value_name = "ID[=SOCKET|=KEY[,KEY…]]")]
    pub(super) ssh: Vec<String>,
}

impl Commands {
    /// What every command gets.
    pub(super) fn sandbox(&self, network: Network, hostname: Option<String>) -> Result<Sandbox> {
        if let (Network::None, Some(host)) = (network, self.hosts.iter().find(|host| host.address.is_none())) {
            bail!("--add-host {}:host-gateway: with --network none there is no gateway", host.name);
        }
        let shm_size = match self.shm_size.map(|size| u64::try_from(size.bytes())) {
            Some(Err(_)) => bail!("--shm-size: must not be negative"),
            // As in docker, 0 is the default.
            Some(Ok(0)) | None => None,
            Some(Ok(size)) => Some(size),
        };
        let default = Sandbox::default();
        Ok(Sandbox {
            network,
            hostname: hostname.filter(|name| !name.is_empty()).unwrap_or(default.hostname),
            hosts: self.hosts.clone(),
            shm_size,
            ulimits: self.ulimits.clone(),
            cgroup_parent: self.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        })
    }
}
