//! Sizes on the command line.

/// A size in bytes, with docker's binary units: `500M`, `20G`.
///
/// # Errors
/// What is expected, as text.
pub fn size(text: &str) -> Result<u64, String> {
    let units = [("k", 10), ("m", 20), ("g", 30), ("t", 40)];
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let unit = units.iter().find_map(|(unit, shift)| Some((lower.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((lower, 0));
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "not a valid size (500M, 20G)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_dockers_units() {
        for (text, bytes) in [("0", 0), ("500", 500), ("1k", 1024), ("2MB", 2 << 20), ("20G", 20 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "-1", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
