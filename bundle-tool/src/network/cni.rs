//! CNI conflists, and calling their plugins (CNI specification 1.0, "Section 2: Execution Protocol").

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image_tool::error::During as _;
use serde_json::{Map, Value, json};

use super::Error;
use super::subnet::Subnet;
use crate::bundle::name::{is_name, is_network_name};

/// A conflist, which describes a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflist {
    /// The name of the network.
    pub name: String,
    /// The version of the specification that the plugins must speak.
    pub version: String,
    /// The configurations of the plugins, in the order in which they are called.
    pub plugins: Vec<Map<String, Value>>,
    /// What was asked for with `--opt`, by docker's names.
    pub options: Map<String, Value>,
    /// The path of the file that describes it.
    pub path: PathBuf,
}

impl Conflist {
    /// Reads the conflist at `path`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let json = fs::read(path).during("read", path)?;
        Self::parse(&json, path)
    }

    fn parse(json: &[u8], path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Conflist { path: path.into(), reason };
        let value: Value = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").filter(|name| is_network_name(name)).ok_or_else(|| wrong("missing name".into()))?;
        let version = text("cniVersion").unwrap_or_else(|| "0.4.0".into());
        // A `.conf` holds a single plugin.
        let list = match value.get("plugins") {
            Some(Value::Array(list)) => list.clone(),
            None if value.get("type").is_some() => vec![value.clone()],
            _ => return Err(wrong("missing plugins".into())),
        };
        let mut plugins = Vec::new();
        for plugin in list {
            match plugin {
                Value::Object(map) if map.get("type").and_then(Value::as_str).is_some_and(is_name) => plugins.push(map),
                _ => return Err(wrong("a plugin lacks its type".into())),
            }
        }
        if plugins.is_empty() {
            Err(wrong("missing plugins".into()))
        } else {
            let options = value.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
            Ok(Self { name, version, plugins, options, path: path.into() })
        }
    }

    /// All networks. Those of the first folder take precedence over those of the next; invalid files are left out with a warning.
    pub fn list(folders: &[PathBuf]) -> Vec<Self> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for folder in folders {
            let mut paths: Vec<PathBuf> =
                fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            paths.retain(|path| {
                path.extension().is_some_and(|extension| extension == "conflist" || extension == "conf")
            });
            paths.sort();
            for path in paths {
                match Self::read(&path) {
                    Ok(conflist) => drop(found.entry(conflist.name.clone()).or_insert(conflist)),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
        found.into_values().collect()
    }

    /// The network of that name. If its file is invalid, that is the error, not that there is no such network.
    pub fn find(folders: &[PathBuf], name: &str) -> Result<Self, Error> {
        for folder in folders {
            let path = folder.join(format!("{name}.conflist"));
            if path.exists() {
                let conflist = Self::read(&path)?;
                if conflist.name == name {
                    return Ok(conflist);
                }
            }
        }
        let mut all = Self::list(folders);
        match all.iter().position(|conflist| conflist.name == name) {
            Some(index) => Ok(all.swap_remove(index)),
            None => Err(Error::NoNetwork { name: name.into() }),
        }
    }

    /// The host's interface that the bridge plugin creates.
    pub fn bridge(&self) -> Option<&str> {
        let plugin = self.plugins.iter().find(|plugin| plugin.get("type").is_some_and(|kind| kind == "bridge"))?;
        Some(plugin.get("bridge").and_then(Value::as_str).unwrap_or("cni0"))
    }

    /// The address on which ports are published if no other is given; absent for all.
    pub fn binding(&self) -> Option<IpAddr> {
        let ip: IpAddr = self.options.get("com.docker.network.bridge.host_binding_ipv4")?.as_str()?.parse().ok()?;
        Some(ip).filter(|ip| !ip.is_unspecified())
    }

    /// Whether an address is in one of its subnets.
    pub fn is_within(&self, address: IpAddr) -> bool {
        self.subnets().iter().any(|subnet| subnet.contains(address))
    }

    fn ipam(&self) -> impl Iterator<Item = &Value> {
        self.plugins.iter().filter_map(|plugin| plugin.get("ipam"))
    }

    /// The subnets that host-local gives addresses of.
    pub fn subnets(&self) -> Vec<Subnet> {
        let sets = self.ipam().filter_map(|ipam| ipam.get("ranges")?.as_array()).flatten();
        let ranges = sets.filter_map(Value::as_array).flatten();
        // The form before ranges has the subnet itself.
        let all = ranges.chain(self.ipam()).filter_map(|range| range.get("subnet")?.as_str()?.parse().ok());
        let mut subnets: Vec<Subnet> = all.collect();
        subnets.sort_unstable();
        subnets.dedup();
        subnets
    }

    /// The part of a subnet of which containers get addresses; absent if it is all of it.
    pub fn part(&self, subnet: Subnet) -> Option<Subnet> {
        let sets = self.ipam().filter_map(|ipam| ipam.get("ranges")?.as_array()).flatten();
        let own = sets.filter_map(Value::as_array).flatten().filter(|range| {
            range.get("subnet").and_then(Value::as_str).and_then(|text| text.parse().ok()) == Some(subnet)
        });
        let address = |range: &Value, key: &str| range.get(key)?.as_str()?.parse::<IpAddr>().ok();
        let (mut first, mut last) = (None, None);
        for range in own {
            let (start, end) = (address(range, "rangeStart")?, address(range, "rangeEnd")?);
            first = Some(first.map_or(start, |first: IpAddr| first.min(start)));
            last = Some(last.map_or(end, |last: IpAddr| last.max(end)));
        }
        Subnet::spanning(first?, last?).filter(|part| *part != subnet)
    }

    /// The folder in which host-local keeps the addresses of the network that are in use.
    pub fn leases(&self) -> Option<PathBuf> {
        let folder = self.ipam().find_map(|ipam| ipam.get("dataDir")?.as_str())?;
        Some(Path::new(folder).join(&self.name))
    }

    /// The conflist as JSON, for the record of a network that is up: it is taken down by the configuration that it was brought up with,
    /// even if the file has changed since.
    pub fn to_value(&self) -> Value {
        json!({"cniVersion": self.version, "name": self.name, "plugins": self.plugins})
    }

    /// Parses what [`Self::to_value`] returned.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        Self::parse(value.to_string().as_bytes(), Path::new("network state"))
    }
}

