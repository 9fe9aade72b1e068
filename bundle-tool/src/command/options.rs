//! The options of docker run, parsed into what the library makes a container from. Each family has a module of its own.
//!
//! What the library cannot honour is refused here or there by name; `create` and `spec` share all of it.

mod files;
mod health;
mod life;
mod limits;
mod network;
mod program;
mod security;

use std::path::PathBuf;

use anyhow::Context as _;
use bundle_tool::bundle::name::ContainerName;
use bundle_tool::config::{self, Ipc};
use bundle_tool::container::{Joins, Request};
use bundle_tool::network::Mode;
use bundle_tool::network::files::Dns;
use bundle_tool::option::Refused;
use bundle_tool::option::environment;
use bundle_tool::option::limit::{Host, Limits};
use bundle_tool::rootfs;
use clap::{ArgAction, ValueHint};
use image_tool::address::home::Home;
use image_tool::address::{Address, name};
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;

use super::candidates;

pub(crate) use self::life::restart_policy;
pub(crate) use self::limits::Resources;
pub(super) use self::network::{NO_ADDRESS, NO_ALIAS, linked};

/// The options of docker run. A switch takes `=true` and `=false` as well.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Image, or - to read its address from standard input; then a command with its arguments, instead of the image's.
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["ADDRESS", "COMMAND"], value_hint = ValueHint::AnyPath)]
    operands: Vec<String>,

    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Assign a name to the container, which is also its ID for the runtime [default: a random name].
    #[arg(long)]
    name: Option<ContainerName>,
    /// Create the bundle at this path instead of $OCI_HOME/bundles/NAME.
    #[arg(long, value_name = "PATH", allow_hyphen_values = true, value_hint = ValueHint::DirPath)]
    bundle: Option<PathBuf>,
    /// Copy the image instead of mounting an overlay on its layers.
    #[arg(long)]
    copy: bool,
    /// Write the container's ID to this file, which must not exist.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    cidfile: Option<PathBuf>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", allow_hyphen_values = true, add = candidates::words(candidates::PLATFORMS))]
    platform: Option<Platform>,

    #[command(flatten)]
    program: program::Program,
    #[command(flatten)]
    files: files::Files,
    #[command(flatten)]
    network: network::Network,
    #[command(flatten)]
    limits: limits::Resources,
    #[command(flatten)]
    security: security::Security,
    #[command(flatten)]
    life: life::Life,
    #[command(flatten)]
    health: health::Health,
    #[command(flatten)]
    running: life::Running,
}

/// The caller's streams, as docker's client looks at them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// Whether the container runs in the background.
    pub(crate) detach: bool,
    /// Whether streams were chosen.
    pub(crate) attach: bool,
    /// Whether the program gets a terminal.
    pub(crate) terminal: bool,
    /// Whether standard input is attached.
    pub(crate) input: bool,
}

/// The address of an image that docker's grammar names.
fn named(text: &str) -> anyhow::Result<String> {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        name::check(name).with_context(|| text.to_owned())?;
    }
    Ok(format!(":{text}"))
}

fn refuse<T>(option: &'static str, reason: impl Into<String>) -> anyhow::Result<T> {
    Err(Refused::new(option, reason).into())
}

impl Options {
    /// The runtime that is asked for.
    pub(crate) fn runtime(&self) -> Option<&str> {
        self.running.runtime.as_deref()
    }

    /// What is asked for of the caller's streams.
    pub(crate) fn streams(&self) -> Streams {
        let attach = &self.running.attach;
        Streams {
            detach: self.running.detach,
            attach: !attach.is_empty(),
            terminal: self.program.tty,
            input: self.program.interactive
                && (attach.is_empty() || attach.iter().any(|stream| stream.eq_ignore_ascii_case("stdin"))),
        }
    }

