//! Inner packets: whole IPv4 packets as hosts in the virtual world exchange them.
//!
//! How: a flow is known by its client port (for ICMP: the identifier), which both hosts use to
//! find the application that a packet belongs to. Only the IPv4 header checksum is right; TCP and
//! UDP checksums of the model applications are left zero, since nothing in the tunnel reads them.

/// Which end of the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The router and the hosts behind it.
    Client = 0,
    /// The server and the hosts beyond it.
    Server = 1,
}

/// Both ends.
pub const SIDES: [Side; 2] = [Side::Client, Side::Server];

impl Side {
    /// The other end.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// Address of the host on this side.
    pub fn address(self) -> [u8; 4] {
        match self {
            Side::Client => [10, 77, 0, 2],
            Side::Server => [10, 78, 0, 1],
        }
    }
}

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// Bytes of an IPv4 header without options.
pub const IP_HEADER: usize = 20;
/// Bytes of a UDP or ICMP echo header.
pub const UDP_HEADER: usize = 8;

/// An IPv4 packet of `len` bytes from the host on side `from`, with zeros behind its header.
pub fn ipv4(from: Side, protocol: u8, id: u16, len: usize) -> Vec<u8> {
    let mut p = vec![0u8; len];
    p[0] = 0x45;
    p[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    p[4..6].copy_from_slice(&id.to_be_bytes());
    p[6] = 0x40;
    p[8] = 64;
    p[9] = protocol;
    p[12..16].copy_from_slice(&from.address());
    p[16..20].copy_from_slice(&from.other().address());
    let sum: u32 =
        p[..20].chunks_exact(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p
}

/// Writes the ports of a packet from side `from`: the client's names the flow.
pub fn set_ports(packet: &mut [u8], from: Side, flow_port: u16, service: u16) {
    let (source, destination) = match from {
        Side::Client => (flow_port, service),
        Side::Server => (service, flow_port),
    };
    packet[20..22].copy_from_slice(&source.to_be_bytes());
    packet[22..24].copy_from_slice(&destination.to_be_bytes());
}

/// The flow that a packet arriving at the host on side `at` belongs to.
pub fn flow_port(packet: &[u8], at: Side) -> Option<u16> {
    let (protocol, transport) = (*packet.get(9)?, packet.get(20..28)?);
    let at = match (protocol, at) {
        (ICMP, _) => 4,
        (_, Side::Client) => 2,
        (_, Side::Server) => 0,
    };
    Some(u16::from_be_bytes([transport[at], transport[at + 1]]))
}

/// A digest of bytes: not cryptographic, every byte counts.
pub fn digest(bytes: &[u8]) -> u64 {
    digest_from(bytes.len() as u64 ^ 0x2545_f491_4f6c_dd1d, bytes)
}

/// A digest of a packet that does not change when a router marks congestion: the ECN bits and
/// the IPv4 header checksum are left out.
pub fn packet_digest(packet: &[u8]) -> u64 {
    let Some((head, rest)) = packet.split_first_chunk::<20>() else { return digest(packet) };
    let mut head = *head;
    head[1] &= 0xfc;
    head[10] = 0;
    head[11] = 0;
    digest_from(digest(&head), rest)
}

fn digest_from(start: u64, bytes: &[u8]) -> u64 {
    let mut h = start;
    let mut mix = |v: u64| h = (h ^ v).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (chunks, rest) = bytes.as_chunks::<8>();
    chunks.iter().for_each(|c| mix(u64::from_le_bytes(*c)));
    rest.iter().for_each(|&b| mix(u64::from(b) | 0x100));
    h ^ h >> 31
}

/// Fills `payload` with bytes that depend on `offset` and the place of each.
pub fn fill(payload: &mut [u8], offset: u64) {
    let mut v = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in payload.chunks_mut(8) {
        v = v.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        chunk.copy_from_slice(&v.to_le_bytes()[..chunk.len()]);
    }
}
