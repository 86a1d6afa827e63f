//! The receiver of the model TCP.

use super::segment::{HEADERS, Names, Range, SACKS_MAX, Segment};
use crate::host::App;
use crate::packet::{Side, fill};
use crate::report::Record;
use onebox::time::{MS, Time};

/// Delayed acknowledgement (Linux `TCP_DELACK_MIN`), microseconds.
const DELAYED_US: u64 = 40 * MS;
/// Segments at the begin of a flow that are acknowledged one by one (Linux quickack).
const QUICK: u64 = 16;

/// Receives a flow, acknowledges it, and counts what is in order.
#[derive(Debug)]
pub struct Receiver {
    names: Names,
    next: u64,
    /// What has arrived beyond `next`, in order, each with the number of its last change.
    beyond: Vec<(Range, u64)>,
    changes: u64,
    duplicate: Option<Range>,
    echo: u32,
    unacked: u32,
    ack_at: Time,
    ack_now: bool,
    id: u16,
    expected: Vec<u8>,
    record: Record,
}

impl Receiver {
    /// The receiver on side `at`.
    pub fn new(at: Side, port: u16, service: u16) -> Receiver {
        Receiver {
            names: Names { from: at, port, service, mss: 0 },
            next: 0,
            beyond: Vec::new(),
            changes: 0,
            duplicate: None,
            echo: 0,
            unacked: 0,
            ack_at: Time::FAR,
            ack_now: false,
            id: 0,
            expected: Vec::new(),
            record: Record::default(),
        }
    }

    fn insert(&mut self, seq: u64) {
        self.changes += 1;
        let i = self.beyond.partition_point(|((_, end), _)| *end < seq);
        match self.beyond.get_mut(i) {
            Some(((l, r), _)) if (*l..*r).contains(&seq) => {
                self.duplicate = Some((seq, seq + 1));
            }
            Some(((l, r), stamp)) if seq == *r || seq + 1 == *l => {
                (*l, *r, *stamp) = ((*l).min(seq), (*r).max(seq + 1), self.changes);
                if let Some(&((next_l, next_r), _)) = self.beyond.get(i + 1)
                    && next_l == self.beyond[i].0.1
                {
                    self.beyond[i].0.1 = next_r;
                    self.beyond.remove(i + 1);
                }
            }
            _ => self.beyond.insert(i, ((seq, seq + 1), self.changes)),
        }
    }

    fn acknowledgement(&mut self, now: Time) -> Vec<u8> {
        let mut s = Segment {
            ack: self.next,
            tsval: (now.0 / MS) as u32,
            tsecr: self.echo,
            ..Segment::default()
        };
        let mut used = 0;
        if let Some(range) = self.duplicate.take() {
            s.sacks[0] = range;
            used = 1;
        }
        let mut newest = [((0, 0), 0u64); SACKS_MAX];
        for &block in &self.beyond {
            if let Some(i) = newest.iter().position(|n| block.1 > n.1) {
                newest[i..].rotate_right(1);
                newest[i] = block;
            }
        }
        for (range, _) in newest.into_iter().filter(|n| n.1 > 0).take(SACKS_MAX - used) {
            s.sacks[used] = range;
            used += 1;
        }
        s.sack_count = used;
        self.unacked = 0;
        self.ack_at = Time::FAR;
        self.ack_now = false;
        self.id = self.id.wrapping_add(1);
        s.write(&self.names, self.id, 0)
    }
}

impl App for Receiver {
    fn start(&mut self, _now: Time, _mtu: u16) {}

    fn receive(&mut self, now: Time, packet: &[u8]) {
        if self.names.mss == 0 {
            // The ends of the tunnel need not agree on its MTU: the sender's size counts.
            self.names.mss = packet.len() - HEADERS;
        }
        let Some((s, len)) = Segment::read(packet, self.next, self.names.mss) else { return };
        self.expected.resize(len, 0);
        fill(&mut self.expected, s.seq);
        self.record.corrupt += u64::from(packet[packet.len() - len..] != self.expected[..]);
        if s.seq < self.next {
            self.duplicate = Some((s.seq, s.seq + 1));
            self.ack_now = true;
            return;
        }
        if s.seq > self.next {
            self.record.reordered += 1;
            self.insert(s.seq);
            self.ack_now = true;
            return;
        }
        self.echo = s.tsval;
        let before = self.next;
        self.next += 1;
        if self.beyond.first().is_some_and(|b| b.0.0 == self.next) {
            self.next = self.beyond.remove(0).0.1;
            self.ack_now = true;
        }
        self.record.received(now, (self.next - before) * self.names.mss as u64);
        self.unacked += 1;
        self.ack_at = self.ack_at.min(now + DELAYED_US);
        self.ack_now |= self.unacked >= 2 || !self.beyond.is_empty() || self.next < QUICK;
    }

    fn poll(&mut self, now: Time) -> Option<Vec<u8>> {
        (self.ack_now || self.ack_at <= now).then(|| self.acknowledgement(now))
    }

    fn poll_timeout(&self) -> Time {
        if self.ack_now { Time::ZERO } else { self.ack_at }
    }

    fn record(&self) -> &Record {
        &self.record
    }
}
