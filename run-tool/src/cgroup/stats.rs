//! Usage of the control groups, in the keys of runc's `events`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Cgroup;

fn number(path: &Path) -> u64 {
    match fs::read_to_string(path) {
        // No limit is the largest one.
        Ok(text) if text.trim() == "max" => u64::MAX,
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

/// `key value` lines.
fn table(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect()
}

/// An object without what is zero, as Go leaves out empty values; `always` stays.
fn object(entries: &[(&str, u64)], always: &[&str]) -> Value {
    let kept = entries.iter().filter(|(key, value)| *value != 0 || always.contains(key));
    Value::Object(kept.map(|(key, value)| ((*key).to_owned(), json!(value))).collect())
}

fn memory(folder: &Path, name: &str) -> Value {
    let file = |suffix: &str| number(&folder.join(format!("{name}.{suffix}")));
    let entries = [
        ("limit", file("limit_in_bytes")),
        ("usage", file("usage_in_bytes")),
        ("max", file("max_usage_in_bytes")),
        ("failcnt", file("failcnt")),
    ];
    object(&entries, &["limit", "failcnt"])
}

/// Lines `MAJOR:MINOR OPERATION VALUE` or `MAJOR:MINOR VALUE`.
fn block_entries(text: &str) -> Vec<Value> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (device, operation, value) = match fields[..] {
            [device, operation, value] => (device, operation, value),
            [device, value] => (device, "", value),
            _ => continue,
        };
        let Some((major, minor)) = device.split_once(':') else { continue };
        let (Ok(major), Ok(minor), Ok(value)) = (major.parse::<u64>(), minor.parse::<u64>(), value.parse::<u64>())
        else {
            continue;
        };
        let mut entry = object(&[("major", major), ("minor", minor), ("value", value)], &[]);
        if !operation.is_empty() {
            entry["op"] = json!(operation);
        }
        entries.push(entry);
    }
    entries
}

fn pids(folder: Option<&Path>) -> Value {
    let Some(folder) = folder else { return json!({}) };
    let limit = match number(&folder.join("pids.max")) {
        u64::MAX => 0,
        limit => limit,
    };
    object(&[("current", number(&folder.join("pids.current"))), ("limit", limit)], &[])
}

fn huge_pages(folder: Option<&Path>, unified: bool) -> Map<String, Value> {
    let mut pages = Map::new();
    let Some(entries) = folder.and_then(|folder| fs::read_dir(folder).ok()) else { return pages };
    let suffix = if unified { ".current" } else { ".usage_in_bytes" };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(size) = name.strip_prefix("hugetlb.").and_then(|name| name.strip_suffix(suffix)) else { continue };
        if size.ends_with(".rsvd") {
            continue;
        }
        let file = |suffix: &str| number(&folder.unwrap_or(Path::new("/")).join(format!("hugetlb.{size}.{suffix}")));
        let value = if unified {
            object(&[("usage", file("current")), ("failcnt", 0)], &["failcnt"])
        } else {
            let entries =
                [("usage", file("usage_in_bytes")), ("max", file("max_usage_in_bytes")), ("failcnt", file("failcnt"))];
            object(&entries, &["failcnt"])
        };
        pages.insert(size.to_owned(), value);
    }
    pages
}

/// What each CPU spent for users and in the kernel: lines of CPU, user, system after a heading.
fn each_cpu(path: &Path) -> [Vec<u64>; 2] {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut each = [Vec::new(), Vec::new()];
    for line in text.lines().skip(1) {
        let mut fields = line.split(' ').skip(1).map(str::parse);
        if let (Some(Ok(user)), Some(Ok(kernel))) = (fields.next(), fields.next()) {
            each[0].push(user);
            each[1].push(kernel);
        }
    }
    each
}

