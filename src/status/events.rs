//! What has happened lately: the last changes of state, with their time and reason.
//!
//! Limits: [`EVENTS_MAX`] are kept, and none over a restart of the program. Times are those of the
//! wall clock at that moment, which may have been wrong.

use super::model::{Change, Event, Events};
use std::collections::VecDeque;

/// Events that are kept.
pub const EVENTS_MAX: usize = 100;

/// The list.
#[derive(Debug, Default)]
pub struct Journal {
    events: VecDeque<Event>,
    next: u64,
}

impl Journal {
    /// Writes a change down.
    pub fn note(&mut self, time_s: u64, change: &Change) {
        self.next += 1;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { id: self.next, time_s, change: change.clone() });
    }

    /// What happened at this time (wall clock, seconds) or later, oldest first.
    pub fn since(&self, since: u64) -> Events {
        let later = self.events.iter().filter(|event| event.time_s >= since);
        Events { events: later.cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_are_kept_in_order() {
        let mut journal = Journal::default();
        let change = Change::Peer { peer: "vps".into(), state: crate::status::PeerState::Up };
        (0..250).for_each(|second| journal.note(1000 + second / 2, &change));
        let all = journal.since(0).events;
        assert_eq!((all.len(), all[0].id, all[99].id, all[99].time_s), (100, 151, 250, 1124));
        assert_eq!(journal.since(1124).events.len(), 2);
        assert_eq!(journal.since(1125).events.len(), 0);
        let text = serde_json::to_string(&all[99]).unwrap();
        assert_eq!(text, r#"{"id":250,"time_s":1124,"peer":"vps","state":"up"}"#);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), all[99]);
    }
}
