//! A rule of nf_tables: a list of expressions, each of which loads something into a register, compares a register or acts.

use netlink_bindings::nftables::{
    CmpOps, CtKeys, FibFlags, MetaKeys, PayloadBase, PushDataAttrs, PushExprListAttrs, VerdictCode,
};
use netlink_bindings::utils::{Pusher, push_header};

use super::transaction::{Batch, NFPROTO_IPV4, NFPROTO_IPV6, header};
use crate::network::subnet::Subnet;

/// The first register of four bytes.
pub(super) const FIRST: u32 = 8;

/// NFT_NAT_DNAT
const DNAT: u32 = 1;

/// Which address of a packet is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Side {
    /// Where the address is in the packet's header, and how long it is.
    pub(super) fn place(self, ipv6: bool) -> (u32, u32) {
        match (self, ipv6) {
            (Self::Source, false) => (12, 4),
            (Self::Destination, false) => (16, 4),
            (Self::Source, true) => (8, 16),
            (Self::Destination, true) => (24, 16),
        }
    }
}

/// The expressions of a rule, encoded.
pub(super) struct Rule(PushExprListAttrs<Vec<u8>>);

impl Rule {
    pub(super) fn new() -> Self {
        Self(PushExprListAttrs::new(Vec::new()))
    }

    pub(super) fn meta(self, key: MetaKeys, register: u32) -> Self {
        let meta = self.0.nested_elem().nested_data_meta().push_dreg(register).push_key(key as u32);
        Self(meta.end_nested().end_nested())
    }

    pub(super) fn payload(self, base: PayloadBase, offset: u32, length: u32, register: u32) -> Self {
        let payload = self.0.nested_elem().nested_data_payload().push_dreg(register).push_base(base as u32);
        Self(payload.push_offset(offset).push_len(length).end_nested().end_nested())
    }

    /// Goes on if the packet is for an address of the host.
    pub(super) fn local(self) -> Self {
        // NFT_FIB_RESULT_ADDRTYPE of linux/netfilter/nf_tables.h; the specification counts from 0.
        const ADDRESS_TYPE: u32 = 3;
        // linux/rtnetlink.h
        const RTN_LOCAL: u32 = 2;
        let fib = self.0.nested_elem().nested_data_fib().push_dreg(FIRST).push_result(ADDRESS_TYPE);
        let rule = Self(fib.push_flags(FibFlags::Daddr as u32).end_nested().end_nested());
        rule.compare(CmpOps::Eq, &RTN_LOCAL.to_ne_bytes())
    }

    /// Goes on if the first register compares so to `value`.
    pub(super) fn compare(self, operator: CmpOps, value: &[u8]) -> Self {
        let compare = self.0.nested_elem().nested_data_cmp().push_sreg(FIRST).push_op(operator as u32);
        Self(compare.nested_data().push_value(value).end_nested().end_nested().end_nested())
    }

    fn mask(self, mask: &[u8]) -> Self {
        let value = |data: PushDataAttrs<_>, bytes: &[u8]| data.push_value(bytes).end_nested();
        let bitwise = self.0.nested_elem().nested_data_bitwise().push_sreg(FIRST).push_dreg(FIRST);
        let bitwise = value(bitwise.push_len(mask.len() as u32).nested_mask(), mask);
        Self(value(bitwise.nested_xor(), &vec![0; mask.len()]).end_nested().end_nested())
    }

    /// Goes on for packets of IPv4 or IPv6.
    pub(super) fn family(self, family: u8) -> Self {
        self.meta(MetaKeys::Nfproto, FIRST).compare(CmpOps::Eq, &[family])
    }

    /// Goes on if the interface that a packet came by, or goes by, has that name.
    pub(super) fn interface(self, key: MetaKeys, operator: CmpOps, name: &str) -> Self {
        // IFNAMSIZ, with which names are compared whole.
        let mut padded = [0; 16];
        for (to, from) in padded.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        self.meta(key, FIRST).compare(operator, &padded)
    }

    /// Goes on if an address of the packet is in the subnet, or is not.
    pub(super) fn address(self, side: Side, operator: CmpOps, subnet: Subnet) -> Self {
        let (offset, length) = side.place(subnet.is_ipv6());
        let rule = self.family(if subnet.is_ipv6() { NFPROTO_IPV6 } else { NFPROTO_IPV4 });
        let rule = rule.payload(PayloadBase::NetworkHeader, offset, length, FIRST);
        let (first, mask) = subnet.octets();
        let whole = u32::from(subnet.bits()) == length * 8;
        if whole { rule } else { rule.mask(&mask) }.compare(operator, &first)
    }

    /// Goes on if the packet's connection has one of the flags.
    pub(super) fn connection(self, key: CtKeys, flags: u32) -> Self {
        let ct = self.0.nested_elem().nested_data_ct().push_dreg(FIRST).push_key(key as u32);
        Self(ct.end_nested().end_nested()).mask(&flags.to_ne_bytes()).compare(CmpOps::Neq, &[0; 4])
    }

    /// Goes on if the map has the key, with its value in registers.
    pub(super) fn lookup(self, map: &str, key: u32, value: u32) -> Self {
        let mut lookup = self.0.nested_elem().nested_data_lookup().push_set_bytes(map.as_bytes());
        // The specification has other numbers for these than the kernel (linux/netfilter/nf_tables.h).
        const NFTA_LOOKUP_SREG: u16 = 2;
        const NFTA_LOOKUP_DREG: u16 = 3;
        for (kind, register) in [(NFTA_LOOKUP_SREG, key), (NFTA_LOOKUP_DREG, value)] {
            push_header(lookup.as_vec_mut(), kind, 4);
            lookup.as_vec_mut().extend(register.to_be_bytes());
        }
        Self(lookup.end_nested().end_nested())
    }

    pub(super) fn dnat(self, family: u8, address: u32, port: u32) -> Self {
        let nat = self.0.nested_elem().nested_data_nat().push_type(DNAT).push_family(family.into());
        Self(nat.push_reg_addr_min(address).push_reg_proto_min(port).end_nested().end_nested())
    }

    pub(super) fn masquerade(self) -> Self {
        Self(self.0.nested_elem().push_name(c"masq").end_nested())
    }

    pub(super) fn counter(self) -> Self {
        Self(self.0.nested_elem().nested_data_counter().push_bytes(0).push_packets(0).end_nested().end_nested())
    }

    pub(super) fn verdict(self, code: VerdictCode) -> Self {
        let immediate = self.0.nested_elem().nested_data_immediate().push_dreg(0);
        let verdict = immediate.nested_data().nested_verdict().push_code(code as u32);
        Self(verdict.end_nested().end_nested().end_nested().end_nested())
    }

    /// Adds the rule at the end of a chain.
    pub(super) fn append(self, batch: &mut Batch, family: u8, table: &str, chain: &str, comment: Option<&[u8]>) {
        let mut request = batch.request().set_create().set_append().op_newrule_do(&header(family));
        let rule = request.encode().push_table_bytes(table.as_bytes()).push_chain_bytes(chain.as_bytes());
        let mut list = rule.nested_expressions();
        list.as_vec_mut().extend(self.0.as_vec());
        let rule = list.end_nested();
        if let Some(comment) = comment {
            drop(rule.push_userdata(comment));
        }
    }
}
