//! NUMA memory policies (`linux.memoryPolicy`): their names, and which of them require nodes.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::kernel::set;

/// The modes; the index is the kernel's number.
pub(crate) const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// The flags.
pub(crate) const FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// Refuses unknown modes and flags, and nodes that do not fit the mode, in runc's words.
pub(super) fn check(policy: &Value) -> Result<()> {
    let mode = policy.get("mode").and_then(Value::as_str).unwrap_or_default();
    if !MODES.contains(&mode) {
        bail!("invalid memory policy mode {mode:?}");
    }
    for flag in policy.get("flags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !FLAGS.contains(&flag) {
            bail!("invalid memory policy flag {flag:?}");
        }
    }
    let nodes = policy.get("nodes").and_then(Value::as_str).unwrap_or_default();
    let count: u32 = set::parse(nodes)
        .with_context(|| format!("invalid memory policy nodes {nodes:?}"))?
        .iter()
        .map(|word| word.count_ones())
        .sum();
    match (mode, count) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", 1..) => bail!("memory policy mode requires 0 nodes but got {count}"),
        ("MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_PREFERRED_MANY" | "MPOL_WEIGHTED_INTERLEAVE", 0) => {
            bail!("memory policy mode requires at least one node but got 0")
        }
        _ => Ok(()),
    }
}
