//! Packets that are on their way: kept until acknowledged, sent again when lost.
//!
//! How: every inner packet that was sent has a place in the [`Unacked`], and every datagram in a
//! path's log names the places of the packets it carries. A packet may be in several datagrams at
//! once (sent again, or sent twice as a precaution); the first acknowledgement frees it, and when
//! the last of them is lost it queues to be sent again, ahead of everything that is new.
//!
//! Limits: bounded in bytes of buffers: when it is full nothing new is sent until
//! acknowledgements come. A packet that can no longer arrive in time is given up, which the
//! receiver is told; the inner protocol sees to the rest.

use super::path::sent::{NONE, Sent};
use super::queue::Outgoing;
use crate::buffer::{CAPACITY, Pool};
use crate::time::Time;
use crate::wire::frame::SKIP_MAX;
use std::collections::VecDeque;

/// Times that a packet is sent at most.
const ATTEMPTS_MAX: u8 = 6;
/// Notes of given-up packets that wait to be reported at most.
const SKIPS_MAX: usize = 256;

#[derive(Debug)]
struct Kept {
    outgoing: Outgoing,
    first_sent: Time,
    /// Datagrams in flight that carry it.
    copies: u8,
    attempts: u8,
    queued: bool,
}

/// A place, and how often it has been used: a datagram that outlives its packet must not find
/// the next one in the same place.
#[derive(Debug)]
struct Slot {
    generation: u32,
    kept: Option<Kept>,
}

/// A place's name is its index in the low bits and its generation above them.
const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// Keeps every name apart from [`NONE`].
const GENERATIONS: u32 = (1 << (32 - INDEX_BITS)) - 1;

/// The packets on their way.
#[derive(Debug)]
pub struct Unacked {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Generation of new slots: names of those given back must not come again soon.
    generation: u32,
    /// Packets lost and to be sent again.
    queue: VecDeque<u32>,
    /// Runs of sequence numbers that will never come: flow, first, count.
    skips: VecDeque<(u16, u32, u16)>,
    kept: usize,
    limit: usize,
    /// Where [`any`](Unacked::any) looked last.
    cursor: usize,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Packets given up.
    pub abandoned: u64,
}

impl Unacked {
    /// Keeps at most `limit` bytes of buffers.
    pub fn new(limit: usize) -> Unacked {
        Unacked {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            queue: VecDeque::new(),
            skips: VecDeque::new(),
            kept: 0,
            limit,
            cursor: 0,
            retransmitted: 0,
            abandoned: 0,
        }
    }

    /// Keeps at most `limit` bytes of buffers from here on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether nothing new may be sent now.
    pub fn is_full(&self) -> bool {
        self.kept * CAPACITY >= self.limit
    }

    /// Bytes of buffers that are kept, and the most that may be.
    pub fn buffers(&self) -> (usize, usize) {
        (self.kept * CAPACITY, self.limit)
    }

    /// Keeps a packet that is being sent for the first time; returns its place.
    pub fn keep(&mut self, now: Time, outgoing: Outgoing) -> u32 {
        let kept = Kept { outgoing, first_sent: now, copies: 1, attempts: 1, queued: false };
        self.kept += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.generation, kept: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.kept = Some(kept);
        slot.generation << INDEX_BITS | index
    }

    fn find(&self, place: u32) -> Option<&Kept> {
        let slot = self.slots.get((place & INDEX_MASK) as usize)?;
        slot.kept.as_ref().filter(|_| slot.generation == place >> INDEX_BITS)
    }

    fn find_mut(&mut self, place: u32) -> Option<&mut Kept> {
        let slot = self.slots.get_mut((place & INDEX_MASK) as usize)?;
        slot.kept.as_mut().filter(|_| slot.generation == place >> INDEX_BITS)
    }

    /// The packet at `place`, if it is still wanted.
    pub fn get(&self, place: u32) -> Option<&Outgoing> {
        self.find(place).map(|k| &k.outgoing)
    }

    /// Some packet on its way of at most `max_len` bytes, another one each time.
    pub fn any(&mut self, max_len: usize) -> Option<&Outgoing> {
        let Unacked { slots, cursor, .. } = self;
        for _ in 0..slots.len().min(16) {
            *cursor = (*cursor + 1) % slots.len();
            let fits = |k: &&Kept| k.outgoing.packet.len() <= max_len;
            if slots[*cursor].kept.as_ref().filter(fits).is_some() {
                break;
            }
        }
        let kept = slots.get(*cursor)?.kept.as_ref()?;
        Some(&kept.outgoing).filter(|o| o.packet.len() <= max_len)
    }

