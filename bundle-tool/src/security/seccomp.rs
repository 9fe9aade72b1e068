//! The seccomp filter of a container: docker's default policy, or a profile in docker's JSON format.
//!
//! The default policy, `seccomp.rules` beside this file, is compiled into the tool. A file in /usr/share would make bundles depend on what
//! else is installed, and the one of containers-common, which many hosts have, is not docker's policy. Rules that depend on capabilities,
//! architecture or kernel are resolved here, so that config.json holds plain OCI rules.

use std::collections::BTreeSet;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use serde::Deserialize;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not JSON in docker's format.
    #[error("not a seccomp profile")]
    Syntax(#[source] serde_json::Error),
    /// The profile has both `archMap` and `architectures`.
    #[error("a seccomp profile has either architectures or archMap, not both")]
    TwoArchitectures,
    /// A rule has both `name` and `names`.
    #[error("a seccomp rule has either name or names, not both")]
    TwoNames,
    /// A rule's kernel version does not parse.
    #[error("{0:?} is not a valid kernel version")]
    Kernel(String),
}

/// What the conditions of rules refer to.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The capabilities of the container.
    pub capabilities: &'a BTreeSet<&'static str>,
    /// The architecture of the image, by Go's name.
    pub architecture: &'a str,
    /// The major and minor version of the kernel.
    pub kernel: (u32, u32),
}

/// Docker's default filter under these circumstances.
pub fn default_filter(circumstances: &Circumstances<'_>) -> LinuxSeccomp {
    let profile = Profile {
        default_action: LinuxSeccompAction::ScmpActErrno,
        default_errno_ret: Some(1),
        architectures: native_architectures(circumstances.architecture).to_vec(),
        arch_map: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        syscalls: include_str!("seccomp.rules").lines().filter_map(rule).collect(),
    };
    profile.resolve(circumstances).expect("the built-in policy resolves, as its tests show")
}

/// The filter that a profile in docker's JSON format describes.
pub fn filter_from_json(json: &[u8], circumstances: &Circumstances<'_>) -> Result<LinuxSeccomp, Error> {
    serde_json::from_slice::<Profile>(json).map_err(Error::Syntax)?.resolve(circumstances)
}

/// Docker's profile format: that of OCI with conditions on rules, and sub-architectures of each architecture.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_default")]
    architectures: Vec<Arch>,
    #[serde(default, deserialize_with = "null_is_default")]
    arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "null_is_default")]
    flags: Vec<LinuxSeccompFilterFlag>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default, deserialize_with = "null_is_default")]
    sub_architectures: Vec<Arch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_default")]
    args: Vec<Argument>,
    #[serde(default, deserialize_with = "null_is_default")]
    includes: Condition,
    #[serde(default, deserialize_with = "null_is_default")]
    excludes: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: LinuxSeccompOperator,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default, deserialize_with = "null_is_default")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    min_kernel: String,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(source: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(source).map(Option::unwrap_or_default)
}

impl Profile {
    fn resolve(self, circumstances: &Circumstances<'_>) -> Result<LinuxSeccomp, Error> {
        let mut architectures = self.architectures;
        if !self.arch_map.is_empty() {
            if !architectures.is_empty() {
                return Err(Error::TwoArchitectures);
            }
            let native = native_architectures(circumstances.architecture).first();
            if let Some(map) = self.arch_map.into_iter().find(|map| Some(&map.architecture) == native) {
                architectures.push(map.architecture);
                architectures.extend(map.sub_architectures);
            }
        }
        let mut filter = LinuxSeccomp::default();
        filter.set_default_action(self.default_action);
        filter.set_default_errno_ret(self.default_errno_ret);
        filter.set_architectures(Some(architectures).filter(|list| !list.is_empty()));
        filter.set_flags(Some(self.flags).filter(|list| !list.is_empty()));
        filter.set_listener_path(self.listener_path.filter(|path| !path.as_os_str().is_empty()));
        filter.set_listener_metadata(self.listener_metadata.filter(|text| !text.is_empty()));
        let mut rules: Vec<LinuxSyscall> = Vec::new();
        for rule in self.syscalls {
            if rule.includes.holds(circumstances)? && !rule.excludes.excludes(circumstances)? {
                rules.push(rule.into_oci()?);
            }
        }
        filter.set_syscalls(Some(merge(rules)));
        Ok(filter)
    }
}

/// Merges rules that differ only in their names: a filter of fewer rules is compiled faster.
fn merge(rules: Vec<LinuxSyscall>) -> Vec<LinuxSyscall> {
    let mut merged: Vec<(LinuxSyscall, Vec<String>)> = Vec::new();
    for rule in rules {
        let like = merged.iter_mut().find(|(known, _)| {
            rule.args().is_none()
                && known.args().is_none()
                && known.action() == rule.action()
                && known.errno_ret() == rule.errno_ret()
        });
        let names = rule.names().clone();
        match like {
            Some((_, known)) => known.extend(names),
            None => merged.push((rule, names)),
        }
    }
    let with_names = |(mut rule, mut names): (LinuxSyscall, Vec<String>)| {
        names.sort_unstable();
        names.dedup();
        rule.set_names(names);
        rule
    };
    merged.into_iter().map(with_names).collect()
}

