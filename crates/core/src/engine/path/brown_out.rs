//! A path that answers and loses nearly everything: worse than none.

use crate::time::{MS, SEC, Time};

/// Datagrams over which it is judged. Simulation.
const SAMPLE: u64 = 40;
/// Loss that is a brown-out, percent, and the time in which those datagrams must have been accounted
/// for, microseconds: more of it than any code or repair makes good. Simulation.
const PERCENT: u64 = 60;
const SAMPLE_US: u64 = 2 * SEC;
/// The same while the path is flooded to find its rate, and the time in which even that is no
/// brown-out yet. Simulation: half is lost where the search sends twice the rate.
const SEARCH_PERCENT: u64 = 80;
const SEARCH_GRACE_US: u64 = 500 * MS;

/// Datagrams acknowledged and lost since a short while ago.
#[derive(Debug, Default)]
pub struct BrownOut {
    since: Time,
    searching: bool,
    /// What was sent before this is not counted.
    from: Time,
    acked: u64,
    lost: u64,
}

impl BrownOut {
    /// A datagram that was sent at `sent` has arrived.
    pub fn acked(&mut self, sent: Time) {
        self.acked += u64::from(sent >= self.from);
    }

    /// A datagram that was sent at `sent` is lost.
    pub fn lost(&mut self, sent: Time) {
        self.lost += u64::from(sent >= self.from);
    }

    /// The share that is lost, percent, if that is a brown-out. `searching` says whether the path's
    /// rate is being searched for.
    pub fn judge(&mut self, now: Time, searching: bool) -> Option<u64> {
        let anew = BrownOut { since: now, searching, from: self.from, acked: 0, lost: 0 };
        let total = self.acked + self.lost;
        if self.searching != searching {
            // The search's losses, known a round trip later, say nothing about what comes after it.
            *self = BrownOut { from: now, ..anew };
            return None;
        }
        if total < SAMPLE {
            return None;
        }
        let percent = self.lost * 100 / total;
        let age = now.since(self.since);
        // In the search for its rate a path is flooded for a moment.
        if searching && age < SEARCH_GRACE_US && percent >= PERCENT {
            return None;
        }
        let most = if searching { SEARCH_PERCENT } else { PERCENT };
        let brown_out = percent >= most && age <= SAMPLE_US;
        *self = anew;
        brown_out.then_some(percent)
    }
}
