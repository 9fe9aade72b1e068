//! `ps`: the processes of a container.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::global::Global;
use super::stdout::print;
use crate::container::event;
use crate::kernel::{caller, process};

/// Display the processes running inside a container.
///
/// The table is the output of ps(1) with the given options (default: `-ef`), limited to the container's processes.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Format of the output: the table of ps(1), or a JSON array of process IDs.
    #[arg(short, long, value_name = "table|json", default_value = "table")]
    format: String,
    /// ID of the container.
    id: String,
    /// Options for ps(1).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

impl Ps {
    pub(super) fn run(mut self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        let cgroup = container.cgroup();
        // A rootless container without permission to make a group runs in that of its caller, with all others there.
        if container.is_alive() && !cgroup.exists() {
            bail!(
                "unable to get all container pids: the container has no cgroup of its own (create it with --systemd-cgroup, or with a \
                 delegated cgroup in linux.cgroupsPath)"
            );
        }
        let pids = cgroup.pids()?;
        match self.format.as_str() {
            "table" => {}
            "json" => return print(&format!("{}\n", serde_json::to_string(&pids)?)),
            _ => bail!("invalid format option"),
        }
        if self.options.is_empty() {
            self.options.push("-ef".to_owned());
        }
        let output = process::output(Command::new("ps").args(&self.options)).context("exec: \"ps\"")?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            bail!("exit status {}: {}", output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default();
        let column = title.split_whitespace().position(|name| name == "PID");
        let column = column.context("couldn't find PID field in ps output")?;
        let mut shown = format!("{title}\n");
        for line in lines.filter(|line| !line.is_empty()) {
            let pid = line.split_whitespace().nth(column).unwrap_or_default();
            let pid: i32 = pid.parse().with_context(|| format!("unable to parse pid: {pid:?}"))?;
            if pids.contains(&pid) {
                shown.push_str(line);
                shown.push('\n');
            }
        }
        if caller::caller().is_some() {
            event::record(&container.state, "top", &[]);
        }
        print(&shown)
    }
}
