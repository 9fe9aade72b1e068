//! Transactions of nf_tables: requests that the kernel carries out together or not at all.

use std::io;

use netlink_bindings::nftables;

use super::netlink::Socket;

// linux/netfilter.h
pub(super) const NFPROTO_INET: u8 = 1;
pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
/// linux/netfilter/nfnetlink.h, NFNL_SUBSYS_NFTABLES
const SUBSYSTEM: u16 = 10;

/// A transaction, which the kernel carries out whole or not at all.
pub(super) struct Batch(nftables::Chained<'static>);

pub(super) fn header(family: u8) -> nftables::Nfgenmsg {
    let mut header = nftables::Nfgenmsg::new();
    header.nfgen_family = family;
    header
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut chain = nftables::Chained::new(0);
        drop(chain.request().op_batch_begin_do(&Self::ends()));
        Self(chain)
    }

    fn ends() -> nftables::Nfgenmsg {
        let mut header = nftables::Nfgenmsg::new();
        header.set_res_id(SUBSYSTEM);
        header
    }

    /// Adds a request.
    pub(super) fn request(&mut self) -> nftables::Request<'_> {
        self.0.request()
    }

    pub(super) fn commit(mut self, socket: &Socket) -> io::Result<()> {
        drop(self.0.request().op_batch_end_do(&Self::ends()));
        socket.carry_out(self.0.finalize().buf())
    }
}
