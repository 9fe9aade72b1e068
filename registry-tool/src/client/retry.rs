//! When to ask again, and when not: which statuses, back-off, `Retry-After`, and a limit on both.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest wait between two attempts, whoever asks for it. If a registry wants more, the user had better know.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How often and how soon to ask again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How many times to ask again after the first attempt.
    pub times: u32,
    /// The first wait; each later one is twice as long.
    pub first_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { times: 4, first_wait: Duration::from_secs(1) }
    }
}

impl Retry {
    /// How long to wait before asking for the `attempt`th time again (from 0), or `None` if it is time to give up: all
    /// attempts are spent, or the registry asks for a wait beyond [`LONGEST_WAIT`].
    ///
    /// What the registry asks for is kept exactly; our own back-off is spread by a quarter, so that many clients that were
    /// cut off together do not come back together.
    #[must_use]
    pub fn wait(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.times || asked.is_some_and(|asked| asked > LONGEST_WAIT) {
            return None;
        }
        let own = self.first_wait.saturating_mul(1 << attempt.min(10)).min(LONGEST_WAIT / 4);
        // RandomState is seeded from the system's randomness: enough to spread, and no dependency.
        let spread = own.mul_f64(0.25 * (RandomState::new().hash_one(attempt) % 1000) as f64 / 1000.0);
        let own = own + spread;
        Some(asked.unwrap_or(own))
    }
}

/// Whether a status says that the same request may succeed later.
pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The wait that an answer asks for.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

/// The wait that a `Retry-After` header asks for: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(header).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
        for (header, seconds) in [
            ("3", Some(3)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn waits_double_and_end() {
        let retry = Retry { times: 3, first_wait: Duration::from_secs(1) };
        for (attempt, seconds) in [(0, 1.0), (1, 2.0), (2, 4.0)] {
            let wait = retry.wait(attempt, None).unwrap().as_secs_f64();
            assert!((seconds..seconds * 1.25).contains(&wait), "{attempt}: {wait}");
        }
        assert_eq!(retry.wait(3, None), None);
        assert_eq!(retry.wait(0, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(retry.wait(0, Some(LONGEST_WAIT * 2)), None, "a longer wait is the user's decision");
    }
}
