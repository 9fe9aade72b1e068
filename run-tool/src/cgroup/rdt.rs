//! Intel RDT: shares of the last-level cache and of memory bandwidth, through the host's resctrl file system.
//!
//! A class of service is a folder with `schemata` and `tasks`. A monitoring group is a folder in the `mon_groups` of a class.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::kernel::error::{Fails, Failure};
use crate::kernel::mountinfo::{self, Mounted};
use crate::kernel::syscall::Pid;

const USUAL: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC`.
const MAGIC: u64 = 0x765_5821;

/// `linux.intelRdt`, with the field names in runc's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// The name of an existing class to join; empty for a class of the container's own.
    #[serde(rename = "closID", skip_serializing_if = "String::is_empty")]
    pub(crate) class: String,
    /// Lines for the file `schemata`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) schemata: Vec<String>,
    /// The line for the L3 cache, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) l3_cache_schema: String,
    /// The line for memory bandwidth, or empty.
    #[serde(rename = "memBwSchema", skip_serializing_if = "String::is_empty")]
    pub(crate) bandwidth_schema: String,
    /// Whether the container gets a monitoring group of its own.
    #[serde(rename = "enableMonitoring", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) monitoring: bool,
}

impl From<&LinuxIntelRdt> for Config {
    fn from(rdt: &LinuxIntelRdt) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            class: text(rdt.clos_id()),
            schemata: rdt.schemata().clone().unwrap_or_default(),
            l3_cache_schema: text(rdt.l3_cache_schema()),
            bandwidth_schema: text(rdt.mem_bw_schema()),
            monitoring: rdt.enable_monitoring().unwrap_or(false),
        }
    }
}

impl Config {
    /// All lines for `schemata`. They are written at once, because the kernel accepts all lines of a write or none.
    fn lines(&self) -> String {
        let lines = [&self.l3_cache_schema, &self.bandwidth_schema].into_iter().chain(&self.schemata);
        lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
    }
}

/// Refuses a configuration that the host does not support.
pub(crate) fn check(config: &Config, resctrl: Option<&Resctrl>) -> Result<()> {
    let Some(resctrl) = resctrl else {
        bail!("intelRdt is specified in config, but Intel RDT is not enabled");
    };
    let class = config.class.as_str();
    if matches!(class, "." | "..") || (class.len() > 1 && class.contains('/')) {
        bail!("invalid intelRdt.ClosID {class:?}");
    }
    if !config.l3_cache_schema.is_empty() && !resctrl.has_cache() {
        bail!("intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled");
    }
    if !config.bandwidth_schema.is_empty() && !resctrl.has_bandwidth() {
        bail!("intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled");
    }
    Ok(())
}

/// The resctrl groups of a container, as the state stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Groups {
    /// The folder of its class; empty for a container without Intel RDT.
    #[serde(rename = "intel_rdt_path")]
    pub(crate) class: PathBuf,
    /// The folder of its monitoring group, or empty.
    #[serde(rename = "intel_rdt_mon_path", skip_serializing_if = "no_path")]
    pub(crate) monitor: PathBuf,
    /// Whether the class was created for the container, and is removed with it.
    #[serde(rename = "intel_rdt_made", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) made: bool,
}

fn no_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl Groups {
    /// Whether the container has groups. A restored one has none.
    pub(crate) fn exist(&self) -> bool {
        !no_path(&self.class)
    }

    /// Moves a process of `exec` into the container's class.
    pub(crate) fn join(&self, pid: Pid) -> Result<()> {
        if !self.exist() || !self.class.exists() {
            return Ok(());
        }
        add(&self.class, pid).with_context(|| format!("error adding pid {pid} to Intel RDT"))
    }

    /// Removes the groups that were created for the container. Its own class is removed with the monitoring group in it.
    pub(crate) fn destroy(&self) -> Result<()> {
        let path = if self.made { &self.class } else { &self.monitor };
        if no_path(path) {
            return Ok(());
        }
        match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result
                .fails(|| format!("remove {}", path.display()))
                .context("unable to remove container's IntelRDT group"),
        }
    }
}

fn add(group: &Path, pid: Pid) -> Result<(), Failure> {
    let path = group.join("tasks");
    fs::write(&path, pid.to_string()).fails(|| format!("intelrdt: unable to add pid {pid}: write {}", path.display()))
}

/// A mounted resctrl file system.
#[derive(Debug)]
pub(crate) struct Resctrl(PathBuf);

impl Resctrl {
    /// Finds the mounted resctrl, at the usual path or elsewhere.
    pub(crate) fn find() -> Option<Self> {
        // If the folder does not exist the kernel does not support resctrl.
        let usual = rustix::fs::statfs(USUAL).ok()?;
        if usual.f_type as u64 == MAGIC {
            return Some(Self(USUAL.into()));
        }
        Self::among(mountinfo::read().ok()?)
    }

    fn among(mounts: Vec<Mounted>) -> Option<Self> {
        mounts.into_iter().find(|mount| mount.kind == "resctrl").map(|mount| Self(mount.place))
    }

    /// Whether the L3 cache can be allocated.
    pub(crate) fn has_cache(&self) -> bool {
        self.0.join("info/L3").exists()
    }

    /// Whether memory bandwidth can be allocated.
    pub(crate) fn has_bandwidth(&self) -> bool {
        self.0.join("info/MB").exists()
    }

    /// Creates the groups of a container that do not exist yet.
    pub(crate) fn create(&self, config: &Config, id: &str) -> Result<Groups> {
        let make = || -> Result<Groups> {
            let class = match config.class.as_str() {
                "" => self.0.join(id),
                "/" => self.0.clone(),
                name => self.0.join(name),
            };
            if !config.class.is_empty() && config.lines().is_empty() {
                let rule = "must be pre-created when schemata, l3CacheSchema and memBwSchema are empty";
                fs::metadata(&class).fails(|| format!("clos dir not accessible ({rule}): stat {}", class.display()))?;
            }
            let made = self.make(&class)? && config.class.is_empty();
            let mut groups = Groups { class, made, ..Groups::default() };
            if config.monitoring {
                let monitor = groups.class.join("mon_groups").join(id);
                if let Err(error) = self.make(&monitor) {
                    // The error to report is the first one.
                    let _ = groups.destroy();
                    return Err(error);
                }
                groups.monitor = monitor;
            }
            Ok(groups)
        };
        make().context("unable to apply Intel RDT configuration")
    }

    /// Creates a folder. Returns false if it exists already.
    fn make(&self, path: &Path) -> Result<bool> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            result => {
                self.explain(result.fails(|| format!("mkdir {}", path.display())))?;
                Ok(true)
            }
        }
    }

    /// Moves the init process into its groups.
    pub(crate) fn place(&self, groups: &Groups, pid: Pid) -> Result<()> {
        for group in [&groups.class, &groups.monitor].into_iter().filter(|path| !no_path(path)) {
            self.explain(add(group, pid)).context("unable to apply Intel RDT configuration")?;
        }
        Ok(())
    }

    /// Writes the schemata of the container's class.
    pub(crate) fn set(&self, config: &Config, groups: &Groups) -> Result<()> {
        let lines = config.lines();
        if lines.is_empty() {
            return Ok(());
        }
        let path = groups.class.join("schemata");
        self.explain(
            fs::write(&path, &lines).fails(|| format!("intelrdt: unable to write {lines:?}: write {}", path.display())),
        )
    }

    /// Adds the kernel's explanation (`info/last_cmd_status`) to an error.
    fn explain(&self, result: Result<(), Failure>) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        match fs::read_to_string(self.0.join("info/last_cmd_status")) {
            Ok(status) => bail!("{error}, last_cmd_status: {}", status.trim()),
            Err(_) => Err(error.into()),
        }
    }

    /// The statistics of a container's groups for `events`.
    pub(crate) fn stats(&self, groups: &Groups) -> Result<Value> {
        let gather = || -> Result<Value, Failure> {
            let all = read(&self.0.join("schemata"))?;
            let own = read(&groups.class.join("schemata"))?;
            let line = |text: &str, name: &str| {
                text.lines().rfind(|line| line.contains(name)).map(str::trim).map(String::from)
            };
            let mut stats = Map::new();
            let mut put = |key: &str, value: Option<String>| value.map(|value| stats.insert(key.into(), value.into()));
            if self.has_cache() {
                put("l3_cache_schema_root", line(&all, "L3"));
                put("l3_cache_schema", line(&own, "L3"));
            }
            if self.has_bandwidth() {
                put("mem_bw_schema_root", line(&all, "MB"));
                put("mem_bw_schema", line(&own, "MB"));
            }
            if self.has_cache() {
                let info = self.0.join("info/L3");
                let mut facts = numbers(&info, &["min_cbm_bits", "num_closids"], false)?;
                facts.insert("cbm_mask".into(), read(&info.join("cbm_mask"))?.into());
                stats.insert("l3_cache_info".into(), facts.into());
            }
            if self.has_bandwidth() {
                let names = ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"];
                stats.insert("mem_bw_info".into(), numbers(&self.0.join("info/MB"), &names, false)?.into());
            }
            stats.insert("schemata".into(), own.lines().collect());
            let features = read(&self.0.join("info/L3_MON/mon_features")).unwrap_or_default();
            // Without a monitoring group of its own, the numbers are those of the whole class.
            let monitor = if no_path(&groups.monitor) { &groups.class } else { &groups.monitor };
            for (key, names) in
                [("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"][..]), ("cmt_stats", &["llc_occupancy"])]
            {
                let known: Vec<&str> =
                    names.iter().copied().filter(|name| features.lines().any(|line| line == *name)).collect();
                if known.is_empty() {
                    continue;
                }
                let mut nodes = Vec::new();
                for folder in folders(&monitor.join("mon_data"))? {
                    let mut node = numbers(&folder, &known, true)?;
                    for name in names {
                        node.entry(*name).or_insert(json!(0));
                    }
                    nodes.push(node);
                }
                stats.insert(key.into(), json!(nodes));
            }
            Ok(stats.into())
        };
        gather().context("unable to get container Intel RDT stats")
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    Ok(fs::read_to_string(path).fails(|| format!("open {}", path.display()))?.trim().to_owned())
}

/// The numbers in files of a folder. Zeros are left out unless `zeros` is set.
fn numbers(folder: &Path, names: &[&str], zeros: bool) -> Result<Map<String, Value>, Failure> {
    let mut numbers = Map::new();
    for name in names {
        let path = folder.join(name);
        let number: u64 = read(&path)?
            .parse()
            .map_err(|_| std::io::Error::from_raw_os_error(libc::EINVAL))
            .fails(|| format!("unable to parse {} as a uint", path.display()))?;
        if zeros || number != 0 {
            numbers.insert((*name).to_owned(), number.into());
        }
    }
    Ok(numbers)
}

/// The subfolders of a folder, sorted by name.
fn folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(path).fails(|| format!("open {}", path.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort_unstable();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that plays resctrl, with the files of one cache and one memory controller.
    fn mount() -> (tempfile::TempDir, Resctrl) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("schemata", "    L3:0=fff\n    MB:0=100\n"),
            ("info/last_cmd_status", "ok\n"),
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "0\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let resctrl = Resctrl(folder.path().to_owned());
        (folder, resctrl)
    }

    fn config(text: &str) -> Config {
        Config::from(&serde_json::from_str::<LinuxIntelRdt>(text).unwrap())
    }

    #[test]
    fn unsupported_configurations_are_refused_in_runcs_words() {
        let (folder, resctrl) = mount();
        let message = |text: &str| check(&config(text), Some(&resctrl)).unwrap_err().to_string();
        assert_eq!(
            check(&config("{}"), None).unwrap_err().to_string(),
            "intelRdt is specified in config, but Intel RDT is not enabled"
        );
        for class in [".", "..", "a/b", "/a"] {
            assert_eq!(message(&format!(r#"{{"closID": "{class}"}}"#)), format!("invalid intelRdt.ClosID {class:?}"));
        }
        let both = r#"{"closID": "/", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}"#;
        assert!(check(&config(both), Some(&resctrl)).is_ok());
        fs::remove_dir_all(folder.path().join("info/MB")).unwrap();
        assert_eq!(message(both), "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled");
        fs::remove_dir_all(folder.path().join("info/L3")).unwrap();
        assert_eq!(message(both), "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled");
    }

    #[test]
    fn the_containers_own_class_is_removed_with_it() {
        let (folder, resctrl) = mount();
        let config =
            config(r#"{"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1", "L3:1=3"]}"#);
        let groups = resctrl.create(&config, "c1").unwrap();
        let class = folder.path().join("c1");
        assert_eq!(groups, Groups { class: class.clone(), made: true, ..Groups::default() });
        resctrl.place(&groups, 7).unwrap();
        resctrl.set(&config, &groups).unwrap();
        assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "7");
        assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), "L3:0=f\nMB:0=20\nL2:0=1\nL3:1=3\n");
        groups.join(8).unwrap();
        assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "8");
        // In resctrl the kernel removes the files with the folder.
        fs::remove_file(class.join("tasks")).unwrap();
        fs::remove_file(class.join("schemata")).unwrap();
        groups.destroy().unwrap();
        assert!(!class.exists());
        // It is no error if the groups are gone.
        groups.destroy().unwrap();
        groups.join(9).unwrap();
    }

    #[test]
    fn a_joined_class_stays_and_the_monitoring_group_is_removed() {
        let (folder, resctrl) = mount();
        let config = config(r#"{"closID": "gold", "enableMonitoring": true}"#);
        let error = format!("{:#}", resctrl.create(&config, "c1").unwrap_err());
        assert!(
            error.starts_with("unable to apply Intel RDT configuration: clos dir not accessible (must be"),
            "{error}"
        );
        let class = folder.path().join("gold");
        fs::create_dir_all(class.join("mon_groups")).unwrap();
        let groups = resctrl.create(&config, "c1").unwrap();
        assert!(!groups.made && groups.monitor.exists());
        groups.destroy().unwrap();
        assert!(class.exists() && !groups.monitor.exists());
        // A class with the container's id that existed before stays too.
        fs::create_dir(folder.path().join("c2")).unwrap();
        resctrl.create(&Config::default(), "c2").unwrap().destroy().unwrap();
        assert!(folder.path().join("c2").exists());
    }

    #[test]
    fn the_kernels_explanation_follows_an_error() {
        let (folder, resctrl) = mount();
        let groups = Groups { class: folder.path().join("none"), ..Groups::default() };
        let error = resctrl.set(&config(r#"{"l3CacheSchema": "L3:0=f"}"#), &groups).unwrap_err().to_string();
        assert!(error.starts_with(r#"intelrdt: unable to write "L3:0=f\n": "#), "{error}");
        assert!(error.ends_with("no such file or directory, last_cmd_status: ok"), "{error}");
    }

    #[test]
    fn stats_have_runcs_form() {
        let (folder, resctrl) = mount();
        let class = folder.path().join("c1");
        for (path, text) in [
            ("schemata", "    L3:0=00f\n    MB:0= 20\n"),
            ("mon_data/mon_L3_00/llc_occupancy", "123\n"),
            ("mon_data/mon_L3_00/mbm_total_bytes", "456\n"),
        ] {
            let path = class.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let stats = resctrl.stats(&Groups { class, ..Groups::default() }).unwrap();
        let expected = json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fff",
            "l3_cache_schema": "L3:0=00f",
            "mem_bw_info": {"bandwidth_gran": 10, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100",
            "mem_bw_schema": "MB:0= 20",
            "schemata": ["L3:0=00f", "    MB:0= 20"],
            "mbm_stats": [{"mbm_total_bytes": 456, "mbm_local_bytes": 0}],
            "cmt_stats": [{"llc_occupancy": 123}]
        });
        assert_eq!(stats, expected);
    }

    #[test]
    fn a_mount_elsewhere_is_found() {
        let place = |table: &str| Resctrl::among(mountinfo::parse_table(table.as_bytes())).map(|resctrl| resctrl.0);
        let table = "22 1 0:5 / /proc rw - proc proc rw\n30 1 0:9 / /mnt/rdt rw shared:3 - resctrl resctrl rw\n";
        assert_eq!(place(table), Some("/mnt/rdt".into()));
        assert_eq!(place("22 1 0:5 / /resctrl rw - proc proc rw"), None);
    }

    #[test]
    fn the_state_has_runcs_names() {
        let text = r#"{"closID":"a","schemata":["b"],"l3_cache_schema":"c","memBwSchema":"d","enableMonitoring":true}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Config>(text).unwrap()).unwrap(), text);
        assert_eq!(serde_json::to_string(&Groups::default()).unwrap(), r#"{"intel_rdt_path":""}"#);
    }
}
