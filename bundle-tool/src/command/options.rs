//! docker run's options, read into what the library makes a container from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bundle_tool::annotation;
use bundle_tool::bundle::{self, Bundle};
use bundle_tool::capability::Capability;
use bundle_tool::config::{self, Ipc, Namespace};
use bundle_tool::container::{Connection, Request};
use bundle_tool::device::{Device, Rule};
use bundle_tool::environment;
use bundle_tool::image::Healthcheck;
use bundle_tool::limit::{DeviceRate, Limits, Ulimit};
use bundle_tool::name::ContainerName;
use bundle_tool::network::Mode;
use bundle_tool::network::files::{Dns, ExtraHost};
use bundle_tool::option::Refused;
use bundle_tool::port::{Expose, Publish};
use bundle_tool::quantity::{CpuSet, Processors, Size, Span};
use bundle_tool::rootfs;
use bundle_tool::security::SecurityOption;
use bundle_tool::signal;
use bundle_tool::volume::{Attachment, Bind, Recursive, Source};
use clap::ArgAction;
use image_tool::address::Address;
use image_tool::home::Home;
use image_tool::pipe;
use image_tool::platform::Platform;

/// docker run's options. A switch takes `=true` and `=false` as well.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Give the container this name, by which it is known from now on, to the runtime too.
    #[arg(long)]
    name: Option<ContainerName>,
    /// Put the bundle here, in place of $OCI_HOME/bundles/NAME.
    #[arg(long, value_name = "PATH")]
    bundle: Option<PathBuf>,
    /// Copy the image into a plain tree, in place of an overlay on its layers.
    #[arg(long)]
    copy: bool,
    /// Write the container's id to a file, which must not be there.
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Take the image for this platform from an index.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    limits: Resources,
    #[command(flatten)]
    security: Security,
    #[command(flatten)]
    life: Life,
    #[command(flatten)]
    health: Health,
    #[command(flatten)]
    running: Running,

    /// The image, as LAYOUT[:REF][@DIGEST] or - to read that from standard input, then the program and its arguments in place of
    /// the image's command.
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["ADDRESS", "COMMAND"])]
    operands: Vec<String>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Program")]
