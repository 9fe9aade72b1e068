//! Parts of a blob: `Range` on its way out (RFC 9110, section 14) and `Content-Range` on its way in (distribution-spec, "Pushing a
//! blob in chunks"). The two have different grammars.

use std::ops::RangeInclusive;

/// Which part of a blob a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, all of which exist.
    Part(RangeInclusive<u64>),
    /// None that exist.
    Nothing,
}

/// What a `Range` asks of a blob of `size` bytes. Other units and several parts at once are answered with the whole, as the RFC allows.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(text) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    let Some((first, last)) = text.split_once('-').filter(|_| !text.contains(',')) else { return Wanted::Whole };
    let (first, last) = (first.trim(), last.trim());
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last && first < size => Wanted::Part(first..=last.min(size - 1)),
        (Ok(first), Err(_)) if last.is_empty() && first < size => Wanted::Part(first..=size - 1),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 && size > 0 => {
            Wanted::Part(size.saturating_sub(count)..=size - 1)
        }
        // Of a part that ends before it begins nothing can be sent, though the RFC would also allow to ignore it.
        (Ok(_), Ok(_)) | (Err(_), Ok(_)) => Wanted::Nothing,
        (Ok(_), Err(_)) if last.is_empty() => Wanted::Nothing,
        _ => Wanted::Whole,
    }
}

/// The `Content-Range` of a chunk: `^[0-9]+-[0-9]+$`, both ends inclusive.
pub(super) fn chunk(header: &str) -> Option<RangeInclusive<u64>> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = header.trim().split_once('-')?;
    let (first, last): (u64, u64) = (number(first)?, number(last)?);
    (first <= last && last < u64::MAX).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_means_bytes_that_exist_or_none() {
        for (header, wants) in [
            ("bytes=500-1499", Wanted::Part(500..=1499)),
            ("bytes=500-", Wanted::Part(500..=2047)),
            ("bytes=-500", Wanted::Part(1548..=2047)),
            ("bytes=-5000", Wanted::Part(0..=2047)),
            ("bytes=2000-5000", Wanted::Part(2000..=2047)),
            ("bytes=500-0", Wanted::Nothing),
            ("bytes=5000-10000", Wanted::Nothing),
            ("bytes=2048-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), 2048), wants, "{header}");
        }
        assert_eq!(wanted(None, 5), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-0"), 0), Wanted::Nothing);
    }

    #[test]
    fn a_chunk_is_two_numbers() {
        assert_eq!(chunk("0-9"), Some(0..=9));
        for text in ["", "0", "-", "0-", "-9", "9-0", "bytes 0-9/10", "+1-2", "1-2-3", "0-18446744073709551615"] {
            assert_eq!(chunk(text), None, "{text}");
        }
    }
}
