//! Restores the order of each flow at the receiver.
//!
//! Why: packets of one flow travel over paths of different delay, and a lost one comes a round
//! trip later. TCP takes three overtaking packets for a loss (RFC 5681 §3.2), so they wait here.
//! Nobody else does: each flow has its own order.
//!
//! How: a packet that follows its predecessor is delivered at once. Others wait in their flow
//! until the gap is filled, until the sender says that it never will be (a `Skip` frame), or until
//! the *hold* has passed since the gap was seen: a bound that the sender computes from the spread
//! of the paths' delays plus one recovery. Packets that need no order are delivered as they come.
//! Every packet is delivered once: a window of sequence numbers remembers what was.
//!
//! Limits: bounded in bytes of buffers over all flows. When it is reached, the gap that is oldest
//! is given up first.

use super::flow_table::{FLOWS, FlowTable};
use crate::buffer::{Buf, CAPACITY, Pool};
use crate::time::Time;
use std::collections::VecDeque;

/// Sequence numbers behind the expected one that are remembered as delivered or not.
const REMEMBERED: u64 = 1024;
/// Farthest that a packet may be ahead of the expected one.
const AHEAD_MAX: u64 = 1 << 15;

#[derive(Debug)]
enum Place {
    Missing,
    /// Delivered without waiting, or never to come.
    Done,
    Held(Buf, Time),
}

#[derive(Debug, Default)]
struct FlowOrder {
    /// The lowest number that is neither delivered nor given up.
    next: u64,
    /// Places from `next` on.
    waiting: VecDeque<Place>,
    held: usize,
    /// Numbers below `next`: bit `n % REMEMBERED` says whether `n` was delivered.
    seen: [u32; (REMEMBERED / 32) as usize],
    /// Since when the present gap has been waited for.
    gap_since: Time,
}

impl FlowOrder {
    fn was_seen(&self, n: u64) -> bool {
        self.seen[(n % REMEMBERED / 32) as usize] & 1 << (n % 32) != 0
    }

    fn mark(&mut self, n: u64, seen: bool) {
        let word = &mut self.seen[(n % REMEMBERED / 32) as usize];
        *word = *word & !(1 << (n % 32)) | u32::from(seen) << (n % 32);
    }

    /// The full number whose low 24 bits are `low`, nearest to the expected one.
    fn expand(&self, low: u32) -> Option<u64> {
        let distance = (low.wrapping_sub(self.next as u32) << 8) as i32 >> 8;
        self.next.checked_add_signed(i64::from(distance))
    }

    /// Moves `next` over everything that is there, delivering it.
    fn advance(&mut self, out: &mut VecDeque<Buf>) {
        loop {
            match self.waiting.front() {
                Some(Place::Done) => {
                    self.mark(self.next, true);
                }
                Some(Place::Held(..)) => {
                    self.mark(self.next, true);
                }
                _ => return,
            }
            if let Some(Place::Held(packet, _)) = self.waiting.pop_front() {
                out.push_back(packet);
                self.held -= 1;
            }
            self.next += 1;
        }
    }

    /// Gives up the numbers that are missing in front of the first packet that waits.
    fn skip_gap(&mut self) -> u64 {
        let mut given_up = 0;
        while let Some(Place::Missing) = self.waiting.front() {
            self.waiting.pop_front();
            self.mark(self.next, false);
            self.next += 1;
            given_up += 1;
        }
        given_up
    }

    /// When the packet behind the first gap arrived; what the gap's patience counts from.
    fn first_held(&self) -> Option<Time> {
        self.waiting.iter().find_map(|p| match p {
            Place::Held(_, at) => Some(*at),
            _ => None,
        })
    }
}

/// The flows' orders.
#[derive(Debug)]
pub struct Resequencer {
    flows: FlowTable<FlowOrder>,
    /// Flows in which packets wait.
    waiting: Vec<u16>,
    held: usize,
    limit: usize,
    hold_us: u64,
    out: VecDeque<Buf>,
    /// Gaps given up because the hold had passed or memory ran out.
    pub released_late: u64,
    /// Packets that had been delivered before.
    pub seen_before: u64,
}

impl Resequencer {
    /// Keeps at most `limit` bytes of buffers; packets wait for `hold_us` until the sender says
    /// otherwise.
    pub fn new(limit: usize, hold_us: u64) -> Resequencer {
        Resequencer {
            flows: FlowTable::new(),
            waiting: Vec::new(),
            held: 0,
            limit,
            hold_us,
            out: VecDeque::new(),
            released_late: 0,
            seen_before: 0,
        }
    }

    /// Longest wait for a predecessor, microseconds.
    pub fn hold_us(&self) -> u64 {
        self.hold_us
    }

    /// Sets how many bytes of buffers may wait from now on.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Sets the longest wait.
    pub fn set_hold(&mut self, us: u64) {
        self.hold_us = us;
    }

    /// Bytes of buffers that wait.
    pub fn held_bytes(&self) -> usize {
        self.held * CAPACITY
    }