impl Rule {
    fn into_oci(self) -> Result<LinuxSyscall, Error> {
        let mut names = self.names;
        if !self.name.is_empty() {
            if !names.is_empty() {
                return Err(Error::TwoNames);
            }
            names.push(self.name);
        }
        let mut call = LinuxSyscall::default();
        call.set_names(names);
        call.set_action(self.action);
        call.set_errno_ret(self.errno_ret);
        let arguments: Vec<LinuxSeccompArg> = self.args.into_iter().map(Argument::into_oci).collect();
        call.set_args(Some(arguments).filter(|list| !list.is_empty()));
        Ok(call)
    }
}

impl Argument {
    fn into_oci(self) -> LinuxSeccompArg {
        let argument = LinuxSeccompArgBuilder::default().index(self.index).value(self.value).op(self.op);
        let argument = if self.value_two == 0 { argument } else { argument.value_two(self.value_two) };
        argument.build().expect("index, value and operator are set")
    }
}

impl Condition {
    /// Whether all of the requirements are met.
    fn holds(&self, circumstances: &Circumstances<'_>) -> Result<bool, Error> {
        let capabilities = self.caps.iter().all(|cap| circumstances.capabilities.contains(cap.as_str()));
        let architecture = self.arches.is_empty() || self.arches.iter().any(|arch| arch == circumstances.architecture);
        Ok(capabilities
            && architecture
            && (self.min_kernel.is_empty() || circumstances.kernel >= version(&self.min_kernel)?))
    }

    /// Whether any of the exclusions applies.
    fn excludes(&self, circumstances: &Circumstances<'_>) -> Result<bool, Error> {
        let capability = self.caps.iter().any(|cap| circumstances.capabilities.contains(cap.as_str()));
        let architecture = self.arches.iter().any(|arch| arch == circumstances.architecture);
        Ok(capability
            || architecture
            || (!self.min_kernel.is_empty() && circumstances.kernel >= version(&self.min_kernel)?))
    }
}

fn version(text: &str) -> Result<(u32, u32), Error> {
    let wrong = || Error::Kernel(text.into());
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    Ok((number().ok_or_else(wrong)?, number().ok_or_else(wrong)?))
}

/// The major and minor version of the running kernel.
pub fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    // A release that does not parse counts as newer than any that a rule requires.
    version(&name.release().to_string_lossy()).unwrap_or((u32::MAX, 0))
}

/// The seccomp names of an architecture, given by Go's name, and of those whose programs it runs as well.
fn native_architectures(name: &str) -> &'static [Arch] {
    match name {
        "amd64" => &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "386" => &[Arch::ScmpArchX86],
        "arm64" => &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        "arm" => &[Arch::ScmpArchArm],
        "ppc64le" => &[Arch::ScmpArchPpc64le],
        "s390x" => &[Arch::ScmpArchS390x, Arch::ScmpArchS390],
        "riscv64" => &[Arch::ScmpArchRiscv64],
        _ => &[],
    }
}

/// Parses a line of the built-in policy; `None` for a comment or a blank line.
fn rule(line: &str) -> Option<Rule> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    const GOOD: &str = "the built-in policy is well-formed, as its tests show";
    let (head, names) = line.split_once(':').expect(GOOD);
    let mut words = head.split_whitespace();
    let (action, errno_ret) = match words.next().expect(GOOD).split_once('=') {
        None => (LinuxSeccompAction::ScmpActAllow, None),
        Some((_, number)) => (LinuxSeccompAction::ScmpActErrno, Some(number.parse().expect(GOOD))),
    };
    let mut rule = Rule {
        name: String::new(),
        names: names.split_whitespace().map(str::to_owned).collect(),
        action,
        errno_ret,
        args: Vec::new(),
        includes: Condition::default(),
        excludes: Condition::default(),
    };
    for word in words {
        if let Some(test) = word.strip_prefix("arg") {
            rule.args.push(argument(test).expect(GOOD));
            continue;
        }
        let (key, value) = word.split_once('=').expect(GOOD);
        let list = || value.split(',').map(str::to_owned);
        match key {
            "cap" => rule.includes.caps.extend(list()),
            "nocap" => rule.excludes.caps.extend(list()),
            "arch" => rule.includes.arches.extend(list()),
            "noarch" => rule.excludes.arches.extend(list()),
            "kernel" => rule.includes.min_kernel = value.to_owned(),
            other => unreachable!("{GOOD}: {other}"),
        }
    }
    Some(rule)
}

