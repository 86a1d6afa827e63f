//! A view of an inner IP packet: whose flow it belongs to, and how it may be treated.
//!
//! How: only fixed offsets are read. An IPv4 fragment or an IPv6 packet whose transport header is
//! behind an extension header is known by its addresses and protocol alone: its ports are not
//! looked for, so that all its fragments fall into the same flow.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// IPsec ESP's protocol number.
pub const ESP: u8 = 50;
/// QUIC's well-known port (RFC 9114 §3.1.2).
const QUIC_PORT: u16 = 443;

/// What the tunnel looks at in an inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number of what is inside.
    pub protocol: u8,
    /// Source and destination port; zero where there are none to be seen.
    pub ports: (u16, u16),
    /// The ECN field (RFC 3168 §5): 0 not capable, 1 and 2 capable, 3 congestion experienced.
    pub ecn: u8,
}

impl Packet {
    /// Looks at `packet`; `None` when it is no whole IPv4 or IPv6 packet.
    pub fn parse(packet: &[u8]) -> Option<Packet> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Packet> {
        let header = packet.first_chunk::<20>()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header_len < 20 || total < header_len || total > packet.len() {
            return None;
        }
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        let protocol = header[9];
        let transport = if fragment { &[] } else { packet.get(header_len..total)? };
        Some(Packet {
            source: Ipv4Addr::from(*header[12..16].first_chunk()?).into(),
            destination: Ipv4Addr::from(*header[16..20].first_chunk()?).into(),
            protocol,
            ports: ports(protocol, transport),
            ecn: header[1] & 3,
        })
    }

    fn parse_v6(packet: &[u8]) -> Option<Packet> {
        let header = packet.first_chunk::<40>()?;
        let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let transport = packet.get(40..total)?;
        let protocol = header[6];
        Some(Packet {
            source: Ipv6Addr::from(*header[8..24].first_chunk()?).into(),
            destination: Ipv6Addr::from(*header[24..40].first_chunk()?).into(),
            protocol,
            ports: ports(protocol, transport),
            ecn: header[1] >> 4 & 3,
        })
    }

    /// Whether the flow's receiver takes reordering for loss, so that its order must be kept:
    /// TCP (RFC 5681 §3.2), QUIC (RFC 9002 §6.1.1), and ESP, which usually carries TCP.
    /// Everything else is passed on as it arrives.
    pub fn wants_order(&self) -> bool {
        match self.protocol {
            TCP | ESP => true,
            UDP => self.ports.0 == QUIC_PORT || self.ports.1 == QUIC_PORT,
            _ => false,
        }
    }

    /// A number that is equal for packets of one flow (the 5-tuple), spread by `seed`.
    pub fn flow_hash(&self, seed: u64) -> u64 {
        let mut h = seed ^ u64::from(self.protocol) << 32;
        let mut mix = |v: u64| {
            h = (h ^ v).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            h ^= h >> 29;
        };
        for address in [self.source, self.destination] {
            match address {
                IpAddr::V4(a) => mix(u64::from(a.to_bits())),
                IpAddr::V6(a) => {
                    mix((a.to_bits() >> 64) as u64);
                    mix(a.to_bits() as u64);
                }
            }
        }
        mix(u64::from(self.ports.0) << 16 | u64::from(self.ports.1));
        h ^ h >> 32
    }
}

/// The ports of a TCP, UDP, UDP-Lite, DCCP or SCTP header.
fn ports(protocol: u8, transport: &[u8]) -> (u16, u16) {
    match (protocol, transport.first_chunk::<4>()) {
        (TCP | UDP | 33 | 132 | 136, Some(&[a, b, c, d])) => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        _ => (0, 0),
    }
}

/// Sets the ECN field of `packet` to "congestion experienced" and mends the IPv4 header checksum
/// (RFC 1624 §3). The packet must have been [parsed](Packet::parse).
pub fn mark_ce(packet: &mut [u8]) {
    match packet {
        [first, tos, rest @ ..] if *first >> 4 == 4 && rest.len() >= 18 => {
            let old = u16::from_be_bytes([*first, *tos]);
            *tos |= 3;
            let new = u16::from_be_bytes([*first, *tos]);
            let check = u16::from_be_bytes([rest[8], rest[9]]);
            let sum = u32::from(!check) + u32::from(!old) + u32::from(new);
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
            rest[8..10].copy_from_slice(&sum.to_be_bytes());
        }
        [first, class, ..] if *first >> 4 == 6 => *class |= 0x30,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp4() -> Vec<u8> {
        let mut p = vec![0u8; 44];
        p[0] = 0x45;
        p[1] = 2;
        p[3] = 44;
        p[8] = 64;
        p[9] = TCP;
        p[12..16].copy_from_slice(&[10, 0, 0, 1]);
        p[16..20].copy_from_slice(&[192, 0, 2, 9]);
        p[20..24].copy_from_slice(&[0x12, 0x34, 0x01, 0xbb]);
        let sum = !checksum(&p[..20]);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p
    }

    fn checksum(header: &[u8]) -> u16 {
        let sum: u32 = header.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn ipv4_tcp() {
        let p = Packet::parse(&tcp4()).unwrap();
        assert_eq!(p.source, "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(p.destination, "192.0.2.9".parse::<IpAddr>().unwrap());
        assert_eq!((p.protocol, p.ports, p.ecn), (TCP, (0x1234, 443), 2));
        assert!(p.wants_order());
    }

    #[test]
    fn a_fragment_has_no_ports() {
        let mut bytes = tcp4();
        bytes[6] = 0x20;
        assert_eq!(Packet::parse(&bytes).unwrap().ports, (0, 0));
    }

    #[test]
    fn ipv6_quic_wants_order_and_dns_does_not() {
        let mut bytes = vec![0u8; 48];
        bytes[0] = 0x60;
        bytes[5] = 8;
        bytes[6] = UDP;
        bytes[42..44].copy_from_slice(&443u16.to_be_bytes());
        assert!(Packet::parse(&bytes).unwrap().wants_order());
        bytes[42..44].copy_from_slice(&53u16.to_be_bytes());
        assert!(!Packet::parse(&bytes).unwrap().wants_order());
    }

    #[test]
    fn truncated_and_foreign_bytes_are_refused() {
        let whole = tcp4();
        for n in 0..whole.len() {
            assert_eq!(Packet::parse(&whole[..n]), None, "{n} bytes");
        }
        assert_eq!(Packet::parse(&[0x00; 40]), None);
        assert_eq!(Packet::parse(&[0x60; 39]), None);
    }

    #[test]
    fn marking_keeps_the_checksum_right() {
        let mut bytes = tcp4();
        mark_ce(&mut bytes);
        assert_eq!(Packet::parse(&bytes).unwrap().ecn, 3);
        assert_eq!(checksum(&bytes[..20]), 0xffff);
    }

    #[test]
    fn one_flow_one_hash() {
        let p = Packet::parse(&tcp4()).unwrap();
        assert_eq!(p.flow_hash(1), p.flow_hash(1));
        assert_ne!(p.flow_hash(1), p.flow_hash(2));
        assert_ne!(p.flow_hash(1), Packet { ports: (1, 2), ..p }.flow_hash(1));
    }
}
