//! Control files: reading, writing, and which version of cgroups they belong to.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;

use crate::kernel::error::{self, Fails};
use crate::kernel::file::read_kernels;

/// The mount point of cgroup v2 alone, or the parent of the mount points of all hierarchies.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Whether the system has cgroup v2 alone.
pub(crate) fn is_unified() -> bool {
    is_version_2(Path::new(ROOT))
}

/// Whether a folder is in cgroup v2.
pub(crate) fn is_version_2(path: &Path) -> bool {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    rustix::fs::statfs(path).is_ok_and(|statfs| statfs.f_type == CGROUP2_SUPER_MAGIC)
}

/// A control file and its new value; `None` to keep the old one.
pub(super) type Limit = (&'static str, Option<String>);

/// Sets limits that bound each other. Those that do not fit the old value of the last one are set again after it has its new value.
pub(super) fn put_together(put: &dyn Fn(&str, String) -> Result<()>, limits: &[Limit], last: Limit) -> Result<()> {
    let mut late = Vec::new();
    for (name, value) in limits {
        let Some(value) = value else { continue };
        match put(name, value.clone()) {
            Err(error) if error::errno(&error) == Some(libc::EINVAL) && last.1.is_some() => late.push((name, value)),
            result => result?,
        }
    }
    let (name, Some(value)) = last else { return Ok(()) };
    put(name, value)?;
    late.into_iter().try_for_each(|(name, value)| put(name, value.clone()))
}

/// Writes a control file, which must exist.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    write_each(path, [value])
}

/// Writes values to a control file, which must exist, one after the other.
pub(super) fn write_each(path: &Path, values: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).open(path).fails(|| format!("open {}", path.display()))?;
    for value in values {
        let value = value.as_ref();
        while let Err(error) = file.write(value.as_bytes()) {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error).fails(|| format!("failed to write {value:?}: write {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Reads a control file, without the newline.
pub(crate) fn read(path: &Path) -> Result<String> {
    let text = read_kernels(path).fails(|| format!("open {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;

    #[test]
    fn limits_that_bound_each_other_are_set_in_a_possible_order() {
        // Like the kernel: the runtime must not exceed the period.
        for (before, (period, runtime)) in [((900, 600), (10, 3)), ((10, 3), (900, 600)), ((900, 600), (800, 600))] {
            let kernel = Cell::new(before);
            let put = |name: &str, value: String| {
                let value = value.parse().unwrap();
                let (period, runtime) =
                    if name == "period" { (value, kernel.get().1) } else { (kernel.get().0, value) };
                if runtime > period {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL)).fails(|| "write").map_err(Into::into);
                }
                kernel.set((period, runtime));
                Ok(())
            };
            let number = |value: u32| Some(value.to_string());
            put_together(&put, &[("period", number(period))], ("runtime", number(runtime))).unwrap();
            assert_eq!(kernel.get(), (period, runtime), "{before:?}");
            // Set alone, a value that does not fit is an error.
            let result = put_together(&put, &[("period", number(runtime - 1))], ("runtime", None));
            assert_eq!(error::errno(&result.unwrap_err()), Some(libc::EINVAL));
        }
    }
}