    /// The next packet for the TUN device.
    pub fn pop(&mut self) -> Option<Buf> {
        self.out.pop_front()
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.flows.iter_mut().for_each(|flow| flow.waiting.shrink_to_fit());
        self.waiting.shrink_to_fit();
        self.out.shrink_to_fit();
    }

    /// Takes a packet in.
    pub fn push(
        &mut self,
        now: Time,
        pool: &mut Pool,
        flow: u16,
        sequence: u32,
        ordered: bool,
        packet: &[u8],
    ) {
        let index = usize::from(flow) % FLOWS;
        let state = self.flows.at(index);
        let Some(number) = state.expand(sequence) else { return };
        if number < state.next {
            if state.next - number > REMEMBERED || state.was_seen(number) {
                self.seen_before += 1;
            } else {
                // Given up before, and here after all: late is better than never.
                state.mark(number, true);
                self.out.push_back(pool.copy(packet));
            }
            return;
        }
        let ahead = number - state.next;
        if ahead == 0 && state.waiting.is_empty() {
            state.mark(number, true);
            state.next += 1;
            self.out.push_back(pool.copy(packet));
            return;
        }
        if ahead >= AHEAD_MAX {
            self.jump(index, number);
            self.out.push_back(pool.copy(packet));
            return;
        }
        let ahead = ahead as usize;
        while state.waiting.len() <= ahead {
            state.waiting.push_back(Place::Missing);
        }
        if !matches!(state.waiting[ahead], Place::Missing) {
            self.seen_before += 1;
            return;
        }
        if ordered && ahead > 0 {
            if state.held == 0 {
                state.gap_since = now;
                self.waiting.push(index as u16);
            }
            state.held += 1;
            self.held += 1;
            state.waiting[ahead] = Place::Held(pool.copy(packet), now);
        } else {
            state.waiting[ahead] = Place::Done;
            self.out.push_back(pool.copy(packet));
        }
        if ahead == 0 {
            self.flush(index);
        }
        if self.held * CAPACITY > self.limit {
            self.relieve();
        }
    }

    /// The sender will never send `count` numbers from `first` on.
    pub fn skip(&mut self, flow: u16, first: u32, count: u16) {
        let index = usize::from(flow) % FLOWS;
        let state = self.flows.at(index);
        for n in 0..u32::from(count) {
            let Some(number) = state.expand(first.wrapping_add(n)) else { return };
            let Some(ahead) = number.checked_sub(state.next) else { continue };
            if ahead >= AHEAD_MAX {
                return;
            }
            let ahead = ahead as usize;
            while state.waiting.len() <= ahead {
                state.waiting.push_back(Place::Missing);
            }
            if matches!(state.waiting[ahead], Place::Missing) {
                state.waiting[ahead] = Place::Done;
            }
        }
        self.flush(index);
    }

    /// Delivers what has become deliverable in a flow and forgets the flow when nothing waits.
    fn flush(&mut self, index: usize) {
        let state = self.flows.at(index);
        let held = state.held;
        state.advance(&mut self.out);
        self.held -= held - state.held;
        if state.held < held {
            if let Some(at) = state.first_held() {
                // The next gap is as old as the packet behind it.
                state.gap_since = at;
            } else {
                self.waiting.retain(|&i| usize::from(i) != index);
            }
        }
    }

    /// The flow has moved on by more than can be waited for: begin anew behind `number`.
    fn jump(&mut self, index: usize, number: u64) {
        let state = self.flows.at(index);
        while !state.waiting.is_empty() {
            if state.skip_gap() > 0 {
                self.released_late += 1;
            }
            let held = state.held;
            state.advance(&mut self.out);
            self.held -= held - state.held;
        }
        state.seen = [0; (REMEMBERED / 32) as usize];
        state.next = number + 1;
        state.mark(number, true);
        self.waiting.retain(|&i| usize::from(i) != index);
    }

    /// Memory is short: gives up the oldest gap.
    fn relieve(&mut self) {
        let oldest = self
            .waiting
            .iter()
            .copied()
            .min_by_key(|&i| self.flows.get(usize::from(i)).map_or(Time::FAR, |f| f.gap_since));
        if let Some(index) = oldest {
            self.release(usize::from(index));
        }
    }

    fn release(&mut self, index: usize) {
        if self.flows.at(index).skip_gap() > 0 {
            self.released_late += 1;
        }
        self.flush(index);
    }

    /// When a gap has been waited for long enough; [`Time::FAR`] when nothing waits.
    pub fn due(&self) -> Time {
        self.waiting
            .iter()
            .filter_map(|&i| self.flows.get(usize::from(i)))
            .map(|f| f.gap_since + self.hold_us)
            .min()
            .unwrap_or(Time::FAR)
    }

