//! Resource limits of a process (`--ulimit`), by docker's grammar and within what this host allows.

use std::fs;
use std::str::FromStr;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use rustix::process::Resource;

use super::Refused;

/// A resource limit: `NAME=SOFT[:HARD]`, where -1 means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    kind: PosixRlimitType,
    soft: u64,
    hard: u64,
}

/// The limits by docker's names, the runtime specification's and the kernel's.
const KINDS: [(&str, PosixRlimitType, Resource); 15] = [
    ("core", PosixRlimitType::RlimitCore, Resource::Core),
    ("cpu", PosixRlimitType::RlimitCpu, Resource::Cpu),
    ("data", PosixRlimitType::RlimitData, Resource::Data),
    ("fsize", PosixRlimitType::RlimitFsize, Resource::Fsize),
    ("locks", PosixRlimitType::RlimitLocks, Resource::Locks),
    ("memlock", PosixRlimitType::RlimitMemlock, Resource::Memlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue, Resource::Msgqueue),
    ("nice", PosixRlimitType::RlimitNice, Resource::Nice),
    ("nofile", PosixRlimitType::RlimitNofile, Resource::Nofile),
    ("nproc", PosixRlimitType::RlimitNproc, Resource::Nproc),
    ("rss", PosixRlimitType::RlimitRss, Resource::Rss),
    ("rtprio", PosixRlimitType::RlimitRtprio, Resource::Rtprio),
    ("rttime", PosixRlimitType::RlimitRttime, Resource::Rttime),
    ("sigpending", PosixRlimitType::RlimitSigpending, Resource::Sigpending),
    ("stack", PosixRlimitType::RlimitStack, Resource::Stack),
];

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not valid (expected NAME=SOFT[:HARD])"))?;
        let (_, kind, _) = KINDS
            .iter()
            .find(|(known, ..)| *known == name)
            .ok_or_else(|| format!("{name:?} is not a resource limit (such as nofile or nproc; see getrlimit(2))"))?;
        let number = |value: &str| match value {
            "-1" => Ok(u64::MAX),
            value => value.parse::<u64>().map_err(|_| format!("{value:?} is not a number")),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            Err(format!("the soft limit {soft} exceeds the hard limit {hard}"))
        } else {
            Ok(Self { kind: *kind, soft, hard })
        }
    }
}

impl Ulimit {
    /// The limit as config.json holds it.
    pub fn to_oci(self) -> PosixRlimit {
        let limit = PosixRlimitBuilder::default().typ(self.kind).soft(self.soft).hard(self.hard);
        limit.build().expect("kind and limits are set")
    }

    /// Refuses what setrlimit(2) would.
    fn check(self, most: &Most) -> Result<(), Refused> {
        let name = KINDS.iter().find(|(_, kind, _)| *kind == self.kind).map_or("", |(name, ..)| name);
        let refused = |reason: String| {
            let value = if self.hard == u64::MAX { "-1".into() } else { self.hard.to_string() };
            Err(Refused::new("--ulimit", format!("{name}={value}: {reason}")))
        };
        if self.kind == PosixRlimitType::RlimitNofile && self.hard > most.files {
            return refused(format!("exceeds {}, the most of this host (sysctl fs.nr_open)", most.files));
        }
        match most.hard {
            Some(hard) if self.hard > hard && !most.privileged => {
                refused(format!("exceeds the hard limit {hard}, which takes CAP_SYS_RESOURCE to raise"))
            }
            _ => Ok(()),
        }
    }
}

/// The most that this process, and so a runtime that it starts, may set a limit to.
#[derive(Clone, Copy, Debug)]
struct Most {
    /// The hard limit of this process; absent for none.
    hard: Option<u64>,
    /// Whether it may raise hard limits.
    privileged: bool,
    /// The most open files, `fs.nr_open`.
    files: u64,
}

impl Most {
    fn of(kind: PosixRlimitType) -> Self {
        let resource = KINDS.iter().find(|(_, known, _)| *known == kind).map(|(.., resource)| *resource);
        let files = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
        Self {
            hard: resource.and_then(|resource| rustix::process::getrlimit(resource).maximum),
            privileged: may_raise(),
            files: files.unwrap_or(u64::MAX),
        }
    }
}

/// Whether this process has CAP_SYS_RESOURCE in the initial user namespace, where it counts.
fn may_raise() -> bool {
    const SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> SYS_RESOURCE & 1 == 1
        && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().nth(2) == Some("4294967295"))
}

/// The limits as config.json holds them: one of a kind (runtime-spec config.md, "rlimits"), the last that was asked for.
pub(super) fn rlimits(limits: &[Ulimit]) -> Result<Vec<PosixRlimit>, Refused> {
    let mut all: Vec<Ulimit> = Vec::new();
    for limit in limits {
        match all.iter_mut().find(|known| known.kind == limit.kind) {
            Some(known) => *known = *limit,
            None => all.push(*limit),
        }
    }
    all.iter().try_for_each(|limit| limit.check(&Most::of(limit.kind)))?;
    Ok(all.into_iter().map(Ulimit::to_oci).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_limit_of_a_kind_counts() {
        let ulimits = ["nofile=10", "core=0", "nofile=20:30"].map(|text| text.parse::<Ulimit>().unwrap());
        let all = rlimits(&ulimits).unwrap();
        let all: Vec<_> = all.iter().map(|limit| (limit.typ(), limit.soft(), limit.hard())).collect();
        assert_eq!(all, [(PosixRlimitType::RlimitNofile, 20, 30), (PosixRlimitType::RlimitCore, 0, 0)]);
    }

    #[test]
    fn a_limit_that_the_kernel_refuses_is_refused_here() {
        let read = |text: &str| text.parse::<Ulimit>().unwrap();
        let most = Most { hard: Some(1024), privileged: false, files: 1 << 20 };
        assert_eq!(read("nofile=1024").check(&most), Ok(()));
        let message = read("nofile=1025").check(&most).unwrap_err().to_string();
        assert!(message.starts_with("--ulimit: nofile=1025: exceeds the hard limit 1024"), "{message}");
        assert_eq!(read("nofile=1025").check(&Most { privileged: true, ..most }), Ok(()));
        assert_eq!(read("nofile=1025").check(&Most { hard: None, ..most }), Ok(()));
        assert!(read("nofile=-1").check(&Most { privileged: true, ..most }).is_err(), "more than fs.nr_open");
        assert_eq!(read("core=-1").check(&Most { privileged: true, ..most }), Ok(()));
    }

    #[test]
    fn ulimits_are_read_as_docker_reads_them() {
        let read: Ulimit = "nofile=1024:2048".parse().unwrap();
        assert_eq!((read.kind, read.soft, read.hard), (PosixRlimitType::RlimitNofile, 1024, 2048));
        assert_eq!("core=-1".parse::<Ulimit>().unwrap().hard, u64::MAX);
        assert_eq!("cpu=5".parse::<Ulimit>().unwrap().hard, 5);
        for text in ["nofile", "bogus=1", "nofile=2:1", "nofile=x", "nofile=-2", "nofile=1:2:3", "=1", "nofile="] {
            assert!(text.parse::<Ulimit>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<Ulimit>();
        }
    }
}
