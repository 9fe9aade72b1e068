//! Sets of CPUs and memory nodes in the kernel's list notation.

use anyhow::{Context, Result, bail};

/// Parses a list of CPUs or memory nodes (`0-3,7`) into a bit mask.
pub(crate) fn parse(text: &str) -> Result<Vec<u64>> {
    let mut mask = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().with_context(|| format!("invalid range {range:?}"));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last >= 8192 {
            bail!("invalid range {range:?}");
        }
        for bit in first..=last {
            if mask.len() <= bit / 64 {
                mask.resize(bit / 64 + 1, 0);
            }
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_a_bit_mask() {
        assert_eq!(parse("0-2,65").unwrap(), [7, 2]);
        assert_eq!(parse("").unwrap(), [0u64; 0]);
        assert!(parse("3-1").is_err());
    }
}
