//! The packets of the model TCP.

use crate::packet::{self, IP_HEADER, Side};
use onebox::wire::header::expand;
use onebox::wire::ip::TCP;

/// TCP header with timestamps, as every segment has it.
const TCP_HEADER: usize = 32;
/// IP and TCP header with timestamps.
pub const HEADERS: usize = IP_HEADER + TCP_HEADER;
/// SACK blocks in an acknowledgement at most, beside timestamps (RFC 2018 §3).
pub const SACKS_MAX: usize = 3;

/// A range of segments, from the first to before the second.
pub type Range = (u64, u64);

/// A data segment or an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// First segment carried, or (in an acknowledgement) zero.
    pub seq: u64,
    /// Next segment expected.
    pub ack: u64,
    /// Sender's clock, milliseconds.
    pub tsval: u32,
    /// The echo of the other's clock.
    pub tsecr: u32,
    /// Ranges that have arrived out of order; a duplicate comes first (RFC 2883).
    pub sacks: [Range; SACKS_MAX],
    /// How many of them count.
    pub sack_count: usize,
}

/// What names a flow's packets.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Side that sends the packets to be written.
    pub from: Side,
    /// The flow's port at the client.
    pub port: u16,
    /// The service's port at the server.
    pub service: u16,
    /// Bytes of a full segment.
    pub mss: usize,
}

impl Segment {
    /// The packet, with `payload` bytes of data.
    pub fn write(&self, names: &Names, id: u16, payload: usize) -> Vec<u8> {
        let options = if self.sack_count > 0 { 4 + 8 * self.sack_count } else { 0 };
        let head = HEADERS + options;
        let mut p = packet::ipv4(names.from, TCP, id, head + payload);
        packet::set_ports(&mut p, names.from, names.port, names.service);
        let mss = names.mss as u64;
        p[24..28].copy_from_slice(&((self.seq * mss) as u32).to_be_bytes());
        p[28..32].copy_from_slice(&((self.ack * mss) as u32).to_be_bytes());
        p[32] = (((TCP_HEADER + options) / 4) as u8) << 4;
        p[33] = 0x10;
        p[34..36].copy_from_slice(&u16::MAX.to_be_bytes());
        p[40..44].copy_from_slice(&[1, 1, 8, 10]);
        p[44..48].copy_from_slice(&self.tsval.to_be_bytes());
        p[48..52].copy_from_slice(&self.tsecr.to_be_bytes());
        if options > 0 {
            p[52..56].copy_from_slice(&[1, 1, 5, (options - 2) as u8]);
            for (slot, sack) in p[56..].chunks_exact_mut(8).zip(&self.sacks[..self.sack_count]) {
                slot[..4].copy_from_slice(&((sack.0 * mss) as u32).to_be_bytes());
                slot[4..].copy_from_slice(&((sack.1 * mss) as u32).to_be_bytes());
            }
        }
        packet::fill(&mut p[head..], self.seq);
        p
    }

    /// Reads a packet; `near` is a segment number near those that can be in it.
    pub fn read(p: &[u8], near: u64, mss: usize) -> Option<(Segment, usize)> {
        let word = |at: usize| p.get(at..at + 4)?.first_chunk().map(|b| u32::from_be_bytes(*b));
        let mss = mss as u64;
        let number = |at| Some(expand(word(at)?, near * mss) / mss);
        let head = IP_HEADER + usize::from(p.get(32)? >> 4) * 4;
        let mut s = Segment {
            seq: number(24)?,
            ack: number(28)?,
            tsval: word(44)?,
            tsecr: word(48)?,
            ..Segment::default()
        };
        s.sack_count = head.saturating_sub(HEADERS + 4) / 8;
        for (i, sack) in s.sacks.iter_mut().enumerate().take(s.sack_count) {
            *sack = (number(56 + 8 * i)?, number(60 + 8 * i)?);
        }
        Some((s, p.len() - head))
    }
}

#[test]
fn segments_are_read_as_written() {
    let names = Names { from: Side::Server, port: 20_001, service: 443, mss: 1400 };
    let sacks = [(4_000_010, 4_000_020), (4_000_030, 4_000_031), (0, 0)];
    let s = Segment { seq: 4_000_007, ack: 4_000_001, tsval: 7, tsecr: 8, sacks, sack_count: 2 };
    let p = s.write(&names, 1, 1400);
    assert_eq!(p.len(), HEADERS + 20 + 1400);
    assert_eq!(Segment::read(&p, 4_000_000, 1400), Some((s, 1400)));
}
