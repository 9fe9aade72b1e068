//! Numbers in headers, and PAX records: parsing and formatting.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::beneath::Time;

/// The content of the extended headers before an entry.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) accessed: Option<Time>,
    pub(super) changed: Option<Time>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) group: Option<Vec<u8>>,
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_major: Option<u64>,
    pub(super) sparse_minor: Option<u64>,
    pub(super) sparse_map: Vec<u64>,
    pub(super) sparse: bool,
}

/// A numeric field: octal digits with spaces and NULs, or GNU's base 256, marked by the first bit.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement; the first bit is the mark, and the second is the sign.
        let negative = first & 0x40 != 0;
        let mut value = i128::from(if negative { (first | 0x80).cast_signed() } else { (first & 0x7f).cast_signed() });
        for byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        }
        return i64::try_from(value).ok();
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

/// A time in PAX: seconds with a fraction.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds =
        (0..9).fold(0, |sum, place| sum * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Parses PAX records, `LENGTH KEY=VALUE\n`. Only the length counts, so a value may contain newlines and NULs.
pub(super) fn pax(mut bytes: &[u8], extended: &mut Extended) -> Result<(), &'static str> {
    const BAD: &str = "extended header";
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or(BAD)?;
        let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok()).ok_or(BAD)?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(BAD);
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        // POSIX: an empty value resets the field.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let numeral = || if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or(BAD) };
        match key {
            b"path" => extended.path = text(),
            b"linkpath" => extended.link = text(),
            b"size" => extended.size = numeral()?,
            b"uid" => extended.uid = numeral()?,
            b"gid" => extended.gid = numeral()?,
            b"mtime" => extended.modified = if value.is_empty() { None } else { Some(time(value).ok_or(BAD)?) },
            // No file is made from these: one that cannot be read is as good as none.
            b"atime" => extended.accessed = time(value),
            b"ctime" => extended.changed = time(value),
            b"uname" => extended.user = text(),
            b"gname" => extended.group = text(),
            b"GNU.sparse.name" => extended.sparse_name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                extended.sparse = true;
                extended.sparse_size = numeral()?;
            }
            b"GNU.sparse.major" => {
                extended.sparse = true;
                extended.sparse_major = numeral()?;
            }
            b"GNU.sparse.minor" => extended.sparse_minor = numeral()?,
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|part| !part.is_empty()).map(decimal);
                extended.sparse_map = numbers.collect::<Option<_>>().ok_or(BAD)?;
            }
            // Format 0.0 has these two alternately, for each piece.
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let offset = key == b"GNU.sparse.offset";
                if offset != extended.sparse_map.len().is_multiple_of(2) {
                    return Err(BAD);
                }
                extended.sparse_map.push(decimal(value).ok_or(BAD)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return Err(BAD);
                    }
                    extended.xattrs.retain(|(known, _)| known.as_bytes() != name);
                    extended.xattrs.push((OsStr::from_bytes(name).to_os_string(), value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

pub(super) fn pax_time(time: Time) -> String {
    let fraction =
        |nanoseconds: u32| format!(".{nanoseconds:09}").trim_end_matches('0').trim_end_matches('.').to_string();
    if time.seconds < 0 && time.nanoseconds > 0 {
        return format!("-{}{}", -(time.seconds + 1), fraction(1_000_000_000 - time.nanoseconds));
    }
    format!("{}{}", time.seconds, fraction(time.nanoseconds))
}

/// Appends a record. Its length includes its own digits.
pub(super) fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"12345678", None),
            (b"\x80\0\0\0\x01\0\0\0", Some(1 << 24)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"-1\0", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        for (text, seconds, nanoseconds) in
            [("12.5", 12, 500_000_000), ("-1.25", -2, 750_000_000), ("-3", -3, 0), ("7", 7, 0)]
        {
            let parsed = time(text.as_bytes()).unwrap();
            assert_eq!(parsed, Time { seconds, nanoseconds }, "{text}");
            assert_eq!(pax_time(parsed), text);
        }
        for bad in ["", ".", "1.x", "--1", "1e3"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }
}