struct Program {
    /// Run this program in place of the image's entrypoint; "" takes that away.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Set an environment variable; a name alone takes the caller's value.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables that a file lists, one a line.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Run in this folder, which is made if it is missing.
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Run as this user; names are those of the image's /etc/passwd and /etc/group.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Add the user to a group.
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Give the program a terminal.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    tty: bool,
    /// Leave the program standard input.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    interactive: bool,
    /// Run a small init as the first process, which forwards signals and reaps children.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    init: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Files")]
struct Files {
    /// Mount a folder or file of the host, or a named volume: [SOURCE:]TARGET[:OPTIONS].
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Mount something: type=bind|volume|tmpfs,source=…,target=….
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Mount memory: TARGET[:OPTIONS].
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// Mount what another container has mounted: NAME[:ro].
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// The driver of volumes; there is none but local.
    #[arg(long, value_name = "DRIVER")]
    volume_driver: Option<String>,
    /// Make the root file system read-only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    read_only: bool,
    /// Size of /dev/shm.
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<Size>,
    /// Options of the writable layer.
    #[arg(long, value_name = "NAME=VALUE")]
    storage_opt: Vec<String>,
    /// Give the container a device of the host: HOST[:CONTAINER][:rwm].
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Allow a kind of device: "c 42:* rmw".
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<Rule>,
    /// Give the container GPUs.
    #[arg(long, value_name = "REQUEST")]
    gpus: Option<String>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
struct Network {
    /// Put the container on a network: bridge, none, host, container:NAME, or a network by its name.
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Option<Mode>,
    /// Lead a port of the host to the container's: [[IP:]PORT:]PORT[/PROTOCOL].
    #[arg(short, long, value_name = "PORTS")]
    publish: Vec<Publish>,
    /// Lead free ports of the host to all exposed ones.
    #[arg(short = 'P', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    publish_all: bool,
    /// Say that the program serves a port.
    #[arg(long, value_name = "PORTS")]
    expose: Vec<Expose>,
    /// The container's host name.
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// The container's NIS domain name.
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Add a line to /etc/hosts: NAME:ADDRESS, NAME:host-gateway for this host.
    #[arg(long, value_name = "HOST")]
    add_host: Vec<ExtraHost>,
    /// Ask this name server.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Set an option of resolv.conf.
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Look names up in this domain.
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// A fixed IPv4 address.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<std::net::Ipv4Addr>,
    /// A fixed IPv6 address.
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<std::net::Ipv6Addr>,
    /// A fixed link-local address.
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<IpAddr>,
    /// A fixed hardware address.
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// A further name for the container on its network.
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Know another container by a name: CONTAINER[:NAME].
    #[arg(long, value_name = "LINK")]
    link: Vec<String>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct Resources {
    /// Limit memory.
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<Size>,
    /// Keep to so much memory where it is short.
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<Size>,
    /// Limit memory and swap together; -1 for any amount of swap.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<Size>,
    /// Readiness to swap, 0 to 100.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Limit the kernel's memory.
    #[arg(long, value_name = "BYTES")]
    kernel_memory: Option<Size>,
    /// Do not kill the program when memory runs out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    oom_kill_disable: bool,
    /// Be killed sooner or later than others, -1000 to 1000.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,
    /// Number of processors.
    #[arg(long, value_name = "N")]
    cpus: Option<Processors>,
    /// Period of the processor quota, in microseconds.
    #[arg(long, value_name = "N")]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Period of the real-time quota, in microseconds.
    #[arg(long, value_name = "N")]
    cpu_rt_period: Option<u64>,
    /// Real-time processor time in each period, in microseconds.
    #[arg(long, value_name = "N")]
    cpu_rt_runtime: Option<i64>,
    /// Share of the processors, relative to 1024.
    #[arg(short, long, value_name = "N")]
    cpu_shares: Option<u64>,
    /// Processors to run on.
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<CpuSet>,
    /// Memory nodes to use.
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<CpuSet>,
    /// Limit the number of processes; -1 for any.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Weight of block I/O, 10 to 1000.
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
    /// Weight of a block device: DEVICE:N.
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight_device: Vec<DeviceRate>,
    /// Limit reading: DEVICE:BYTES a second.
    #[arg(long, value_name = "RATE")]
    device_read_bps: Vec<DeviceRate>,
    /// Limit reading: DEVICE:N operations a second.
    #[arg(long, value_name = "RATE")]
    device_read_iops: Vec<DeviceRate>,
    /// Limit writing: DEVICE:BYTES a second.
    #[arg(long, value_name = "RATE")]
    device_write_bps: Vec<DeviceRate>,
    /// Limit writing: DEVICE:N operations a second.
    #[arg(long, value_name = "RATE")]
    device_write_iops: Vec<DeviceRate>,
    /// Set a limit of the process: NAME=SOFT[:HARD].
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<Ulimit>,
    /// Put the container's control group beneath this one.
    #[arg(long, value_name = "GROUP")]
    cgroup_parent: Option<String>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Confinement")]
struct Security {
    /// Give the container every capability and device, and take confinement away.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    privileged: bool,
    /// Add a capability, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<Capability>,
    /// Take a capability away, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<Capability>,
    /// Set seccomp=FILE|unconfined, apparmor=PROFILE, label=disable, no-new-privileges, systempaths=unconfined.
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<SecurityOption>,
    /// Set a kernel setting of the container's own: NAME=VALUE.
    #[arg(long, value_name = "SETTING")]
    sysctl: Vec<String>,
    /// The PID namespace: host or container:NAME.
    #[arg(long, value_name = "NAMESPACE")]
    pid: Option<String>,
    /// The IPC namespace: private, shareable, none, host or container:NAME.
    #[arg(long, value_name = "NAMESPACE")]
    ipc: Option<String>,
    /// The UTS namespace: host.
    #[arg(long, value_name = "NAMESPACE")]
    uts: Option<String>,
    /// The user namespace: host.
    #[arg(long, value_name = "NAMESPACE")]
    userns: Option<String>,
    /// The cgroup namespace: host or private.
    #[arg(long, value_name = "NAMESPACE")]
    cgroupns: Option<String>,
    /// The technology of isolation: default.
    #[arg(long, value_name = "TECHNOLOGY")]
    isolation: Option<String>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Life")]
struct Life {
    /// Remove the bundle when the container is deleted.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    rm: bool,
    /// Label the container: NAME=VALUE.
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// Set the labels that a file lists, one a line.
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// The signal that asks the program to stop.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds until a program that was asked to stop is killed; -1 for never.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
    /// What to do when the program ends: no, on-failure[:N], always, unless-stopped. The runtime reads it.
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Where the program's output goes. The runtime reads it.
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of the log driver: NAME=VALUE.
    #[arg(long, value_name = "OPTION")]
    log_opt: Vec<String>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Health")]
struct Health {
    /// Check the program's health by this command of the shell.
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks.
    #[arg(long, value_name = "DURATION")]
    health_interval: Option<Span>,
    /// How long a check may take.
    #[arg(long, value_name = "DURATION")]
    health_timeout: Option<Span>,
    /// Time after the start in which failures do not count.
    #[arg(long, value_name = "DURATION")]
    health_start_period: Option<Span>,
    /// Failures in a row that make the program unhealthy.
    #[arg(long, value_name = "N")]
    health_retries: Option<u64>,
    /// Do not check, whatever the image says.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    no_healthcheck: bool,
}

/// What docker run does itself. It is written down in the bundle for whoever runs it, as these tools' docker does.
#[derive(clap::Args)]
#[command(next_help_heading = "Running, which is the runtime's (annotations of the bundle)")]
struct Running {
    /// Run in the background.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    detach: bool,
    /// Attach to stdin, stdout or stderr.
    #[arg(short, long, value_name = "STREAM", value_parser = ["stdin", "stdout", "stderr"], ignore_case = true)]
    attach: Vec<String>,
    /// The keys that detach.
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the program.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    sig_proxy: Option<bool>,
    /// The runtime.
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<String>,
    /// Do not verify the image's signature, which is registry-tool's to do when it pulls.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    disable_content_trust: bool,
}

fn refuse<T>(option: &'static str, reason: impl Into<String>) -> anyhow::Result<T> {
    Err(Refused::new(option, reason).into())
}

impl Options {
    /// What the library makes a container from, and what the user should know.
    pub(crate) fn request(mut self, home: &Home) -> anyhow::Result<(Request, Vec<String>)> {
        let mut notes = Vec::new();
        let address = match self.operands.remove(0) {
            dash if dash == "-" => pipe::first_line(rustix::stdio::stdin())?,
            text => text,
        };
        let address: Address = address.parse().with_context(|| address.clone())?;
        let base = std::env::current_dir().context("the current folder")?;
        let (mode, shared, network) = self.network.space(home)?;
        let options = config::Options {
            entrypoint: self.program.entrypoint.clone(),
            command: self.operands.clone(),
            env: self.program.variables()?,
            workdir: self.program.workdir.clone(),
            hostname: self.network.hostname.clone(),
            domainname: self.network.domainname.clone(),
            tty: self.program.tty,
            readonly: self.files.read_only,
            init: self.program.init,
            limits: self.limits.limits(),
            shm_size: self.files.shm()?,
            privileged: self.security.privileged,
            cap_add: self.security.cap_add.clone(),
            cap_drop: self.security.cap_drop.clone(),
            security: self.security.security_opt.clone(),
            devices: self.files.devices()?,
            device_rules: self.files.device_cgroup_rule.clone(),
            sysctls: environment::labels(self.security.sysctl.clone())
                .map_err(|error| Refused::new("--sysctl", error.to_string()))?,
            cgroup_parent: self.limits.cgroup_parent.clone(),
            network,
            pid: self.security.pid(home)?,
            uts: self.security.uts(&mode)?,
            ipc: self.security.ipc(home)?,
            cgroup: self.security.cgroup()?,
        };
        if self.files.shm_size.is_some() && options.ipc != (Ipc::Private { shm: true }) {
            notes.push("--shm-size is of no use: /dev/shm is not the container's own".into());
        }
        let attachments = self.files.attachments(home, &base)?;
        let request = Request {
            address,
            platform: self.platform,
            name: self.name,
            bundle: self.bundle,
            copy: self.copy,
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
            init: self.program.init.then(find_init).transpose()?,
            extra_hosts: self.network.add_host.clone(),
            dns: Dns {
                servers: self.network.dns.clone(),
                options: self.network.dns_option.clone(),
                search: self.network.dns_search.clone(),
            },
            network: self.network.connection(mode, shared)?,
        };
        Ok((request, notes))
    }
}

/// An init of this host that can be mounted into a container: they are linked statically for that.
fn find_init() -> anyhow::Result<PathBuf> {
    const PLACES: [&str; 6] = [
        "/usr/libexec/docker/docker-init",
        "/usr/bin/docker-init",
        "/usr/bin/tini-static",
        "/sbin/docker-init",
        "/usr/libexec/podman/catatonit",
        "/usr/bin/catatonit",
    ];
    match PLACES.iter().map(Path::new).find(|path| path.exists()) {
        Some(path) => Ok(path.to_owned()),
        None => refuse("--init", "no init on this host (apt install catatonit)"),
    }
}

impl Program {
    fn variables(&self) -> anyhow::Result<Vec<String>> {
        let mut entries = Vec::new();
        for file in &self.env_file {
            entries.extend(environment::read_file(file).context("--env-file")?);
        }
        entries.extend(self.env.iter().cloned());
        let mut variables = Vec::new();
        for entry in &entries {
            // A name that the caller has no value for is no variable.
            let resolved = environment::resolve(entry, |name| std::env::var_os(name)).context("--env")?;
            environment::overlay(&mut variables, resolved);
        }
        Ok(variables)
    }
}

impl Files {
    fn shm(&self) -> anyhow::Result<u64> {
        match self.shm_size {
            None => Ok(64 << 20),
            Some(size) => match u64::try_from(size.bytes()) {
                Ok(0) => Ok(64 << 20),
                Ok(bytes) => Ok(bytes),
                Err(_) => refuse("--shm-size", "less than nothing"),
            },
        }
    }

    fn devices(&self) -> anyhow::Result<Vec<Device>> {
        if let Some(request) = &self.gpus {
            return refuse(
                "--gpus",
                format!(
                    "{request}: no CDI specification for nvidia.com/gpu in /etc/cdi or /var/run/cdi (nvidia-ctk cdi generate writes one)"
                ),
            );
        }
        let parse = |text: &String| match text.parse() {
            Ok(device) => Ok(device),
            Err(_) if text.contains('=') => {
                refuse("--device", format!("{text}: no CDI specification for it in /etc/cdi or /var/run/cdi"))
            }
            Err(reason) => refuse("--device", reason),
        };
        self.device.iter().map(parse).collect()
    }

    fn attachments(&self, home: &Home, base: &Path) -> anyhow::Result<Vec<Attachment>> {
        if let Some(driver) = self.volume_driver.as_deref().filter(|driver| *driver != "local") {
            return refuse("--volume-driver", format!("{driver}: there is none but local"));
        }
        if let Some(option) = self.storage_opt.first() {
            return refuse(
                "--storage-opt",
                format!(
                    "{option}: the file system of the writable layer has no quota that this tool sets (-v a volume of the size)"
                ),
            );
        }
        let mut all = Vec::new();
        for text in &self.volume {
            all.push(Attachment::from_volume(text, base).context("--volume")?);
        }
        for text in &self.mount {
            all.push(Attachment::from_mount(text, base).context("--mount")?);
        }
        for text in &self.tmpfs {
            all.push(Attachment::from_tmpfs(text).context("--tmpfs")?);
        }
        for text in &self.volumes_from {
            for attachment in volumes_of(home, text)? {
                // What is asked for here wins over what another container has.
                if all.iter().all(|known: &Attachment| known.target != attachment.target) {
                    all.push(attachment);
                }
            }
        }
        Ok(all)
    }
}

/// What another container has mounted of the host and of volumes.
fn volumes_of(home: &Home, text: &str) -> anyhow::Result<Vec<Attachment>> {
    let (name, readonly) = match text.rsplit_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw" | "z")) => (name, false),
        _ => (text, false),
    };
    let bundle = Bundle::find(&home.bundles(), name).context("--volumes-from")?;
    let mut all = Vec::new();
    for mount in bundle.config().get("mounts").and_then(|mounts| mounts.as_array()).into_iter().flatten() {
        let text = |key: &str| mount.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let options: Vec<&str> = mount
            .get("options")
            .and_then(|options| options.as_array())
            .into_iter()
            .flatten()
            .filter_map(|option| option.as_str())
            .collect();
        let own = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", config::INIT, "/dev/shm"]
            .contains(&text("destination"));
        if own || !options.iter().any(|option| ["bind", "rbind"].contains(option)) {
            continue;
        }
        let source = Source::Bind(Bind {
            path: text("source").into(),
            create: false,
            propagation: "rprivate",
            recursive: Recursive::Enabled,
            relabel: false,
        });
        all.push(Attachment {
            target: text("destination").into(),
            readonly: readonly || options.contains(&"ro"),
            source,
        });
    }
    Ok(all)
}

/// A process of another container, by which its namespaces are reached.
fn process_of(home: &Home, option: &'static str, name: &str) -> anyhow::Result<(Bundle, i32)> {
    let bundle = Bundle::find(&home.bundles(), name).context(option)?;
    match bundle.occupant() {
        Some(pid) => Ok((bundle, pid)),
        None => refuse(option, format!("container {name} does not run")),
    }
}

/// `host`, `container:NAME`, or the container's own.
fn namespace(home: &Home, option: &'static str, kind: &str, text: Option<&str>) -> anyhow::Result<Namespace> {
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

impl Network {
    /// The mode, the bundle whose network is shared, and the namespace.
    fn space(&self, home: &Home) -> anyhow::Result<(Mode, Option<PathBuf>, Namespace)> {
        let root = rustix::process::geteuid().is_root() && !rootfs::in_user_namespace();
        // Who is not root of the host cannot make interfaces on it.
        let default = if root { Mode::Named("bridge".into()) } else { Mode::Host };
        let mode = self.network.clone().unwrap_or(default);
        Ok(match &mode {
            Mode::Host => (mode, None, Namespace::Host),
            Mode::None | Mode::Named(_) => (mode, None, Namespace::Private),
            Mode::Container(name) => {
                let (bundle, pid) = process_of(home, "--network", name)?;
                let path = std::path::absolute(bundle.path()).context("--network")?;
                (mode, Some(path), Namespace::Path(format!("/proc/{pid}/ns/net").into()))
            }
        })
    }

    fn connection(&self, mode: Mode, shared: Option<PathBuf>) -> anyhow::Result<Connection> {
        if !self.link_local_ip.is_empty() {
            return refuse("--link-local-ip", "the bridge plugin of CNI sets none");
        }
        if let Some(mac) = &self.mac_address {
            let parts: Vec<&str> = mac.split([':', '-']).collect();
            let good = parts.len() == 6
                && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
            if !good {
                return refuse(
                    "--mac-address",
                    format!("{mac:?} is not a hardware address (such as 02:42:ac:11:00:02)"),
                );
            }
        }
        let links = self.link.iter().map(|link| {
            let (container, name) = link.split_once(':').unwrap_or((link, link));
            (container.to_owned(), name.to_owned())
        });
        Ok(Connection {
            mode,
            shared,
            publish: self.publish.clone(),
            publish_all: self.publish_all,
            expose: self.expose.clone(),
            ip: self.ip.map(IpAddr::V4),
            ip6: self.ip6.map(IpAddr::V6),
            mac: self.mac_address.clone(),
            aliases: self.network_alias.clone(),
            links: links.collect(),
        })
    }
}

impl Resources {
    fn limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            memory_swappiness: self.memory_swappiness,
            kernel_memory: self.kernel_memory,
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            cpus: self.cpus,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_rt_period: self.cpu_rt_period,
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            blkio_weight: self.blkio_weight,
            blkio_weight_device: self.blkio_weight_device.clone(),
            device_read_bps: self.device_read_bps.clone(),
            device_write_bps: self.device_write_bps.clone(),
            device_read_iops: self.device_read_iops.clone(),
            device_write_iops: self.device_write_iops.clone(),
            ulimits: self.ulimit.clone(),
        }
    }
}

impl Security {
    fn pid(&self, home: &Home) -> anyhow::Result<Namespace> {
        namespace(home, "--pid", "pid", self.pid.as_deref())
    }

    fn uts(&self, network: &Mode) -> anyhow::Result<Namespace> {
        if let Some(value) = self.userns.as_deref().filter(|value| !["", "host"].contains(value)) {
            return refuse("--userns", format!("{value:?}: only host is supported"));
        }
        if let Some(value) = self.isolation.as_deref().filter(|value| !["", "default"].contains(value)) {
            return refuse("--isolation", format!("{value}: for Windows alone"));
        }
        match (self.uts.as_deref(), network) {
            (None | Some(""), _) => Ok(Namespace::Private),
            (Some("host"), _) => Ok(Namespace::Host),
            (Some(other), _) => refuse("--uts", format!("{other:?} is not host")),
        }
    }

    fn ipc(&self, home: &Home) -> anyhow::Result<Ipc> {
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

    fn cgroup(&self) -> anyhow::Result<Option<Namespace>> {
        match self.cgroupns.as_deref() {
            None | Some("") => Ok(None),
            Some("host") => Ok(Some(Namespace::Host)),
            Some("private") => Ok(Some(Namespace::Private)),
            Some(other) => refuse("--cgroupns", format!("{other:?} is none of host, private")),
        }
    }
}

impl Life {
    fn labels(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut entries = Vec::new();
        for file in &self.label_file {
            entries.extend(environment::read_file(file).context("--label-file")?);
        }
        entries.extend(self.label.iter().cloned());
        environment::labels(entries).context("--label")
    }

    fn stop_signal(&self) -> anyhow::Result<Option<String>> {
        match &self.stop_signal {
            Some(text) if signal::number(text).is_none() => {
                refuse("--stop-signal", format!("{text:?} is not a signal"))
            }
            other => Ok(other.clone()),
        }
    }

    /// What the runtime reads.
    fn annotations(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        if let Some(policy) = &self.restart {
            let known = match policy.split_once(':') {
                Some(("on-failure", count)) => count.parse::<u32>().is_ok(),
                Some(_) => false,
                None => ["no", "", "on-failure", "always", "unless-stopped"].contains(&policy.as_str()),
            };
            if !known {
                return refuse(
                    "--restart",
                    format!("{policy:?} is none of no, on-failure[:N], always, unless-stopped"),
                );
            }
            let never = ["no", ""].contains(&policy.as_str());
            if self.rm && !never {
                return refuse("--restart", "does not go with --rm");
            }
            if !never {
                all.insert(annotation::RESTART.into(), policy.clone());
            }
        }
        if let Some(driver) = &self.log_driver {
            if !["none", "json-file", "local", "journald"].contains(&driver.as_str()) {
                return refuse("--log-driver", format!("{driver:?} is none of none, json-file, local, journald"));
            }
            all.insert(annotation::LOG_DRIVER.into(), driver.clone());
        }
        if !self.log_opt.is_empty() {
            let options = environment::labels(self.log_opt.clone()).context("--log-opt")?;
            all.insert(annotation::LOG_OPTIONS.into(), serde_json::to_string(&options)?);
        }
        Ok(all)
    }
}

impl Running {
    fn annotations(&self) -> anyhow::Result<Vec<(String, String)>> {
        if !self.disable_content_trust {
            return refuse(
                "--disable-content-trust",
                "false: signatures are verified when an image is pulled, not when it is run",
            );
        }
        let attach = (!self.attach.is_empty()).then(|| self.attach.join(",").to_lowercase());
        let all = [
            (annotation::DETACH, self.detach.then(|| "true".into())),
            (annotation::ATTACH, attach),
            (annotation::DETACH_KEYS, self.detach_keys.clone()),
            (annotation::SIGNAL_PROXY, self.sig_proxy.map(|on| on.to_string())),
            (annotation::RUNTIME, self.runtime.clone()),
        ];
        Ok(all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

impl Health {
    fn healthcheck(&self) -> anyhow::Result<Option<Healthcheck>> {
        let given = self.health_cmd.is_some()
            || self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_start_period.is_some()
            || self.health_retries.is_some();
        if self.no_healthcheck {
            if given {
                return refuse("--no-healthcheck", "does not go with the other options of health");
            }
            return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }));
        }
        if !given {
            return Ok(None);
        }
        let Some(command) = &self.health_cmd else {
            return refuse("--health-interval", "the options of health go with --health-cmd");
        };
        let nanoseconds = |span: Option<Span>| span.map_or(0, Span::nanoseconds);
        Ok(Some(Healthcheck {
            test: vec!["CMD-SHELL".into(), command.clone()],
            interval: nanoseconds(self.health_interval),
            timeout: nanoseconds(self.health_timeout),
            start_period: nanoseconds(self.health_start_period),
            retries: self.health_retries.unwrap_or(0),
        }))
    }
}
