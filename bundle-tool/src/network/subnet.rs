//! Subnets: ranges of IP addresses as text (`10.64.0.0/16`) and as numbers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Text that is not a subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid subnet (such as 10.64.0.0/16 or fd00:1::/64)")]
pub struct Error(String);

/// A subnet. The bits of the address after the prefix are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    address: IpAddr,
    bits: u8,
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address as a number, by which addresses of one family are ordered.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl Subnet {
    /// The subnet of an address with a prefix of `bits` bits; `None` if an address has fewer.
    pub fn of(address: IpAddr, bits: u8) -> Option<Self> {
        let rest = width(address).checked_sub(bits)?;
        let mask = if rest == 128 { 0 } else { u128::MAX << rest };
        let masked = number(address) & mask;
        Some(Self { address: same_family(address, masked), bits })
    }

    /// The smallest subnet with both addresses; `None` if they are of different families.
    pub fn spanning(first: IpAddr, last: IpAddr) -> Option<Self> {
        (0..=width(first)).rev().filter_map(|bits| Self::of(first, bits)).find(|subnet| subnet.contains(last))
    }

    /// Whether it is of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }

    /// The length of the prefix.
    pub fn bits(self) -> u8 {
        self.bits
    }

    fn last_number(self) -> u128 {
        let rest = width(self.address) - self.bits;
        number(self.address) | if rest == 128 { u128::MAX } else { (1 << rest) - 1 }
    }

    /// Whether the address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6() && (number(self.address)..=self.last_number()).contains(&number(address))
    }

    /// The address for all hosts of an IPv4 subnet, which is its last one.
    pub(super) fn broadcast(self) -> IpAddr {
        same_family(self.address, self.last_number())
    }

    /// Its address and its mask, in the order of the network.
    pub(super) fn octets(self) -> (Vec<u8>, Vec<u8>) {
        let length = usize::from(width(self.address)) / 8;
        let rest = width(self.address) - self.bits;
        let mask = if rest == 128 { 0 } else { u128::MAX << rest };
        let octets = |number: u128| number.to_be_bytes()[16 - length..].to_vec();
        (octets(number(self.address)), octets(mask))
    }

    /// Whether they have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The first and the last address that a host may have.
    pub fn hosts(self) -> (IpAddr, IpAddr) {
        // The last address of an IPv4 subnet is for broadcasts; the first is the subnet's own in both families.
        let last = self.last_number() - u128::from(!self.is_ipv6());
        (same_family(self.address, number(self.address) + 1), same_family(self.address, last))
    }

    /// The ranges from `first` to `last` without the addresses in `left_out`.
    pub fn without(first: IpAddr, last: IpAddr, left_out: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
        let mut gaps: Vec<u128> = left_out.iter().map(|address| number(*address)).collect();
        gaps.sort_unstable();
        let (mut from, end) = (number(first), number(last));
        let mut ranges = Vec::new();
        for gap in gaps.into_iter().filter(|gap| (number(first)..=end).contains(gap)) {
            if gap > from {
                ranges.push((from, gap - 1));
            }
            from = gap + 1;
        }
        if from <= end {
            ranges.push((from, end));
        }
        ranges.into_iter().map(|(from, to)| (same_family(first, from), same_family(first, to))).collect()
    }
}

/// The address of a number in the family of `like`.
pub(super) fn same_family(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error(text.into());
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        Self::of(address.parse().map_err(|_| wrong())?, bits).ok_or_else(wrong)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_overlap_if_they_have_an_address_in_common() {
        let cases = [
            ("10.0.0.0/8", "10.63.0.0/16", true),
            ("10.63.0.0/16", "10.63.255.255/32", true),
            ("10.64.0.0/16", "10.63.0.0/16", false),
            ("0.0.0.0/0", "1.2.3.4/32", true),
            ("fd00::/8", "fd00:1::/64", true),
            ("fd00::/64", "fd00:0:0:1::/64", false),
            ("::/0", "10.0.0.0/8", false),
        ];
        for (a, b, expected) in cases {
            assert_eq!((subnet(a).overlaps(subnet(b)), subnet(b).overlaps(subnet(a))), (expected, expected), "{a} {b}");
        }
        assert_eq!(subnet("10.1.2.3/16").to_string(), "10.1.0.0/16");
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "x/8", "10.0.0.0/8/8"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subnet_is_an_address_and_a_mask() {
        assert_eq!(subnet("10.63.0.0/12").octets(), (vec![10, 48, 0, 0], vec![255, 240, 0, 0]));
        assert_eq!(subnet("0.0.0.0/0").octets(), (vec![0; 4], vec![0; 4]));
        assert_eq!(subnet("::/0").octets().1, vec![0; 16]);
        assert_eq!(subnet("fd00::/8").octets().1[..2], [255, 0]);
        assert_eq!(subnet("10.63.0.0/16").broadcast(), ip("10.63.255.255"));
    }

    #[test]
    fn hosts_have_neither_the_first_nor_the_broadcast_address() {
        assert_eq!(subnet("10.9.0.0/24").hosts(), (ip("10.9.0.1"), ip("10.9.0.254")));
        assert_eq!(subnet("fd00::/64").hosts(), (ip("fd00::1"), ip("fd00::ffff:ffff:ffff:ffff")));
    }

    #[test]
    fn ranges_leave_addresses_out() {
        let (first, last) = (ip("10.0.0.1"), ip("10.0.0.6"));
        let left_out = [ip("10.0.0.6"), ip("10.0.0.3"), ip("10.0.0.4"), ip("10.9.9.9")];
        let expected = [(ip("10.0.0.1"), ip("10.0.0.2")), (ip("10.0.0.5"), ip("10.0.0.5"))];
        assert_eq!(Subnet::without(first, last, &left_out), expected);
        assert_eq!(Subnet::without(first, last, &[]), [(first, last)]);
        assert!(Subnet::without(first, first, &[first]).is_empty());
    }

    proptest! {
        #[test]
        fn a_subnet_prints_as_it_is_read(address in any::<IpAddr>(), bits in 0u8..=128) {
            if let Some(made) = Subnet::of(address, bits) {
                prop_assert_eq!(made.to_string().parse::<Subnet>().unwrap(), made);
                prop_assert!(made.contains(address));
            }
        }
    }
}