    /// Gives up the gaps that have been waited for long enough.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut i = 0;
        while i < self.waiting.len() {
            let index = usize::from(self.waiting[i]);
            let due = self.flows.get(index).is_some_and(|f| f.gap_since + self.hold_us <= now);
            if due {
                self.release(index);
                // A flow that still waits has a younger gap now, which may be due as well.
                if self.waiting.get(i).is_some_and(|&w| usize::from(w) != index) {
                    continue;
                }
                if self.flows.get(index).is_some_and(|f| f.gap_since + self.hold_us <= now) {
                    continue;
                }
            }
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Rig(Resequencer, Pool);

    impl Rig {
        fn new() -> Rig {
            Rig(Resequencer::new(1 << 20, 100_000), Pool::new(8))
        }

        fn push(&mut self, now: u64, sequence: u32, ordered: bool) {
            self.0.push(Time(now), &mut self.1, 3, sequence, ordered, &sequence.to_le_bytes());
        }

        fn out(&mut self) -> Vec<u32> {
            std::iter::from_fn(|| self.0.pop())
                .map(|b| u32::from_le_bytes(b.bytes().try_into().unwrap()))
                .collect()
        }
    }

    #[test]
    fn order_is_restored() {
        let mut r = Rig::new();
        for s in [0, 2, 3, 1, 4] {
            r.push(0, s, true);
        }
        assert_eq!(r.out(), [0, 1, 2, 3, 4]);
        assert_eq!(r.0.due(), Time::FAR);
    }

    #[test]
    fn a_gap_is_given_up_after_the_hold_and_a_late_packet_still_comes_through_once() {
        let mut r = Rig::new();
        r.push(0, 0, true);
        r.push(1000, 2, true);
        assert_eq!(r.0.due(), Time(101_000));
        r.0.handle_timeout(Time(100_999));
        assert_eq!(r.out(), [0]);
        r.0.handle_timeout(Time(101_000));
        assert_eq!(r.out(), [2]);
        assert_eq!(r.0.released_late, 1);
        r.push(102_000, 1, true);
        r.push(103_000, 1, true);
        assert_eq!(r.out(), [1]);
    }

    #[test]
    fn each_gap_has_its_own_patience() {
        let mut r = Rig::new();
        r.push(0, 1, true);
        r.push(50_000, 3, true);
        r.0.handle_timeout(Time(100_000));
        assert_eq!(r.out(), [1]);
        assert_eq!(r.0.due(), Time(150_000));
        r.0.handle_timeout(Time(150_000));
        assert_eq!(r.out(), [3]);
    }

    #[test]
    fn what_never_comes_is_not_waited_for() {
        let mut r = Rig::new();
        r.push(0, 3, true);
        r.0.skip(3, 0, 2);
        assert!(r.out().is_empty());
        r.0.skip(3, 2, 1);
        assert_eq!(r.out(), [3]);
        r.0.skip(3, 4, 2);
        r.push(0, 6, true);
        assert_eq!(r.out(), [6]);
        assert_eq!(r.0.released_late, 0);
    }

    #[test]
    fn unordered_packets_do_not_wait_and_come_once() {
        let mut r = Rig::new();
        for s in [5, 5, 0, 0, 7] {
            r.push(0, s, false);
        }
        assert_eq!(r.out(), [5, 0, 7]);
        assert_eq!(r.0.seen_before, 2);
        assert_eq!(r.0.due(), Time::FAR);
    }

    #[test]
    fn the_memory_bound_gives_up_the_oldest_gap() {
        let mut r = Rig(Resequencer::new(10 * CAPACITY, 1_000_000), Pool::new(8));
        for s in 1..=11 {
            r.push(u64::from(s), s, true);
        }
        assert_eq!(r.out(), (1..=11).collect::<Vec<_>>());
        assert_eq!(r.0.held_bytes(), 0);
    }

    #[test]
    fn a_far_jump_begins_anew() {
        let mut r = Rig::new();
        r.push(0, 1, true);
        r.push(0, 100_000, true);
        assert_eq!(r.out(), [1, 100_000]);
        r.push(0, 100_001, true);
        assert_eq!(r.out(), [100_001]);
    }

    proptest! {
        #[test]
        fn everything_once_and_in_order_when_the_gaps_fill(
            order in Just((0u32..200).collect::<Vec<_>>()).prop_shuffle(),
            twice in prop::collection::vec(0u32..200, 0..50),
        ) {
            let mut r = Rig::new();
            for s in order.iter().chain(&twice) {
                r.push(0, *s, true);
            }
            prop_assert_eq!(r.out(), (0..200).collect::<Vec<_>>());
            prop_assert_eq!(r.0.held_bytes(), 0);
        }

        #[test]
        fn nothing_comes_twice_whatever_happens(
            steps in prop::collection::vec((0u32..300, any::<bool>(), 0u8..10), 1..300),
        ) {
            let mut r = Rig::new();
            let mut seen = std::collections::BTreeSet::new();
            for (i, (s, ordered, what)) in steps.into_iter().enumerate() {
                let now = i as u64 * 10_000;
                match what {
                    0 => r.0.handle_timeout(Time(now)),
                    1 => r.0.skip(3, s, 3),
                    _ => r.push(now, s, ordered),
                }
                for got in r.out() {
                    prop_assert!(seen.insert(got), "{} came twice", got);
                }
            }
            r.0.handle_timeout(Time::FAR);
            prop_assert_eq!(r.0.held_bytes(), 0);
            prop_assert_eq!(r.0.due(), Time::FAR);
        }
    }
}
