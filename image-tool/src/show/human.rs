//! Sizes, times and text in the style of docker.

use jiff::Timestamp;

pub use super::plain::{json, lines, plain};

/// A size in decimal units with three significant digits: `72.9MB`, `13.3kB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // Compare what will be shown: 999.9kB would print as "1e+03kB".
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let mut text = format!("{value:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

/// A duration in the words of docker: `About a minute`, `5 weeks`.
#[must_use]
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago `time` is.
#[must_use]
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.as_second() - time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (13_256, "13.3kB"),
            (72_895_654, "72.9MB"),
            (893_000_000, "893MB"),
            (999_900, "1MB"),
            (1_230_000_000, "1.23GB"),
            (2_050_000, "2.05MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_read_as_dockers() {
        const DAY: i64 = 24 * 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3540, "59 minutes"),
            (3600, "About an hour"),
            (47 * 3600, "47 hours"),
            (13 * DAY, "13 days"),
            (35 * DAY, "5 weeks"),
            (365 * DAY, "12 months"),
            (800 * DAY, "2 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
