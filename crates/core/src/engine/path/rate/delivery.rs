//! Delivery rates (draft-cheng-iccrg-delivery-rate-estimation), over the peer's arrival times.

use super::Rate;
use super::params::*;
use crate::engine::path::rtt::{Owd, Rtt};
use crate::time::Time;

/// A point of the delivery history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Arrival at the peer, on its clock, microseconds.
    arrived: u64,
    /// Bytes delivered by then.
    delivered: u64,
    /// One-way delay of what arrived then, on the paths' relative scale, microseconds.
    delay: i64,
}

impl Rate {
    /// Notes what was delivered by now.
    pub(super) fn add_point(&mut self, arrived: u64, delay: i64) {
        // What comes closer than that, or was overtaken on another path, counts with the next.
        if self.history.back().is_some_and(|p| arrived < p.arrived + POINT_US) {
            return;
        }
        if self.history.len() == POINTS_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Point { arrived, delivered: self.delivered, delay });
    }

    /// Takes a delivery-rate sample over the last round trip or so.
    pub(super) fn sample(&mut self, now: Time, rtt: &Rtt, owd: &Owd) {
        let window =
            rtt.smoothed().max(SAMPLE_NOISE * owd.noise()).clamp(SAMPLE_MIN_US, SAMPLE_MAX_US);
        let Some(&end) = self.history.back() else { return };
        while self.history.get(1).is_some_and(|p| end.arrived - p.arrived >= window) {
            self.history.pop_front();
        }
        let Some(&begin) = self.history.front() else { return };
        let span = end.arrived - begin.arrived;
        if span < window / 2 {
            return;
        }
        // The first point's bytes arrived before the span began.
        self.latest = (end.delivered - begin.delivered) * 1_000_000 / span;
        let limited = begin.delivered < self.limited_until;
        self.latest_limited = limited;
        self.latest_stretched = (end.delay - begin.delay) * STRETCH > span as i64;
        if limited && self.latest <= self.bandwidth() {
            return;
        }
        let memory = if self.rival { RIVAL_US } else { MEMORY_US };
        if !limited && now.since(self.filter_since) > (MEMORY_ROUNDS * rtt.smoothed()).max(memory) {
            self.filter_since = now;
            self.filter = [0, self.filter[0]];
        }
        self.filter[0] = self.filter[0].max(self.latest);
    }
}
