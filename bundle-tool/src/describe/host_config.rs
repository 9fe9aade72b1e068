//! docker's `HostConfig` of a container: the options that concern the host, from the words of the command line.

use image_tool::address::home::Home;
use image_tool::show::template::{Struct, Value};
use serde_json::Value as Json;

use super::words::Words;
use crate::bundle::annotation;
use crate::container::link;
use crate::container::status::Container;
use crate::option::device::Device;
use crate::option::port::Publish;
use crate::option::quantity::Processors;
use crate::option::ulimit::Ulimit;
use crate::volume::{Attachment, Source};

/// The document. `config` is config.json.
pub(super) fn host_config(container: &Container, config: &Json, words: &Words, home: &Home) -> Value {
    let base = life(Struct::new("*container.HostConfig"), container, words);
    let links = container.plan().map(|plan| link::shown(home, &container.name(), &plan)).unwrap_or_default();
    let base = isolation(base, words, &links);
    let base = resources(base, words);
    let masked = |pointer: &str| match config.pointer(pointer) {
        Some(paths) => Value::from(paths),
        None => Value::List(None),
    };
    base.unless_empty("Mounts", mounts(words))
        .with("MaskedPaths", masked("/linux/maskedPaths"))
        .with("ReadonlyPaths", masked("/linux/readonlyPaths"))
        .unless_empty("Init", words.is("init").then_some(true))
        .into()
}

fn life(base: Struct, container: &Container, words: &Words) -> Struct {
    let text = |key: &str| container.annotation(key).unwrap_or_default().to_owned();
    let driver =
        container.annotation(annotation::LOG_DRIVER).filter(|driver| !driver.is_empty()).unwrap_or("json-file");
    let options: Json = container.json(annotation::LOG_OPTIONS).unwrap_or_else(|| Json::Object(serde_json::Map::new()));
    let log = Struct::new("container.LogConfig").with("Type", driver).with("Config", options);
    let mode = container.annotation(annotation::NETWORK_MODE).unwrap_or("none");
    let mode = if mode == "bridge" && words.last("network").is_empty() { "default" } else { mode };
    let policy = text(annotation::RESTART);
    let (policy, count) = policy.split_once(':').unwrap_or((&policy, "0"));
    let restart = Struct::new("container.RestartPolicy")
        .with("Name", if policy.is_empty() { "no" } else { policy })
        .with("MaximumRetryCount", count.parse::<i64>().unwrap_or_default());
    base.with("Binds", binds(words))
        .with("ContainerIDFile", words.last("cidfile"))
        .with("LogConfig", log)
        .with("NetworkMode", mode)
        .with("PortBindings", port_bindings(words))
        .with("RestartPolicy", restart)
        .with("AutoRemove", text(annotation::RM) == "true")
        .with("VolumeDriver", words.last("volume-driver"))
        .with("VolumesFrom", words.list("volumes-from"))
}

fn isolation(base: Struct, words: &Words, links: &[String]) -> Struct {
    let cgroup = match words.last("cgroupns") {
        "" => default_cgroup_namespace(),
        own => own,
    };
    let ipc = match words.last("ipc") {
        "" => "private",
        own => own,
    };
    let tmpfs = words.all("tmpfs").iter().map(|text| text.split_once(':').unwrap_or((text, "")));
    let shm = match words.bytes("shm-size") {
        ..=0 => 64 << 20,
        size => size,
    };
    let security = words.all("security-opt");
    let privileged = words.is("privileged");
    // docker adds this to what SELinux cannot confine.
    let is_open = privileged || words.last("ipc") == "host" || words.last("pid") == "host";
    let security = match (security, is_open) {
        ([], true) => Value::list(["label=disable"]),
        ([], false) => Value::List(None),
        (own, _) => Value::list(own),
    };
    base.with("CapAdd", capabilities(words, "cap-add"))
        .with("CapDrop", capabilities(words, "cap-drop"))
        .with("CgroupnsMode", cgroup)
        .with("Dns", words.list_or_empty("dns"))
        .with("DnsOptions", words.list_or_empty("dns-option"))
        .with("DnsSearch", words.list_or_empty("dns-search"))
        .with("ExtraHosts", words.list("add-host"))
        .with("GroupAdd", words.list("group-add"))
        .with("IpcMode", ipc)
        .with("Cgroup", "")
        .with("Links", if links.is_empty() { Value::List(None) } else { Value::list(links) })
        .with("OomScoreAdj", words.number("oom-score-adj"))
        .with("PidMode", words.last("pid"))
        .with("Privileged", privileged)
        .with("PublishAllPorts", words.is("publish-all"))
        .with("ReadonlyRootfs", words.is("read-only"))
        .with("SecurityOpt", security)
        .unless_empty("StorageOpt", Value::map(words.map("storage-opt")))
        .unless_empty("Tmpfs", Value::map(tmpfs))
        .with("UTSMode", words.last("uts"))
        .with("UsernsMode", words.last("userns"))
        .with("ShmSize", shm)
        .unless_empty("Sysctls", Value::map(words.map("sysctl")))
        .with("Runtime", if words.last("runtime").is_empty() { "run-tool" } else { words.last("runtime") })
        .with("ConsoleSize", Value::list([0, 0]))
        .with("Isolation", words.last("isolation"))
}