    /// What the library makes a container from, and what the user should know. With `docker` the image is docker's name or ID of one in the
    /// default layout, and not an address.
    pub(crate) fn request(mut self, home: &Home, docker: bool) -> anyhow::Result<(Request, Vec<String>)> {
        let mut notes = Vec::new();
        if docker {
            self.running.take_chosen_keys()?;
        }
        let address = match self.operands.remove(0) {
            text if docker => named(&text)?,
            dash if dash == "-" => pipe::first_line(rustix::stdio::stdin())?,
            text => text,
        };
        let address: Address = address.parse().with_context(|| address.clone())?;
        let base = std::env::current_dir().context("current directory")?;
        let (mode, shared, network) = self.network.space(home, &self.security.uts()?)?;
        let mut limits = self.limits.limits();
        notes.extend(limits.discard(&Host::detect()).into_iter().map(str::to_owned));
        let mut options = self.settings(home, network, limits)?;
        options.cgroup_parent = options.cgroup_parent.filter(|parent| !parent.is_empty());
        // Where docker's containers are. The runtime's own choice would be the name, at the top of the host's control groups.
        if docker && options.cgroup_parent.is_none() && rootfs::is_root_of_host() {
            options.cgroup_parent = Some("/docker".into());
        }
        if self.files.shm_size.is_some() && options.ipc != (Ipc::Private { shm: true }) {
            notes.push("--shm-size is ignored: /dev/shm is not the container's own".into());
        }
        notes.extend(
            self.network
                .dns
                .iter()
                .filter(|server| server.is_loopback())
                .map(|server| format!("Localhost DNS setting (--dns={server}) may fail in containers.")),
        );
        let attachments = self.files.attachments(home, &base)?;
        let joins = self.joins(home);
        let request = Request {
            address,
            platform: self.platform,
            name: self.name,
            bundle: self.bundle,
            by_id: docker,
            copy: self.copy,
            size: self.files.size()?,
            ids: self.security.ids()?,
            limits: image_tool::layer::limit::Limits::default(),
            options,
            user: self.program.user.clone(),
            groups: self.program.group_add.clone(),
            attachments,
            labels: self.life.labels()?,
            healthcheck: self.health.healthcheck()?,
            rm: self.life.rm,
            interactive: self.program.interactive,
            stop_signal: self.life.stop_signal()?,
            stop_timeout: self.life.stop_timeout,
            annotations: self.life.annotations()?.into_iter().chain(self.running.annotations()?).collect(),
            cidfile: self.cidfile,
            shareable: self.security.ipc.as_deref() == Some("shareable"),
            init: self.program.init.then(program::find_init).transpose()?,
            extra_hosts: self.network.add_host.clone(),
            dns: Dns {
                servers: self.network.dns.clone(),
                options: self.network.dns_option.clone(),
                search: self.network.dns_search.iter().map(|domain| domain.as_str().to_owned()).collect(),
            },
            joins,
            network: self.network.connection(home, mode, shared)?,
        };
        Ok((request, notes))
    }

    /// The containers whose namespaces are joined.
    fn joins(&self, home: &Home) -> Joins {
        let network = match self.network.network.first().map(|choice| &choice.mode) {
            Some(Mode::Container(name)) => Some(format!("container:{name}")),
            _ => None,
        };
        let all =
            [("net", network.as_deref()), ("pid", self.security.pid.as_deref()), ("ipc", self.security.ipc.as_deref())];
        all.into_iter().filter_map(|(kind, text)| Some((kind.to_owned(), security::joined(home, text)?))).collect()
    }

    /// The options that config.json alone is made from.
    fn settings(&self, home: &Home, network: config::Namespace, limits: Limits) -> anyhow::Result<config::Options> {
        Ok(config::Options {
            entrypoint: self.program.entrypoint.clone(),
            command: self.operands.clone(),
            env: self.program.variables()?,
            links: Vec::new(),
            workdir: self.program.workdir.clone(),
            hostname: self.network.hostname.clone(),
            domainname: self.network.domainname.clone(),
            tty: self.program.tty,
            readonly: self.files.read_only,
            init: self.program.init,
            limits,
            shm_size: self.files.shm()?,
            privileged: self.security.privileged,
            cap_add: self.security.cap_add.clone(),
            cap_drop: self.security.cap_drop.clone(),
            security: self.security.security_opt.clone(),
            devices: self.files.devices()?,
            device_rules: self.files.device_cgroup_rule.clone(),
            cdi: self.files.edits()?,
            sysctls: environment::labels(self.security.sysctl.clone())
                .map_err(|error| Refused::new("--sysctl", error.to_string()))?,
            cgroup_parent: self.limits.cgroup_parent.clone(),
            network,
            pid: self.security.pid(home)?,
            uts: self.security.uts()?,
            ipc: self.security.ipc(home)?,
            cgroup: self.security.cgroup()?,
        })
    }
}