fn version_1(cgroup: &Cgroup) -> Value {
    let folder = |name: &str| cgroup.paths.get(name).map(|path| path.as_path());
    let mut cpu = Map::new();
    if let Some(folder) = folder("cpuacct") {
        // USER_HZ is 100 on every architecture that matters.
        let ticks = table(&folder.join("cpuacct.stat"));
        let nanoseconds = |key: &str| ticks.get(key).copied().unwrap_or(0) * 10_000_000;
        let entries = [
            ("total", number(&folder.join("cpuacct.usage"))),
            ("kernel", nanoseconds("system")),
            ("user", nanoseconds("user")),
        ];
        let mut usage = object(&entries, &["kernel", "user"]);
        let text = fs::read_to_string(folder.join("cpuacct.usage_percpu")).unwrap_or_default();
        let each: Vec<u64> = text.split_ascii_whitespace().filter_map(|value| value.parse().ok()).collect();
        if !each.is_empty() {
            usage["percpu"] = json!(each);
        }
        for (key, each) in ["percpu_user", "percpu_kernel"].iter().zip(each_cpu(&folder.join("cpuacct.usage_all"))) {
            if !each.is_empty() {
                usage[*key] = json!(each);
            }
        }
        cpu.insert("usage".into(), usage);
    }
    if let Some(folder) = folder("cpu") {
        let stat = table(&folder.join("cpu.stat"));
        let get = |key: &str| stat.get(key).copied().unwrap_or(0);
        let entries = [
            ("periods", get("nr_periods")),
            ("throttledPeriods", get("nr_throttled")),
            ("throttledTime", get("throttled_time")),
        ];
        cpu.insert("throttling".into(), object(&entries, &[]));
    }
    let mut memories = Map::new();
    if let Some(folder) = folder("memory") {
        let raw = table(&folder.join("memory.stat"));
        if let Some(cache) = raw.get("cache").filter(|cache| **cache != 0) {
            memories.insert("cache".into(), json!(cache));
        }
        for (key, name) in
            [("usage", "memory"), ("swap", "memory.memsw"), ("kernel", "memory.kmem"), ("kernelTCP", "memory.kmem.tcp")]
        {
            if folder.join(format!("{name}.usage_in_bytes")).exists() {
                memories.insert(key.into(), memory(folder, name));
            }
        }
        memories.insert("raw".into(), json!(raw));
    }
    let mut block = Map::new();
    if let Some(folder) = folder("blkio") {
        let files = [
            ("ioServiceBytesRecursive", "io_service_bytes_recursive", "throttle.io_service_bytes_recursive"),
            ("ioServicedRecursive", "io_serviced_recursive", "throttle.io_serviced_recursive"),
            ("ioQueueRecursive", "io_queued_recursive", ""),
            ("ioServiceTimeRecursive", "io_service_time_recursive", ""),
            ("ioWaitTimeRecursive", "io_wait_time_recursive", ""),
            ("ioMergedRecursive", "io_merged_recursive", ""),
            ("ioTimeRecursive", "time_recursive", ""),
            ("sectorsRecursive", "sectors_recursive", ""),
        ];
        for (key, name, throttled) in files {
            let read = |name: &str| fs::read_to_string(folder.join(format!("blkio.{name}"))).ok();
            let text = read(&format!("bfq.{name}")).or_else(|| read(name)).or_else(|| read(throttled));
            let entries = block_entries(&text.unwrap_or_default());
            if !entries.is_empty() {
                block.insert(key.into(), Value::Array(entries));
            }
        }
    }
    json!({
        "cpu": cpu,
        "cpuset": cpuset(folder("cpuset")),
        "memory": memories,
        "pids": pids(folder("pids")),
        "blkio": block,
        "hugetlb": huge_pages(folder("hugetlb"), false),
        "intel_rdt": {},
        "network_interfaces": null
    })
}