fn resources(base: Struct, words: &Words) -> Struct {
    let memory = words.bytes("memory");
    let swap = match (words.last("memory-swap"), memory) {
        // As much swap as memory is docker's default.
        ("", 1..) => memory * 2,
        _ => words.bytes("memory-swap"),
    };
    // A period of 100 ms, in which docker counts the share of a processor in thousandths of a thousandth.
    let cpus = words.last("cpus").parse::<Processors>().map_or(0, |cpus| cpus.quota() * 10_000);
    let swappiness = words.all("memory-swappiness").last().and_then(|text| text.parse::<i64>().ok());
    let pids = words.all("pids-limit").last().and_then(|text| text.parse::<i64>().ok()).filter(|limit| *limit != 0);
    base.with("CpuShares", words.number("cpu-shares"))
        .with("Memory", memory)
        .with("NanoCpus", cpus)
        .with("CgroupParent", words.last("cgroup-parent"))
        .with("BlkioWeight", words.number("blkio-weight"))
        .with("BlkioWeightDevice", rates(words, "blkio-weight-device", "Weight").or_empty())
        .with("BlkioDeviceReadBps", rates(words, "device-read-bps", "Rate").0)
        .with("BlkioDeviceWriteBps", rates(words, "device-write-bps", "Rate").0)
        .with("BlkioDeviceReadIOps", rates(words, "device-read-iops", "Rate").0)
        .with("BlkioDeviceWriteIOps", rates(words, "device-write-iops", "Rate").0)
        .with("CpuPeriod", words.number("cpu-period"))
        .with("CpuQuota", words.number("cpu-quota"))
        .with("CpuRealtimePeriod", words.number("cpu-rt-period"))
        .with("CpuRealtimeRuntime", words.number("cpu-rt-runtime"))
        .with("CpusetCpus", words.last("cpuset-cpus"))
        .with("CpusetMems", words.last("cpuset-mems"))
        .with("Devices", devices(words))
        .with("DeviceCgroupRules", words.list("device-cgroup-rule"))
        .with("DeviceRequests", requests(words))
        .with("KernelMemory", words.bytes("kernel-memory"))
        .with("KernelMemoryTCP", 0)
        .with("MemoryReservation", words.bytes("memory-reservation"))
        .with("MemorySwap", swap)
        .with("MemorySwappiness", swappiness)
        .with("OomKillDisable", words.is("oom-kill-disable"))
        .with("PidsLimit", pids)
        .with("Ulimits", ulimits(words))
        .with("CpuCount", 0)
        .with("CpuPercent", 0)
        .with("IOMaximumIOps", 0)
        .with("IOMaximumBandwidth", 0)
}

/// The `-v` that name a source: a volume without a name is in `Config`.
fn binds(words: &Words) -> Value {
    let named: Vec<&String> = words.all("volume").iter().filter(|text| text.contains(':')).collect();
    if named.is_empty() { Value::List(None) } else { Value::list(named) }
}

fn port_bindings(words: &Words) -> Value {
    let mut all: std::collections::BTreeMap<String, Vec<Value>> = std::collections::BTreeMap::new();
    for publish in words.all("publish").iter().filter_map(|text| text.parse::<Publish>().ok()) {
        for (port, protocol, ip, host) in publish.bindings() {
            let binding = Struct::new("nat.PortBinding")
                .with("HostIp", ip.map(|ip| ip.to_string()).unwrap_or_default())
                .with("HostPort", host.map(|port| port.to_string()).unwrap_or_default());
            all.entry(format!("{port}/{protocol}")).or_default().push(binding.into());
        }
    }
    Value::open_map(all)
}

