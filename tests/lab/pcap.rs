//! Captures as tcpdump writes them, read back.
//!
//! Only what the tests ask: addresses, ports and payload of UDP in IPv4, and the whole frame for
//! everything else. Limit: files in the byte order of this machine, link type Ethernet.

use super::emulator::nat::udp_header;
use std::net::{Ipv4Addr, SocketAddrV4};

/// One captured frame.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The frame.
    pub frame: Vec<u8>,
}

/// A UDP datagram in IPv4.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// To whom.
    pub to: SocketAddrV4,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Packet {
    /// The datagram in it, if it is one.
    pub fn datagram(&self) -> Option<Datagram> {
        let udp = udp_header(&self.frame)?;
        let ip = self.frame.get(14..).filter(|ip| ip[0] >> 4 == 4)?;
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let number = |at: usize| u16::from_be_bytes([self.frame[at], self.frame[at + 1]]);
        let end = udp + usize::from(number(udp + 4));
        Some(Datagram {
            from: SocketAddrV4::new(address(12), number(udp)),
            to: SocketAddrV4::new(address(16), number(udp + 2)),
            payload: self.frame.get(udp + 8..end)?.to_vec(),
        })
    }

    /// Whether the frame holds these bytes anywhere.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.frame.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// The whole packets of a capture file; an incomplete end is left out.
pub fn read(bytes: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let Some(header) = rest.get(..16) {
        let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        packets.push(Packet { frame: frame.to_vec() });
        rest = &rest[16 + length..];
    }
    packets
}