/// The attachment of a container to a network.
#[derive(Clone, Debug)]
pub struct Attachment<'a> {
    /// The id of the container.
    pub id: &'a str,
    /// The name of the interface in the container.
    pub interface: &'a str,
    /// The path of the container's network namespace; empty if it no longer exists.
    pub namespace: &'a Path,
    /// The values for plugins that declare the capability: `portMappings`, `mac`, `ips`.
    pub capabilities: Map<String, Value>,
    /// The folders in which plugins are searched.
    pub plugins: Vec<PathBuf>,
}

/// The name of the first interface in a container.
pub const INTERFACE: &str = "eth0";

/// The folders of plugins: `$CNI_PATH`, else those of distributions.
pub fn plugin_folders() -> Vec<PathBuf> {
    match std::env::var_os("CNI_PATH").filter(|path| !path.is_empty()) {
        Some(path) => std::env::split_paths(&path).collect(),
        None => ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"].map(PathBuf::from).to_vec(),
    }
}

/// Fails if a plugin of the network is not installed.
pub fn check_plugins(network: &Conflist) -> Result<(), Error> {
    let folders = plugin_folders();
    network.plugins.iter().try_for_each(|plugin| find_plugin(&folders, name(plugin)).map(drop))
}

fn find_plugin(folders: &[PathBuf], name: &str) -> Result<PathBuf, Error> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        let places: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
        Error::NoPlugin { name: name.into(), places: places.join(":") }
    })
}

