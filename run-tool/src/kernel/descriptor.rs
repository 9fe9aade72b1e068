//! The descriptors of this process by number, for what a container must not inherit.
//!
//! Linux before 5.9 lacks close_range, Linux before 5.11 its flag for close-on-exec, and some seccomp profiles forbid the call. Then
//! the descriptors are taken one by one, from a `/proc` that is certainly the kernel's.

use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, RawFd};
use std::path::Path;

use rustix::fs::{Dir, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::Resource;

use super::error::lacks;
use super::procfs::Procfs;
use super::syscall;

/// Opens `/dev/null` for the standard streams that the caller has closed. Otherwise a file that is opened later would become one.
pub(crate) fn open_missing_streams() -> io::Result<()> {
    for number in 0..3 {
        if syscall::borrow_fd(number).is_none() {
            // The lowest free number is the new descriptor's. Nothing closes it.
            let _ = File::options().read(true).write(true).open("/dev/null")?.into_raw_fd();
        }
    }
    Ok(())
}

/// Sets close-on-exec on all descriptors from `first` on.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    one_by_one(syscall::close_range_on_exec(first), first, |number| {
        if let Some(fd) = syscall::borrow_fd(number) {
            rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        }
        Ok(())
    })
}

/// Closes all descriptors from `first` on. Only for the very beginning, when all of them were inherited.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    one_by_one(syscall::close_range(first), first, |number| {
        if syscall::borrow_fd(number).is_some() {
            drop(syscall::own_fd(number));
        }
        Ok(())
    })
}

fn one_by_one(all: io::Result<()>, first: u32, mut change: impl FnMut(RawFd) -> io::Result<()>) -> io::Result<()> {
    match all {
        // EINVAL: the kernel does not know the flag.
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| lacks(errno) || errno == Errno::INVAL) => {}
        result => return result,
    }
    let numbers = match listed() {
        Ok(numbers) => numbers,
        // A container need not have a `/proc`.
        Err(_) => {
            let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            (0..limit.min(1 << 20) as RawFd).collect()
        }
    };
    numbers.into_iter().filter(|number| i64::from(*number) >= i64::from(first)).try_for_each(&mut change)
}

/// The numbers of the open descriptors. The one that lists them is closed again.
fn listed() -> anyhow::Result<Vec<RawFd>> {
    let folder = Procfs::open()?.open_file(Path::new("self/fd"), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut numbers = Vec::new();
    for entry in Dir::new(folder)? {
        numbers.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok()));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn without_the_system_call_each_open_descriptor_is_visited() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL] {
            let mut seen = Vec::new();
            let refused = Err(io::Error::from_raw_os_error(errno));
            one_by_one(refused, 3, |number| {
                seen.push(number);
                Ok(())
            })
            .unwrap();
            assert!(seen.contains(&file.as_raw_fd()) && seen.iter().all(|number| *number >= 3), "{seen:?}");
        }
        let other = Err(io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(one_by_one(other, 3, |_| unreachable!()).is_err());
    }
}
