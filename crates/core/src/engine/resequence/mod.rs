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
//! [`order`] is one flow, [`store`] has the packets that wait, [`waiting`] says which flow has waited
//! longest.
//!
//! Limits: bounded in bytes, buffers and what is known of gaps, over all flows: when the bound is
//! reached, the gap that is oldest is given up first. [`RUNS_MAX`] gaps in a flow and [`RUNS_ALL_MAX`]
//! in all, of which the flow that has one too many gives up its first. The work for a packet does not
//! depend on how far ahead it is, the work for a `Skip` frame not on how much it skips.

mod order;
mod store;
mod waiting;

use super::flow_table::{FLOWS, FlowTable};
use crate::buffer::{Buf, CAPACITY, Pool};
use crate::time::Time;
use crate::wire::frame::SKIP_MAX;
use order::{FlowOrder, REMEMBERED, RUNS_MAX, Run};
use std::collections::VecDeque;
use store::{List, Store};
use waiting::Waiting;

/// Farthest that a packet may be ahead of the expected one.
const AHEAD_MAX: u64 = 1 << 15;
/// Runs of all flows at most: 200 kB.
const RUNS_ALL_MAX: usize = 1 << 13;

/// The flows' orders.
#[derive(Debug)]
pub struct Resequencer {
    flows: FlowTable<FlowOrder>,
    store: Store,
    waiting: Waiting,
    /// Of all flows.
    runs: usize,
    limit: usize,
    hold_us: u64,
    out: VecDeque<Buf>,
    /// Gaps given up because the hold had passed or memory ran out.
    pub released_late: u64,
    /// Packets that had been delivered before.
    pub seen_before: u64,
}