impl Attachment<'_> {
    /// Calls all plugins in order, each with the result of the previous one, and returns the last result.
    pub fn add(&self, network: &Conflist) -> Result<Value, Error> {
        let mut result = None;
        for plugin in &network.plugins {
            let output = self.call("ADD", network, plugin, result.as_ref())?;
            result = Some(serde_json::from_slice(&output).map_err(|error| Error::Plugin {
                name: name(plugin).into(),
                reason: format!("result is not valid JSON: {error}"),
            })?);
        }
        result.ok_or_else(|| Error::Conflist { path: network.path.clone(), reason: "missing plugins".into() })
    }

    /// Calls all plugins in reverse order, even after one has failed, and returns the first error.
    pub fn delete(&self, network: &Conflist, result: Option<&Value>) -> Result<(), Error> {
        let mut first = Ok(());
        for plugin in network.plugins.iter().rev() {
            if let Err(error) = self.call("DEL", network, plugin, result)
                && first.is_ok()
            {
                first = Err(error);
            }
        }
        first
    }

    fn call(
        &self,
        command: &str,
        network: &Conflist,
        plugin: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Result<Vec<u8>, Error> {
        let name = name(plugin);
        let program = find_plugin(&self.plugins, name)?;
        let mut config = plugin.clone();
        config.insert("cniVersion".into(), network.version.clone().into());
        config.insert("name".into(), network.name.clone().into());
        let declared = config.remove("capabilities");
        let asked =
            |capability: &str| declared.as_ref().and_then(|all| all.get(capability)) == Some(&Value::Bool(true));
        let mut runtime = self.capabilities.clone();
        runtime.retain(|capability, _| asked(capability));
        if !runtime.is_empty() {
            config.insert("runtimeConfig".into(), Value::Object(runtime));
        }
        if let Some(previous) = previous {
            config.insert("prevResult".into(), previous.clone());
        }
        let mut child = Command::new(&program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", self.id)
            .env("CNI_NETNS", self.namespace)
            .env("CNI_IFNAME", self.interface)
            .env("CNI_PATH", std::env::join_paths(&self.plugins).unwrap_or_default())
            .env("CNI_ARGS", "IgnoreUnknown=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .during("run", &program)?;
        // A plugin that fails early closes its input, but its message says more than the broken pipe. The input fits into a pipe, so
        // writing it cannot block.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(Value::Object(config).to_string().as_bytes());
        }
        let output = child.wait_with_output().during("run", &program)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::Plugin { name: name.into(), reason: complaint(&output.stdout, &output.stderr, output.status) })
    }
}