fn cpuset(folder: Option<&Path>) -> Value {
    let files = [
        ("cpu_exclusive", "cpu_exclusive"),
        ("mem_hardwall", "mem_hardwall"),
        ("mem_exclusive", "mem_exclusive"),
        ("memory_migrate", "memory_migrate"),
        ("memory_spread_page", "memory_spread_page"),
        ("memory_spread_slab", "memory_spread_slab"),
        ("memory_pressure", "memory_pressure"),
        ("sched_load_balance", "sched_load_balance"),
    ];
    let mut set = Map::new();
    for (key, name) in files {
        set.insert(key.into(), json!(folder.map_or(0, |folder| number(&folder.join(format!("cpuset.{name}"))))));
    }
    let level = folder.and_then(|folder| fs::read_to_string(folder.join("cpuset.sched_relax_domain_level")).ok());
    let level: i64 = level.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    set.insert("sched_relax_domain_level".into(), json!(level));
    for (key, name) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
        let text = folder.and_then(|folder| fs::read_to_string(folder.join(name)).ok()).unwrap_or_default();
        let mask = crate::program::parse_set(text.trim()).unwrap_or_default();
        let members: Vec<usize> =
            (0..mask.len() * 64).filter(|member| mask[member / 64] & 1 << (member % 64) != 0).collect();
        if !members.is_empty() {
            set.insert(key.into(), json!(members));
        }
    }
    Value::Object(set)
}

/// Pressure stall information, as runc shows it.
fn pressure(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    let mut kinds = Map::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let kind = fields.next()?;
        let mut values = Map::new();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let value =
                if key == "total" { json!(value.parse::<u64>().ok()?) } else { json!(value.parse::<f64>().ok()?) };
            values.insert(key.to_owned(), value);
        }
        kinds.insert(kind.to_owned(), Value::Object(values));
    }
    Some(Value::Object(kinds))
}

fn version_2(folder: &Path) -> Value {
    let cpu = table(&folder.join("cpu.stat"));
    let get = |key: &str| cpu.get(key).copied().unwrap_or(0);
    let usage = object(
        &[
            ("total", get("usage_usec") * 1000),
            ("kernel", get("system_usec") * 1000),
            ("user", get("user_usec") * 1000),
        ],
        &["kernel", "user"],
    );
    let throttling = object(
        &[
            ("periods", get("nr_periods")),
            ("throttledPeriods", get("nr_throttled")),
            ("throttledTime", get("throttled_usec") * 1000),
        ],
        &[],
    );
    let raw = table(&folder.join("memory.stat"));
    let entry = |name: &str| {
        let file = |suffix: &str| number(&folder.join(format!("{name}.{suffix}")));
        object(
            &[("limit", file("max")), ("usage", file("current")), ("max", file("peak")), ("failcnt", 0)],
            &["limit", "failcnt"],
        )
    };
    let mut memories = Map::new();
    if let Some(cache) = raw.get("file").filter(|cache| **cache != 0) {
        memories.insert("cache".into(), json!(cache));
    }
    memories.insert("usage".into(), entry("memory"));
    memories.insert("swap".into(), entry("memory.swap"));
    memories.insert("raw".into(), json!(raw));
    let mut bytes = String::new();
    let mut operations = String::new();
    for line in fs::read_to_string(folder.join("io.stat")).unwrap_or_default().lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(device) = fields.next() else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (text, operation) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            text.push_str(&format!("{device} {operation} {value}\n"));
        }
    }
    let mut stats = json!({
        "cpu": {"usage": usage, "throttling": throttling},
        "cpuset": cpuset(None),
        "memory": memories,
        "pids": pids(Some(folder)),
        "blkio": {
            "ioServiceBytesRecursive": block_entries(&bytes),
            "ioServicedRecursive": block_entries(&operations)
        },
        "hugetlb": huge_pages(Some(folder), true),
        "intel_rdt": {},
        "network_interfaces": null
    });
    for (key, file) in [("cpu", "cpu.pressure"), ("memory", "memory.pressure"), ("blkio", "io.pressure")] {
        if let Some(pressure) = pressure(&folder.join(file)) {
            stats[key]["psi"] = pressure;
        }
    }
    stats
}

impl Cgroup {
    /// What the container uses.
    pub(crate) fn stats(&self) -> Value {
        if self.unified() { version_2(&self.paths[""]) } else { version_1(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_lines_are_entries_and_totals_are_not() {
        let entries = block_entries("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n8:16 12\n");
        assert_eq!(entries[0], json!({"major": 8, "op": "Read", "value": 4096}));
        assert_eq!(entries[2], json!({"major": 8, "minor": 16, "value": 12}));
        assert_eq!(entries.len(), 3);
    }
}
