//! Device rules as properties of a systemd unit.

use std::path::Path;

use anyhow::{Context, Result};

use super::wire::{Property, Value};
use crate::cgroup::device::{Rule, exceptions, reduce};
use crate::cgroup::file::read;
use crate::kernel::log;

/// The properties for rules. systemd only has a list of allowed devices. Rules that it cannot express are set in the control group
/// afterwards.
pub(super) fn properties(rules: &[Rule], version: u32) -> Result<Vec<Property>> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    // Before version 240 systemd must be given the names of groups of devices.
    let groups = if version < 240 { read(Path::new("/proc/devices"))? } else { String::new() };
    let list = |pairs| ("DeviceAllow".to_owned(), Value::Pairs(pairs));
    let policy = |policy: &str| ("DevicePolicy".to_owned(), Value::Text(policy.to_owned()));
    let (everything, rest) = reduce(rules);
    let mut exceptions = exceptions(everything, rest).context("unable to apply rule for systemd")?;
    exceptions.retain(|rule| !rule.access.is_empty());
    if everything {
        // systemd has no list of denied devices.
        let policy = if exceptions.is_empty() {
            policy("auto")
        } else {
            log::warn("systemd doesn't support blacklist device rules -- applying temporary deny-all rule");
            policy("strict")
        };
        return Ok(vec![list(Vec::new()), policy]);
    }
    let mut allowed = Vec::new();
    for rule in exceptions {
        let kind = if rule.kind == 'b' { "block" } else { "char" };
        let path = match (rule.major, rule.minor) {
            (None, None) => format!("{kind}-*"),
            (Some(major), None) if version >= 240 => format!("{kind}-{major}"),
            (Some(major), None) => match group_of(&groups, rule.kind, major) {
                Some(group) => format!("{kind}-{group}"),
                None => {
                    log::warn(&format!(
                        "could not find device group for '{}/{major}' in /proc/devices -- temporarily ignoring rule: {}",
                        rule.kind,
                        rule.line()
                    ));
                    continue;
                }
            },
            (Some(major), Some(minor)) => {
                let path = format!("/dev/{kind}/{major}:{minor}");
                // Old versions look at the device file, and refuse a missing one.
                if version < 240 && !Path::new(&path).exists() {
                    continue;
                }
                path
            }
            (None, Some(_)) => {
                log::warn(&format!(
                    "systemd doesn't support '*:n' device rules -- temporarily ignoring rule: {}",
                    rule.line()
                ));
                continue;
            }
        };
        allowed.push((path, rule.access));
    }
    // An empty list clears the devices that were allowed before.
    Ok(vec![list(Vec::new()), policy("strict"), list(allowed)])
}

/// The name of a major number in `/proc/devices`.
fn group_of(table: &str, kind: char, major: u32) -> Option<&str> {
    let heading = if kind == 'b' { "Block devices:" } else { "Character devices:" };
    let mut lines = table.lines().map(str::trim).skip_while(|line| *line != heading).skip(1);
    let major = major.to_string();
    lines.by_ref().take_while(|line| !line.ends_with(':')).find_map(|line| {
        let (number, name) = line.split_once(' ')?;
        (number == major).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_properties_as_far_as_systemd_supports_them() {
        let table = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n  1 ramdisk\n  8 sd\n";
        for (kind, major, group) in
            [('c', 136, Some("pts")), ('c', 1, Some("mem")), ('b', 1, Some("ramdisk")), ('c', 8, None), ('b', 13, None)]
        {
            assert_eq!(group_of(table, kind, major), group, "{kind} {major}");
        }
        let deny = Rule { allow: false, kind: 'a', major: None, minor: None, access: "rwm".into() };
        let rules = [
            deny,
            Rule::allow('c', Some(1), Some(3), "rw"),
            Rule::allow('c', Some(1), Some(251), "rw"),
            Rule::allow('c', Some(1), None, "r"),
            Rule::allow('b', None, None, "m"),
            Rule::allow('c', None, Some(7), "m"),
        ];
        let paths = |version: u32| -> Vec<String> {
            match properties(&rules, version).unwrap().pop().unwrap() {
                (name, Value::Pairs(pairs)) if name == "DeviceAllow" => {
                    pairs.into_iter().map(|(path, _)| path).collect()
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(paths(240), ["/dev/char/1:3", "/dev/char/1:251", "char-1", "block-*"]);
        let old = paths(239);
        assert!(old.contains(&"char-mem".to_owned()) && !old.contains(&"/dev/char/1:251".to_owned()), "{old:?}");
        let hole =
            [Rule::allow('c', Some(1), None, "rw"), Rule { allow: false, ..Rule::allow('c', Some(1), Some(3), "w") }];
        assert!(properties(&hole, 252).is_err());
    }
}
