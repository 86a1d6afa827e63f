//! Which flow has waited longest for what is missing.
//!
//! How: a binary heap that knows where in it each flow is, so that a flow is found, moved and taken
//! out with as many steps as the number of waiting flows has bits.

use crate::engine::flow_table::FLOWS;
use crate::time::Time;

/// Place of a flow that is not in the heap.
const NONE: u16 = u16::MAX;

/// The flows in which packets wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Since when, and which flow; nobody has waited longer than the one in the middle in front of it.
    heap: Vec<(Time, u16)>,
    /// Where each flow is in the heap; empty until one waits.
    places: Vec<u16>,
}

impl Waiting {
    /// The flow that has waited longest, and since when.
    pub fn first(&self) -> Option<(Time, usize)> {
        self.heap.first().map(|&(since, flow)| (since, usize::from(flow)))
    }

    /// Whether packets of a flow wait.
    pub fn contains(&self, flow: usize) -> bool {
        self.places.get(flow).is_some_and(|&place| place != NONE)
    }

    /// A flow waits since then; `None`: it does not wait.
    pub fn set(&mut self, flow: usize, since: Option<Time>) {
        let place = self.places.get(flow).copied().unwrap_or(NONE);
        match (since, place) {
            (None, NONE) => {}
            (None, place) => self.remove(usize::from(place)),
            (Some(since), NONE) => {
                if self.places.is_empty() {
                    self.places.resize(FLOWS, NONE);
                }
                self.heap.push((since, flow as u16));
                self.rise(self.heap.len() - 1);
            }
            (Some(since), place) => {
                let place = usize::from(place);
                self.heap[place].0 = since;
                let place = self.rise(place);
                self.sink(place);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, flow) = self.heap.swap_remove(place);
        self.places[usize::from(flow)] = NONE;
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    /// Moves an entry towards the front as far as it belongs; where it is then.
    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.heap.swap(place, (place - 1) / 2);
            self.note(place);
            place = (place - 1) / 2;
        }
        self.note(place);
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(mut least) = self.heap.get(left).map(|_| left) else { break };
            if self.heap.get(right).is_some_and(|entry| *entry < self.heap[left]) {
                least = right;
            }
            if self.heap[place] <= self.heap[least] {
                break;
            }
            self.heap.swap(place, least);
            self.note(place);
            place = least;
        }
        self.note(place);
    }

    fn note(&mut self, place: usize) {
        self.places[usize::from(self.heap[place].1)] = place as u16;
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        if self.heap.is_empty() {
            *self = Waiting::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_longest_wait_is_in_front(
            steps in prop::collection::vec((0usize..20, prop::option::of(0u64..50)), 1..200),
        ) {
            let mut waiting = Waiting::default();
            let mut model = BTreeMap::new();
            for (flow, since) in steps {
                waiting.set(flow, since.map(Time));
                match since {
                    Some(since) => model.insert(flow, since),
                    None => model.remove(&flow),
                };
                let first = model.iter().map(|(&flow, &since)| (Time(since), flow)).min();
                prop_assert_eq!(waiting.first(), first);
                prop_assert!((0..20).all(|f| waiting.contains(f) == model.contains_key(&f)));
            }
        }
    }
}
