//! Points in time as docker's options name them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Text that names no point in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is neither a time nor a duration (2026-01-31, 2026-01-31T12:00:00, seconds since 1970, or how long ago, such as 10m)"
)]
pub struct Error(String);

/// Reads a time as docker does: RFC 3339, with less of it in the local time zone, seconds since 1970, or a duration before `now`.
///
/// # Errors
/// If it is none of these.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let local = |date: jiff::civil::DateTime| date.to_zoned(TimeZone::system()).map(|time| time.timestamp());
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = text.parse::<jiff::civil::DateTime>().or_else(|_| text.parse::<jiff::civil::Date>().map(Into::into));
    let found = match (date, text.parse::<f64>()) {
        (Ok(date), _) => local(date).ok(),
        (_, Ok(seconds)) => Timestamp::from_nanosecond((seconds * 1e9) as i128).ok(),
        _ => text.parse::<SignedDuration>().ok().and_then(|duration| now.checked_sub(duration).ok()),
    };
    found.ok_or_else(|| Error(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dockers() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"),
            ("1767225600", "2026-01-01T00:00:00Z"),
            ("1767225600.5", "2026-01-01T00:00:00.5Z"),
            ("1h", "2026-01-01T23:00:00Z"),
            ("0s", "2026-01-02T00:00:00Z"),
            ("1h30m", "2026-01-01T22:30:00Z"),
        ] {
            assert_eq!(parse(text, now).unwrap().to_string(), expected, "{text}");
        }
        assert!(parse("2026-01-01", now).is_ok() && parse("2026-01-01T10:00:00", now).is_ok());
        assert!(parse("soon", now).is_err());
    }
}
