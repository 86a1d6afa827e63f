//! What middleboxes do to datagrams: translate ports, and damage them.
//!
//! A rebinding NAT gives every UDP flow that goes up another source port; what comes down to a
//! port that maps to no known flow is dropped in silence, as behind a real NAT. Damage keeps the
//! UDP checksum right, because a datagram with a wrong one never leaves the kernel of the
//! receiver: only that way does it test who reads the datagram.
//!
//! Limit: ports inside ICMP errors are not translated.

use std::collections::BTreeSet;

const ETHERNET: usize = 14;
/// Ports from here up are translated.
const PORT_MIN: u16 = 1024;
const PORTS: u32 = 65536 - PORT_MIN as u32;
/// Flows remembered at most.
const FLOWS_MAX: usize = 4096;

/// Port translation of one link; the identity until the first rebinding.
#[derive(Default)]
pub struct Nat {
    offset: u32,
    flows: BTreeSet<u16>,
}

impl Nat {
    /// Give every flow another port from now on.
    pub fn rebind(&mut self) {
        self.offset = (self.offset + 7919) % PORTS;
        self.flows.clear();
    }

    /// Translate a frame that goes up.
    pub fn up(&mut self, frame: &mut [u8]) {
        let Some(udp) = udp_header(frame) else { return };
        let port = read(frame, udp);
        if self.offset == 0 || port < PORT_MIN {
            return;
        }
        if self.flows.len() < FLOWS_MAX {
            self.flows.insert(port);
        }
        let shifted = (u32::from(port - PORT_MIN) + self.offset) % PORTS;
        write_port(frame, udp, udp, shifted as u16 + PORT_MIN);
    }

    /// Translate a frame that goes down; false if it belongs to no flow.
    pub fn down(&mut self, frame: &mut [u8]) -> bool {
        let Some(udp) = udp_header(frame) else { return true };
        let port = read(frame, udp + 2);
        if self.offset == 0 || port < PORT_MIN {
            return true;
        }
        let original = (u32::from(port - PORT_MIN) + PORTS - self.offset) % PORTS;
        let original = original as u16 + PORT_MIN;
        write_port(frame, udp, udp + 2, original);
        self.flows.contains(&original)
    }
}

/// Flip one bit: in the payload of a datagram (with its checksum made right again), else anywhere
/// behind the Ethernet header.
pub fn corrupt(frame: &mut [u8], random: u64) {
    let payload = udp_header(frame).map(|udp| udp + 8).filter(|p| *p < frame.len());
    let first = payload.unwrap_or(ETHERNET);
    if first >= frame.len() {
        return;
    }
    let at = first + (random >> 8) as usize % (frame.len() - first);
    // Words of the checksum are counted from the UDP header, which is 8 bytes before the payload.
    let word = at - (at - first) % 2;
    let before = word_at(frame, word);
    frame[at] ^= 1 << (random & 7);
    let after = word_at(frame, word);
    if let Some(payload) = payload {
        fix_checksum(frame, payload - 2, before, after);
    }
}

/// Offset of the UDP header, if the frame holds one that is complete.
pub fn udp_header(frame: &[u8]) -> Option<usize> {
    let ip = frame.get(ETHERNET..)?;
    let offset = match (read(frame.get(..ETHERNET)?, 12), ip.first()? >> 4) {
        (0x0800, 4) => {
            let fragment = read(ip.get(..20)?, 6) & 0x1fff;
            (ip[9] == 17 && fragment == 0).then_some(usize::from(ip[0] & 15) * 4)?
        }
        (0x86dd, 6) => (*ip.get(6)? == 17).then_some(40)?,
        _ => return None,
    };
    (ip.len() >= offset + 8).then_some(ETHERNET + offset)
}

fn write_port(frame: &mut [u8], udp: usize, place: usize, port: u16) {
    let before = read(frame, place);
    frame[place..place + 2].copy_from_slice(&port.to_be_bytes());
    fix_checksum(frame, udp + 6, before, port);
}

/// RFC 1624 §3: HC' = ~(~HC + ~m + m'). Zero means "no checksum" (RFC 768) and stays.
fn fix_checksum(frame: &mut [u8], place: usize, before: u16, after: u16) {
    let checksum = read(frame, place);
    if checksum == 0 {
        return;
    }
    let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let fixed = match !(sum as u16) {
        0 => 0xffff,
        other => other,
    };
    frame[place..place + 2].copy_from_slice(&fixed.to_be_bytes());
}

fn read(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The word at `at`, padded with zero at the end as the checksum pads it.
fn word_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes.get(at + 1).copied().unwrap_or(0)])
}
