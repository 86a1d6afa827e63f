//! What must hold at every step, whatever the scenario.
//!
//! * What is delivered was sent, byte for byte (but for a congestion mark), and at most once.
//! * What a node keeps is within bounds: packets that wait to be sent, to be acknowledged and for
//!   their predecessors within those that its settings state, the tables of datagrams sent and
//!   received within those of this file.
//! * Nothing is sent on a link whose carrier the node knows to be gone.
//! * A node that has nothing more to do wants to be woken later than now, and not more often
//!   than its packets explain.
//! * Virtual time advances.

use crate::packet::{Side, packet_digest};
use onebox::buffer::CAPACITY;
use onebox::engine::Memory;
use onebox::time::{SEC, Time};
use std::collections::BTreeMap;

/// Wake-ups per virtual second that need no packet to explain them.
const WAKES_FREE: u64 = 2_000;
/// Wake-ups that a packet or datagram explains.
const WAKES_PER_PACKET: u64 = 3;

/// Datagrams that a path may remember having sent: those of 300 Mbit/s in 600 ms.
const LOG_ENTRIES_MAX: usize = 16_384;
/// Ranges of packet numbers that a path may remember having received: what an acknowledgement
/// can tell (`ACK_RANGES_MAX` of the wire format).
const RANGES_MAX: usize = 32;

/// Watches one world.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By sending side: digests of packets under way, and how often each was sent.
    under_way: [BTreeMap<u64, u32>; 2],
    /// Packets that were sent and delivered, by sending side.
    pub sent: [u64; 2],
    /// See [`sent`](Oracle::sent).
    pub delivered: [u64; 2],
    /// Digest of all deliveries with their times.
    pub trace: u64,
    /// Per side: this second's wake-ups, and packets and datagrams handled.
    second: [(u64, u64); 2],
    second_ends: Time,
    /// By side: the most of everything that was kept at once.
    pub peaks: [Memory; 2],
    /// What was found wrong, the first few.
    pub violations: Vec<String>,
}

impl Oracle {
    fn violation(&mut self, now: Time, what: String) {
        if self.violations.len() < 10 {
            self.violations.push(format!("{:.6} s: {what}", now.0 as f64 / SEC as f64));
        }
    }

    /// A host hands a packet to the tunnel.
    pub fn sent(&mut self, from: Side, packet: &[u8]) {
        self.sent[from as usize] += 1;
        self.second[from as usize].1 += 1;
        *self.under_way[from as usize].entry(packet_digest(packet)).or_default() += 1;
    }

    /// The tunnel hands a packet to the host on side `at`.
    pub fn delivered(&mut self, now: Time, at: Side, packet: &[u8]) {
        let from = at.other() as usize;
        let digest = packet_digest(packet);
        self.delivered[from] += 1;
        self.second[at as usize].1 += 1;
        let mixed = digest ^ now.0.rotate_left(17) ^ at as u64;
        self.trace = (self.trace ^ mixed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        match self.under_way[from].get_mut(&digest) {
            Some(1) => {
                self.under_way[from].remove(&digest);
            }
            Some(n) => *n -= 1,
            None => {
                let len = packet.len();
                let what = format!("{at:?} was given {len} bytes not sent, or given before");
                self.violation(now, what);
            }
        }
    }

    /// A datagram was sent or received by the node on this side.
    pub fn datagram(&mut self, side: Side) {
        self.second[side as usize].1 += 1;
    }

    /// A node sends on a link whose carrier is gone.
    pub fn sent_on_dead_link(&mut self, now: Time, side: Side, link: usize) {
        self.violation(now, format!("{side:?} sends on link {link}, which has no carrier"));
    }

    /// A node's timer has fired.
    pub fn woken(&mut self, now: Time, side: Side) {
        if now >= self.second_ends {
            self.second = [(0, 0); 2];
            self.second_ends = now + SEC;
        }
        let (wakes, packets) = &mut self.second[side as usize];
        *wakes += 1;
        let bound = WAKES_FREE + WAKES_PER_PACKET * *packets;
        if *wakes == bound + 1 {
            let what = format!("{side:?} woke {wakes} times in a second for {packets} packets");
            self.violation(now, what);
        }
    }

    /// A node has nothing more to do at this time.
    pub fn drained(&mut self, now: Time, side: Side, wakes: Time, memory: &Memory) {
        if wakes <= now {
            self.violation(now, format!("{side:?} wants to be woken at {wakes:?}, not later"));
        }
        let peaks = &mut self.peaks[side as usize];
        let mut found = Vec::new();
        let mut check = |what, peak: &mut usize, amount: usize, most: usize| {
            if amount > most && amount > *peak {
                found.push(format!("{side:?} keeps {amount} of {most} {what}"));
            }
            *peak = amount.max(*peak);
        };
        (peaks.queue.1, peaks.unacked.1, peaks.held.1, peaks.parity.1) =
            (memory.queue.1, memory.unacked.1, memory.held.1, memory.parity.1);
        let Memory { queue, unacked, held, log_entries, parity, ranges } = *memory;
        check("bytes in the queue", &mut peaks.queue.0, queue.0, queue.1);
        // The packet that reaches the bound is let in whole.
        check("bytes unacknowledged", &mut peaks.unacked.0, unacked.0, unacked.1 + CAPACITY);
        check("bytes held", &mut peaks.held.0, held.0, held.1);
        check("bytes for parity", &mut peaks.parity.0, parity.0, parity.1);
        check("datagrams sent", &mut peaks.log_entries, log_entries, LOG_ENTRIES_MAX);
        check("ranges received", &mut peaks.ranges, ranges, RANGES_MAX);
        found.into_iter().for_each(|what| self.violation(now, what));
    }

    /// Time goes on.
    pub fn advanced(&mut self, from: Time, to: Time) {
        if to < from {
            self.violation(from, format!("time goes back to {to:?}"));
        }
    }
}
