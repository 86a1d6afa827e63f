//! One flow at the receiver: what is expected next, and what is known beyond it.
//!
//! How: the numbers that are known lie in *runs* without a gap, each with the packets of it that
//! wait; in front of each run is a gap. So the cost of a number, or of a range of numbers, does not
//! depend on how far ahead it is or how many there are.
//!
//! Limits: [`RUNS_MAX`] runs, which the owner sees to.

use super::store::{List, Store};
use crate::buffer::Buf;
use crate::engine::flow_table::Rests;
use std::collections::VecDeque;

/// Sequence numbers behind the expected one that are remembered as delivered or not.
pub(super) const REMEMBERED: u64 = 1024;
/// Runs of one flow at most, and so gaps.
pub(super) const RUNS_MAX: usize = 256;
/// Runs for which an empty flow keeps memory.
const RUNS_KEPT: usize = 32;

/// Numbers without a gap, delivered, never to come, or waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    start: u64,
    /// The number behind the last one.
    end: u64,
    /// Those that wait.
    packets: List,
}

#[derive(Debug, Default)]
pub(super) struct FlowOrder {
    /// The lowest number that is neither delivered nor given up.
    pub next: u64,
    /// In ascending order, with a gap in front of each.
    runs: VecDeque<Run>,
    /// Numbers below `next`: bit `n % REMEMBERED` says whether `n` was delivered.
    seen: [u32; (REMEMBERED / 32) as usize],
}

impl Rests for FlowOrder {
    fn rest(&self) -> Option<u32> {
        self.runs.is_empty().then_some(self.next as u32)
    }

    /// What was delivered is forgotten: a copy of it does not come any more.
    fn wake(next: u32) -> FlowOrder {
        FlowOrder { next: u64::from(next), ..FlowOrder::default() }
    }
}

impl FlowOrder {
    pub fn was_seen(&self, n: u64) -> bool {
        self.seen[(n % REMEMBERED / 32) as usize] & 1 << (n % 32) != 0
    }

    #[inline]
    pub fn mark(&mut self, n: u64, seen: bool) {
        let word = &mut self.seen[(n % REMEMBERED / 32) as usize];
        *word = *word & !(1 << (n % 32)) | u32::from(seen) << (n % 32);
    }

    /// Marks the numbers up to `end` and moves `next` there.
    fn pass(&mut self, end: u64, seen: bool) {
        let mut n = self.next.max(end.saturating_sub(REMEMBERED));
        while n < end {
            // Whole words at once: a gap may be long.
            if n.is_multiple_of(32) && end - n >= 32 {
                self.seen[(n % REMEMBERED / 32) as usize] = if seen { u32::MAX } else { 0 };
                n += 32;
            } else {
                self.mark(n, seen);
                n += 1;
            }
        }
        self.next = end;
    }

    /// Nothing below `next` was delivered.
    pub fn begin_anew(&mut self, next: u64) {
        self.seen = [0; (REMEMBERED / 32) as usize];
        self.next = next;
    }

    /// The full number whose low 24 bits are `low`, nearest to the expected one.
    pub fn expand(&self, low: u32) -> Option<u64> {
        let distance = (low.wrapping_sub(self.next as u32) << 8) as i32 >> 8;
        self.next.checked_add_signed(i64::from(distance))
    }

    /// Runs beyond the first gap.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Whether nothing is known beyond what is expected.
    pub fn is_in_order(&self) -> bool {
        self.runs.is_empty()
    }

    /// The first run that ends at `number` or behind it.
    fn find(&self, number: u64) -> usize {
        match self.runs.back() {
            // Nearly always: it goes on where the last one ended, or further on.
            Some(last) if last.end < number => self.runs.len(),
            Some(last) if last.start <= number => self.runs.len() - 1,
            _ => self.runs.partition_point(|run| run.end < number),
        }
    }

    /// Whether `number`, which is not below `next`, is in a run.
    pub fn is_known(&self, number: u64) -> bool {
        self.runs.get(self.find(number)).is_some_and(|r| (r.start..r.end).contains(&number))
    }

    /// Adds the numbers from `start` up to `end`: those that are missing are known from here on.
    /// `packets` are of a single number, which is missing.
    pub fn add(&mut self, store: &mut Store, start: u64, end: u64, packets: List) {
        let at = self.find(start);
        let Some(run) = self.runs.get_mut(at).filter(|run| run.start <= end) else {
            self.runs.insert(at, Run { start, end, packets });
            return;
        };
        let before = run.end <= start;
        run.packets = match before {
            true => store.join(run.packets, packets),
            false => store.join(packets, run.packets),
        };
        run.start = run.start.min(start);
        run.end = run.end.max(end);
        // The runs that it reaches now are parts of it.
        let Run { mut end, mut packets, .. } = *run;
        let mut reached = 0;
        while let Some(&other) = self.runs.get(at + 1 + reached).filter(|run| run.start <= end) {
            packets = store.join(packets, other.packets);
            end = end.max(other.end);
            reached += 1;
        }
        if reached > 0 {
            self.runs.drain(at + 1..at + 1 + reached);
            self.runs[at].end = end;
            self.runs[at].packets = packets;
        }
    }

    /// Moves `next` over everything that is there, delivering it.
    pub fn advance(&mut self, store: &mut Store, out: &mut VecDeque<Buf>) {
        while let Some(&run) = self.runs.front().filter(|run| run.start <= self.next) {
            self.runs.pop_front();
            store.take(run.packets, out);
            self.pass(run.end, true);
        }
        if self.runs.is_empty() && self.runs.capacity() > RUNS_KEPT {
            self.runs = VecDeque::new();
        }
    }

    /// Gives up the numbers that are missing in front of the first run; whether there were any.
    pub fn skip_gap(&mut self) -> bool {
        let Some(run) = self.runs.front() else { return false };
        let end = run.start;
        let skipped = end > self.next;
        self.pass(end, false);
        skipped
    }

    /// The packets that are to be delivered first of those that wait.
    pub fn first_waiting(&self) -> List {
        let waiting = self.runs.iter().map(|run| run.packets).find(|packets| !packets.is_empty());
        waiting.unwrap_or(List::EMPTY)
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.runs.shrink_to_fit();
    }
}
