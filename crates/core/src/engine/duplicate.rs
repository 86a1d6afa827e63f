//! Small packets of sparse flows are sent twice, over two paths.
//!
//! Why: a voice packet, a game's move, a name lookup or a ping is worth more than its few bytes.
//! What a path loses, delays or swallows as it dies, the other one has delivered meanwhile, without
//! anybody noticing a loss first.
//!
//! How: the packet goes over the path of earliest arrival, and its duplicate over the next one that may
//! send within [`PATIENCE_US`]; the receiver takes what comes first (the idea of XLINK's
//! re-injection, SIGCOMM 2021). Both are copies of one packet in `Unacked`: it is lost when both
//! are.
//!
//! Limits: [`PERCENT`] of what is sent and [`RATE`]; no pure acknowledgements, no reserve paths.

use super::path::sent::{CONTENT_MAX, NONE};
use super::{Engine, Target, Transmit};
use crate::time::{MS, SEC, Time};
use crate::wire::frame::{Frame, PACKET_HEAD};
use crate::wire::{PathId, Writer};
use std::collections::VecDeque;

/// The longest packet that has a duplicate, bytes.
const LEN_MAX: usize = 400;
/// Packets of ordered flows (TCP) up to this length are acknowledgements: the next one repeats
/// them.
const ACK_MAX: usize = 84;
/// Share of the bytes sent that duplicates may take, percent (as XLINK), and what they may take anyway,
/// bytes per second.
const PERCENT: u64 = 2;
const RATE: u64 = 16_000;
/// What may be saved up, bytes.
const SAVED_MAX: u64 = 16_000;
/// How long a duplicate waits for its path, and how many wait.
const PATIENCE_US: u64 = 5 * MS;
const WAITING_MAX: usize = 32;
/// A path that is slower than the fastest by more than this cannot help.
const LATER_MAX_US: i64 = 100 * MS as i64;

#[derive(Debug)]
struct Duplicate {
    place: u32,
    path: PathId,
    since: Time,
}

/// Packets that are to be sent a second time, and what that may cost.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    waiting: VecDeque<Duplicate>,
    saved: u64,
    at: Time,
}

impl Duplicates {
    /// `len` bytes have been sent.
    pub(super) fn on_sent(&mut self, now: Time, len: u64) {
        let more = len * PERCENT / 100 + now.since(self.at).min(SEC) * RATE / SEC;
        if more > 0 {
            (self.saved, self.at) = ((self.saved + more).min(SAVED_MAX), now);
        }
    }

    /// A packet of a sparse flow has been sent over `path`.
    pub(super) fn offer(&mut self, now: Time, place: u32, path: PathId, len: usize, ordered: bool) {
        let wanted = len <= LEN_MAX && !(ordered && len <= ACK_MAX);
        if wanted && self.saved >= len as u64 && self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Duplicate { place, path, since: now });
        }
    }

    fn next(&mut self, now: Time) -> Option<(u32, PathId)> {
        while self.waiting.front().is_some_and(|t| now.since(t.since) > PATIENCE_US) {
            self.waiting.pop_front();
        }
        self.waiting.front().map(|t| (t.place, t.path))
    }

    fn took(&mut self, len: usize) {
        self.waiting.pop_front();
        self.saved = self.saved.saturating_sub(len as u64);
    }
}

impl Engine {
    /// Sends a packet for the second time, if one waits and a second path may send.
    pub(super) fn transmit_duplicate(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        let (place, first) = self.duplicates.next(now)?;
        let order = self.order(now);
        let id = order.near(LATER_MAX_US).find(|&id| {
            id != first && self.path(id).is_some_and(|p| p.may_send(now) && !p.is_reserve())
        })?;
        let Some(packet) = self.unacked.get(place) else {
            self.duplicates.took(0);
            return None;
        };
        let len = packet.packet.len();
        let capacity = self.path(id)?.payload_max().min(out.len());
        if PACKET_HEAD + len > capacity {
            self.duplicates.took(0);
            return None;
        }
        let mut w = Writer::new(&mut out[..capacity]);
        Frame::Packet {
            flow: packet.flow,
            sequence: packet.sequence,
            ordered: packet.ordered,
            packet: packet.packet.bytes(),
        }
        .write(&mut w);
        self.unacked.copied(place);
        self.duplicates.took(len);
        self.duplicated += 1;
        let mut content = [NONE; CONTENT_MAX];
        content[0] = place;
        let len = w.len();
        self.finish(now, id, len, true, content, Target::Current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_cost_a_bounded_share() {
        let mut duplicates = Duplicates::default();
        let (mut bytes, mut second) = (0, 0);
        for ms in 0..10_000u64 {
            let now = Time(ms * MS);
            duplicates.on_sent(now, 1000);
            bytes += 1000;
            duplicates.offer(now, 1, PathId(0), 300, false);
            if duplicates.next(now).is_some() {
                duplicates.took(300);
                second += 300;
            }
        }
        let most = bytes * PERCENT / 100 + 10 * RATE + SAVED_MAX;
        assert!(second <= most && second * 10 > most * 8, "{second} of {most}");
    }

    #[test]
    fn what_waits_too_long_is_not_sent_twice() {
        let mut duplicates = Duplicates::default();
        duplicates.on_sent(Time(SEC), 100_000);
        duplicates.offer(Time(SEC), 1, PathId(0), 100, false);
        assert!(duplicates.next(Time(SEC + PATIENCE_US)).is_some());
        assert!(duplicates.next(Time(SEC + PATIENCE_US + 1)).is_none());
    }

    #[test]
    fn neither_acknowledgements_nor_bulk_have_twins() {
        let mut duplicates = Duplicates::default();
        duplicates.on_sent(Time(SEC), 100_000);
        duplicates.offer(Time(SEC), 1, PathId(0), 52, true);
        duplicates.offer(Time(SEC), 2, PathId(0), 1400, true);
        assert!(duplicates.next(Time(SEC)).is_none());
    }
}
