//! Netlink sockets (netlink(7)): requests, their acknowledgements and their answers. What requests say is encoded by `netlink-bindings`,
//! whose messages are generated from the kernel's own specifications.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use netlink_bindings::consts;
use netlink_bindings::traits::{NetlinkRequest, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::thread::LinkNameSpaceType;

/// A socket to one of the kernel's families, in the network namespace in which it was opened.
pub(in crate::network) struct Socket(OwnedFd);

// linux/netlink.h
const NLMSG_ERROR: i32 = 2;
const NLMSG_DONE: i32 = 3;
/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// What the kernel makes of the parts of a dump, and more than it needs for acknowledgements.
const ANSWER: usize = 64 << 10;

impl Socket {
    /// A socket for interfaces, addresses and routes.
    pub(in crate::network) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// A socket for rules and connections.
    pub(super) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// Enters a network namespace, calls `work` there with a socket for its interfaces, and returns the socket, which stays in that
    /// namespace.
    pub(super) fn within<T: Send>(
        namespace: BorrowedFd<'_>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let enter = move || {
            rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
            work(&Self::route()?)
        };
        // The namespace is that of a thread, which ends with it.
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Self(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?))
    }

    /// Carries out requests that are answered by an acknowledgement alone, and returns the first error. One request's failure does not
    /// keep the kernel from the next, unless they are a transaction.
    pub(super) fn carry_out(&self, requests: &[u8]) -> io::Result<()> {
        self.send(requests)?;
        let (mut first, mut buffer) = (Ok(()), vec![0; ANSWER]);
        // The kernel carries out all requests before it returns from send(2), so all answers are there.
        loop {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    let answers = messages(&buffer[..length]);
                    let mut codes =
                        answers.filter(|(kind, _)| i32::from(*kind) == NLMSG_ERROR).map(|(_, body)| outcome(body));
                    first = first.and_then(|()| codes.find(Result::is_err).unwrap_or(Ok(())));
                }
                Err(Errno::AGAIN) => return first,
                Err(Errno::INTR) => {}
                Err(error) => return first.and(Err(error.into())),
            }
        }
    }

    /// Asks something, and calls `each` with each part of the answer.
    pub(in crate::network) fn ask<R: NetlinkRequest>(
        &self,
        request: &R,
        mut each: impl FnMut(R::ReplyType<'_>),
    ) -> io::Result<()> {
        let Protocol::Raw { request_type, .. } = request.protocol() else { return Err(Errno::INVAL.into()) };
        let flags = request.flags() | (consts::NLM_F_REQUEST | consts::NLM_F_ACK) as u16;
        self.send(&message(request_type, flags, request.payload()))?;
        let mut buffer = vec![0; ANSWER];
        loop {
            let length = match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for (kind, body) in messages(&buffer[..length]) {
                match i32::from(kind) {
                    NLMSG_ERROR | NLMSG_DONE => return outcome(body),
                    _ => each(R::decode_reply(body)),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.0, bytes, SendFlags::empty()))?;
        // A datagram is sent whole or not at all.
        if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE.into()) }
    }
}

/// A message with its header. The kernel gives the answer of a socket that asks one thing at a time no other number than its own.
pub(super) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// The messages of a datagram: their types and what is in them.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes([*datagram.get(4)?, *datagram.get(5)?]);
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The outcome in an acknowledgement, or at the end of a dump: 0, or an error number below it.
fn outcome(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(()),
    }
}

/// Whether an error is that number.
pub(super) fn is(error: &io::Error, number: Errno) -> bool {
    error.raw_os_error() == Some(number.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_taken_apart_and_a_cut_one_ends_early() {
        let mut datagram = message(2, 0, &(-17i32).to_ne_bytes());
        datagram.extend(message(3, 0, &[1, 2, 3]));
        datagram.push(0);
        datagram.extend(message(4, 0, &[]));
        let found: Vec<u16> = messages(&datagram).map(|(kind, _)| kind).collect();
        assert_eq!(found, [2, 3, 4]);
        assert_eq!(messages(&datagram[..30]).count(), 1);
        assert_eq!(messages(&[1, 2]).count(), 0);
        let (_, body) = messages(&datagram).next().unwrap();
        assert!(is(&outcome(body).unwrap_err(), Errno::EXIST) && outcome(&[0; 4]).is_ok());
    }
}
