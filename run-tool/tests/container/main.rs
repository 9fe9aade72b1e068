//! run-tool on real containers: a static busybox in a bundle of its own for each test. Needs root. One program of many modules,
//! so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod bundle;
mod cgroup;
mod checkpoint;
mod cli;
mod compatible;
mod crash;
mod netdev;
mod notify;
mod process;
mod rootless;
mod security;
mod signals;
mod supervise;
mod systemd;
mod takeover;
