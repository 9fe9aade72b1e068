//! Quantities as docker writes them: sizes (`64m`), numbers of CPUs (`1.5`), durations (`1m30s`), lists of CPUs or nodes (`0-3,7`).
//!
//! Each is a type whose only constructor is `FromStr`, so that a wrong value is a usage error before anything happens.

use std::fmt;
use std::str::FromStr;

/// Text that does not parse as a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a size in bytes.
    #[error("{0:?} is not a valid size (such as 64m or 1.5g)")]
    Size(String),
    /// Not a number of CPUs.
    #[error("{0:?} is not a valid number of CPUs (such as 1.5)")]
    Processors(String),
    /// Not a list of numbers and ranges.
    #[error("{0:?} is not a valid list of CPUs or nodes (such as 0-3,7)")]
    List(String),
}

/// A size in bytes. Only a limit of memory and swap ([`SwapSize`]) can be unlimited, which is -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(i64);

impl Size {
    /// The number of bytes; -1 for unlimited.
    pub fn bytes(self) -> i64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = Error;

    /// Parses as docker's `RAMInBytes` (go-units 0.4): a decimal number, an optional blank, an optional binary unit, an optional `i`, an
    /// optional `b`, all in either case.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Size(text.into());
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
        let unit = unit.strip_suffix('b').unwrap_or(&unit);
        let power = match unit.strip_suffix('i').unwrap_or(unit) {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            "p" => 50,
            _ => return Err(wrong()),
        };
        let multiple = 1i64 << power;
        if let Ok(whole) = number.parse::<i64>() {
            return whole.checked_mul(multiple).map(Self).ok_or_else(wrong);
        }
        if !number.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong());
        }
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * multiple as f64;
        if bytes < i64::MAX as f64 { Ok(Self(bytes as i64)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A limit of memory and swap: a size, or -1 for none (docker's `MemSwapBytes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapSize(Size);

impl SwapSize {
    /// The limit in bytes; -1 for unlimited.
    pub fn size(self) -> Size {
        self.0
    }
}

impl FromStr for SwapSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "-1" { Ok(Self(Size(-1))) } else { text.parse().map(Self) }
    }
}

/// A number of CPUs in billionths, docker's `NanoCPUs`; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors(u64);

impl Processors {
    /// The period of the quota, in microseconds.
    pub const PERIOD: u64 = 100_000;

    /// The quota: CPU time in each [`Self::PERIOD`], in microseconds.
    pub fn quota(self) -> i64 {
        i64::try_from(self.0 / (1_000_000_000 / Self::PERIOD)).unwrap_or(i64::MAX)
    }

    /// Whether it limits nothing.
    pub fn is_unlimited(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Processors {
    type Err = Error;

    /// Parses as docker does with Go's `big.Rat`: a fraction (`1/2`) or a decimal number, optionally with an exponent (`1e-1`). It must be
    /// a whole number of billionths.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Processors(text.into());
        let (numerator, denominator) = match text.split_once('/') {
            Some((above, below)) => ((integer(above).ok_or_else(wrong)?, 1), integer(below).ok_or_else(wrong)?),
            None => (decimal(text).ok_or_else(wrong)?, 1),
        };
        let billionths = numerator.0.checked_mul(1_000_000_000).ok_or_else(wrong)?;
        let divisor = numerator.1.checked_mul(denominator).ok_or_else(wrong)?;
        if divisor == 0 || billionths % divisor != 0 {
            return Err(wrong());
        }
        let nano = u64::try_from(billionths / divisor).map_err(|_| wrong())?;
        // The kernel refuses quotas below a millisecond.
        if nano == 0 || nano >= 10_000_000 { Ok(Self(nano)) } else { Err(wrong()) }
    }
}

fn integer(text: &str) -> Option<u128> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Reads `1`, `1.5`, `.5`, `2.` or `1e-1` as a fraction.
fn decimal(text: &str) -> Option<(u128, u128)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = integer(&format!("{whole}{fraction}"))?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10u128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { Some((digits, power)) } else { Some((digits.checked_mul(power)?, 1)) }
}

/// A list of CPUs or memory nodes in the syntax of `cpuset.cpus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet(String);

impl CpuSet {
    /// The list as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ranges of the list.
    fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
    }

    /// Whether each number of the list is one of `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.ranges().all(|(first, last)| {
            // Not number by number: a range may have four thousand million.
            let mut next = u64::from(first);
            let mut all: Vec<(u32, u32)> = other.ranges().collect();
            all.sort_unstable();
            for (from, to) in all {
                if u64::from(from) <= next {
                    next = next.max(u64::from(to) + 1);
                }
            }
            next > u64::from(last)
        })
    }
}

