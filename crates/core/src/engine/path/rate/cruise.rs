//! Sending at the estimate: when to try more, when it was too much.

use super::params::*;
use super::{Observed, Phase, Rate};
use crate::engine::path::rtt::Rtt;
use crate::time::Time;

impl Rate {
    /// Judges the last drain, then waits for the next probe, a queue or an overflow.
    pub(super) fn steer_cruise(&mut self, at: &Observed<'_>) {
        let Observed { now, elapsed, queue, limit, bw, rtt, .. } = *at;
        if !self.judged {
            if elapsed > rtt.smoothed() + SAMPLE_MIN_US {
                self.judge(now, queue, limit);
            }
            return;
        }
        self.watch_unused(now, queue, limit);
        self.tolerated = self.tolerated.min(queue.max(limit / TOLERATED_PART));
        let tolerable = self.is_tolerable(at);
        if self.overflowed && now.since(self.yielded_at) > RIVAL_US {
            self.give_way(now, bw);
        } else if !self.limited && tolerable && now.since(self.last_probe) > self.probe_period(rtt)
        {
            self.start_probe(now, bw, queue);
        } else {
            self.watch_overuse(now, queue, limit, rtt);
        }
    }

    /// Whether the delay that stands is no reason not to try more.
    fn is_tolerable(&mut self, at: &Observed<'_>) -> bool {
        let Observed { now, queue, limit, rtt, .. } = *at;
        let tolerable = queue <= self.tolerated + limit / TOLERABLE_PART || self.rival;
        if tolerable {
            self.tolerable_at = now;
        }
        // Jitter holds dense packets longer than the few that were before. Of a rival's queue
        // more has been tolerated.
        let stands =
            now.since(self.tolerable_at) > STANDING_US.max(STANDING_ROUNDS * rtt.smoothed());
        tolerable || (stands && self.tolerated < limit)
    }

    /// A queue that stands for a round trip: the link has become slower than we think, we have
    /// thought too much of it, or somebody else fills it.
    fn watch_overuse(&mut self, now: Time, queue: u64, limit: u64, rtt: &Rtt) {
        if queue <= self.tolerated + limit || self.rival {
            self.rival &= queue > limit;
            self.overflowed &= self.rival;
            self.queue_since = None;
            return;
        }
        let since = *self.queue_since.get_or_insert(now);
        // A burst drains before its queue has stood for long.
        let lasting = if self.latest_stretched { rtt.loaded() } else { rtt.smoothed() };
        if now.since(since) <= lasting.max(SAMPLE_MIN_US) {
            return;
        }
        if (!self.latest_limited || self.latest_stretched)
            && self.latest * 100 < self.bandwidth() * SLOWER
        {
            self.lower(now, self.latest);
        } else if !self.latest_limited {
            self.overused = self.latest;
        }
        self.note_filled();
        self.enter(now, Phase::Drain);
    }
}
