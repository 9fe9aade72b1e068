//! Sizes, times and text in the style of docker.

use jiff::Timestamp;

pub use super::plain::{json, lines, plain};

/// A size in decimal units with three significant digits: `72.9MB`, `13.3kB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    scaled(bytes as f64, 3, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// A size in decimal units with four significant digits: `1.982MB`.
#[must_use]
pub fn exact_size(bytes: u64) -> String {
    scaled(bytes as f64, 4, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// A size in binary units with four significant digits: `23.54GiB`.
#[must_use]
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes as f64, 4, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

fn scaled(mut value: f64, digits: i32, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // Compare what will be shown: 999.9kB would print as "1e+03kB".
    let most = if base > 1000.0 { base } else { base - 0.5 * 10_f64.powi(3 - digits) };
    while value >= most && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let before = (0..digits - 1)
        .take_while(|power| value >= 10_f64.powi(power + 1) - 0.5 * 10_f64.powi(power + 2 - digits))
        .count();
    let after = usize::try_from(digits).unwrap_or_default().saturating_sub(before + 1);
    let mut text = format!("{value:.after$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + units[unit]
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
    fn sizes_have_as_many_digits_as_dockers() {
        for (bytes, exact, binary) in [
            (0, "0B", "0B"),
            (1_982_317, "1.982MB", "1.89MiB"),
            (610_304, "610.3kB", "596KiB"),
            (25_276_063_744, "25.28GB", "23.54GiB"),
            (1110, "1.11kB", "1.084KiB"),
            (1023, "1.023kB", "1023B"),
            (67_108_864, "67.11MB", "64MiB"),
        ] {
            assert_eq!((exact_size(bytes).as_str(), binary_size(bytes).as_str()), (exact, binary));
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
