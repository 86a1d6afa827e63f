//! Packets that wait for their predecessors, in lists.
//!
//! Why: between two gaps of a flow there may be thousands, and a packet may come in front of them,
//! behind them, or join two such runs: none of that may cost more with many than with one.
//!
//! How: all packets of a connection lie in one table, whose places are used again; a list is the
//! places of its first and its last packet, and each place names the next.
//!
//! Limits: the table is as long as the most packets that have waited at once, until nothing waits.

use crate::buffer::Buf;
use crate::time::Time;
use std::collections::VecDeque;

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Place {
    packet: Option<Buf>,
    /// When it came.
    at: Time,
    /// The place behind it in its list, or the next free one.
    next: u32,
}

/// Packets in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub const EMPTY: List = List { head: NONE, tail: NONE };

    pub fn is_empty(self) -> bool {
        self.head == NONE
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Store {
    places: Vec<Place>,
    free: u32,
    count: usize,
}

impl Store {
    pub const fn new() -> Store {
        Store { places: Vec::new(), free: NONE, count: 0 }
    }

    /// Packets in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A list of one packet.
    pub fn add(&mut self, packet: Buf, at: Time) -> List {
        self.count += 1;
        let place = Place { packet: Some(packet), at, next: NONE };
        let index = self.free;
        match self.places.get_mut(index as usize) {
            Some(free) => {
                self.free = free.next;
                *free = place;
                List { head: index, tail: index }
            }
            None => {
                self.places.push(place);
                let index = (self.places.len() - 1) as u32;
                List { head: index, tail: index }
            }
        }
    }

    /// The packets of both, `first` in front.
    pub fn join(&mut self, first: List, second: List) -> List {
        if first.is_empty() {
            return second;
        }
        if second.is_empty() {
            return first;
        }
        if let Some(tail) = self.places.get_mut(first.tail as usize) {
            tail.next = second.head;
        }
        List { head: first.head, tail: second.tail }
    }

    /// When the first packet of a list came.
    pub fn first_at(&self, list: List) -> Option<Time> {
        self.places.get(list.head as usize).map(|place| place.at)
    }

    /// Takes the packets of a list out.
    pub fn take(&mut self, list: List, out: &mut VecDeque<Buf>) {
        let mut index = list.head;
        while let Some(place) = self.places.get_mut(index as usize) {
            let next = place.next;
            if let Some(packet) = place.packet.take() {
                out.push_back(packet);
                self.count -= 1;
            }
            place.next = self.free;
            self.free = index;
            index = next;
        }
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        if self.count == 0 {
            *self = Store::new();
        }
    }
}