impl Resequencer {
    /// Keeps at most `limit` bytes; packets wait for `hold_us` until the sender says otherwise.
    pub fn new(limit: usize, hold_us: u64) -> Resequencer {
        Resequencer {
            flows: FlowTable::new(),
            store: Store::new(),
            waiting: Waiting::default(),
            runs: 0,
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

    /// Sets how many bytes may be kept from now on.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Sets the longest wait.
    pub fn set_hold(&mut self, us: u64) {
        self.hold_us = us;
    }

    /// Bytes that are kept: buffers that wait, and what is known of gaps.
    pub fn held_bytes(&self) -> usize {
        self.store.count() * CAPACITY + self.runs * size_of::<Run>()
    }

    /// The next packet for the TUN device.
    pub fn pop(&mut self) -> Option<Buf> {
        self.out.pop_front()
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.flows.give_back();
        self.flows.iter_mut().for_each(FlowOrder::shrink);
        self.store.shrink();
        self.waiting.shrink();
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
        if number == state.next {
            state.mark(number, true);
            state.next += 1;
            self.out.push_back(pool.copy(packet));
            if !state.is_in_order() {
                self.flush(index);
            }
            return;
        }
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
        if number - state.next >= AHEAD_MAX {
            self.jump(index, number);
            self.out.push_back(pool.copy(packet));
            return;
        }
        if state.is_known(number) {
            self.seen_before += 1;
            return;
        }
        let packet = pool.copy(packet);
        let packets = if ordered {
            if !self.waiting.contains(index) {
                self.waiting.set(index, Some(now));
            }
            self.store.add(packet, now)
        } else {
            self.out.push_back(packet);
            List::EMPTY
        };
        self.add(index, number, number + 1, packets);
    }

    /// The sender will never send `count` numbers from `first` on; at most [`SKIP_MAX`] count.
    pub fn skip(&mut self, flow: u16, first: u32, count: u16) {
        let index = usize::from(flow) % FLOWS;
        let state = self.flows.at(index);
        let Some(first) = state.expand(first) else { return };
        let end = first + u64::from(count.min(SKIP_MAX));
        let (start, end) = (first.max(state.next), end.min(state.next + AHEAD_MAX));
        if start < end {
            self.add(index, start, end, List::EMPTY);
            self.flush(index);
        }
    }

    /// Numbers of a flow are known from here on. Sees to the bounds.
    fn add(&mut self, index: usize, start: u64, end: u64, packets: List) {
        let state = self.flows.at(index);
        let runs = state.runs();
        state.add(&mut self.store, start, end, packets);
        self.runs = self.runs + state.runs() - runs;
        if state.runs() > RUNS_MAX || self.runs > RUNS_ALL_MAX {
            self.release(index);
        }
        while self.held_bytes() > self.limit
            && let Some((_, oldest)) = self.waiting.first()
        {
            self.release(oldest);
        }
    }

    /// Delivers what has become deliverable in a flow.
    fn flush(&mut self, index: usize) {
        let state = self.flows.at(index);
        let (runs, held) = (state.runs(), self.store.count());
        state.advance(&mut self.store, &mut self.out);
        self.runs = self.runs + state.runs() - runs;
        if self.store.count() < held {
            // The next gap is as old as the packet behind it.
            let since = self.store.first_at(state.first_waiting());
            self.waiting.set(index, since);
        }
    }

    /// The flow has moved on by more than can be waited for: begin anew behind `number`.
    fn jump(&mut self, index: usize, number: u64) {
        while !self.flows.at(index).is_in_order() {
            self.release(index);
        }
        let state = self.flows.at(index);
        state.begin_anew(number + 1);
        state.mark(number, true);
    }

    /// Gives up the first gap of a flow.
    fn release(&mut self, index: usize) {
        if self.flows.at(index).skip_gap() {
            self.released_late += 1;
        }
        self.flush(index);
    }

    /// When a gap has been waited for long enough; [`Time::FAR`] when nothing waits.
    pub fn due(&self) -> Time {
        self.waiting.first().map_or(Time::FAR, |(since, _)| since + self.hold_us)
    }

    /// Gives up the gaps that have been waited for long enough.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((since, index)) = self.waiting.first()
            && since + self.hold_us <= now
        {
            self.release(index);
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
    fn gaps_are_bounded_in_a_flow_and_over_all() {
        let mut r = Rig::new();
        for s in 1..=2 * RUNS_MAX as u32 {
            r.push(0, 2 * s, true);
        }
        assert_eq!(r.out().len(), RUNS_MAX, "the first gaps were given up");
        assert_eq!(r.0.held_bytes(), RUNS_MAX * (CAPACITY + size_of::<Run>()));
        for flow in 0..FLOWS as u16 {
            (1..50).for_each(|n| r.0.skip(flow, 30 * n, 5));
        }
        assert!(r.0.runs <= RUNS_ALL_MAX, "{}", r.0.runs);
        let known = r.0.flows.iter().map(|(_, flow)| flow.runs()).sum::<usize>();
        assert_eq!(r.0.runs, known);
    }

    #[test]
    fn skips_reach_over_what_is_there() {
        let mut r = Rig::new();
        for s in [5, 9, 10, 20] {
            r.push(0, s, true);
        }
        r.0.skip(3, 2, 15);
        assert!(r.out().is_empty());
        assert_eq!(r.0.runs, 2, "2 to 16 and 20");
        r.0.skip(3, 0, 2);
        assert_eq!(r.out(), [5, 9, 10]);
        r.push(0, 7, true);
        assert!(r.out().is_empty(), "it was said never to come");
        r.0.skip(3, 17, u16::MAX);
        assert_eq!(r.out(), [20]);
        assert_eq!(r.0.flows.at(3).next, 17 + u64::from(SKIP_MAX));
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
            // The oldest gap of ten packets is given up.
            let mut r = Rig(Resequencer::new(10 * CAPACITY, 100_000), Pool::new(8));
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
                prop_assert!(r.0.held_bytes() <= 10 * CAPACITY);
                prop_assert_eq!(r.0.runs, r.0.flows.at(3).runs());
            }
            r.0.handle_timeout(Time::FAR);
            prop_assert_eq!(r.0.store.count(), 0);
            prop_assert_eq!(r.0.due(), Time::FAR);
        }
    }
}
