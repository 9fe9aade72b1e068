//! Field names by the rules of Go's decoder. Configurations that were only ever used with runc may rely on them.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The fields of the runtime spec's documents on Linux, sorted by their lower case, in which they are all distinct.
#[rustfmt::skip]
const NAMES: [&str; 155] = [
    "access", "action", "additionalGids", "allow", "ambient", "annotations", "apparmorProfile", "architectures",
    "args", "blockIO", "bounding", "burst", "capabilities", "cgroupsPath", "checkBeforeUpdate", "class", "classID",
    "closID", "consoleSize", "containerID", "cpu", "cpus", "createContainer", "createRuntime", "cwd", "deadline",
    "defaultAction", "defaultErrnoRet", "destination", "devices", "deviceTree", "disableOOMKiller", "domain",
    "domainname", "dtdevs", "effective", "enableMonitoring", "env", "errnoRet", "execCPUAffinity", "fileMode",
    "final", "firstGFN", "firstMFN", "flags", "gid", "gidMappings", "hard", "hcaHandles", "hcaObjects", "height",
    "hooks", "hostID", "hostname", "hugepageLimits", "idle", "index", "inheritable", "initial", "intelRdt", "iomems",
    "ioPriority", "irqs", "kernel", "kernelTCP", "l3CacheSchema", "leafWeight", "limit", "linux", "listenerMetadata",
    "listenerPath", "major", "maskedPaths", "memBwSchema", "memory", "memoryPolicy", "mems", "minor", "mode",
    "mountLabel", "mounts", "name", "names", "namespaces", "nanosecs", "netDevices", "network", "nice", "nodes",
    "noNewPrivileges", "nrMFNs", "ociVersion", "oomScoreAdj", "op", "options", "pageSize", "path", "period",
    "permitted", "personality", "pids", "policy", "poststart", "poststop", "prestart", "priorities", "priority",
    "process", "quota", "rate", "rdma", "readonly", "readonlyPaths", "realtimePeriod", "realtimeRuntime",
    "reservation", "resources", "rlimits", "root", "rootfsPropagation", "runtime", "scheduler", "schemata", "seccomp",
    "secs", "selinuxLabel", "shares", "size", "soft", "source", "startContainer", "swap", "swappiness", "syscalls",
    "sysctl", "terminal", "throttleReadBpsDevice", "throttleReadIOPSDevice", "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice", "timeOffsets", "timeout", "type", "uid", "uidMappings", "umask", "unified",
    "useHierarchy", "user", "value", "valueTwo", "vcpus", "weight", "weightDevice", "width",
];

/// The fields whose value is a map: its keys are not field names, but the keys in its values are.
const MAPS: [&str; 6] = ["annotations", "netDevices", "rdma", "sysctl", "timeOffsets", "unified"];

/// Parses the value at the beginning of a text; what follows it is ignored. Nulls are dropped. Field names are matched regardless of
/// case. If a field occurs twice, the later value replaces the earlier one, or is merged into it if both are objects.
pub(crate) fn read(text: &[u8]) -> serde_json::Result<Value> {
    Keys::Fields.deserialize(&mut serde_json::Deserializer::from_slice(text))
}

/// Merges a value into another one: objects are merged, everything else is replaced.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                put(into, &key, value);
            }
        }
        (into, from) => *into = from,
    }
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        fields.remove(name);
    } else if let Some(earlier) = fields.get_mut(name) {
        merge(earlier, value);
    } else {
        fields.insert(name.to_owned(), value);
    }
}

/// The meaning of an object's keys.
#[derive(Clone, Copy)]
enum Keys {
    /// They are field names.
    Fields,
    /// They are the keys of a map, which are kept as they are.
    Entries,
}

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self::Fields)? {
            if !item.is_null() {
                array.push(item);
            }
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let field = match self {
                Self::Fields => known(&key),
                Self::Entries => None,
            };
            let keys = if field.is_some_and(|field| MAPS.contains(&field)) { Self::Entries } else { Self::Fields };
            let value = entries.next_value_seed(keys)?;
            put(&mut fields, field.unwrap_or(&key), value);
        }
        Ok(fields.into())
    }
}

/// The field that a name stands for, regardless of case.
fn known(name: &str) -> Option<&'static str> {
    NAMES.binary_search_by(|known| compare(known, name)).ok().map(|index| NAMES[index])
}

fn compare(one: &str, other: &str) -> Ordering {
    one.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_names_are_sorted() {
        assert!(NAMES.is_sorted_by(|one, other| compare(one, other) == Ordering::Less));
        assert!(MAPS.iter().all(|name| NAMES.contains(name)));
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let document = read(
            br#"{
            "Linux": {
                "resources": {"hugepageLimits": [{"pagesize": "2MB", "LIMIT": 1}, null], "unified": {"Memory.Max": "1"}},
                "netDevices": {"Name": {"NAME": "eth0"}, "none": null},
                "sysctl": {"kernel.Domainname": "x"}
            },
            "annotations": {"UID": "1", "uid": "2"},
            "hostname": "good",
            "Extra": {"mounts": null}
        } and what follows"#,
        );
        let expected = json!({
            "linux": {
                "resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"Memory.Max": "1"}},
                "netDevices": {"Name": {"name": "eth0"}},
                "sysctl": {"kernel.Domainname": "x"},
            },
            "annotations": {"UID": "1", "uid": "2"},
            "hostname": "good",
            "Extra": {},
        });
        assert_eq!(document.unwrap(), expected);
    }

    #[test]
    fn the_later_of_two_fields_counts_and_objects_are_merged() {
        let text = br#"{"hostname": "a", "HostName": "b", "root": {"path": "a"}, "root": null,
            "linux": {"resources": {"cpu": {"shares": 1, "mems": "0"}, "CPU": {"Shares": 2, "Cpus": "1"}}},
            "process": {"args": ["a", "b"], "Args": ["c"]}, "Annotations": {"a": "1", "b": "1"}, "annotations": {"a": "2"}}"#;
        let expected = json!({
            "hostname": "b",
            "linux": {"resources": {"cpu": {"shares": 2, "mems": "0", "cpus": "1"}}},
            "process": {"args": ["c"]},
            "annotations": {"a": "2", "b": "1"},
        });
        assert_eq!(read(text).unwrap(), expected);
    }
}
