//! The queue in front of the paths: where inner packets wait until a path has room for them.
//!
//! Why: the standing queue of a bulk transfer has to be somewhere. In a modem it adds seconds to
//! everyone; here each flow has its own, and nobody else waits in it.
//!
//! How: FQ-CoDel (RFC 8290). Packets are hashed by 5-tuple into flows; flows that build no queue
//! are served first, the others in turn by deficit round robin; each is kept short by CoDel
//! (RFC 8289), marking packets that are capable of ECN and dropping others. Two things differ:
//!
//! * A packet gets its sequence number when it comes in, and a slower path may take a packet from
//!   *behind* the head: the one that would otherwise leave on the faster path just when it
//!   arrives. So packets of unequal paths arrive in order, and the receiver hardly has to wait.
//! * CoDel's target grows with the round trip and with the wait that this needs, else a bulk flow
//!   could not fill a long path.
//!
//! What TCP sends again waits like all the rest of its flow: overtaking, it would carry a newer
//! timestamp than what it has overtaken, which the receiver then drops (PAWS, RFC 7323 §5.3).
//!
//! Limits: bounded in bytes of buffers, by a bound that each packet brings along; over it the longest
//! flow loses its oldest packets (RFC 8290 §4.1.2).

pub mod codel;
mod flow_queue;

use super::flow_table::{FLOWS, FlowTable, Rests};
use crate::buffer::{Buf, CAPACITY, Pool};
use crate::time::Time;
use crate::wire::ip;
use codel::{Aqm, Codel};
use flow_queue::{FlowQueue, Queued};
use std::collections::VecDeque;

/// Bytes a flow may send in its turn (RFC 8290 §5.2.4: an Ethernet MTU with header).
const QUANTUM: i32 = 1514;
/// Bytes above which a flow counts as backlogged.
const BACKLOG: usize = QUANTUM as usize;
/// Packets dropped in one go when the bound is exceeded (RFC 8290 §4.1.2).
const DROP_BATCH: usize = 64;

/// Flows among which something for a path is looked for at most.
const FLOWS_SEEN: usize = 16;

/// A packet on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The inner packet.
    pub packet: Buf,
    /// Its flow.
    pub flow: u16,
    /// Its place in the flow.
    pub sequence: u32,
    /// Whether the flow's order matters.
    pub ordered: bool,
    /// Whether nothing else of its flow waits.
    pub alone: bool,
    /// Sequence numbers before it that were dropped: the first and how many.
    pub skip: Option<(u32, u16)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum List {
    #[default]
    None,
    New,
    Old,
}

#[derive(Debug, Default)]
struct Flow {
    queue: FlowQueue,
    deficit: i32,
    list: List,
    next_sequence: u32,
    skip: Option<(u32, u16)>,
    codel: Codel,
}

/// What a path wants.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Bytes that the faster paths will have taken by the time a packet sent now on this path
    /// arrives: the packet behind them is wanted. Zero for the fastest path.
    pub ahead: usize,
    /// Longest packet that fits.
    pub max_len: usize,
    /// Longest packet that fits on any path: longer ones are dropped.
    pub longest: usize,
}

/// The queues.
#[derive(Debug)]
pub struct Queue {
    flows: FlowTable<Flow>,
    new: VecDeque<u16>,
    old: VecDeque<u16>,
    bytes: usize,
    packets: usize,
    backlogged: usize,
    seed: u64,
    /// Packets dropped by CoDel.
    pub dropped_aqm: u64,
    /// Packets dropped because the bound was reached.
    pub dropped_full: u64,
    /// Packets marked instead of dropped.
    pub marked: u64,
    /// Packets that no path takes any more.
    pub too_long: u64,
}

impl Queue {
    /// Empty queues; `seed` is for the flows' hash.
    pub fn new(seed: u64) -> Queue {
        Queue {
            flows: FlowTable::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            bytes: 0,
            packets: 0,
            backlogged: 0,
            seed,
            dropped_aqm: 0,
            dropped_full: 0,
            marked: 0,
            too_long: 0,
        }
    }

