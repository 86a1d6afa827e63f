//! Trying more for a moment, and taking back what that has queued.

use super::params::*;
use super::{Observed, Phase, Rate};
use crate::engine::path::rtt::Rtt;
use crate::time::Time;

impl Rate {
    /// Time between two probes, microseconds: longer while they find nothing.
    pub(super) fn probe_period(&self, rtt: &Rtt) -> u64 {
        let most = if self.rival { PROBE_DOUBLED_RIVAL } else { PROBE_DOUBLED };
        (PROBE_ROUNDS * rtt.smoothed()).max(PROBE_EVERY_US << self.up_losses.min(most))
    }

    /// Begins to try more than `bw`, where `queue` microseconds stand already.
    pub(super) fn start_probe(&mut self, now: Time, bw: u64, queue: u64) {
        self.up_from = bw;
        self.up_wins = 0;
        self.up_queue = queue;
        self.last_probe = now;
        self.enter(now, Phase::Up);
    }

    /// Long enough to be told from noise, no longer: it makes a queue.
    pub(super) fn steer_up(&mut self, at: &Observed<'_>) {
        let Observed { now, elapsed, queue, limit, bw, rtt, owd } = *at;
        let lasts = (SAMPLE_NOISE * owd.noise()).max(PROBE_US).max(rtt.min() / 2);
        let queued = queue > self.up_queue.max(self.tolerated) + limit;
        if self.has_won(bw, rtt) && elapsed > rtt.smoothed() {
            self.climb(now, bw);
        } else if queued || elapsed > lasts.min(SAMPLE_MAX_US) {
            // All that was too much has to go, and a little more: else the queue creeps up,
            // probe by probe, and the least delay with it.
            let excess = elapsed * (self.gain_percent() - 100) / known_after(rtt);
            let less = 100 - excess.min(DOWN_LESS_MAX);
            self.down_percent = if queued { DOWN_QUEUED_PERCENT } else { less };
            self.enter(now, Phase::Down);
        }
    }

    /// What the probe has brought is known a round trip after its end.
    pub(super) fn steer_down(&mut self, at: &Observed<'_>) {
        let known = at.elapsed > known_after(at.rtt);
        if self.has_won(at.bw, at.rtt) && !known {
            self.climb(at.now, at.bw);
        } else if known {
            if self.up_wins == 0 {
                self.note_filled();
            }
            self.up_losses = if self.up_wins > 0 { 0 } else { self.up_losses + 1 };
            self.enter(at.now, Phase::Cruise);
        }
    }

    fn has_won(&self, bw: u64, rtt: &Rtt) -> bool {
        // The first probe on a long path fills half of a sample.
        let part = if self.up_wins == 0 && rtt.min() > 2 * PROBE_US { 2 } else { 1 };
        bw * 100 > self.up_from * (100 + UP_SHOWS / part)
    }

    /// There is more: go on from here.
    fn climb(&mut self, now: Time, bw: u64) {
        self.up_from = bw;
        self.up_wins += 1;
        self.enter(now, Phase::Up);
    }
}

/// When the effect of what is sent now is in the samples, microseconds.
fn known_after(rtt: &Rtt) -> u64 {
    rtt.smoothed() + SAMPLE_MIN_US / 2
}
