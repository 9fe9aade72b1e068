//! The groups that a process is in (`/proc/PID/cgroup`).

use std::collections::BTreeMap;

use anyhow::Result;

use crate::kernel::error::Fails;
use crate::kernel::file::read_kernels;

/// Parses `/proc/PID/cgroup` into paths by controller. The key of cgroup v2 is empty.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    let mut membership = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        for controller in controllers.split(',') {
            membership.insert(controller.to_owned(), path.to_owned());
        }
    }
    membership
}

/// The groups of this process.
pub(crate) fn own() -> Result<BTreeMap<String, String>> {
    let text = read_kernels("/proc/self/cgroup").fails(|| "open /proc/self/cgroup")?;
    Ok(parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_keyed_by_controller() {
        let membership = parse("9:name=systemd:/a\n2:cpu,cpuacct:/b:c\n0::/d\n");
        assert_eq!(membership["name=systemd"], "/a");
        assert_eq!(membership["cpuacct"], "/b:c");
        assert_eq!(membership[""], "/d");
    }
}
