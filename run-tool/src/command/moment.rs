//! Moments as docker's options take them: a time, whole or in part, seconds since 1970, or a duration before now.

use anyhow::{Context, Result};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Reads a moment. A time without a zone is local time.
pub(super) fn parse(text: &str) -> Result<Timestamp> {
    parse_from(text, Timestamp::now(), &TimeZone::system()).with_context(|| {
        format!("{text}: not a valid time (use RFC 3339, seconds since 1970, or a duration such as 10m)")
    })
}

fn parse_from(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(time) = seconds(text) {
        return Some(time);
    }
    if let Ok(ago) = super::events::duration(text) {
        return now.checked_sub(ago.unwrap_or_default()).ok();
    }
    let (time, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(time) => (time, Some("Z")),
        // A sign in the date separates its parts.
        None => match text.char_indices().skip(10).find(|(_, character)| matches!(character, '+' | '-')) {
            Some((at, _)) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        },
    };
    let (date, clock) = time.split_once(['T', 't']).unwrap_or((time, "00"));
    let missing = ["00:00:00", ":00:00", ":00", ""];
    let parts = if clock.is_empty() { 0 } else { clock.split(':').count() };
    let whole = format!("{date}T{clock}{}", missing.get(parts)?);
    match offset {
        Some(offset) => format!("{whole}{offset}").parse().ok(),
        None => Some(whole.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok()?.timestamp()),
    }
}

/// Seconds since 1970, with up to nine digits behind the point.
fn seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds.strip_prefix('-').unwrap_or(seconds)) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let time = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    time.checked_add(nanoseconds.nanoseconds()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_dockers_forms() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, time) in [
            ("2023-01-02", "2023-01-01T22:00:00Z"),
            ("2023-01-02T10:00:00", "2023-01-02T08:00:00Z"),
            ("2023-01-02T10:00", "2023-01-02T08:00:00Z"),
            ("2023-01-02T10", "2023-01-02T08:00:00Z"),
            ("2023-01-02T10:00:00.5Z", "2023-01-02T10:00:00.5Z"),
            ("2023-01-02T10:00:00+01:00", "2023-01-02T09:00:00Z"),
            ("2023-01-02T10:00:00-01:00", "2023-01-02T11:00:00Z"),
            ("2023-01-02Z", "2023-01-02T00:00:00Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000.123456789", "2023-11-14T22:13:20.123456789Z"),
            ("10m", "2026-01-02T02:54:05Z"),
            ("1h30m", "2026-01-02T01:34:05Z"),
            ("0s", "2026-01-02T03:04:05Z"),
        ] {
            assert_eq!(parse_from(text, now, &zone), Some(time.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "2023-13-01", "2023-01-02T10:00:00:00", "1700000000.1234567890", "10"] {
            let read = parse_from(text, now, &zone);
            assert!(read.is_none() || text == "10", "{text}: {read:?}");
        }
    }
}
