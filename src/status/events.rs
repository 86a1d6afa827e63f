//! What has happened lately: the last changes of state, with their time and reason.
//!
//! A path that is in doubt for a moment and works again within [`BRIEF_S`] is no event: on a busy radio link
//! that happens all day, and nothing else would be left to read.
//!
//! Limits: [`EVENTS_MAX`] are kept, and none over a restart of the program. Times are those of the
//! wall clock at that moment, which may have been wrong.

use super::model::{Change, Event, Events};
use super::state::PathState;
use std::collections::VecDeque;

/// Events that are kept.
pub const EVENTS_MAX: usize = 100;

/// A doubt that is over within so many seconds is not written down.
pub const BRIEF_S: u64 = 5;

/// The list.
#[derive(Debug, Default)]
pub struct Journal {
    events: VecDeque<Event>,
    next: u64,
    /// Doubts that may be over in a moment, since when; at most [`EVENTS_MAX`], further ones are events at
    /// once.
    doubts: Vec<(u64, Change)>,
}

/// The path that a change is about.
fn path(change: &Change) -> Option<(&str, &str, PathState)> {
    match change {
        Change::Path { peer, wan, state, .. } => Some((peer, wan, *state)),
        Change::Peer { .. } => None,
    }
}

impl Journal {
    /// Writes a change down, unless it is a doubt that may be over in a moment.
    pub fn note(&mut self, time_s: u64, change: &Change) {
        self.settle(time_s);
        if let Some((peer, wan, state)) = path(change) {
            let of_path = |(_, doubt): &(u64, Change)| {
                path(doubt).is_some_and(|(p, w, _)| (p, w) == (peer, wan))
            };
            let doubt = self.doubts.iter().position(of_path);
            match (state, doubt) {
                (PathState::Suspect, None) if self.doubts.len() < EVENTS_MAX => {
                    self.doubts.push((time_s, change.clone()));
                    return;
                }
                (PathState::Suspect | PathState::Probing, Some(_)) => return,
                (PathState::Active | PathState::Backup, Some(at)) => {
                    self.doubts.remove(at);
                    return;
                }
                (_, Some(at)) => {
                    let (_, doubt) = self.doubts.remove(at);
                    self.push(time_s, doubt);
                }
                (_, None) => {}
            }
        }
        self.push(time_s, change.clone());
    }

    /// Writes down the doubts that last. They get this time, so that who asks for what is new misses
    /// none.
    pub fn settle(&mut self, time_s: u64) {
        // A clock that was set back ends them as well.
        let lasts = |since: u64| time_s < since || time_s - since >= BRIEF_S;
        while let Some(at) = self.doubts.iter().position(|(since, _)| lasts(*since)) {
            let (_, doubt) = self.doubts.remove(at);
            self.push(time_s, doubt);
        }
    }

    fn push(&mut self, time_s: u64, change: Change) {
        self.next += 1;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { id: self.next, time_s, change });
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
    fn a_doubt_of_a_moment_is_no_event() {
        let mut journal = Journal::default();
        let change =
            |wan: &str, state| Change::path("vps".into(), wan.into(), String::new(), state, None);
        let states = |journal: &Journal| {
            let events = journal.since(0).events.into_iter();
            events.map(|e| path(&e.change).map(|(_, _, state)| state).unwrap()).collect::<Vec<_>>()
        };
        for second in 0..50 {
            journal.note(1000 + second, &change("lte", PathState::Suspect));
            journal.note(1000 + second, &change("lte", PathState::Probing));
            journal.note(1001 + second, &change("lte", PathState::Active));
        }
        assert_eq!(states(&journal), []);
        // Another path's doubt does not end with it; one that lasts is told, and what follows.
        journal.note(2000, &change("dsl", PathState::Suspect));
        journal.note(2001, &change("lte", PathState::Suspect));
        journal.note(2003, &change("lte", PathState::Active));
        journal.settle(2004);
        assert_eq!(states(&journal), []);
        journal.settle(2005);
        assert_eq!(
            (states(&journal), journal.since(2005).events.len()),
            (vec![PathState::Suspect], 1)
        );
        journal.note(2006, &change("dsl", PathState::Active));
        // So is one that comes to the worst at once.
        journal.note(2010, &change("lte", PathState::Suspect));
        journal.note(2011, &change("lte", PathState::Down));
        let expected = [PathState::Suspect, PathState::Active, PathState::Suspect, PathState::Down];
        assert_eq!(states(&journal), expected);
        // All of a large server's paths at once are not looked through again and again.
        for path in 0..10 * EVENTS_MAX {
            journal.note(2015, &change(&format!("path{path}"), PathState::Suspect));
        }
        assert_eq!((journal.doubts.len(), states(&journal).len()), (EVENTS_MAX, EVENTS_MAX));
        let mut journal = Journal::default();
        // The clock is set back.
        journal.note(2020, &change("lte", PathState::Suspect));
        journal.settle(100);
        assert_eq!(states(&journal).len(), 1);
    }

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
