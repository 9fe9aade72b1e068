//! Seccomp profiles: the parent compiles a profile to the kernel's filter and caches it, and the child installs the filter.
//!
//! libcontainer compiles and installs in one step inside the container, and again for each exec. To compile docker's profile takes
//! longer than the rest of a start. So here it is a separate step, with the same libseccomp, whose result is stored.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use crate::kernel::{file, log, syscall};
use crate::spec::{Items, annotation};

/// The file of the compiled filter in a container's folder.
pub(crate) const FILE: &str = "seccomp.bpf";

/// The cache of compiled filters, a folder under the root. No container can have this name: `~` is not allowed in an id.
pub(crate) const CACHE: &str = "~seccomp";

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The BPF program: `sock_filter` records.
    pub(crate) program: Vec<u8>,
    /// The `SECCOMP_FILTER_FLAG_*` bits to install it with.
    pub(crate) flags: u64,
}

/// Compiles a profile, or takes the filter from the cache. `None`: the profile needs no filter.
pub(crate) fn compile(profile: &LinuxSeccomp, root: &Path) -> Result<Option<Filter>> {
    check(profile)?;
    // For runc a profile that allows everything and has no rules is empty.
    let Some(flags) = flags(profile) else { return Ok(None) };
    let version = libseccomp::ScmpVersion::current().context("libseccomp")?;
    let kernel = rustix::system::uname();
    let mut key = format!(
        "{} {}.{}.{} {}\n",
        env!("CARGO_PKG_VERSION"),
        version.major,
        version.minor,
        version.micro,
        kernel.release().to_string_lossy()
    )
    .into_bytes();
    key.extend(serde_json::to_vec(profile)?);
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let folder = root.join(CACHE);
    let file = folder.join(format!("{:016x}", hasher.finish()));
    // The file begins with the whole key, so profiles with the same hash cannot get each other's filter.
    if let Ok(stored) = fs::read(&file)
        && let Some(program) = stored.strip_prefix(key.as_slice())
        && let Some(program) = program.strip_prefix(b"\n\0")
        && program.len() % 8 == 0
        && !program.is_empty()
    {
        return Ok(Some(Filter { program: program.to_vec(), flags }));
    }
    let program = build(profile)?;
    let store = || -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut content = key;
        content.extend_from_slice(b"\n\0");
        content.extend_from_slice(&program);
        file::replace(&file, &content)
    };
    // If the cache cannot be written, that only costs time.
    if let Err(error) = store() {
        log::debug(|| format!("seccomp cache: {error:#}"));
    }
    Ok(Some(Filter { program, flags }))
}

/// Refuses profiles whose notifications could not work: the agent receives its listener by write(2), so that call must not wait for
/// the agent.
fn check(profile: &LinuxSeccomp) -> Result<()> {
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        bail!("SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let notified = profile.syscalls().items().iter().filter(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify);
    let mut listens = false;
    for rule in notified {
        listens = true;
        if rule.names().iter().any(|name| name == "write") {
            bail!("SCMP_ACT_NOTIFY cannot be used for the write syscall");
        }
    }
    if listens && profile.listener_path().is_none() {
        bail!("seccomp listenerPath is not set");
    }
    Ok(())
}

/// Whether the filter has a listener, which an agent reads notifications from.
fn listens(profile: &LinuxSeccomp) -> bool {
    profile.syscalls().items().iter().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

fn flags(profile: &LinuxSeccomp) -> Option<u64> {
    if profile.default_action() == LinuxSeccompAction::ScmpActAllow && profile.syscalls().items().is_empty() {
        return None;
    }
    let mut bits = 0;
    match profile.flags() {
        // runc's default: a filter alone is no reason to disable speculation, which is slow.
        None => {
            if syscall::seccomp_knows(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
                bits |= libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
            }
        }
        Some(flags) => {
            for flag in flags {
                bits |= match flag {
                    // There is only one thread to synchronise, and the kernel refuses the flag together with a listener.
                    LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                    LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                        if listens(profile) {
                            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
                        } else {
                            0
                        }
                    }
                };
            }
        }
    }
    if listens(profile) {
        bits |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    }
    Some(bits)
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction> {
    let errno = errno.map_or(libc::EPERM, |errno| errno as i32);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(u16::try_from(errno).context("errnoRet")?),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
    })
}

fn comparison(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, datum) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, argument.value()),
        // As in libseccomp, the value is the mask and valueTwo the expected result.
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(argument.value()), argument.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(argument.index() as u32, operator, datum)
}

/// Refuses a profile with the name of a system call that this version of libseccomp does not know, and would skip.
pub(crate) fn refuse_unknown_calls(profile: &LinuxSeccomp) -> Result<()> {
    let mut names = profile.syscalls().items().iter().flat_map(|rule| rule.names());
    match names.find(|name| ScmpSyscall::from_name(name).is_err()) {
        Some(name) => {
            bail!(
                "seccomp: unknown system call {name:?}, and annotation {} does not allow that",
                annotation::FAIL_UNKNOWN_CALL
            )
        }
        None => Ok(()),
    }
}

