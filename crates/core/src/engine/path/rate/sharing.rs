//! Others on the same link: a rival that fills its queue, and one that came while we sent little.

use super::params::*;
use super::{Phase, Rate};
use crate::time::Time;

impl Rate {
    /// `bytes` were found to be lost.
    pub fn on_lost(&mut self, now: Time, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.round_lost += bytes;
        self.policed.on_lost(bytes);
        // Overflows are far apart; what is lost all the time is lost by chance.
        self.overflowed |= self.rival && now.since(self.lost_at) > LULL_US;
        self.lost_at = now;
    }

    /// The rival's queue has overflowed: a little is given up, after a drain.
    pub(super) fn give_way(&mut self, now: Time, bw: u64) {
        self.overflowed = false;
        self.yielded_at = now;
        self.yielded = bw * YIELD_PERCENT / 100;
        self.enter(now, Phase::Drain);
    }

    /// The estimate is of a time when the link was ours. Coming back with all of it would push
    /// whoever uses the link now aside (as RFC 7661 has it for windows that were not used).
    pub(super) fn watch_unused(&mut self, now: Time, queue: u64, limit: u64) {
        if !self.limited {
            self.shared = false;
        }
        if !self.limited || queue <= limit || self.latest * 100 > self.bandwidth() * UNUSED_PERCENT
        {
            self.unused_since = None;
            return;
        }
        let since = *self.unused_since.get_or_insert(now);
        if !self.shared && now.since(since) > UNUSED_US {
            self.shared = true;
            self.lower(now, self.bandwidth() * UNUSED_PERCENT / 100);
        }
    }
}