impl FromStr for CpuSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number =
            |part: &str| -> Option<u32> { part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())? };
        let range = |part: &str| match part.split_once('-') {
            Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
            None => number(part).is_some(),
        };
        if text.split(',').all(range) { Ok(Self(text.into())) } else { Err(Error::List(text.into())) }
    }
}

#[cfg(test)]
mod tests {
    use image_tool::edit::span::Span;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_docker_reads_them() {
        let cases = [
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("32 mb", 32 << 20),
            ("64Mi", 64 << 20),
            ("1ib", 1),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("1T", 1 << 40),
            ("1pb", 1 << 50),
            ("0", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse::<Size>().map(Size::bytes), Ok(bytes), "{text}");
        }
        for text in
            ["", "m", "-1", "-2", "1x", "1mm", "1.2.3m", ".", ".5m", "9999999p", "1e3", "1 k b", "ib", "1bi", "inf"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn swap_alone_can_be_unlimited() {
        let bytes = |text: &str| text.parse::<SwapSize>().map(|swap| swap.size().bytes());
        assert_eq!((bytes("-1"), bytes("1m")), (Ok(-1), Ok(1 << 20)));
        assert!(bytes("-2").is_err());
    }

    #[test]
    fn processors_become_a_quota() {
        for (text, quota) in [
            ("1", 100_000),
            ("1.5", 150_000),
            (".5", 50_000),
            ("0.01", 1_000),
            ("2.", 200_000),
            ("1/2", 50_000),
            ("1e-1", 10_000),
            ("1.5E1", 1_500_000),
            ("0", 0),
            ("0.0", 0),
        ] {
            assert_eq!(text.parse::<Processors>().map(Processors::quota), Ok(quota), "{text}");
        }
        for text in [
            "",
            ".",
            "-1",
            "1/0",
            "1/3",
            "/2",
            "1/",
            "1e",
            "1e99",
            "0.001",
            "1.0000000001",
            "99999999999999999999",
            "+1",
        ] {
            assert!(text.parse::<Processors>().is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_processors() {
        for text in ["0", "0-3", "0,2", "0-1,4-7"] {
            assert!(text.parse::<CpuSet>().is_ok(), "{text}");
        }
        for text in ["", ",", "a", "3-1", "1-", "-1", "0;1", "0-1-2", "+1"] {
            assert!(text.parse::<CpuSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_is_within_another_if_all_its_numbers_are() {
        let within = |list: &str, all: &str| list.parse::<CpuSet>().unwrap().is_within(&all.parse().unwrap());
        for (list, all) in [("0", "0"), ("0-1", "0-3"), ("2,0", "0-3"), ("0-3", "2-3,0-1"), ("1-2", "0-1,1-4")] {
            assert!(within(list, all), "{list} {all}");
        }
        for (list, all) in [("1", "0"), ("0-7", "0-1"), ("0-3", "0-1,3"), ("0-4294967295", "0-1"), ("0,5", "0-4")] {
            assert!(!within(list, all), "{list} {all}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Processors>();
            let _ = text.parse::<Span>();
            let _ = text.parse::<CpuSet>();
        }

        #[test]
        fn a_size_in_bytes_is_itself(bytes in 0i64..) {
            prop_assert_eq!(bytes.to_string().parse::<Size>().map(Size::bytes), Ok(bytes));
        }

        #[test]
        fn a_quota_grows_with_the_processors(hundredths in 1u64..100_000) {
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            prop_assert_eq!(text.parse::<Processors>().map(Processors::quota), Ok(hundredths as i64 * 1000));
        }
    }
}
