//! The document of `docker container inspect`.

use std::fs;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::show::document::{self, NEVER};
use image_tool::show::template::{Struct, Value};
use serde_json::{Value as Json, json};

use super::host_config::host_config;
use super::mount::attached;
use super::network::{Endpoint, endpoints};
use super::size;
use super::words::Words;
use super::{mount, row};
use crate::bundle::annotation;
use crate::container::status::Container;
use crate::network::identity::identity;
use crate::network::state::Networks;

/// A container to describe.
pub struct Subject<'a> {
    /// The container.
    pub container: &'a Container,
    /// The words that it was created by.
    pub words: Words,
    /// The data folder.
    pub home: &'a Home,
    /// Whether the document has its sizes, which takes a walk through its files.
    pub sizes: bool,
}

/// docker's document of a container.
#[must_use]
pub fn document(subject: &Subject<'_>) -> Value {
    let Subject { container, words, home, sizes } = subject;
    let config = config(container);
    let command = container.command();
    let (path, arguments) = command.split_first().map_or(("", &[][..]), |(path, rest)| (path.as_str(), rest));
    let is_started = container.runtime().is_some();
    let text = |key: &str| container.annotation(key).unwrap_or_default().to_owned();
    let file = |name: String| match container.bundle().map(|bundle| bundle.join(name)) {
        Some(path) if is_started && path.exists() => path.display().to_string(),
        _ => String::new(),
    };
    let created = container.created().map_or_else(|| NEVER.to_owned(), |time| time.to_string());
    let profile = config.pointer("/process/apparmorProfile").and_then(Json::as_str).unwrap_or_default();
    let base = Struct::new("types.ContainerJSON")
        .with("Id", container.id())
        .with("Created", created)
        .with("Path", path)
        .with("Args", Value::list(arguments))
        .with("State", state(container))
        .with("Image", text(annotation::IMAGE_ID))
        .with("ResolvConfPath", file("resolv.conf".into()))
        .with("HostnamePath", file("hostname".into()))
        .with("HostsPath", file("hosts".into()))
        .with("LogPath", file(format!("{}-json.log", container.runtime().map_or("", |state| &state.id))))
        .with("Name", format!("/{}", container.name()))
        .with("RestartCount", container.runtime().map_or(0, |state| state.restart_count))
        .with("Driver", "overlay2")
        .with("Platform", "linux")
        .with("MountLabel", "")
        .with("ProcessLabel", "")
        .with("AppArmorProfile", profile)
        .with("ExecIDs", Value::List(None))
        .with("HostConfig", host_config(container, &config, words, home))
        .with("GraphDriver", graph_driver(container, home));
    let base = if *sizes {
        let size = size::of(container, home);
        base.with("SizeRw", size.own).with("SizeRootFs", size.all)
    } else {
        base.hidden("SizeRw", Value::NilPointer).hidden("SizeRootFs", Value::NilPointer)
    };
    let mounts = attached(container, home);
    base.with("Mounts", Value::list(mounts.iter().map(|mount: &mount::Attached| mount.document(words))))
        .with("Config", settings(container, &config, words))
        .with("NetworkSettings", network_settings(container, words))
        .into()
}

/// The container's config.json; null if it cannot be read.
fn config(container: &Container) -> Json {
    let read = |bundle: &Path| serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok();
    container.bundle().and_then(read).unwrap_or_default()
}

fn state(container: &Container) -> Value {
    let runtime = container.runtime();
    let status = container.state();
    let (is_paused, is_restarting) = (status == "paused", status == "restarting");
    let started = runtime.map(|state| state.created.as_str()).filter(|time| !time.is_empty());
    let has_ended = ["exited", "restarting"].contains(&status);
    let pid = runtime.map_or(0, |state| if has_ended { 0 } else { state.pid });
    let exit = runtime.and_then(|state| state.exit_status).unwrap_or(0);
    let finished = runtime.and_then(|state| state.exit_time.as_deref().or(state.earlier_exit_time.as_deref()));
    let is_started = status != "created";
    let base = Struct::new("*types.ContainerState")
        .with("Status", status)
        .with("Running", container.is_up())
        .with("Paused", is_paused)
        .with("Restarting", is_restarting)
        .with("OOMKilled", runtime.is_some_and(|state| state.oom_killed))
        .with("Dead", false)
        .with("Pid", pid)
        .with("ExitCode", exit)
        .with("Error", "")
        .with("StartedAt", started.filter(|_| is_started).unwrap_or(NEVER))
        .with("FinishedAt", finished.unwrap_or(NEVER));
    base.unless_empty("Health", health(container)).into()
}

fn health(container: &Container) -> Value {
    let Some(state) = container.runtime().filter(|_| container.annotation(annotation::HEALTHCHECK).is_some()) else {
        return Value::NilPointer;
    };
    let none = json!({});
    let checks = state.health_checks.as_ref().unwrap_or(&none);
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let one = |probe: &Json| {
        Struct::new("*types.HealthcheckResult")
            .with("Start", text(&probe["Start"]))
            .with("End", text(&probe["End"]))
            .with("ExitCode", probe["ExitCode"].as_i64().unwrap_or_default())
            .with("Output", text(&probe["Output"]))
    };
    let status = state.health.clone().or_else(|| checks["Status"].as_str().map(str::to_owned));
    Struct::new("*types.Health")
        .with("Status", status.unwrap_or_else(|| "starting".into()))
        .with("FailingStreak", checks["FailingStreak"].as_i64().unwrap_or_default())
        .with("Log", Value::list(checks["Log"].as_array().into_iter().flatten().map(one)))
        .into()
}