fn build(profile: &LinuxSeccomp) -> Result<Vec<u8>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default).context("error creating seccomp filter")?;
    for arch in profile.architectures().items() {
        context.add_arch(architecture(*arch)).context("error adding architecture to seccomp filter")?;
    }
    // Profiles have hundreds of names: the filter is faster as a binary tree than as a chain. Old libraries lack that.
    let _ = context.set_ctl_optimize(2);
    let mut known = HashSet::new();
    for rule in profile.syscalls().items() {
        let action = action(rule.action(), rule.errno_ret())?;
        for name in rule.names() {
            // Like runc, skip names that this version of libseccomp does not know.
            let Ok(number) = ScmpSyscall::from_name(name) else { continue };
            known.insert(name.as_str());
            // libseccomp refuses rules with the default action.
            if action == default {
                continue;
            }
            let arguments = rule.args().items();
            let compare: Vec<ScmpArgCompare> = arguments.iter().map(comparison).collect();
            let distinct: HashSet<_> = arguments.iter().map(|argument| argument.index()).collect();
            let added = if compare.is_empty() {
                context.add_rule(action, number).map(drop)
            } else if distinct.len() == compare.len() {
                context.add_rule_conditional(action, number, &compare).map(drop)
            } else {
                // libseccomp compares each argument once per rule. Like runc, make a rule of each comparison.
                compare.iter().try_for_each(|one| context.add_rule_conditional(action, number, &[*one]).map(drop))
            };
            added.with_context(|| format!("error adding seccomp rule for syscall {name}"))?;
        }
    }
    let memory = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC).context("memfd_create")?;
    context.export_bpf(&memory).context("error compiling seccomp filter")?;
    let mut memory = fs::File::from(memory);
    let mut program = Vec::new();
    memory.rewind()?;
    memory.read_to_end(&mut program)?;
    let mut all = unknown_calls(profile, &known);
    all.extend(program);
    Ok(all)
}

/// A prefix for the filter that answers ENOSYS to all system calls newer than those the profile names. C libraries then fall back
/// to older calls. The default action of a profile that predates those calls would look like a refusal.
fn unknown_calls(profile: &LinuxSeccomp, known: &HashSet<&str>) -> Vec<u8> {
    let errno = matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActErrno
            | LinuxSeccompAction::ScmpActKill
            | LinuxSeccompAction::ScmpActKillThread
            | LinuxSeccompAction::ScmpActKillProcess
            | LinuxSeccompAction::ScmpActTrap
    );
    // With a defaultErrnoRet of ENOSYS the filter itself gives that answer.
    if !errno || profile.default_errno_ret() == Some(libc::ENOSYS as u32) {
        return Vec::new();
    }
    const X86_64: u32 = 0xc000_003e;
    const AARCH64: u32 = 0xc000_00b7;
    let (arch, token) = if cfg!(target_arch = "x86_64") {
        (ScmpArch::X8664, X86_64)
    } else if cfg!(target_arch = "aarch64") {
        (ScmpArch::Aarch64, AARCH64)
    } else {
        return Vec::new();
    };
    let numbers = known.iter().filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok());
    let Some(last) = numbers.map(i32::from).filter(|number| *number >= 0).max() else { return Vec::new() };
    let instruction = |code: u16, yes: u8, no: u8, value: u32| -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&code.to_ne_bytes());
        (bytes[2], bytes[3]) = (yes, no);
        bytes[4..].copy_from_slice(&value.to_ne_bytes());
        bytes
    };
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const RET_ERRNO: u32 = 0x0005_0000;
    // The numbers of x32 calls have bit 30 set. They are left to the filter.
    [
        instruction(LOAD, 0, 0, 4),
        instruction(JUMP_EQUAL, 0, 4, token),
        instruction(LOAD, 0, 0, 0),
        instruction(JUMP_GREATER, 2, 0, 0x3fff_ffff),
        instruction(JUMP_GREATER, 0, 1, last as u32),
        instruction(RETURN, 0, 0, RET_ERRNO | libc::ENOSYS as u32),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> LinuxSeccomp {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_second_time_the_same_filter_comes_from_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let profile = profile(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","write","nosuchcall"],"action":"SCMP_ACT_ALLOW"}]}"#,
        );
        let first = compile(&profile, root.path()).unwrap().unwrap();
        assert_eq!(fs::read_dir(root.path().join(CACHE)).unwrap().count(), 1);
        assert_eq!(compile(&profile, root.path()).unwrap().unwrap(), first);
        assert_eq!(first.program.len() % 8, 0);
    }

    #[test]
    fn a_cached_filter_of_another_profile_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let one =
            profile(r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#);
        let filter = compile(&one, root.path()).unwrap().unwrap();
        let file = fs::read_dir(root.path().join(CACHE)).unwrap().next().unwrap().unwrap().path();
        let mut stored = fs::read(&file).unwrap();
        stored[40] ^= 1;
        fs::write(&file, stored).unwrap();
        assert_eq!(compile(&one, root.path()).unwrap().unwrap(), filter);
    }

    #[test]
    fn notifications_for_write_are_refused() {
        let bad = profile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        );
        assert!(compile(&bad, Path::new("/nonexistent")).is_err());
    }
}