/// Parses the test of an argument: `0==8`, `0!=40` or `0&MASK==0`.
fn argument(test: &str) -> Option<Argument> {
    let (index, test) = test.split_at_checked(1)?;
    let index = index.parse().ok()?;
    Some(if let Some(masked) = test.strip_prefix('&') {
        let (mask, value) = masked.split_once("==")?;
        let op = LinuxSeccompOperator::ScmpCmpMaskedEq;
        Argument { index, value: mask.parse().ok()?, value_two: value.parse().ok()?, op }
    } else if let Some(value) = test.strip_prefix("==") {
        Argument { index, value: value.parse().ok()?, value_two: 0, op: LinuxSeccompOperator::ScmpCmpEq }
    } else {
        let value = test.strip_prefix("!=")?.parse().ok()?;
        Argument { index, value, value_two: 0, op: LinuxSeccompOperator::ScmpCmpNe }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(capabilities: &[&'static str], architecture: &str, kernel: (u32, u32)) -> LinuxSeccomp {
        let capabilities = capabilities.iter().copied().collect();
        default_filter(&Circumstances { capabilities: &capabilities, architecture, kernel })
    }

    fn rules_for(filter: &LinuxSeccomp, name: &str) -> Vec<LinuxSyscall> {
        let rules = filter.syscalls().as_ref().unwrap();
        rules.iter().filter(|rule| rule.names().iter().any(|each| each == name)).cloned().collect()
    }

    #[test]
    fn every_line_of_the_policy_is_a_rule_with_names() {
        let rules: Vec<Rule> = include_str!("seccomp.rules").lines().filter_map(rule).collect();
        assert!(rules.len() > 50);
        for each in rules {
            assert!(!each.names.is_empty());
            assert!(
                each.names.iter().all(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()))
            );
        }
    }

    #[test]
    fn capabilities_open_the_calls_they_are_for() {
        let plain = filter(&crate::security::capability::DEFAULT, "amd64", (6, 1));
        assert_eq!(plain.default_errno_ret(), Some(1));
        assert!(rules_for(&plain, "mount").is_empty());
        assert!(rules_for(&plain, "chroot").len() == 1);
        let clone = &rules_for(&plain, "clone")[0];
        let argument = &clone.args().as_ref().unwrap()[0];
        assert_eq!((argument.index(), argument.value(), argument.value_two()), (0, 2_114_060_288, None));
        assert_eq!(rules_for(&plain, "clone3")[0].errno_ret(), Some(38));

        let admin = filter(&["CAP_SYS_ADMIN"], "amd64", (6, 1));
        assert!(rules_for(&admin, "mount").len() == 1);
        assert_eq!(rules_for(&admin, "clone3")[0].action(), LinuxSeccompAction::ScmpActAllow);
        assert!(rules_for(&admin, "clone")[0].args().is_none());
    }

    #[test]
    fn architecture_and_kernel_decide_too() {
        assert!(rules_for(&filter(&[], "amd64", (6, 1)), "ptrace").len() == 1);
        assert!(rules_for(&filter(&[], "amd64", (4, 4)), "ptrace").is_empty());
        assert!(rules_for(&filter(&[], "arm64", (6, 1)), "arch_prctl").is_empty());
        let s390 = filter(&[], "s390x", (6, 1));
        assert_eq!(rules_for(&s390, "clone")[0].args().as_ref().unwrap()[0].index(), 1);
        assert_eq!(s390.architectures().as_ref().unwrap().len(), 2);
    }

    #[test]
    fn personality_is_one_rule_a_value() {
        assert_eq!(rules_for(&filter(&[], "amd64", (6, 1)), "personality").len(), 5);
    }

    #[test]
    fn dockers_format_is_read_with_nulls_and_old_names() {
        let json = br#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":null}],
            "syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO","args":null},
                        {"names":["chown"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_KILL"]}},
                        {"names":["getcwd"],"action":"SCMP_ACT_ERRNO","excludes":{"arches":["amd64"]}}]}"#;
        let capabilities = BTreeSet::new();
        let circumstances = Circumstances { capabilities: &capabilities, architecture: "amd64", kernel: (6, 1) };
        let filter = filter_from_json(json, &circumstances).unwrap();
        assert_eq!(filter.architectures().as_deref(), Some(&[Arch::ScmpArchX86_64][..]));
        assert_eq!(filter.syscalls().as_ref().unwrap().len(), 1);
        assert_eq!(rules_for(&filter, "mkdir").len(), 1);
        for (json, message) in [
            (&b"{}"[..], "not a seccomp profile"),
            (br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#, "a seccomp rule has either name or names, not both"),
        ] {
            assert_eq!(filter_from_json(json, &circumstances).unwrap_err().to_string(), message);
        }
    }
}
