//! run-tool with real containers. Each test has a bundle of its own with a static busybox. The tests need root. All of them are one
//! program, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod annotation;
mod bundle;
mod cgroup;
mod checkpoint;
mod cli;
mod compatible;
mod crash;
mod hooks;
mod libcontainer;
mod netdev;
mod notify;
mod older;
mod process;
mod rootless;
mod security;
mod signals;
mod streams;
mod supervise;
mod systemd;
mod takeover;
