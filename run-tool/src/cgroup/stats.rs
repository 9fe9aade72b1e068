//! Statistics of control groups, with the keys of runc's `events`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

fn number(path: &Path) -> u64 {
    match fs::read_to_string(path) {
        // No limit is shown as the greatest number.
        Ok(text) if text.trim() == "max" => u64::MAX,
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

/// Parses a file of `key value` lines.
fn table(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect()
}

/// An object without zeros, as Go leaves out empty values. The keys in `always` are kept.
fn object(entries: &[(&str, u64)], always: &[&str]) -> Value {
    let kept = entries.iter().filter(|(key, value)| *value != 0 || always.contains(key));
    Value::Object(kept.map(|(key, value)| ((*key).to_owned(), json!(value))).collect())
}

/// Inserts an object into another one, unless it has only zeros.
fn insert(into: &mut Map<String, Value>, key: &str, entries: &[(&str, u64)], always: &[&str]) {
    if entries.iter().any(|(_, value)| *value != 0) {
        into.insert(key.to_owned(), object(entries, always));
    }
}

const MEMORY_ALWAYS: [&str; 2] = ["limit", "failcnt"];

fn throttling(stat: &BTreeMap<String, u64>, time: u64) -> [(&'static str, u64); 3] {
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    [("periods", get("nr_periods")), ("throttledPeriods", get("nr_throttled")), ("throttledTime", time)]
}

/// Parses lines `MAJOR:MINOR OPERATION VALUE` or `MAJOR:MINOR VALUE`.
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
    if !folder.join("pids.current").exists() {
        // A group of cgroup v2 without the pids controller.
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        return object(&[("current", processes.lines().count() as u64)], &[]);
    }
    let limit = match number(&folder.join("pids.max")) {
        u64::MAX => 0,
        limit => limit,
    };
    object(&[("current", number(&folder.join("pids.current"))), ("limit", limit)], &[])
}

/// Statistics of huge pages by their size. If the kernel has separate files for reservations, these are the usage.
fn huge_pages(folder: Option<&Path>, unified: bool) -> Map<String, Value> {
    let mut pages = Map::new();
    let Some((folder, entries)) = folder.and_then(|folder| Some((folder, fs::read_dir(folder).ok()?))) else {
        return pages;
    };
    let usage = if unified { "current" } else { "usage_in_bytes" };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        // The size must end with a dot: `max_usage_in_bytes` is another file.
        let name = name.strip_prefix("hugetlb.").and_then(|name| name.strip_suffix(usage));
        let Some(size) = name.and_then(|name| name.strip_suffix('.')) else { continue };
        if size.ends_with(".rsvd") {
            continue;
        }
        let file = |suffix: &str| folder.join(format!("hugetlb.{size}.{suffix}"));
        let reserved = if file(&format!("rsvd.{usage}")).exists() { "rsvd." } else { "" };
        let usage = number(&file(&format!("{reserved}{usage}")));
        let entries = if unified {
            let failures = table(&file("events")).get("max").copied().unwrap_or(0);
            [("usage", usage), ("max", 0), ("failcnt", failures)]
        } else {
            let of = |name: &str| number(&file(&format!("{reserved}{name}")));
            [("usage", usage), ("max", of("max_usage_in_bytes")), ("failcnt", of("failcnt"))]
        };
        pages.insert(size.to_owned(), object(&entries, &["failcnt"]));
    }
    pages
}

/// The time of each CPU in user mode and in the kernel. The file has a heading, then lines of CPU, user and system time.
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

fn cpu_1(accounts: Option<&Path>, bandwidth: Option<&Path>) -> Map<String, Value> {
    let mut cpu = Map::new();
    if let Some(folder) = accounts {
        // USER_HZ is 100 on every architecture that matters.
        let ticks = table(&folder.join("cpuacct.stat"));
        let nanoseconds = |key: &str| ticks.get(key).copied().unwrap_or(0) * 10_000_000;
        let entries = [
            ("total", number(&folder.join("cpuacct.usage"))),
            ("kernel", nanoseconds("system")),
            ("user", nanoseconds("user")),
        ];
        insert(&mut cpu, "usage", &entries, &["kernel", "user"]);
        if let Some(usage) = cpu.get_mut("usage") {
            let text = fs::read_to_string(folder.join("cpuacct.usage_percpu")).unwrap_or_default();
            let each: Vec<u64> = text.split_ascii_whitespace().filter_map(|value| value.parse().ok()).collect();
            let [users, kernel] = each_cpu(&folder.join("cpuacct.usage_all"));
            for (key, each) in [("percpu", each), ("percpu_user", users), ("percpu_kernel", kernel)] {
                if !each.is_empty() {
                    usage[key] = json!(each);
                }
            }
        }
    }
    if let Some(folder) = bandwidth {
        let stat = table(&folder.join("cpu.stat"));
        let time = stat.get("throttled_time").copied().unwrap_or(0);
        insert(&mut cpu, "throttling", &throttling(&stat, time), &[]);
    }
    cpu
}

fn memory_1(folder: Option<&Path>) -> Map<String, Value> {
    let mut memories = Map::new();
    let Some(folder) = folder else { return memories };
    let raw = table(&folder.join("memory.stat"));
    if let Some(cache) = raw.get("cache").filter(|cache| **cache != 0) {
        memories.insert("cache".into(), json!(cache));
    }
    for (key, name) in
        [("usage", "memory"), ("swap", "memory.memsw"), ("kernel", "memory.kmem"), ("kernelTCP", "memory.kmem.tcp")]
    {
        let file = |suffix: &str| number(&folder.join(format!("{name}.{suffix}")));
        let entries = [
            ("limit", file("limit_in_bytes")),
            ("usage", file("usage_in_bytes")),
            ("max", file("max_usage_in_bytes")),
            ("failcnt", file("failcnt")),
        ];
        insert(&mut memories, key, &entries, &MEMORY_ALWAYS);
    }
    memories.insert("raw".into(), json!(raw));
    memories
}

fn block_1(folder: Option<&Path>) -> Map<String, Value> {
    let mut block = Map::new();
    let Some(folder) = folder else { return block };
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
    block
}

/// The statistics of groups in cgroup v1.
pub(super) fn version_1(paths: &BTreeMap<String, PathBuf>) -> Value {
    let folder = |name: &str| paths.get(name).map(|path| path.as_path());
    json!({
        "cpu": cpu_1(folder("cpuacct"), folder("cpu")),
        "cpuset": cpuset(folder("cpuset")),
        "memory": memory_1(folder("memory")),
        "pids": pids(folder("pids")),
        "blkio": block_1(folder("blkio")),
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
        let mask = crate::kernel::set::parse(text.trim()).unwrap_or_default();
        let members: Vec<usize> =
            (0..mask.len() * 64).filter(|member| mask[member / 64] & 1 << (member % 64) != 0).collect();
        if !members.is_empty() {
            set.insert(key.into(), json!(members));
        }
    }
    Value::Object(set)
}

/// Pressure stall information in runc's form. `None`: all values are zero, or there are none.
fn pressure(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    let mut kinds = Map::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let kind = fields.next()?;
        let mut values = Map::new();
        let mut pressed = false;
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let value: f64 = value.parse().ok()?;
            pressed |= value != 0.0;
            // Go writes whole numbers without a decimal point.
            let value = if value.fract() == 0.0 { json!(value as u64) } else { json!(value) };
            values.insert(key.to_owned(), value);
        }
        if pressed {
            kinds.insert(kind.to_owned(), Value::Object(values));
        }
    }
    Some(Value::Object(kinds))
}