fn graph_driver(container: &Container, home: &Home) -> Value {
    let Some(bundle) = container.bundle() else { return document::graph_driver(Value::Map(None)) };
    let path = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let writable = crate::bundle::writable(bundle);
    let layers = fs::read_to_string(bundle.join(crate::bundle::LAYERS)).unwrap_or_default();
    let folder = |digest: &str| home.layers().join(digest.replace(':', "/")).display().to_string();
    let mut lower: Vec<String> = layers.lines().map(folder).collect();
    lower.reverse();
    document::graph_driver(Value::map([
        ("LowerDir", lower.join(":")),
        ("MergedDir", path(bundle, "rootfs")),
        ("UpperDir", path(&writable, "upper")),
        ("WorkDir", path(&writable, "work")),
    ]))
}

/// docker's `Config`.
fn settings(container: &Container, config: &Json, words: &Words) -> Value {
    let mut all: Json = container.json(annotation::SETTINGS).unwrap_or_else(|| older(container, config));
    let tty = config.pointer("/process/terminal").and_then(Json::as_bool).unwrap_or_default();
    let interactive = container.annotation(annotation::INTERACTIVE) == Some("true");
    let attached = words.all("attach");
    let has = |stream: &str| attached.iter().any(|own| own.eq_ignore_ascii_case(stream));
    let detached = container.annotation(annotation::DETACH) == Some("true");
    let attaches = |stream: &str| if attached.is_empty() { !detached } else { has(stream) };
    let input = if attached.is_empty() { interactive && !detached } else { has("stdin") };
    for (field, value) in [
        ("AttachStdin", json!(input)),
        ("AttachStdout", json!(attaches("stdout"))),
        ("AttachStderr", json!(attaches("stderr"))),
        ("Tty", json!(tty)),
        ("OpenStdin", json!(interactive)),
        ("StdinOnce", json!(interactive && !detached)),
        ("Labels", json!(container.labels())),
    ] {
        all[field] = value;
    }
    let mac = words.last("mac-address");
    if !mac.is_empty() {
        all["MacAddress"] = json!(mac);
    }
    document::config(&all, container.annotation(annotation::IMAGE).unwrap_or_default())
}

/// What config.json says, of a bundle that has no more.
fn older(container: &Container, config: &Json) -> Json {
    json!({
        "Hostname": config["hostname"],
        "Env": config.pointer("/process/env"),
        "Cmd": container.command(),
        "WorkingDir": config.pointer("/process/cwd"),
        "Healthcheck": container.json::<Json>(annotation::HEALTHCHECK),
    })
}

fn network_settings(container: &Container, words: &Words) -> Value {
    let id = container.id();
    let is_up = container.is_up();
    let has_own = row::network(container).is_some();
    let networks = Networks::of_host();
    let sandbox = if is_up && has_own { identity("sandbox", &id) } else { String::new() };
    let key = if !is_up || !has_own {
        String::new()
    } else {
        let held: PathBuf = networks.place(&id).join("netns");
        let pid = container.runtime().map_or(0, |state| state.pid);
        if held.exists() { held.display().to_string() } else { format!("/proc/{pid}/ns/net") }
    };
    let all: Vec<(String, Endpoint)> = endpoints(container, words, &networks);
    // docker repeats what the container has on the default bridge, and leaves these empty otherwise.
    let main = all.iter().find(|(name, _)| name == "bridge").map(|(_, own)| own.clone()).unwrap_or_default();
    Struct::new("*types.NetworkSettings")
        .with("Bridge", "")
        .with("SandboxID", sandbox)
        .with("HairpinMode", false)
        .with("LinkLocalIPv6Address", "")
        .with("LinkLocalIPv6PrefixLen", 0)
        .with("Ports", ports(container, is_up))
        .with("SandboxKey", key)
        .with("SecondaryIPAddresses", Value::List(None))
        .with("SecondaryIPv6Addresses", Value::List(None))
        .with("EndpointID", &main.id)
        .with("Gateway", &main.gateway)
        .with("GlobalIPv6Address", &main.ip6)
        .with("GlobalIPv6PrefixLen", main.ip6_bits)
        .with("IPAddress", &main.ip)
        .with("IPPrefixLen", main.ip_bits)
        .with("IPv6Gateway", &main.gateway6)
        .with("MacAddress", &main.mac)
        .with("Networks", Value::map(all.iter().map(|(name, own)| (name.as_str(), own.document()))))
        .into()
}

/// The published and exposed ports of a container that runs, as docker's `Ports`.
#[must_use]
pub fn ports(container: &Container, is_up: bool) -> Value {
    let Some(plan) = container.plan().filter(|_| is_up) else { return Value::open_map::<String, Value>([]) };
    let mut all: std::collections::BTreeMap<String, Vec<Value>> =
        plan.exposed.iter().map(|port| (port.clone(), Vec::new())).collect();
    for mapping in plan.mappings().unwrap_or_default() {
        let binding = Struct::new("nat.PortBinding")
            .with("HostIp", mapping.ip.to_string())
            .with("HostPort", mapping.host.to_string());
        all.entry(format!("{}/{}", mapping.container, mapping.protocol)).or_default().push(binding.into());
    }
    Value::open_map(
        all.into_iter().map(|(port, bindings)| {
            (port, if bindings.is_empty() { Value::List(None) } else { Value::list(bindings) })
        }),
    )
}
