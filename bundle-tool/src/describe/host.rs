//! The programs and the host as `docker version` and `docker info` describe them.

use std::fs;
use std::path::Path;

use image_tool::address::home::Home;
use image_tool::layout::Layout;
use image_tool::show::format::List;
use image_tool::show::template::{Struct, Value};
use image_tool::show::{human, table};
use jiff::Timestamp;

use crate::container::status::Container;
use crate::network::identity::identity;
use crate::option::limit::Host;

/// The version of docker whose command line and documents these programs have, with their own.
const VERSION: &str = concat!("20.10.24+oci", env!("CARGO_PKG_VERSION"));

/// The version of docker's API that the documents have.
const API: &str = "1.41";

/// The name of docker's context: where it finds its daemon. There is one.
pub const CONTEXT: &str = "default";

/// What docker's own context says. Programs look for the key, though nobody listens there.
const ENDPOINT: &str = "unix:///var/run/docker.sock";

/// docker's list of contexts.
pub const CONTEXTS: List<'static> = List {
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("KubernetesEndpoint", "KUBERNETES ENDPOINT"),
        ("ContextType", "TYPE"),
        ("StackOrchestrator", "ORCHESTRATOR"),
    ],
    narrowest: table::NARROW,
};

/// The row of the one context in docker's list.
#[must_use]
pub fn context_row() -> Value {
    // In the table the current one has a star.
    Struct::new("*formatter.clientContextContext")
        .with("ContextType", "moby")
        .with("Current", true)
        .with("Description", "Current DOCKER_HOST based configuration")
        .with("DockerEndpoint", ENDPOINT)
        .with("KubernetesEndpoint", "")
        .with("Name", CONTEXT)
        .with("StackOrchestrator", "swarm")
        .into()
}

/// The document of the one context.
#[must_use]
pub fn context() -> Value {
    let endpoint = Struct::new("docker.EndpointMeta").with("Host", ENDPOINT).with("SkipTLSVerify", false);
    let memory = "<IN MEMORY>";
    Struct::new("context.contextWithTLSListing")
        .with("Name", CONTEXT)
        .with("Metadata", Struct::new("command.DockerContext").with("StackOrchestrator", "swarm"))
        .with("Endpoints", Value::map([("docker", Value::from(endpoint))].map(|(key, value)| (key.to_owned(), value))))
        .with("TLSMaterial", Struct::new("map[string]context.EndpointFiles"))
        .with("Storage", Struct::new("store.StorageInfo").with("MetadataPath", memory).with("TLSPath", memory))
        .into()
}

/// Go's name of this machine's architecture.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn platform() -> Struct {
    Struct::new("struct { Name string }").with("Name", "OCI tools, without a daemon")
}

/// The document of `docker version`. There is no server: that is these programs as well.
#[must_use]
pub fn version() -> Value {
    let client = Struct::new("*system.clientVersion")
        .with("Platform", platform())
        .with("Version", VERSION)
        .with("ApiVersion", API)
        .with("DefaultAPIVersion", API)
        .with("GitCommit", "")
        .with("GoVersion", "")
        .with("Os", "linux")
        .with("Arch", architecture())
        .with("BuildTime", "")
        .with("Context", "default")
        .with("Experimental", true);
    let details = [
        ("ApiVersion", API),
        ("Arch", architecture()),
        ("BuildTime", ""),
        ("Experimental", "false"),
        ("GitCommit", ""),
        ("GoVersion", ""),
        ("MinAPIVersion", "1.12"),
        ("Os", "linux"),
    ];
    let mut details: std::collections::BTreeMap<String, Value> =
        details.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    details.insert("KernelVersion".into(), kernel().into());
    let component = |name: &str, version: &str, details: Value| {
        Struct::new("types.ComponentVersion").with("Name", name).with("Version", version).with("Details", details)
    };
    let own = env!("CARGO_PKG_VERSION");
    let server = Struct::new("*types.Version")
        .with("Platform", platform())
        .with(
            "Components",
            Value::list([
                component("Engine", VERSION, Value::map(details)),
                component("run-tool", own, Value::map([("GitCommit", "")])),
            ]),
        )
        .with("Version", VERSION)
        .with("ApiVersion", API)
        .with("MinAPIVersion", "1.12")
        .with("GitCommit", "")
        .with("GoVersion", "")
        .with("Os", "linux")
        .with("Arch", architecture())
        .with("KernelVersion", kernel())
        .with("BuildTime", "");
    Struct::new("system.versionInfo").with("Client", client).with("Server", server).into()
}

fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(['=', ':']))?;
    Some(line.trim().trim_matches('"').to_owned())
}

/// The memory of the host, in bytes.
#[must_use]
pub fn memory() -> u64 {
    let kilobytes = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// The number of images of the default layout, each counted once.
fn images(home: &Home) -> usize {
    let Ok(layout) = Layout::open(&home.images()) else { return 0 };
    let entries = layout.index().and_then(|index| index.descriptors()).unwrap_or_default();
    let mut digests: Vec<String> = entries.iter().map(|entry| entry.digest().to_string()).collect();
    digests.sort_unstable();
    digests.dedup();
    digests.len()
}

/// The document of `docker info`.
#[must_use]
pub fn info(home: &Home, containers: &[Container]) -> Value {
    let host = Host::detect();
    let base = counts(Struct::new("*system.info"), home, containers);
    let base = abilities(base, &host);
    let base = system(base, &host);
    let base = programs(base, home, &host);
    let client = Struct::new("*system.clientInfo")
        .with("Debug", false)
        .with("Context", "default")
        .with("Plugins", Value::list::<Value>([]))
        .with("Warnings", Value::List(None));
    base.with("ClientInfo", client).into()
}

fn counts(base: Struct, home: &Home, containers: &[Container]) -> Struct {
    let count = |states: &[&str]| containers.iter().filter(|container| states.contains(&container.state())).count();
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    base.with("ID", identity("host", machine.trim()))
        .with("Containers", containers.len())
        .with("ContainersRunning", count(&["running", "restarting"]))
        .with("ContainersPaused", count(&["paused"]))
        .with("ContainersStopped", count(&["created", "exited"]))
        .with("Images", images(home))
        .with("Driver", "overlay2")
        .with("DriverStatus", Value::list([Value::list(["Supports d_type", "true"])]))
        .with("Plugins", plugins())
}

/// What control groups and the network can do.
fn abilities(base: Struct, host: &Host) -> Struct {
    let is_on = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    base.with("MemoryLimit", true)
        .with("SwapLimit", host.swap)
        .with("KernelMemory", !host.unified)
        .with("KernelMemoryTCP", !host.unified)
        .with("CpuCfsPeriod", true)
        .with("CpuCfsQuota", true)
        .with("CPUShares", true)
        .with("CPUSet", true)
        .with("PidsLimit", true)
        .with("IPv4Forwarding", is_on("/proc/sys/net/ipv4/ip_forward"))
        .with("BridgeNfIptables", is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"))
        .with("BridgeNfIp6tables", is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"))
        .with("Debug", false)
        .with("NFd", 0)
        .with("OomKillDisable", !host.unified)
}

fn system(base: Struct, host: &Host) -> Struct {
    let cgroup = if host.unified { "2" } else { "1" };
    base.with("NGoroutines", 0)
        .with("SystemTime", Timestamp::now().to_string())
        .with("LoggingDriver", "json-file")
        .with("CgroupDriver", "cgroupfs")
        .with("CgroupVersion", cgroup)
        .with("NEventsListener", 0)
        .with("KernelVersion", kernel())
        .with("OperatingSystem", field("/etc/os-release", "PRETTY_NAME").unwrap_or_else(|| "Linux".into()))
        .with("OSVersion", field("/etc/os-release", "VERSION_ID").unwrap_or_default())
        .with("OSType", "linux")
        .with("Architecture", std::env::consts::ARCH)
        .with("IndexServerAddress", "https://index.docker.io/v1/")
        .with("RegistryConfig", registries())
        .with("NCPU", std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
        .with("MemTotal", memory())
        .with("GenericResources", Value::List(None))
}

fn programs(base: Struct, home: &Home, host: &Host) -> Struct {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let swarm = Struct::new("swarm.Info")
        .with("NodeID", "")
        .with("NodeAddr", "")
        .with("LocalNodeState", "inactive")
        .with("ControlAvailable", false)
        .with("Error", "")
        .with("RemoteManagers", Value::List(None));
    let commit = || Struct::new("types.Commit").with("ID", "").with("Expected", "");
    base.with("DockerRootDir", home.path().display().to_string())
        .with("HttpProxy", "")
        .with("HttpsProxy", "")
        .with("NoProxy", "")
        .with("Name", name.trim())
        .with("Labels", Value::list::<Value>([]))
        .with("ExperimentalBuild", false)
        .with("ServerVersion", VERSION)
        .with("Runtimes", Value::map([("run-tool", Struct::new("types.Runtime").with("path", "run-tool"))]))
        .with("DefaultRuntime", "run-tool")
        .with("Swarm", swarm)
        .with("LiveRestoreEnabled", true)
        .with("Isolation", "")
        .with("InitBinary", "docker-init")
        .with("ContainerdCommit", commit())
        .with("RuncCommit", commit())
        .with("InitCommit", commit())
        .with("SecurityOptions", Value::list(security(host.unified)))
        .with("Warnings", Value::List(None))
}

fn plugins() -> Struct {
    Struct::new("types.PluginsInfo")
        .with("Volume", Value::list(["local"]))
        .with("Network", Value::list(["bridge", "host", "null"]))
        .with("Authorization", Value::List(None))
        .with("Log", Value::list(["journald", "json-file", "local", "none"]))
}

fn registries() -> Struct {
    let index = Struct::new("*registry.IndexInfo")
        .with("Name", "docker.io")
        .with("Mirrors", Value::list::<Value>([]))
        .with("Secure", true)
        .with("Official", true);
    Struct::new("*registry.ServiceConfig")
        .with("AllowNondistributableArtifactsCIDRs", Value::list::<Value>([]))
        .with("AllowNondistributableArtifactsHostnames", Value::list::<Value>([]))
        .with("InsecureRegistryCIDRs", Value::list(["127.0.0.0/8"]))
        .with("IndexConfigs", Value::map([("docker.io", index)]))
        .with("Mirrors", Value::list::<Value>([]))
}

fn security(unified: bool) -> Vec<String> {
    let mut all = vec!["name=seccomp,profile=default".to_owned()];
    if Path::new("/sys/module/apparmor/parameters/enabled").exists() {
        all.insert(0, "name=apparmor".into());
    }
    if !rustix::process::geteuid().is_root() {
        all.push("name=rootless".into());
    }
    if unified {
        all.push("name=cgroupns".into());
    }
    all
}

/// `docker info` for people.
#[must_use]
pub fn info_text(info: &Value) -> String {
    let shown = |value: Option<&Value>| match value {
        Some(Value::List(Some(values))) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        Some(value) => plain(value),
        None => String::new(),
    };
    let text = |key: &str| shown(info.get(key));
    let plugin = |key: &str| shown(info.get("Plugins").and_then(|plugins| plugins.get(key)));
    let memory = match info.get("MemTotal") {
        Some(Value::Integer(bytes)) => human::binary_size(u64::try_from(*bytes).unwrap_or_default()),
        _ => String::new(),
    };
    let security: String = text("SecurityOptions")
        .split(' ')
        .map(|option| option.replace("name=", "\n  ").replace(",profile=", "\n   Profile: "))
        .collect();
    let lines = [
        ("Containers", text("Containers")),
        (" Running", text("ContainersRunning")),
        (" Paused", text("ContainersPaused")),
        (" Stopped", text("ContainersStopped")),
        ("Images", text("Images")),
        ("Server Version", text("ServerVersion")),
        ("Storage Driver", text("Driver")),
        ("Logging Driver", text("LoggingDriver")),
        ("Cgroup Driver", text("CgroupDriver")),
        ("Cgroup Version", text("CgroupVersion")),
        ("Plugins", String::new()),
        (" Volume", plugin("Volume")),
        (" Network", plugin("Network")),
        (" Log", plugin("Log")),
        ("Swarm", "inactive".into()),
        ("Runtimes", text("DefaultRuntime")),
        ("Default Runtime", text("DefaultRuntime")),
        ("Init Binary", text("InitBinary")),
        ("Security Options", security),
        ("Kernel Version", text("KernelVersion")),
        ("Operating System", text("OperatingSystem")),
        ("OSType", text("OSType")),
        ("Architecture", text("Architecture")),
        ("CPUs", text("NCPU")),
        ("Total Memory", memory),
        ("Name", text("Name")),
        ("ID", text("ID")),
        ("Docker Root Dir", text("DockerRootDir")),
        ("Debug Mode", text("Debug")),
        ("Registry", text("IndexServerAddress")),
        ("Experimental", text("ExperimentalBuild")),
        ("Insecure Registries", "\n  127.0.0.0/8".into()),
        ("Live Restore Enabled", text("LiveRestoreEnabled")),
    ];
    let line = |(label, value): &(&str, String)| match value.as_str() {
        "" => format!(" {label}:\n"),
        value if value.starts_with('\n') => format!(" {label}:{value}\n"),
        value => format!(" {label}: {value}\n"),
    };
    let lines: String = lines.iter().map(line).collect();
    format!("Client:\n Context:    default\n Debug Mode: false\n\nServer:\n{lines}")
}

/// A single value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => String::new(),
    }
}