fn capabilities(words: &Words, option: &str) -> Value {
    match words.all(option) {
        [] => Value::List(None),
        all => Value::list(all.iter().map(|text| {
            let upper = text.to_ascii_uppercase();
            upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
        })),
    }
}

/// A list that docker shows as null or as empty, if it is.
struct Rates(Value);

impl Rates {
    fn or_empty(self) -> Value {
        if matches!(self.0, Value::List(None)) { Value::list::<Value>([]) } else { self.0 }
    }
}

fn rates(words: &Words, option: &str, field: &str) -> Rates {
    let one = |text: &String| {
        let (path, value) = text.rsplit_once(':').unwrap_or((text, "0"));
        let value = value.parse::<crate::option::quantity::Size>().map_or(0, |size| size.bytes());
        Struct::new("*blkiodev.ThrottleDevice").with("Path", path).with(field, value)
    };
    match words.all(option) {
        [] => Rates(Value::List(None)),
        all => Rates(Value::list(all.iter().map(one))),
    }
}

fn devices(words: &Words) -> Value {
    let one = |text: &String| {
        // What is no path is a name of CDI.
        text.parse::<Device>().ok()?;
        let mut parts = text.split(':');
        let host = parts.next().unwrap_or_default();
        let (mut target, mut access) = (host, "rwm");
        for part in parts {
            if part.starts_with('/') { target = part } else { access = part }
        }
        let device = Struct::new("container.DeviceMapping").with("PathOnHost", host).with("PathInContainer", target);
        Some(device.with("CgroupPermissions", access))
    };
    Value::list(words.all("device").iter().filter_map(one))
}

fn requests(words: &Words) -> Value {
    let one = |text: &String| {
        let count = if text == "all" { -1 } else { text.parse::<i64>().unwrap_or_default() };
        let ids = text.strip_prefix("device=").map(|ids| Value::list(ids.split(',')));
        Struct::new("container.DeviceRequest")
            .with("Driver", "")
            .with("Count", count)
            .with("DeviceIDs", ids.unwrap_or(Value::List(None)))
            .with("Capabilities", Value::list([Value::list(["gpu"])]))
            .with("Options", Value::map::<String, String>([]))
    };
    match words.all("gpus") {
        [] => Value::List(None),
        all => Value::list(all.iter().map(one)),
    }
}

fn ulimits(words: &Words) -> Value {
    let one = |text: &String| {
        let _: Ulimit = text.parse().ok()?;
        let (name, values) = text.split_once('=')?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |text: &str| text.parse::<i64>().unwrap_or_default();
        Some(Struct::new("*units.Ulimit").with("Name", name).with("Hard", number(hard)).with("Soft", number(soft)))
    };
    match words.all("ulimit") {
        [] => Value::List(None),
        all => Value::list(all.iter().filter_map(one)),
    }
}

/// The `--mount`s.
fn mounts(words: &Words) -> Value {
    let one = |text: &String| {
        let attachment = Attachment::from_mount(text, std::path::Path::new("/")).ok()?;
        let (kind, source) = match &attachment.source {
            Source::Bind(bind) => ("bind", bind.path.display().to_string()),
            Source::Tmpfs { .. } => ("tmpfs", String::new()),
            Source::Volume { name, .. } => ("volume", name.clone().unwrap_or_default()),
            Source::Shared { name, .. } => ("volume", name.clone()),
            Source::Image { reference, .. } => ("image", reference.clone()),
        };
        let mount = Struct::new("mount.Mount")
            .with("Type", kind)
            .unless_empty("Source", source)
            .with("Target", attachment.target.display().to_string())
            .unless_empty("ReadOnly", attachment.readonly);
        Some(match tmpfs_size(text) {
            Some(size) => mount.with("TmpfsOptions", Struct::new("*mount.TmpfsOptions").with("SizeBytes", size)),
            None => mount.hidden("TmpfsOptions", Value::NilPointer),
        })
    };
    match words.all("mount") {
        [] => Value::List(None),
        all => Value::list(all.iter().filter_map(one)),
    }
}

fn tmpfs_size(text: &str) -> Option<i64> {
    let value = text.split(',').find_map(|field| field.strip_prefix("tmpfs-size="))?;
    value.parse::<crate::option::quantity::Size>().ok().map(|size| size.bytes())
}

/// docker's default for `--cgroupns`: with the second version of control groups a namespace of the container's own.
fn default_cgroup_namespace() -> &'static str {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "private" } else { "host" }
}
