use super::*;
use crate::option::quantity::SwapSize;
use proptest::prelude::*;

const V1: Host = Host { unified: false, swap: true, realtime: false, weights: true, processors: 4, allowed: true };
const V2: Host = Host { unified: true, ..V1 };

fn size(text: &str) -> Size {
    text.parse().unwrap()
}

#[test]
fn memory_brings_as_much_swap() {
    let limits = Limits { memory: Some(size("64m")), ..Limits::default() };
    let resources = limits.resources(&V1).unwrap();
    let memory = resources.memory().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(128 << 20)));
    let resources = limits.resources(&Host { swap: false, ..V1 }).unwrap();
    assert_eq!(resources.memory().unwrap().swap(), None);
    assert_eq!(Limits::default().resources(&V1).unwrap().memory(), &None);
}

fn refused<const N: usize>(cases: [(Limits, Host, &str); N]) {
    for (limits, host, message) in cases {
        assert_eq!(limits.resources(&host).unwrap_err().to_string(), message);
    }
}

#[test]
fn memory_that_cannot_be_limited_is_refused_by_name() {
    let none = Limits::default;
    refused([
        (Limits { memory: Some(size("1m")), ..none() }, V1, "--memory: Minimum memory limit allowed is 6MB"),
        (
            Limits { memory: Some(size("8m")), ..none() },
            Host { allowed: false, ..V1 },
            "--memory: limits need root on this host, which has cgroup v1",
        ),
        (
            Limits { memory_swap: Some(size("1g")), ..none() },
            V1,
            "--memory-swap: You should always set the Memory limit when using Memoryswap limit, which includes it",
        ),
        (
            Limits { memory: Some(size("1g")), memory_swap: Some(size("1m")), ..none() },
            V1,
            "--memory-swap: Minimum memoryswap limit should be larger than memory limit, which it includes",
        ),
        (
            Limits { memory: Some(size("8m")), memory_reservation: Some(size("9m")), ..none() },
            V1,
            "--memory-reservation: Minimum memory limit can not be less than memory reservation limit",
        ),
        (
            Limits { memory_swappiness: Some(5), ..none() },
            V2,
            "--memory-swappiness: this host has cgroup v2, which has no such limit",
        ),
        (
            Limits { memory_reservation: Some(size("1m")), ..none() },
            V1,
            "--memory-reservation: Minimum memory reservation allowed is 6MB",
        ),
        (
            Limits { memory_swappiness: Some(101), ..none() },
            V1,
            "--memory-swappiness: Invalid value: 101. Valid memory swappiness range is 0-100",
        ),
        (
            Limits { oom_kill_disable: true, ..none() },
            V2,
            "--oom-kill-disable: this host has cgroup v2, which has no such limit",
        ),
    ]);
}

#[test]
fn what_else_cannot_be_limited_is_refused_by_name() {
    let none = Limits::default;
    refused([
        (
            Limits { cpus: "5".parse().ok(), ..none() },
            V1,
            "--cpus: Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (Limits { cpu_shares: Some(1), ..none() }, V1, "--cpu-shares: The minimum allowed cpu-shares is 2"),
        (
            Limits { cpus: "1".parse().ok(), cpu_quota: Some(5000), ..none() },
            V1,
            "--cpus: Conflicting options: it sets what --cpu-period and --cpu-quota set",
        ),
        (
            Limits { cpu_period: Some(1), ..none() },
            V1,
            "--cpu-period: CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (Limits { blkio_weight: Some(5), ..none() }, V2, "--blkio-weight: Range of blkio weight is from 10 to 1000"),
        (
            Limits { device_read_bps: vec!["/dev/null:1m".parse().unwrap()], ..none() },
            V1,
            "--device-read-bps: /dev/null is not a block device",
        ),
    ]);
}

#[test]
fn what_docker_discards_is_told_in_its_words() {
    let none = Limits::default;
    let lacks = Host { swap: false, weights: false, ..V1 };
    let cases: [(Limits, Host, &[&str]); 9] = [
        (Limits { memory: Some(size("8m")), ..none() }, lacks, &["Memory limited without swap."]),
        (
            Limits { memory: Some(size("8m")), memory_swap: Some(size("9m")), ..none() },
            lacks,
            &["Memory limited without swap."],
        ),
        (
            Limits { memory: Some(size("8m")), memory_swap: Some("-1".parse::<SwapSize>().unwrap().size()), ..none() },
            lacks,
            &[],
        ),
        (Limits { memory_swappiness: Some(101), ..none() }, V2, &["Memory swappiness discarded."]),
        (Limits { memory_swappiness: Some(-1), ..none() }, V2, &[]),
        (Limits { kernel_memory: Some(size("50m")), ..none() }, V1, &["future release.", "Limitation discarded."]),
        (Limits { oom_kill_disable: true, ..none() }, V2, &["OomKillDisable discarded."]),
        (Limits { blkio_weight: Some(300), ..none() }, lacks, &["Weight discarded."]),
        (
            Limits { blkio_weight_device: vec!["/dev/vda:300".parse().unwrap()], ..none() },
            lacks,
            &["Weight-device discarded."],
        ),
    ];
    for (mut limits, host, ends) in cases {
        let warnings = limits.discard(&host);
        assert_eq!(warnings.len(), ends.len(), "{warnings:?}");
        assert!(warnings.iter().zip(ends).all(|(warning, end)| warning.ends_with(end)), "{warnings:?}");
        limits.resources(&host).unwrap();
    }
    let mut given = Limits { blkio_weight: Some(300), memory_swappiness: Some(5), ..none() };
    assert_eq!(given.discard(&V1), [""; 0], "what there is stays");
    assert_eq!((given.blkio_weight, given.memory_swappiness), (Some(300), Some(5)));
}

#[test]
fn processors_and_processes() {
    let limits = Limits { cpus: "1.5".parse().ok(), cpuset_cpus: "0".parse().ok(), pids: Some(0), ..Limits::default() };
    let resources = limits.resources(&V1).unwrap();
    let cpu = resources.cpu().as_ref().unwrap();
    assert_eq!((cpu.quota(), cpu.period(), cpu.cpus().as_deref()), (Some(150_000), Some(100_000), Some("0")));
    assert_eq!(resources.pids().unwrap().limit(), -1);
}

#[test]
fn no_processors_are_no_limit() {
    for text in ["0", "0.0"] {
        let limits = Limits { cpus: text.parse().ok(), ..Limits::default() };
        assert_eq!(limits.resources(&V1).unwrap().cpu(), &None, "{text}");
    }
}

#[test]
fn operations_are_counted_and_bytes_have_units() {
    assert!("/dev/sda:1k".parse::<DeviceRate>().is_ok() && "/dev/sda:1000".parse::<DeviceCount>().is_ok());
    for text in ["/dev/sda:1k", "/dev/sda:-1", "/dev/sda:", "/dev/sda", "sda:1", "/dev/sda:1.5"] {
        assert!(text.parse::<DeviceCount>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,20}") {
        let _ = text.parse::<DeviceRate>();
        let _ = text.parse::<DeviceCount>();
    }
}