    /// Bytes of the buffers of packets that wait.
    pub fn buffers(&self) -> usize {
        self.packets * CAPACITY
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Whether a flow waits that has built no queue yet.
    pub fn has_sparse(&self) -> bool {
        !self.new.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Flows that have more than one packet waiting: they share the paths.
    pub fn backlogged(&self) -> usize {
        self.backlogged
    }

    /// Takes a packet in. No more than `limit` bytes of buffers wait then.
    pub fn push(
        &mut self,
        now: Time,
        pool: &mut Pool,
        packet: Buf,
        view: &ip::Packet,
        limit: usize,
    ) {
        let index = (view.flow_hash(self.seed) % FLOWS as u64) as u16;
        let flow = self.flows.at(usize::from(index));
        let len = packet.len();
        let sequence = flow.next_sequence;
        flow.next_sequence = flow.next_sequence.wrapping_add(1);
        let ordered = view.wants_order();
        let before = flow.queue.bytes();
        flow.queue.push(Queued { packet, sequence, ordered, at: now, ecn: view.ecn });
        self.backlogged += usize::from(before <= BACKLOG && before + len > BACKLOG);
        self.bytes += len;
        self.packets += 1;
        if flow.list == List::None {
            flow.list = List::New;
            flow.deficit = QUANTUM;
            self.new.push_back(index);
        }
        if self.packets * CAPACITY > limit {
            self.shed(pool);
        }
    }

    /// Drops from the longest flow.
    fn shed(&mut self, pool: &mut Pool) {
        let lengths = self.flows.iter().map(|(flow, state)| (flow, state.queue.bytes()));
        let Some((longest, bytes)) = lengths.max_by_key(|&(_, bytes)| bytes) else { return };
        for _ in 0..DROP_BATCH {
            if self.flows.at(longest).queue.bytes() <= bytes / 2 || !self.drop_head(longest, pool) {
                break;
            }
            self.dropped_full += 1;
        }
    }

    fn drop_head(&mut self, index: usize, pool: &mut Pool) -> bool {
        let flow = self.flows.at(index);
        let Some(queued) = flow.queue.pop() else { return false };
        self.backlogged -= flow.lost_backlog(queued.packet.len());
        self.bytes -= queued.packet.len();
        self.packets -= 1;
        flow.skip = match flow.skip {
            Some((first, count)) if first.wrapping_add(u32::from(count)) == queued.sequence => {
                Some((first, count.saturating_add(1)))
            }
            // Not adjacent: packets between were taken by a slower path. The older ones are left
            // to the receiver's patience.
            _ => Some((queued.sequence, 1)),
        };
        pool.give(queued.packet);
        true
    }

    /// The next packet for a path, or `None` when it should not send now.
    pub fn pop(&mut self, now: Time, pool: &mut Pool, want: Want, aqm: Aqm) -> Option<Outgoing> {
        let mut looked = 0;
        let total = self.new.len() + self.old.len();
        while looked <= total {
            let from_new = !self.new.is_empty();
            let index = usize::from(*if from_new { self.new.front() } else { self.old.front() }?);
            let flow = self.flows.at(index);
            if flow.deficit <= 0 {
                flow.deficit += QUANTUM;
                self.rotate(from_new, index);
                continue;
            }
            looked += 1;
            if want.ahead > 0 {
                if let Some(out) = self.pop_behind(index, want) {
                    return Some(out);
                }
                // Nothing for this path in this flow. Look at the next one without disturbing the
                // order: a slower path must not cost a flow its turn.
                return self.pop_behind_any(want);
            }
            self.control(now, pool, index, aqm);
            let flow = self.flows.at(index);
            match flow.queue.front().map(|q| q.packet.len()) {
                Some(len) if len <= want.max_len => {
                    let queued = flow.queue.pop()?;
                    return Some(self.hand_out(index, queued));
                }
                // It waits for a wider path, and others need not wait with it.
                Some(len) if len <= want.longest => return self.pop_fitting(want),
                Some(_) => {
                    looked -= 1;
                    self.too_long += 1;
                    self.drop_head(index, pool);
                }
                None => self.retire(from_new, index),
            }
        }
        None
    }

    /// Moves the flow at the front of its list to the end of the old ones.
    fn rotate(&mut self, from_new: bool, index: usize) {
        if from_new {
            self.new.pop_front();
        } else {
            self.old.pop_front();
        }
        self.flows.at(index).list = List::Old;
        self.old.push_back(index as u16);
    }

    /// The flow at the front of its list is empty. A new one goes through the old ones once, so
    /// that it cannot take precedence for ever by being empty in between (RFC 8290 §4.2).
    fn retire(&mut self, from_new: bool, index: usize) {
        if from_new && !self.old.is_empty() {
            self.rotate(true, index);
            return;
        }
        if from_new {
            self.new.pop_front();
        } else {
            self.old.pop_front();
        }
        self.flows.at(index).list = List::None;
    }

    fn pop_behind_any(&mut self, want: Want) -> Option<Outgoing> {
        let lists = self.new.iter().chain(self.old.iter());
        let index = lists
            .take(FLOWS_SEEN)
            .map(|&i| usize::from(i))
            .find(|&i| self.flows.get(i).is_some_and(|f| f.queue.bytes() > want.ahead))?;
        self.pop_behind(index, want)
    }

    /// The head of the first flow of which it fits.
    fn pop_fitting(&mut self, want: Want) -> Option<Outgoing> {
        let lists = self.new.iter().chain(self.old.iter()).take(FLOWS_SEEN);
        let fits = |f: &Flow| f.queue.front().is_some_and(|q| q.packet.len() <= want.max_len);
        let index =
            lists.map(|&i| usize::from(i)).find(|&i| self.flows.get(i).is_some_and(fits))?;
        let queued = self.flows.at(index).queue.pop()?;
        Some(self.hand_out(index, queued))
    }

    /// The packet of the flow that has `want.ahead` bytes before it.
    fn pop_behind(&mut self, index: usize, want: Want) -> Option<Outgoing> {
        let queued = self.flows.at(index).queue.pop_behind(want.ahead, want.max_len)?;
        Some(self.hand_out(index, queued))
    }

    fn hand_out(&mut self, index: usize, queued: Queued) -> Outgoing {
        let flow = self.flows.at(index);
        flow.deficit -= queued.packet.len() as i32;
        self.backlogged -= flow.lost_backlog(queued.packet.len());
        self.bytes -= queued.packet.len();
        self.packets -= 1;
        Outgoing {
            packet: queued.packet,
            flow: index as u16,
            sequence: queued.sequence,
            ordered: queued.ordered,
            alone: flow.queue.bytes() == 0,
            skip: flow.skip.take(),
        }
    }

    /// Lets CoDel look at the head of a flow.
    fn control(&mut self, now: Time, pool: &mut Pool, index: usize, aqm: Aqm) {
        loop {
            let flow = self.flows.at(index);
            let backlog = flow.queue.bytes();
            let Some(head) = flow.queue.front_mut() else { return };
            if !flow.codel.acts(now, now.since(head.at), backlog, aqm) {
                return;
            }
            if head.ecn != 0 {
                if head.ecn != 3 {
                    ip::mark_ce(head.packet.bytes_mut());
                    head.ecn = 3;
                    self.marked += 1;
                }
                return;
            }
            self.dropped_aqm += 1;
            self.drop_head(index, pool);
        }
    }

    /// Age of the oldest packet at the head of a flow's queue, microseconds.
    pub fn oldest_us(&self, now: Time) -> u64 {
        self.new
            .iter()
            .chain(self.old.iter())
            .take(16)
            .filter_map(|&i| self.flows.get(usize::from(i))?.queue.front())
            .map(|q| now.since(q.at))
            .max()
            .unwrap_or(0)
    }

    /// Packets that there is memory for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.flows.iter().map(|(_, flow)| flow.queue.capacity()).sum()
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.flows.give_back();
        self.flows.iter_mut().for_each(|flow| flow.queue.shrink());
        self.new.shrink_to_fit();
        self.old.shrink_to_fit();
    }
}

impl Rests for Flow {
    fn rest(&self) -> Option<u32> {
        let rests = self.queue.bytes() == 0 && self.list == List::None && self.skip.is_none();
        rests.then_some(self.next_sequence)
    }

    fn wake(next: u32) -> Flow {
        Flow { next_sequence: next, ..Flow::default() }
    }
}

impl Flow {
    /// 1 when the flow has just ceased to be backlogged by losing `len` bytes.
    fn lost_backlog(&self, len: usize) -> usize {
        usize::from(self.queue.bytes() <= BACKLOG && self.queue.bytes() + len > BACKLOG)
    }
}

#[cfg(test)]
mod tests;
