//! What a container uses now, for `docker stats`: read from the control groups and the network of its first process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use image_tool::show::format::List;
use image_tool::show::template::{Struct, Value};
use image_tool::show::{human, table};

use super::host;

/// docker's list.
pub const LIST: List<'static> = List {
    headings: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    narrowest: table::NARROW,
};

/// What a container has used, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    /// CPU time in nanoseconds.
    cpu: u64,
    memory: u64,
    limit: u64,
    processes: u64,
    /// Bytes received and sent.
    network: (u64, u64),
    /// Bytes read and written.
    blocks: (u64, u64),
}

/// The folders of control groups: by controller with the first version, and by an empty name with the second.
type Groups = BTreeMap<String, PathBuf>;

impl Usage {
    /// Of the container with the first process `pid`; absent if that has ended.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let groups = groups(pid)?;
        let (memory, limit) = memory(&groups);
        Some(Self {
            at: Instant::now(),
            cpu: cpu(&groups),
            memory,
            limit,
            processes: number(&groups, "pids", "pids.current"),
            network: network(pid),
            blocks: blocks(&groups),
        })
    }

    /// The share of one processor since an earlier moment, in percent.
    #[must_use]
    pub fn processor(&self, before: &Self) -> f64 {
        let time = self.at.duration_since(before.at).as_nanos() as f64;
        if time > 0.0 { self.cpu.saturating_sub(before.cpu) as f64 / time * 100.0 } else { 0.0 }
    }
}

fn groups(pid: i32) -> Option<Groups> {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    for mount in mounts.lines() {
        let fields: Vec<&str> = mount.split(' ').collect();
        match fields[..] {
            [_, place, "cgroup", options, ..] => {
                for option in options.split(',') {
                    places.entry(option.to_owned()).or_insert_with(|| place.into());
                }
            }
            [_, place, "cgroup2", ..] => drop(places.entry(String::new()).or_insert_with(|| place.into())),
            _ => {}
        }
    }
    let mut groups = Groups::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        for controller in controllers.split(',') {
            if let Some(place) = places.get(controller) {
                groups.insert(controller.to_owned(), place.join(path.trim_start_matches('/')));
            }
        }
    }
    Some(groups)
}

fn read(groups: &Groups, controller: &str, file: &str) -> String {
    let from = |name: &str| groups.get(name).and_then(|folder| fs::read_to_string(folder.join(file)).ok());
    from(controller).or_else(|| from("")).unwrap_or_default()
}

fn number(groups: &Groups, controller: &str, file: &str) -> u64 {
    read(groups, controller, file).trim().parse().unwrap_or_default()
}

/// The value behind a key in lines of `KEY VALUE`.
fn keyed(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or_default()
}

fn cpu(groups: &Groups) -> u64 {
    match number(groups, "cpuacct", "cpuacct.usage") {
        0 => keyed(&read(groups, "", "cpu.stat"), "usage_usec").saturating_mul(1000),
        nanoseconds => nanoseconds,
    }
}

/// The memory in use without the file cache that can be given up, as docker counts it, and the limit.
fn memory(groups: &Groups) -> (u64, u64) {
    let stat = read(groups, "memory", "memory.stat");
    let (used, cache, limit) = if groups.contains_key("memory") {
        let limit = number(groups, "memory", "memory.limit_in_bytes");
        (number(groups, "memory", "memory.usage_in_bytes"), keyed(&stat, "total_inactive_file"), limit)
    } else {
        (number(groups, "", "memory.current"), keyed(&stat, "inactive_file"), number(groups, "", "memory.max"))
    };
    let all = host::memory();
    (used.saturating_sub(cache), if limit == 0 || limit > all { all } else { limit })
}

/// All interfaces but the loopback one.
fn network(pid: i32) -> (u64, u64) {
    let same = |one: &Path, other: &Path| {
        fs::read_link(one).ok().zip(fs::read_link(other).ok()).is_some_and(|(one, other)| one == other)
    };
    if same(Path::new(&format!("/proc/{pid}/ns/net")), Path::new("/proc/self/ns/net")) {
        // The host's network is not the container's.
        return (0, 0);
    }
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut total = (0, 0);
    for line in text.lines() {
        let Some((name, values)) = line.split_once(':') else { continue };
        let values: Vec<u64> = values.split_whitespace().filter_map(|value| value.parse().ok()).collect();
        if name.trim() != "lo" && values.len() > 8 {
            total = (total.0 + values[0], total.1 + values[8]);
        }
    }
    total
}

fn blocks(groups: &Groups) -> (u64, u64) {
    let mut total = (0, 0);
    for line in read(groups, "blkio", "blkio.throttle.io_service_bytes").lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [_, "Read", bytes] => total.0 += bytes.parse::<u64>().unwrap_or_default(),
            [_, "Write", bytes] => total.1 += bytes.parse::<u64>().unwrap_or_default(),
            _ => {}
        }
    }
    for field in read(groups, "", "io.stat").split_whitespace() {
        match field.split_once('=') {
            Some(("rbytes", bytes)) => total.0 += bytes.parse::<u64>().unwrap_or_default(),
            Some(("wbytes", bytes)) => total.1 += bytes.parse::<u64>().unwrap_or_default(),
            _ => {}
        }
    }
    total
}

/// A row of docker's list. Without usage, of a container that does not run, all is zero. `word` is what the user called it.
#[must_use]
pub fn row(word: &str, id: &str, name: &str, usage: Option<(&Usage, f64)>, truncates: bool) -> Value {
    let (memory, limit, processor) = usage.map_or((0, 0, 0.0), |(now, processor)| (now.memory, now.limit, processor));
    let share = if limit > 0 { memory as f64 / limit as f64 * 100.0 } else { 0.0 };
    let pair = |bytes: (u64, u64)| {
        let short = |bytes: u64| human::size(bytes);
        format!("{} / {}", short(bytes.0), short(bytes.1))
    };
    let (network, blocks) = usage.map_or(((0, 0), (0, 0)), |(now, _)| (now.network, now.blocks));
    let id = if truncates { id.get(..12).unwrap_or(id) } else { id };
    Struct::new("*container.statsContext")
        .with("BlockIO", pair(blocks))
        .with("CPUPerc", format!("{processor:.2}%"))
        .with("Container", word)
        .with("ID", id)
        .with("MemPerc", format!("{share:.2}%"))
        .with("MemUsage", format!("{} / {}", human::binary_size(memory), human::binary_size(limit)))
        .with("Name", name)
        .with("NetIO", pair(network))
        .with("PIDs", usage.map_or(0, |(now, _)| now.processes).to_string())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = Usage::of(pid).unwrap();
        assert!(before.limit > 0);
        assert!(Usage::of(pid).unwrap().processor(&before) >= 0.0);
        assert!(Usage::of(-1).is_none());
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing() {
        let row = row("web", "0123456789abcdef", "web", None, true);
        for (field, value) in
            [("ID", "0123456789ab"), ("CPUPerc", "0.00%"), ("MemUsage", "0B / 0B"), ("NetIO", "0B / 0B"), ("PIDs", "0")]
        {
            assert_eq!(row.text_of(field), Some(value));
        }
    }
}