    /// Whether something waits to be sent again.
    pub fn wants_resend(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next packet to send again, of at most `max_len` bytes, without taking it. Packets that
    /// are older than `deadline_us`, or longer than `longest`, what the widest path takes, are given
    /// up on the way.
    pub fn next_resend(
        &mut self,
        now: Time,
        pool: &mut Pool,
        deadline_us: u64,
        max_len: usize,
        longest: usize,
    ) -> Option<u32> {
        while let Some(&place) = self.queue.front() {
            match self.find(place) {
                Some(kept)
                    if now.since(kept.first_sent) <= deadline_us
                        && kept.attempts < ATTEMPTS_MAX
                        && kept.outgoing.packet.len() <= longest =>
                {
                    return (kept.outgoing.packet.len() <= max_len).then_some(place);
                }
                Some(_) => {
                    self.queue.pop_front();
                    self.give_up(place, pool);
                }
                None => {
                    self.queue.pop_front();
                }
            }
        }
        None
    }

    /// The packet that [`next_resend`](Unacked::next_resend) named is being sent.
    pub fn resent(&mut self, place: u32) {
        self.queue.pop_front();
        if let Some(kept) = self.find_mut(place) {
            kept.queued = false;
            kept.copies += 1;
            kept.attempts += 1;
            self.retransmitted += 1;
        }
    }

    /// The packet has been sent once more as a precaution.
    pub fn copied(&mut self, place: u32) {
        if let Some(kept) = self.find_mut(place) {
            kept.copies += 1;
        }
    }

    /// A datagram was acknowledged: its packets have arrived.
    pub fn on_acked(&mut self, sent: &Sent, pool: &mut Pool) {
        for &place in sent.content.iter().filter(|&&p| p != NONE) {
            self.release(place, pool);
        }
    }

    /// A datagram was lost: its packets have to go again, unless another copy is on its way.
    pub fn on_lost(&mut self, sent: &Sent) {
        for &place in sent.content.iter().filter(|&&p| p != NONE) {
            let Some(kept) = self.find_mut(place) else { continue };
            kept.copies = kept.copies.saturating_sub(1);
            if kept.copies == 0 && !kept.queued {
                kept.queued = true;
                self.queue.push_back(place);
            }
        }
    }

    /// Sends a packet again although its datagram has not been given up.
    pub fn hurry(&mut self, sent: &Sent) {
        for &place in sent.content.iter().filter(|&&p| p != NONE) {
            if let Some(kept) = self.find_mut(place)
                && !kept.queued
                && kept.copies < 2
            {
                kept.queued = true;
                self.queue.push_back(place);
            }
        }
    }

    fn release(&mut self, place: u32, pool: &mut Pool) {
        if self.find(place).is_none() {
            return;
        }
        let index = place & INDEX_MASK;
        let slot = &mut self.slots[index as usize];
        slot.generation = (slot.generation + 1) % GENERATIONS;
        if let Some(kept) = slot.kept.take() {
            pool.give(kept.outgoing.packet);
            self.kept -= 1;
            self.free.push(index);
        }
    }

    fn give_up(&mut self, place: u32, pool: &mut Pool) {
        let skipped = self.get(place).filter(|o| o.ordered).map(|o| (o.flow, o.sequence));
        if let Some((flow, sequence)) = skipped {
            self.push_skip(flow, sequence, 1);
        }
        self.abandoned += 1;
        self.release(place, pool);
    }

    /// Notes sequence numbers that the receiver should not wait for. Not repeated when lost: the
    /// receiver's patience ends by itself.
    pub fn push_skip(&mut self, flow: u16, first: u32, count: u16) {
        for done in (0..count).step_by(usize::from(SKIP_MAX)) {
            if self.skips.len() == SKIPS_MAX {
                self.skips.pop_front();
            }
            let part = (count - done).min(SKIP_MAX);
            self.skips.push_back((flow, first.wrapping_add(u32::from(done)), part));
        }
    }

    /// The next run of numbers that will never come: flow, first, count.
    pub fn pop_skip(&mut self) -> Option<(u16, u32, u16)> {
        self.skips.pop_front()
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.queue.shrink_to_fit();
        self.skips.shrink_to_fit();
        if self.kept == 0 {
            let used = self.slots.iter().map(|slot| slot.generation).max();
            self.generation = used.map_or(self.generation, |newest| (newest + 1) % GENERATIONS);
            (self.slots, self.free, self.cursor) = (Vec::new(), Vec::new(), 0);
        }
    }

    /// Whether the receiver has to hear of packets given up.
    pub fn has_skips(&self) -> bool {
        !self.skips.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buf;
    use crate::engine::path::sent::{CONTENT_MAX, SentLog};

    fn outgoing(sequence: u32) -> Outgoing {
        Outgoing { packet: Buf::new(), flow: 7, sequence, ordered: true, alone: false, skip: None }
    }

    /// A log with one datagram per place, so that the entries are real.
    fn lose(unacked: &mut Unacked, places: &[u32]) {
        let mut log = SentLog::default();
        for (number, &place) in places.iter().enumerate() {
            let mut content = [NONE; CONTENT_MAX];
            content[0] = place;
            log.on_sent(Time(0), number as u64, 100, true, content, 0, true);
        }
        log.abandon(|s| unacked.on_lost(s));
    }

    #[test]
    fn a_lost_packet_is_sent_again_until_acknowledged() {
        let (mut unacked, mut pool) = (Unacked::new(1 << 20), Pool::new(4));
        let place = unacked.keep(Time(0), outgoing(1));
        lose(&mut unacked, &[place]);
        assert_eq!(unacked.next_resend(Time(1), &mut pool, 1000, 2000, 2000), Some(place));
        unacked.resent(place);
        assert!(!unacked.wants_resend());
        lose(&mut unacked, &[place]);
        assert!(unacked.wants_resend());
        unacked.release(place, &mut pool);
        assert_eq!(unacked.next_resend(Time(1), &mut pool, 1000, 2000, 2000), None);
        assert!(!unacked.wants_resend());
    }

    #[test]
    fn a_packet_with_another_copy_under_way_waits_for_it() {
        let mut unacked = Unacked::new(1 << 20);
        let place = unacked.keep(Time(0), outgoing(1));
        lose(&mut unacked, &[place]);
        unacked.resent(place);
        unacked.find_mut(place).unwrap().copies = 2;
        lose(&mut unacked, &[place]);
        assert!(!unacked.wants_resend());
        lose(&mut unacked, &[place]);
        assert!(unacked.wants_resend());
    }

    #[test]
    fn a_packet_that_is_too_old_is_given_up_and_told() {
        let (mut unacked, mut pool) = (Unacked::new(1 << 20), Pool::new(4));
        let place = unacked.keep(Time(0), outgoing(9));
        lose(&mut unacked, &[place]);
        assert_eq!(unacked.next_resend(Time(2000), &mut pool, 1000, 2000, 2000), None);
        assert_eq!(unacked.pop_skip(), Some((7, 9, 1)));
        assert_eq!((unacked.abandoned, unacked.kept), (1, 0));
    }

    #[test]
    fn places_are_used_again_and_the_bound_is_seen() {
        let (mut unacked, mut pool) = (Unacked::new(2 * CAPACITY), Pool::new(4));
        let a = unacked.keep(Time(0), outgoing(1));
        unacked.keep(Time(0), outgoing(2));
        assert!(unacked.is_full());
        unacked.release(a, &mut pool);
        assert!(!unacked.is_full());
        let b = unacked.keep(Time(0), outgoing(3));
        assert_eq!(b & INDEX_MASK, a & INDEX_MASK);
        assert!(unacked.get(a).is_none(), "an old name finds nothing");
        lose(&mut unacked, &[a]);
        assert!(!unacked.wants_resend(), "and loses nothing");
    }

    #[test]
    fn an_old_name_finds_nothing_after_memory_was_given_back() {
        let (mut unacked, mut pool) = (Unacked::new(1 << 20), Pool::new(4));
        let place = unacked.keep(Time(0), outgoing(1));
        unacked.shrink();
        assert!(unacked.get(place).is_some(), "in use");
        unacked.release(place, &mut pool);
        unacked.shrink();
        let next = unacked.keep(Time(0), outgoing(2));
        assert_eq!(next & INDEX_MASK, place & INDEX_MASK);
        assert!(unacked.get(place).is_none());
    }
}
