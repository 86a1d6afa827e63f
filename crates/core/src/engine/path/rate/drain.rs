//! Sending less until the queue is gone, and what is learnt from whether it went.

use super::params::*;
use super::{Observed, Phase, Rate};
use crate::time::Time;

impl Rate {
    /// What is in flight tells at once that the queue is gone; the delay tells a round trip later.
    pub(super) fn steer_drain(&mut self, at: &Observed<'_>, in_flight: u64) {
        let empty = in_flight <= at.bw * at.rtt.loaded() / 1_000_000;
        let most = DRAIN_HALF_ROUNDS * at.rtt.smoothed() / 2 + DRAIN_LIMITS * at.limit;
        if empty || at.elapsed > most {
            self.judged = false;
            self.enter(at.now, Phase::Cruise);
        }
    }

    /// A round trip after a drain: a queue that is gone was ours. What is left of the delay is the
    /// path's own, or another's, unless even what we send now does not get through.
    pub(super) fn judge(&mut self, now: Time, queue: u64, limit: u64) {
        self.judged = true;
        // The newest rate is still that of the drain.
        let drain = self.bandwidth() * DRAIN_PERCENT / 100;
        let behind = !self.latest_limited && self.latest * 100 < drain * BEHIND_PERCENT;
        if queue > self.tolerated + limit {
            if behind {
                self.lower(now, self.latest);
                self.enter(now, Phase::Drain);
                return;
            }
            self.rival = true;
        } else if self.overused > 0 {
            self.lower(now, self.overused);
        }
        if self.yielded > 0 {
            self.lower(now, self.yielded);
            self.yielded = 0;
        }
        self.overused = 0;
        self.tolerated = queue.min(TOLERATED_MAX_US);
        self.tolerable_at = now;
    }
}
