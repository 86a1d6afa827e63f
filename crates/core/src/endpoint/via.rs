//! How datagrams get to the other side, and come from there.
//!
//! Why: what is known of a path (which addresses are proved, where data goes) does not depend on what
//! carries it. UDP is one way; a relay, where two sites cannot reach each other, is to be another.
//!
//! How: whoever has to carry a datagram matches on [`Via`]; all else only compares.

use core::net::{IpAddr, SocketAddr};

/// One of the caller's sockets: the caller numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u32);

/// A way to the other side: where a datagram came from, and how one gets back there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Via {
    /// A socket of ours and an address of theirs.
    Udp(Udp),
}

/// A way over UDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Udp {
    /// The socket it came on.
    pub socket: SocketId,
    /// The other side's address and port.
    pub remote: SocketAddr,
    /// Our own address that it was sent to; `None` when it does not matter, or is not known.
    pub local: Option<IpAddr>,
}

/// Bytes of the headers around a datagram (RFC 791 §3.1, RFC 8200 §3, RFC 768).
const OVERHEAD_V4: u16 = 20 + 8;
const OVERHEAD_V6: u16 = 40 + 8;

impl Via {
    /// Whether both are the same way.
    pub(super) fn is(&self, other: &Via) -> bool {
        let (Via::Udp(a), Via::Udp(b)) = (self, other);
        a.socket == b.socket
            && a.remote == b.remote
            && (a.local == b.local || a.local.is_none() || b.local.is_none())
    }

    /// Bytes of the headers around a datagram on this way.
    pub(super) fn overhead(&self) -> u16 {
        let Via::Udp(udp) = self;
        // An IPv4 address in IPv6 clothes is what a socket for both families shows.
        if udp.remote.ip().to_canonical().is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 }
    }

    /// The other side's address, for people.
    pub fn remote(&self) -> SocketAddr {
        let Via::Udp(udp) = self;
        udp.remote
    }
}
