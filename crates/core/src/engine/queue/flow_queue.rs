//! The queue of one flow: first in, first out, and packets can be taken from its middle.
//!
//! Why: a slower path takes the packet that would leave on the faster ones just when it arrives: the
//! one with so many bytes of *waiting* packets before it. What other paths have taken already is not
//! in the way, however much it is: beside a slow link a fast one that is further away takes most.
//!
//! How: a packet that is taken from the middle leaves its place empty until the front has passed it.
//! The places are counted in blocks, so that a search adds up blocks instead of packets. The place
//! at the front is never empty.

use crate::buffer::Buf;
use crate::time::Time;
use std::collections::VecDeque;

/// Places in a block.
const BLOCK: usize = 64;
/// Packets too long for the path that a search passes over at most.
const PASS_OVER: usize = 128;

/// A packet that waits.
#[derive(Debug)]
pub struct Queued {
    /// The inner packet.
    pub packet: Buf,
    /// Its place in the flow.
    pub sequence: u32,
    /// Whether the flow's order matters.
    pub ordered: bool,
    /// Since when it waits.
    pub at: Time,
    /// ECN bits of its IP header (RFC 3168 §5); kept up to date when they are changed.
    pub ecn: u8,
}

/// The queue.
#[derive(Debug, Default)]
pub struct FlowQueue {
    places: VecDeque<Option<Queued>>,
    /// Bytes that wait in each block.
    blocks: VecDeque<usize>,
    /// Places of the first block that are gone.
    gone: usize,
    bytes: usize,
}

impl FlowQueue {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The packet at the front.
    pub fn front(&self) -> Option<&Queued> {
        self.places.front()?.as_ref()
    }

    /// The packet at the front, to be marked.
    pub fn front_mut(&mut self) -> Option<&mut Queued> {
        self.places.front_mut()?.as_mut()
    }

    /// Takes a packet in.
    pub fn push(&mut self, queued: Queued) {
        if (self.gone + self.places.len()).is_multiple_of(BLOCK) {
            self.blocks.push_back(0);
        }
        let len = queued.packet.len();
        if let Some(block) = self.blocks.back_mut() {
            *block += len;
        }
        self.bytes += len;
        self.places.push_back(Some(queued));
    }

    /// The packet at the front.
    pub fn pop(&mut self) -> Option<Queued> {
        self.take(0)
    }

    /// The first packet of at most `max_len` bytes that has `ahead` bytes waiting before it.
    pub fn pop_behind(&mut self, ahead: usize, max_len: usize) -> Option<Queued> {
        if self.bytes <= ahead {
            return None;
        }
        let mut before = 0;
        let mut passed = 0;
        for (number, &bytes) in self.blocks.iter().enumerate() {
            if before + bytes <= ahead {
                before += bytes;
                continue;
            }
            let begin = (number * BLOCK).saturating_sub(self.gone);
            let end = ((number + 1) * BLOCK - self.gone).min(self.places.len());
            for place in begin..end {
                let Some(queued) = &self.places[place] else { continue };
                if before >= ahead {
                    if queued.packet.len() <= max_len {
                        return self.take(place);
                    }
                    passed += 1;
                    if passed == PASS_OVER {
                        return None;
                    }
                }
                before += queued.packet.len();
            }
        }
        None
    }

    /// Places that there is memory for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.places.capacity()
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.places.shrink_to_fit();
        self.blocks.shrink_to_fit();
    }

    fn take(&mut self, place: usize) -> Option<Queued> {
        let queued = self.places.get_mut(place)?.take()?;
        let len = queued.packet.len();
        self.bytes -= len;
        if let Some(block) = self.blocks.get_mut((self.gone + place) / BLOCK) {
            *block -= len;
        }
        while matches!(self.places.front(), Some(None)) {
            self.places.pop_front();
            self.gone += 1;
            if self.gone == BLOCK {
                self.blocks.pop_front();
                self.gone = 0;
            }
        }
        Some(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queued(sequence: u32, len: usize) -> Queued {
        let mut packet = Buf::new();
        packet.set_len(len);
        Queued { packet, sequence, ordered: true, at: Time(0), ecn: 0 }
    }

    /// Finds what [`FlowQueue::pop_behind`] has to.
    fn behind(list: &[(u32, usize)], ahead: usize, max_len: usize) -> Option<usize> {
        let mut before = 0;
        list.iter().position(|&(_, len)| {
            let found = before >= ahead && len <= max_len;
            before += len;
            found
        })
    }

    proptest! {
        /// Whatever is pushed and taken, it does what a plain list would do.
        #[test]
        fn it_agrees_with_a_list(
            steps in prop::collection::vec(
                (
                    prop::collection::vec(40..1500usize, 0..8),
                    prop_oneof![Just(0), 0..200_000usize],
                    700..1500usize,
                    0..5usize,
                ),
                1..400,
            ),
        ) {
            let (mut queue, mut list) = (FlowQueue::default(), Vec::<(u32, usize)>::new());
            let mut sequence = 0;
            let plain = |q: Queued| (q.sequence, q.packet.len());
            for (lens, ahead, max_len, pops) in steps {
                for len in lens {
                    queue.push(queued(sequence, len));
                    list.push((sequence, len));
                    sequence += 1;
                }
                let wanted = behind(&list, ahead, max_len).map(|place| list.remove(place));
                prop_assert_eq!(queue.pop_behind(ahead, max_len).map(plain), wanted);
                for _ in 0..pops {
                    let wanted = (!list.is_empty()).then(|| list.remove(0));
                    prop_assert_eq!(queue.pop().map(plain), wanted);
                }
                prop_assert_eq!(queue.bytes(), list.iter().map(|&(_, len)| len).sum::<usize>());
                prop_assert_eq!(queue.front().map(|q| q.sequence), list.first().map(|&(s, _)| s));
            }
        }
    }
}