/// Limit, usage and peak of memory, or of swap alone. A value is zero if the kernel does not count it.
fn memory_2(folder: &Path, name: &str) -> [u64; 3] {
    ["max", "current", "peak"].map(|suffix| number(&folder.join(format!("{name}.{suffix}"))))
}

fn block_2(folder: &Path) -> Map<String, Value> {
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
    let mut block = Map::new();
    for (key, text) in [("ioServiceBytesRecursive", bytes), ("ioServicedRecursive", operations)] {
        let entries = block_entries(&text);
        if !entries.is_empty() {
            block.insert(key.into(), Value::Array(entries));
        }
    }
    block
}

pub(super) fn version_2(folder: &Path) -> Value {
    let mut cpus = Map::new();
    let stat = table(&folder.join("cpu.stat"));
    let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or(0) * 1000;
    let usage = [
        ("total", nanoseconds("usage_usec")),
        ("kernel", nanoseconds("system_usec")),
        ("user", nanoseconds("user_usec")),
    ];
    insert(&mut cpus, "usage", &usage, &["kernel", "user"]);
    insert(&mut cpus, "throttling", &throttling(&stat, nanoseconds("throttled_usec")), &[]);
    let mut memories = Map::new();
    let raw = table(&folder.join("memory.stat"));
    if let Some(cache) = raw.get("file").filter(|cache| **cache != 0) {
        memories.insert("cache".into(), json!(cache));
    }
    let entries = |[limit, usage, max]: [u64; 3]| [("limit", limit), ("usage", usage), ("max", max), ("failcnt", 0)];
    let memory = memory_2(folder, "memory");
    insert(&mut memories, "usage", &entries(memory), &MEMORY_ALWAYS);
    // In cgroup v1, and for readers of these keys, swap includes memory. The common peak is not known.
    let [limit, usage, _] = memory_2(folder, "memory.swap");
    let swap = [limit.saturating_add(memory[0]), usage + memory[1], 0];
    insert(&mut memories, "swap", &entries(swap), &MEMORY_ALWAYS);
    if !raw.is_empty() {
        memories.insert("raw".into(), json!(raw));
    }
    let mut block = block_2(folder);
    let controllers = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for (stats, controller) in [(&mut cpus, "cpu"), (&mut memories, "memory"), (&mut block, "io")] {
        if controllers.split_ascii_whitespace().any(|known| known == controller)
            && let Some(pressure) = pressure(&folder.join(format!("{controller}.pressure")))
        {
            stats.insert("psi".into(), pressure);
        }
    }
    json!({
        "cpu": cpus,
        "cpuset": cpuset(None),
        "memory": memories,
        "pids": pids(Some(folder)),
        "blkio": block,
        "hugetlb": huge_pages(Some(folder), true),
        "intel_rdt": {},
        "network_interfaces": null
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_block_devices_become_entries_without_totals() {
        let entries = block_entries("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n8:16 12\n");
        assert_eq!(entries[0], json!({"major": 8, "op": "Read", "value": 4096}));
        assert_eq!(entries[2], json!({"major": 8, "minor": 16, "value": 12}));
        assert_eq!(entries.len(), 3);
    }

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn huge_pages_of_cgroup_v1_have_a_key_for_each_size() {
        let folder = group(&[
            ("hugetlb.2MB.usage_in_bytes", "1\n"),
            ("hugetlb.2MB.max_usage_in_bytes", "2\n"),
            ("hugetlb.2MB.failcnt", "3\n"),
            ("hugetlb.1GB.usage_in_bytes", "0\n"),
            ("hugetlb.1GB.rsvd.usage_in_bytes", "4\n"),
            ("hugetlb.1GB.rsvd.max_usage_in_bytes", "5\n"),
            ("hugetlb.1GB.rsvd.failcnt", "6\n"),
        ]);
        assert_eq!(
            Value::Object(huge_pages(Some(folder.path()), false)),
            json!({"2MB": {"usage": 1, "max": 2, "failcnt": 3}, "1GB": {"usage": 4, "max": 5, "failcnt": 6}})
        );
    }

    #[test]
    fn cgroup_v2_is_shown_with_the_keys_of_v1() {
        let folder = group(&[
            ("cgroup.controllers", "cpu memory io pids hugetlb\n"),
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            ),
            ("memory.stat", "anon 5\nfile 7\n"),
            ("memory.current", "100\n"),
            ("memory.max", "1000\n"),
            ("memory.peak", "300\n"),
            ("memory.swap.current", "20\n"),
            ("memory.swap.max", "500\n"),
            ("memory.swap.peak", "30\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=0 rios=2 wios=0 dbytes=0 dios=0\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("hugetlb.2MB.current", "1\n"),
            ("hugetlb.2MB.rsvd.current", "2097152\n"),
            ("hugetlb.2MB.events", "max 4\n"),
            (
                "cpu.pressure",
                "some avg10=0.50 avg60=2.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ]);
        let stats = version_2(folder.path());
        // There was no throttling, so no key for it. Whole numbers have no decimal point.
        assert_eq!(
            stats["cpu"].to_string(),
            r#"{"psi":{"some":{"avg10":0.5,"avg300":0,"avg60":2,"total":9}},"usage":{"kernel":10000,"total":30000,"user":20000}}"#
        );
        assert_eq!(stats["memory"]["usage"], json!({"limit": 1000, "usage": 100, "max": 300, "failcnt": 0}));
        // Swap includes memory.
        assert_eq!(stats["memory"]["swap"], json!({"limit": 1500, "usage": 120, "failcnt": 0}));
        assert_eq!(stats["memory"]["cache"], json!(7));
        let read = |value: u64| json!({"major": 8, "op": "Read", "value": value});
        assert_eq!(stats["blkio"]["ioServiceBytesRecursive"], json!([read(1), {"major": 8, "op": "Write"}]));
        assert_eq!(stats["blkio"]["ioServicedRecursive"][0], read(2));
        assert_eq!(stats["blkio"]["psi"], json!({}));
        assert_eq!(stats["pids"], json!({"current": 3}));
        assert_eq!(stats["hugetlb"], json!({"2MB": {"usage": 2_097_152, "failcnt": 4}}));
    }

    #[test]
    fn values_that_cgroup_v2_does_not_count_are_left_out() {
        let folder = group(&[("cgroup.controllers", ""), ("cgroup.procs", "1\n2\n"), ("cpu.pressure", "")]);
        let stats = version_2(folder.path());
        assert_eq!((&stats["cpu"], &stats["memory"], &stats["blkio"]), (&json!({}), &json!({}), &json!({})));
        assert_eq!(stats["pids"], json!({"current": 2}));
    }
}