fn name(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The error of a plugin in one line: `msg` and `details` of its JSON, else its standard error.
fn complaint(stdout: &[u8], stderr: &[u8], status: std::process::ExitStatus) -> String {
    let json: Option<Value> = serde_json::from_slice(stdout).ok();
    let field = |key: &str| {
        json.as_ref().and_then(|json| json.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let text = match (field("msg"), field("details")) {
        (Some(message), Some(details)) => format!("{message}: {details}"),
        (Some(message), None) => message.to_owned(),
        _ => String::from_utf8_lossy(stderr).into_owned(),
    };
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if line.is_empty() { status.to_string() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn plugin(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn attachment(folder: &Path) -> Attachment<'static> {
        let capabilities =
            json!({"portMappings": [{"hostPort": 1}], "mac": "02:00:00:00:00:01"}).as_object().unwrap().clone();
        Attachment {
            id: "abc",
            interface: INTERFACE,
            namespace: Path::new("/run/netns/x"),
            capabilities,
            plugins: vec![folder.into()],
        }
    }

    fn bridge() -> Value {
        let ipam = json!({"type": "host-local", "dataDir": "/leases/oci0",
            "ranges": [[{"subnet": "10.63.0.0/16"}, {"subnet": "10.63.0.0/16"}], [{"subnet": "fd00::/64"}]]});
        json!({"name": "bridge", "plugins": [{"type": "bridge", "bridge": "oci0", "ipam": ipam}, {"type": "portmap"}]})
    }

    #[test]
    fn a_conflist_tells_its_subnets_and_leases() {
        let read = |json: &Value| Conflist::from_value(json).unwrap();
        let subnets: Vec<String> = read(&bridge()).subnets().iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["10.63.0.0/16", "fd00::/64"]);
        assert_eq!(read(&bridge()).leases().unwrap(), Path::new("/leases/oci0/bridge"));
        let old = json!({"name": "old", "type": "bridge", "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}});
        assert_eq!(read(&old).subnets()[0].to_string(), "10.1.0.0/16");
        assert_eq!(read(&old).leases(), None);
    }

    fn network(folder: &Path, plugins: Value) -> Conflist {
        let json = json!({"cniVersion": "1.0.0", "name": "test", "plugins": plugins});
        fs::write(folder.join("test.conflist"), json.to_string()).unwrap();
        Conflist::find(&[folder.into()], "test").unwrap()
    }

    #[test]
    fn plugins_are_called_in_order_with_the_result_before_and_deleted_in_reverse() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        for name in ["first", "second"] {
            let script = format!(
                "input=$(cat)\necho \"$CNI_COMMAND {name} $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $input\" >>{}\necho '{{\"from\":\"{name}\"}}'",
                log.display()
            );
            plugin(folder.path(), name, &script);
        }
        let network = network(
            folder.path(),
            json!([{"type": "first"}, {"type": "second", "capabilities": {"portMappings": true}}]),
        );
        let attachment = attachment(folder.path());
        let result = attachment.add(&network).unwrap();
        assert_eq!(result, json!({"from": "second"}));
        attachment.delete(&network, Some(&result)).unwrap();
        let log = fs::read_to_string(log).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 4);
        for (line, start) in
            lines.iter().zip(["ADD first abc /run/netns/x eth0 ", "ADD second ", "DEL second ", "DEL first "])
        {
            assert!(line.starts_with(start), "{line}");
        }
        assert!(!lines[0].contains("prevResult") && !lines[0].contains("runtimeConfig"));
        assert!(lines[1].contains(r#""prevResult":{"from":"first"}"#) && lines[1].contains(r#""hostPort":1"#));
        assert!(!lines[1].contains("02:00") && !lines[1].contains("capabilities"));
    }

    #[test]
    fn a_plugins_error_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        plugin(
            folder.path(),
            "bad",
            "cat >/dev/null; printf %s '{\"code\":7,\"msg\":\"no\\nroom\",\"details\":\"at all\"}'; exit 1",
        );
        plugin(folder.path(), "worse", "echo oh >&2; exit 3");
        let message = |name: &str| {
            let network = network(folder.path(), json!([{"type": name}]));
            attachment(folder.path()).add(&network).unwrap_err().to_string()
        };
        assert_eq!(message("bad"), "CNI plugin bad: no; room: at all");
        assert_eq!(message("worse"), "CNI plugin worse: oh");
        assert!(message("absent").starts_with("CNI plugin absent: not found in "));
    }

    #[test]
    fn conflists_are_found_by_name_and_the_first_folder_wins() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &Path, file: &str, json: Value| fs::write(folder.join(file), json.to_string()).unwrap();
        write(second.path(), "10-any.conf", json!({"name": "single", "type": "loopback"}));
        write(second.path(), "bridge.conflist", bridge());
        let mut edited = bridge();
        edited["plugins"][0]["bridge"] = json!("mine0");
        write(first.path(), "bridge.conflist", edited);
        let folders = [first.path().to_owned(), second.path().to_owned()];
        assert_eq!(Conflist::find(&folders, "bridge").unwrap().bridge(), Some("mine0"));
        assert_eq!(Conflist::find(&folders, "single").unwrap().plugins.len(), 1);
        let found = Conflist::find(&folders, "bridge").unwrap();
        assert_eq!(Conflist::from_value(&found.to_value()).unwrap().plugins, found.plugins);
        assert_eq!(
            Conflist::find(&folders, "other").unwrap_err().to_string(),
            "other: no such network (bundle-tool network ls)"
        );
        fs::write(first.path().join("bridge.conflist"), "{").unwrap();
        assert!(matches!(Conflist::find(&folders, "bridge"), Err(Error::Conflist { .. })));
    }
}
