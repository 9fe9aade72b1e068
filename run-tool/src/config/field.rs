//! Fields of a document as Go's decoder finds them, on which configurations rely that only ever met runc.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// The fields of the runtime spec's documents on Linux, in the order of their lower case: of no two of them is it the same.
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

/// The fields that hold a map: its keys are not names of fields, those of its values are.
const MAPS: [&str; 6] = ["annotations", "netDevices", "rdma", "sysctl", "timeOffsets", "unified"];

/// Takes a null for a missing value, and a name for that of the field it is but for upper and lower case.
pub(crate) fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            rename(fields);
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields {
                match value {
                    Value::Object(entries) if MAPS.contains(&name.as_str()) => {
                        entries.retain(|_, value| !value.is_null());
                        entries.values_mut().for_each(settle);
                    }
                    value => settle(value),
                }
            }
        }
        Value::Array(array) => {
            array.retain(|value| !value.is_null());
            array.iter_mut().for_each(settle);
        }
        _ => {}
    }
}

fn rename(fields: &mut Map<String, Value>) {
    let misspelt: Vec<(String, &str)> =
        fields.keys().filter_map(|key| Some((key.clone(), known(key).filter(|name| name != key)?))).collect();
    for (key, name) in misspelt {
        if let Some(value) = fields.remove(&key) {
            // The field's own name is the better one.
            fields.entry(name).or_insert(value);
        }
    }
}

/// The field that a name means.
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
    fn the_names_are_in_order() {
        assert!(NAMES.is_sorted_by(|one, other| compare(one, other) == Ordering::Less));
        assert!(MAPS.iter().all(|name| NAMES.contains(name)));
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let mut document = json!({
            "Linux": {
                "resources": {"hugepageLimits": [{"pagesize": "2MB", "LIMIT": 1}], "unified": {"Memory.Max": "1"}},
                "netDevices": {"Name": {"NAME": "eth0"}, "none": null},
                "sysctl": {"kernel.Domainname": "x"},
            },
            "annotations": {"UID": "1", "uid": "2"},
            "hostname": "good",
            "hostName": "bad",
            "Extra": {"mounts": null},
        });
        settle(&mut document);
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
        assert_eq!(document, expected);
    }
}
