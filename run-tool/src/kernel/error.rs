//! Errors in runc's form: `operation path: reason`, with the reason in lower case and without a number.
//!
//! Engines look for words such as `no such file or directory` in the output of a runtime, so the kernel's reasons are spelt as Go
//! spells them.

use std::fmt;
use std::io;

/// A failed system call, with the operation and its object.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    source: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, reason(&self.source))
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The error number, if the error came from the kernel.
    pub(crate) fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// The reason alone: `permission denied`, not `Permission denied (os error 13)`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    match characters.next() {
        // An acronym (`RDMA ...`) stays in capitals.
        Some(first) if characters.clone().next().is_none_or(char::is_lowercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Whether a system call is not to be had: the kernel lacks it (ENOSYS), or the seccomp profile of an outer container forbids it
/// (EPERM, which docker's profiles answered to calls that they did not know).
pub(crate) fn lacks(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::NOSYS | rustix::io::Errno::PERM)
}

/// Adds the operation to a failed system call.
pub(crate) trait Fails<T> {
    /// Puts `what` before the reason, as in `open /etc/passwd: permission denied`.
    fn fails<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Fails<T> for Result<T, E> {
    fn fails<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|error| Failure { what: what().into(), source: error.into() })
    }
}

/// The error number of the first kernel error in a chain of causes.
pub(crate) fn errno(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        cause
            .downcast_ref::<Failure>()
            .and_then(Failure::errno)
            .or_else(|| cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_spelt_as_in_go() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(reason(&error), "no such file or directory");
        let failure: Result<(), Failure> = Err(error).fails(|| "open /x");
        assert_eq!(failure.unwrap_err().to_string(), "open /x: no such file or directory");
    }

    #[test]
    fn the_error_number_is_found_behind_context() {
        let failed: Result<(), Failure> = Err(io::Error::from_raw_os_error(libc::EROFS)).fails(|| "mount");
        let error = anyhow::Error::new(failed.unwrap_err()).context("outer");
        assert_eq!(errno(&error), Some(libc::EROFS));
    }
}
