//! Device rules: which devices a container may use. They become control files with cgroup v1, and a BPF program with v2.

use std::path::Path;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};
use rustix::fs::{Mode, OFlags};

use super::file::{read, write, write_each};
use crate::kernel::error::Fails;
use crate::kernel::syscall;
use crate::spec::Items;

/// A device rule. Later rules override earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(super) allow: bool,
    /// `a` for all devices, `b` for block devices, `c` for character devices.
    pub(super) kind: char,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: String,
}

impl Rule {
    /// A rule that allows access. A number that is `None` matches all.
    pub(super) fn allow(kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        Self { allow: true, kind, major, minor, access: access.to_owned() }
    }

    fn from_spec(rule: &LinuxDeviceCgroup) -> Self {
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => 'b',
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => 'c',
            _ => 'a',
        };
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Self {
            allow: rule.allow(),
            kind,
            major: number(rule.major()),
            minor: number(rule.minor()),
            access: rule
                .access()
                .iter()
                .flat_map(|access| access.chars())
                .filter(|letter| "rwm".contains(*letter))
                .collect(),
        }
    }

    /// Whether the rule applies to all devices, so that earlier rules are void. As in the kernel's cgroup v1, kind `a` does, whatever the
    /// numbers.
    fn is_everything(&self) -> bool {
        self.kind == 'a'
    }

    /// The rule as a line in the control files of cgroup v1.
    pub(super) fn line(&self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        format!("{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

/// The default devices, as in runc.
pub(crate) const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// The rules of a container: those in its resources, then those for the default devices.
pub(crate) fn rules(resources: Option<&LinuxResources>, devices: &[LinuxDevice]) -> Vec<Rule> {
    let own = resources.map_or(&[][..], |resources| resources.devices().items());
    let mut rules: Vec<Rule> = own.iter().map(Rule::from_spec).collect();
    rules.push(Rule::allow('c', None, None, "m"));
    rules.push(Rule::allow('b', None, None, "m"));
    for (path, major, minor) in DEFAULT {
        // A device in the configuration replaces the default one, and its rule too.
        if !devices.iter().any(|device| crate::kernel::beneath::clean(device.path()) == Path::new(path)) {
            rules.push(Rule::allow('c', Some(major), Some(minor), "rwm"));
        }
    }
    rules.push(Rule::allow('c', Some(136), None, "rwm"));
    rules.push(Rule::allow('c', Some(5), Some(2), "rwm"));
    rules.push(Rule::allow('c', Some(10), Some(200), "rwm"));
    rules
}

/// What the last rule for all devices says (denied if there is none), and the rules after it.
pub(super) fn reduce(rules: &[Rule]) -> (bool, &[Rule]) {
    match rules.iter().rposition(Rule::is_everything) {
        Some(last) => (rules[last].allow, &rules[last + 1..]),
        None => (false, rules),
    }
}

/// The exceptions to the last rule for all devices, as cgroup v1 stores them: the accesses by device. An exception without any access
/// is possible.
pub(super) fn exceptions(everything: bool, rules: &[Rule]) -> Result<Vec<Rule>> {
    let mut exceptions: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |other: &&Rule| (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor);
        if rule.allow != everything {
            match exceptions.iter().position(|other| same(&other)) {
                Some(index) => {
                    let known = &mut exceptions[index];
                    let missing = rule.access.chars().filter(|letter| !known.access.contains(*letter));
                    let added: String = missing.collect();
                    known.access.push_str(&added);
                }
                None => exceptions.push(rule.clone()),
            }
            continue;
        }
        // The kernel silently ignores an exception to a wildcard, which would give a false sense of security.
        let wider = exceptions.iter().find(|other| {
            other.kind == rule.kind
                && (other.major, other.minor) != (rule.major, rule.minor)
                && (other.major.is_none() || other.major == rule.major)
                && (other.minor.is_none() || other.minor == rule.minor)
                && other.access.chars().any(|letter| rule.access.contains(letter))
        });
        if let Some(wider) = wider {
            bail!(
                "requested rule [{}] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [{}])",
                rule.line(),
                wider.line()
            );
        }
        if let Some(index) = exceptions.iter().position(|other| same(&other)) {
            exceptions[index].access.retain(|letter| !rule.access.contains(letter));
            if exceptions[index].access.is_empty() {
                exceptions.remove(index);
            }
        }
    }
    Ok(exceptions)
}

/// Sets the rules of a group in cgroup v1. Without rules nothing changes.
pub(super) fn set_v1(path: &Path, rules: &[Rule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let (everything, rest) = reduce(rules);
    let exceptions = exceptions(everything, rest)?;
    let (all, others) = if everything { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    write(&path.join(all), "a")?;
    let (settable, empty): (Vec<Rule>, Vec<Rule>) = exceptions.into_iter().partition(|rule| !rule.access.is_empty());
    if !settable.is_empty() {
        write_each(&path.join(others), settable.iter().map(Rule::line))?;
    }
    if !everything && !empty.is_empty() {
        // A rule without any access cannot be read back.
        bail!("resulting devices cgroup doesn't precisely match target");
    }
    Ok(())
}

/// Sets the rules of a group in cgroup v2. They replace those that run-tool set before.
pub(super) fn set_v2(path: &Path, rules: &[Rule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(path, flags, Mode::empty()).fails(|| format!("open {}", path.display()))?;
    use std::os::fd::AsFd;
    let program =
        syscall::bpf_load_device_program(&program(rules)).fails(|| "bpf(BPF_PROG_LOAD) of the device filter")?;
    // Without permission to list programs, there cannot be one of ours to replace.
    let mut old = syscall::bpf_device_programs(cgroup.as_fd()).unwrap_or_default();
    let replaced = if old.len() == 1 { old.pop() } else { None };
    let replaced = replaced.as_ref().map(AsFd::as_fd);
    let attach = |old| syscall::bpf_attach_device_program(cgroup.as_fd(), program.as_fd(), old);
    let attached = match (attach(replaced), replaced) {
        // Linux before 5.6 cannot replace a program. With both attached only what both allow is allowed, so nothing opens meanwhile.
        (Err(error), Some(old)) if error.raw_os_error() == Some(libc::EINVAL) => {
            attach(None).and_then(|()| syscall::bpf_detach_device_program(cgroup.as_fd(), old))
        }
        (result, _) => result,
    };
    attached
        .fails(|| "bpf(BPF_PROG_ATTACH) of the device filter")
        .with_context(|| read(&path.join("cgroup.type")).unwrap_or_default())
}

/// Encodes an eBPF instruction.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(destination) << 8
        | u64::from(source) << 12
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// Compiles rules to the program that the kernel runs at each open and mknod. The last rule that matches decides.
fn program(rules: &[Rule]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE: u8 = 0xb7;
    const MOVE_REGISTER: u8 = 0xbf;
    const AND_32: u8 = 0x54;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
    const EXIT: u8 = 0x95;
    let (everything, rest) = reduce(rules);
    // struct bpf_cgroup_dev_ctx { access << 16 | type, major, minor }: r2 type, r3 access, r4 major, r5 minor.
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(AND_32, 2, 0, 0, 0xffff),
        instruction(LOAD_WORD, 3, 1, 0, 0),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rest.iter().rev() {
        let mut tests = Vec::new();
        match rule.kind {
            'b' => tests.push((JUMP_NOT_EQUAL, 2, 0, 1)),
            'c' => tests.push((JUMP_NOT_EQUAL, 2, 0, 2)),
            _ => {}
        }
        // BPF_DEVCG_ACC_MKNOD 1, READ 2, WRITE 4.
        let bits = [('m', 1), ('r', 2), ('w', 4)];
        let access: i32 = bits.iter().filter(|(letter, _)| rule.access.contains(*letter)).map(|(_, bit)| bit).sum();
        let mut block = Vec::new();
        if access != 7 {
            block.push(instruction(MOVE_REGISTER, 1, 3, 0, 0));
            block.push(instruction(AND, 1, 0, 0, access));
            // A rule that allows must cover all requested accesses. One that denies applies if it covers any of them.
            if rule.allow {
                tests.push((JUMP_NOT_EQUAL_REGISTER, 1, 3, 0));
            } else {
                tests.push((0x15, 1, 0, 0));
            }
        }
        if let Some(major) = rule.major {
            tests.push((JUMP_NOT_EQUAL, 4, 0, major as i32));
        }
        if let Some(minor) = rule.minor {
            tests.push((JUMP_NOT_EQUAL, 5, 0, minor as i32));
        }
        // A failed test skips the remaining tests and the two instructions of the verdict.
        for (index, (operation, register, other, value)) in tests.iter().enumerate() {
            let offset = (tests.len() - index - 1 + 2) as i16;
            block.push(instruction(*operation, *register, *other, offset, *value));
        }
        block.push(instruction(MOVE, 0, 0, 0, i32::from(rule.allow)));
        block.push(instruction(EXIT, 0, 0, 0, 0));
        code.extend(block);
    }
    code.push(instruction(MOVE, 0, 0, 0, i32::from(everything)));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_all_devices_voids_earlier_rules() {
        let deny = Rule { allow: false, kind: 'a', major: None, minor: None, access: "rwm".into() };
        let null = Rule::allow('c', Some(1), Some(3), "rw");
        let rules = [null.clone(), deny.clone(), null.clone()];
        assert_eq!(reduce(&rules), (false, &rules[2..]));
        let allow = Rule { allow: true, ..deny };
        assert!(reduce(&[null, allow]).0);
    }

    #[test]
    fn a_denial_removes_accesses_and_exceptions_to_wildcards_are_refused() {
        let deny = |major, minor, access: &str| Rule { allow: false, ..Rule::allow('c', major, minor, access) };
        let null = Rule::allow('c', Some(1), Some(3), "rwm");
        let left = exceptions(false, &[null.clone(), deny(Some(1), Some(3), "w")]).unwrap();
        assert_eq!(left, [Rule::allow('c', Some(1), Some(3), "rm")]);
        let wide = Rule::allow('c', Some(1), None, "rw");
        assert!(exceptions(false, &[wide, deny(Some(1), Some(3), "w")]).is_err());
        assert_eq!(exceptions(true, &[null]).unwrap(), []);
    }

    #[test]
    fn a_rule_without_accesses_stays_until_it_is_denied() {
        let none = Rule::allow('c', Some(10), None, "");
        assert_eq!(exceptions(false, std::slice::from_ref(&none)).unwrap(), std::slice::from_ref(&none));
        let some = Rule { access: "r".into(), ..none.clone() };
        assert_eq!(exceptions(false, &[none.clone(), some.clone()]).unwrap(), [some]);
        assert_eq!(exceptions(false, &[none.clone(), Rule { allow: false, ..none }]).unwrap(), []);
    }

    #[test]
    fn lines_have_the_kernels_format() {
        assert_eq!(Rule::allow('c', Some(136), None, "rwm").line(), "c 136:* rwm");
        assert_eq!(Rule::allow('b', None, None, "m").line(), "b *:* m");
    }

    #[test]
    fn a_program_ends_with_the_default() {
        let code = program(&[Rule::allow('c', Some(1), Some(3), "rwm")]);
        // Six instructions of prologue, three tests, two for the verdict, two for the default.
        assert_eq!(code.len(), 13);
        assert_eq!(code[11] >> 32, 0);
    }
}
