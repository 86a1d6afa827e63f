//! Congestion control of one path: how fast to send, and how much may be in flight.
//!
//! Why: a bond is as good as its knowledge of each link. Loss says little (2 % is a normal day on
//! LTE), a deep modem queue hides congestion behind seconds of delay, and the inner TCP already
//! reacts to drops in the queue. What is wanted is the link's rate, known within a few percent,
//! with next to no queue.
//!
//! How: in the manner of BBR (draft-ietf-ccwg-bbr): bandwidth is the windowed maximum of delivery
//! rates (draft-cheng-iccrg-delivery-rate-estimation), here over the *receiver's* arrival times,
//! which no delay of acknowledgements can distort. Sending is paced at that bandwidth; now and
//! then a little more is tried for a moment, and judged when the answer is there. Unlike BBR, delay
//! counts: the mean one-way delay under load, against the least such mean ([`Owd::queue`]), so
//! that jitter is no queue. A queue that stands for a round trip forces a drain. If it is gone
//! then, it was ours: the estimate is what was delivered meanwhile. A delivery far below the
//! estimate is believed at once: a rate that falls from 40 to 5 Mbit/s is followed in a few round
//! trips, without waiting for loss. What a drain leaves is the path's own delay (a longer route) or
//! a rival's queue: it is tolerated, and the share of the link is kept, less a little each time that
//! the queue overflows.
//!
//! Limits: random loss never lowers the rate by itself; if it is rare it cannot be told from an
//! overflow beside a rival, and costs those few percent each time. Samples taken while there was
//! not enough to send can raise the estimate, never lower it.

use super::rtt::{Owd, Rtt};
use crate::time::{MS, SEC, Time};
use std::collections::VecDeque;

/// Bytes in flight before anything is known: 32 packets (RFC 6928 allows 10; the path has just
/// been validated and the data is paced).
const INITIAL_WINDOW: u64 = 32 * 1400;
/// While the rate is being searched for, a window leaves in this part of a round trip.
const STARTUP_BURST: u64 = 4;
/// Least window.
const MIN_WINDOW: u64 = 4 * 1500;
/// What the window allows beyond the round trip and the link's jitter: the peer's
/// acknowledgement delay and one burst of each end.
const SLACK_US: u64 = 12 * MS;
/// Standing delay that is tolerated, at least.
const QUEUE_MIN_US: u64 = 12 * MS;
/// Delay that is tolerated beyond the least one, at most: more is somebody's bufferbloat.
const TOLERATED_MAX_US: u64 = 100 * MS;
/// Growth per round below which the rate is taken as found, percent
/// (draft-ietf-ccwg-bbr §5.3.1.2).
const FULL_GROWTH: u64 = 125;
/// Loss in a round that shows, with a rate that has stopped growing, that the link is full, percent.
const STARTUP_LOSS: u64 = 10;
/// Shortest span of a delivery-rate sample.
const SAMPLE_MIN_US: u64 = 40 * MS;
/// Longest span of a delivery-rate sample.
const SAMPLE_MAX_US: u64 = 400 * MS;
/// Spacing of the points of the delivery history.
const POINT_US: u64 = 2 * MS;
/// Points of the delivery history at most.
const POINTS_MAX: usize = 256;
/// Part of the estimate that is sent while a queue drains, percent.
const DRAIN_PERCENT: u64 = 60;
/// How long a delivery rate is remembered, at least, and beside a rival.
const MEMORY_US: u64 = 250 * MS;
const RIVAL_US: u64 = 2 * SEC;
/// Part of the estimate that is kept when a queue that a rival fills overflows, percent: he gives way
/// then too, and more (CUBIC 30 %), but what is lost is mostly his.
const YIELD_PERCENT: u64 = 94;
/// Time without loss before an overflow, at least.
const LULL_US: u64 = 500 * MS;
/// A delivery below this part of the estimate shows a link that has become slower, percent.
const SLOWER: u64 = 75;
/// A sample is stretched when its delay grows by more than one part in this many of its span.
const STRETCH: i64 = 4;
/// A small delay that stands for so long although less is sent is not our queue, and no reason not to
/// try more.
const STANDING_US: u64 = 2 * SEC;
/// A path that has carried little for so long while another filled it is shared from now on.
const UNUSED_US: u64 = SEC;
/// Growth that shows that a probe has found more, percent: half of what it tries. Random loss takes
/// its part of it.
const UP_SHOWS: u64 = 12;
/// Shortest probe.
const PROBE_US: u64 = 60 * MS;
/// Shortest time between two probes for more.
const PROBE_EVERY_US: u64 = 250 * MS;

/// What the controller is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Doubling each round until the rate stops growing.
    Startup,
    /// Sending less until the queue is gone.
    Drain,
    /// Sending at the estimate.
    Cruise,
    /// Trying more.
    Up,
    /// Taking back what the trial has queued.
    Down,
}

/// A point of the delivery history.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Arrival at the peer, on its clock, microseconds.
    arrived: u64,
    /// Bytes delivered by then.
    delivered: u64,
    /// One-way delay of what arrived then, on the paths' relative scale, microseconds.
    delay: i64,
}

/// The controller of a path.
#[derive(Debug)]
pub struct Rate {
    phase: Phase,
    phase_since: Time,
    /// Bytes acknowledged since the beginning.
    delivered: u64,
    /// How delivery went on.
    history: VecDeque<Point>,
    /// The sender had too little to send until this much is delivered.
    limited_until: u64,
    /// Whether what was acknowledged last had been sent then.
    limited: bool,
    /// Maximum of this and of the last filter period.
    filter: [u64; 2],
    filter_since: Time,
    latest: u64,
    /// Whether the newest sample spans a time in which there was too little to send.
    latest_limited: bool,
    /// Whether it arrived much more slowly than it was sent: so slow is the link, however little
    /// there was to send.
    latest_stretched: bool,
    round_end: u64,
    /// Bytes delivered when the round began, and lost in it.
    round_begin: u64,
    round_lost: u64,
    full: u64,
    full_rounds: u32,
    /// Estimate when the present probe began, and how many in a row have succeeded.
    up_from: u64,
    up_wins: u32,
    /// Probes in a row that found nothing: the next one can wait.
    up_losses: u32,
    queue_since: Option<Time>,
    /// What was delivered when a queue stood, to be believed if it was ours; 0 for none.
    overused: u64,
    /// A queue stands that is not ours: giving way to it would leave the link to another, who takes
    /// all of it.
    rival: bool,
    /// A queue that a rival fills has overflowed; when something was lost last; when an overflow was
    /// answered last, and the estimate that is to be kept then, or 0.
    overflowed: bool,
    lost_at: Time,
    yielded_at: Time,
    yielded: u64,
    /// Whether the effect of the last drain has been seen.
    judged: bool,
    /// Standing delay that was left when we last sent less than the rate.
    tolerated: u64,
    /// Since when little has been sent although there is a queue, and whether the estimate has been
    /// halved for it.
    unused_since: Option<Time>,
    shared: bool,
    /// When there was last no more delay than is tolerated.
    tolerable_at: Time,
    /// Standing delay when the present probe began.
    up_queue: u64,
    /// Part of the estimate that is sent after a probe, percent.
    down_percent: u64,
    last_probe: Time,
    near: bool,
    /// Whether the search begins at what the path has carried before.
    known: bool,
    max: Option<u64>,
}

impl Rate {
    /// A path of which nothing is known but an upper bound of the rate, bytes per second.
    pub fn new(now: Time, max: Option<u64>) -> Rate {
        Rate {
            phase: Phase::Startup,
            phase_since: now,
            delivered: 0,
            history: VecDeque::new(),
            limited_until: 0,
            limited: true,
            filter: [0; 2],
            filter_since: now,
            latest: 0,
            latest_limited: true,
            latest_stretched: false,
            round_end: 0,
            round_begin: 0,
            round_lost: 0,
            full: 0,
            full_rounds: 0,
            up_from: 0,
            up_wins: 0,
            up_losses: 0,
            queue_since: None,
            overused: 0,
            rival: false,
            overflowed: false,
            lost_at: now,
            yielded_at: now,
            yielded: 0,
            judged: true,
            tolerated: 0,
            unused_since: None,
            shared: false,
            tolerable_at: now,
            up_queue: 0,
            down_percent: 100,
            last_probe: now,
            near: true,
            known: false,
            max,
        }
    }

    /// Whether the path is about as fast as the fastest one.
    pub fn set_near(&mut self, near: bool) {
        self.near = near;
    }

    /// Sets the upper bound of the rate.
    pub fn set_max(&mut self, max: Option<u64>) {
        self.max = max;
    }

    /// Believed bandwidth in bytes per second; 0 while unknown.
    pub fn bandwidth(&self) -> u64 {
        let bw = self.filter[0].max(self.filter[1]);
        self.max.map_or(bw, |m| bw.min(m))
    }

    /// What the controller is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the estimate rests on a search that has ended.
    pub fn is_settled(&self) -> bool {
        self.phase != Phase::Startup
    }

    /// Whether more is being sent than the link is known to carry, or has just been.
    pub fn is_searching(&self) -> bool {
        matches!(self.phase, Phase::Startup | Phase::Drain)
    }

    /// Whether more is under way than the link is known to carry: what is lost then may have been
    /// too much for it.
    pub fn is_flooding(&self) -> bool {
        self.is_searching() && !self.limited
    }

    fn gain_percent(&self) -> u64 {
        match self.phase {
            Phase::Startup | Phase::Cruise => 100,
            Phase::Drain => DRAIN_PERCENT,
            Phase::Up if self.up_wins > 0 => 150,
            Phase::Up => 125,
            Phase::Down => self.down_percent,
        }
    }

    /// Rate for the pacer, bytes per second.
    pub fn pacing(&self, rtt: &Rtt, owd: &Owd) -> u64 {
        let rate = if self.phase == Phase::Startup {
            // The window bounds what is risked. Spreading it over the round trip would delay the
            // bursts of an inner slow start, which takes that for a full path and ends (HyStart).
            let burst = if self.near && !self.known { STARTUP_BURST } else { 1 };
            burst * self.window(rtt, owd) * 1_000_000 / rtt.smoothed().max(MS)
        } else {
            let limit = queue_limit(rtt, owd);
            let standing = owd.queue() > self.tolerated + limit / 2 && !self.rival;
            let gain = match self.phase {
                // A small queue that stays: the estimate is a little too high.
                Phase::Cruise if standing => 96,
                _ => self.gain_percent(),
            };
            self.bandwidth() * gain / 100
        };
        self.max.map_or(rate, |m| rate.min(m)).max(MIN_WINDOW)
    }

    /// Bytes that may be in flight.
    pub fn window(&self, rtt: &Rtt, owd: &Owd) -> u64 {
        let bw = self.bandwidth();
        // What is tolerated one way comes back the other way as well, more often than not.
        let span = rtt.loaded() + 3 * owd.noise() + 2 * self.tolerated + SLACK_US;
        let bdp = bw * span / 1_000_000;
        match self.phase {
            Phase::Startup => (bdp * 5 / 2).max(INITIAL_WINDOW),
            Phase::Up => (bdp + bw * rtt.min() / 1_000_000 / 2).max(MIN_WINDOW),
            _ => bdp.max(MIN_WINDOW),
        }
    }

    /// There was room to send and nothing to send.
    pub fn on_limited(&mut self, in_flight: u64) {
        self.limited_until = self.delivered + in_flight.max(1);
    }

    /// `bytes` were newly acknowledged; the newest of them had arrived at `arrived` on the peer's
    /// clock, `delay` after it was sent. `in_flight` is what remains.
    #[allow(clippy::too_many_arguments)]
    pub fn on_ack(
        &mut self,
        now: Time,
        bytes: u64,
        arrived: u64,
        delay: i64,
        in_flight: u64,
        rtt: &Rtt,
        owd: &Owd,
    ) {
        self.limited = self.delivered < self.limited_until;
        self.delivered += bytes;
        self.add_point(arrived, delay);
        self.sample(now, rtt, owd);
        if self.delivered >= self.round_end {
            self.on_round(now);
            self.round_end = self.delivered + in_flight;
            self.round_begin = self.delivered;
            self.round_lost = 0;
        }
        self.steer(now, in_flight, rtt, owd);
    }

    fn add_point(&mut self, arrived: u64, delay: i64) {
        // What comes closer than that, or was overtaken on another path, counts with the next.
        if self.history.back().is_some_and(|p| arrived < p.arrived + POINT_US) {
            return;
        }
        if self.history.len() == POINTS_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Point { arrived, delivered: self.delivered, delay });
    }

    /// `bytes` were found to be lost.
    pub fn on_lost(&mut self, now: Time, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.round_lost += bytes;
        // Overflows are far apart; what is lost all the time is lost by chance.
        self.overflowed |= self.rival && now.since(self.lost_at) > LULL_US;
        self.lost_at = now;
    }

    /// Takes a delivery-rate sample over the last round trip or so.
    fn sample(&mut self, now: Time, rtt: &Rtt, owd: &Owd) {
        let window = rtt.smoothed().max(60 * owd.noise()).clamp(SAMPLE_MIN_US, SAMPLE_MAX_US);
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
        if !limited && now.since(self.filter_since) > (4 * rtt.smoothed()).max(memory) {
            self.filter_since = now;
            self.filter = [0, self.filter[0]];
        }
        self.filter[0] = self.filter[0].max(self.latest);
    }

    /// A round trip's worth of data has been acknowledged.
    fn on_round(&mut self, now: Time) {
        if self.phase != Phase::Startup || self.latest == 0 {
            return;
        }
        let bw = self.bandwidth();
        if bw * 100 >= self.full * FULL_GROWTH {
            self.full = bw;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += u32::from(!self.limited);
        // A link without a queue worth the name drops what is too much (a policer, a small buffer).
        let round = self.delivered - self.round_begin;
        let lossy = round > INITIAL_WINDOW && self.round_lost * 100 > round * STARTUP_LOSS;
        if self.full_rounds >= 3 || lossy {
            self.enter(now, Phase::Drain);
        }
    }

    fn enter(&mut self, now: Time, phase: Phase) {
        self.phase = phase;
        self.phase_since = now;
        self.queue_since = None;
    }

    fn steer(&mut self, now: Time, in_flight: u64, rtt: &Rtt, owd: &Owd) {
        let elapsed = now.since(self.phase_since);
        let queue = owd.queue();
        let limit = queue_limit(rtt, owd);
        let bw = self.bandwidth();
        let empty = in_flight <= bw * rtt.loaded() / 1_000_000;
        match self.phase {
            Phase::Startup => {
                if queue > limit && self.latest > 0 {
                    self.enter(now, Phase::Drain);
                }
            }
            Phase::Drain => {
                // What is in flight tells at once; the delay tells a round trip later.
                let late = elapsed > 3 * rtt.smoothed() / 2 + 5 * limit;
                if empty || late {
                    self.judged = false;
                    self.enter(now, Phase::Cruise);
                }
            }
            Phase::Cruise if !self.judged => {
                if elapsed > rtt.smoothed() + SAMPLE_MIN_US {
                    self.judge(now, queue, limit);
                }
            }
            Phase::Cruise => {
                self.watch_unused(now, queue, limit);
                self.tolerated = self.tolerated.min(queue.max(limit / 3));
                let patient = PROBE_EVERY_US << self.up_losses.min(if self.rival { 1 } else { 3 });
                let period = (6 * rtt.smoothed()).max(patient);
                let tolerable = queue <= self.tolerated + limit / 2 || self.rival;
                if tolerable {
                    self.tolerable_at = now;
                }
                // Jitter holds dense packets longer than the few that were before. Of a rival's queue
                // more has been tolerated.
                let stands = now.since(self.tolerable_at) > STANDING_US.max(8 * rtt.smoothed());
                let tolerable = tolerable || (stands && self.tolerated < limit);
                if self.overflowed && now.since(self.yielded_at) > RIVAL_US {
                    self.overflowed = false;
                    self.yielded_at = now;
                    self.yielded = bw * YIELD_PERCENT / 100;
                    self.enter(now, Phase::Drain);
                } else if !self.limited && tolerable && now.since(self.last_probe) > period {
                    self.up_from = bw;
                    self.up_wins = 0;
                    self.up_queue = queue;
                    self.last_probe = now;
                    self.enter(now, Phase::Up);
                } else {
                    self.watch_overuse(now, queue, limit, rtt);
                }
            }
            Phase::Up => {
                // Long enough to be told from noise, no longer: it makes a queue.
                let lasts = (60 * owd.noise()).max(PROBE_US).max(rtt.min() / 2).min(SAMPLE_MAX_US);
                let queued = queue > self.up_queue.max(self.tolerated) + limit;
                if self.has_won(bw, rtt) && elapsed > rtt.smoothed() {
                    self.climb(now, bw);
                } else if queued || elapsed > lasts {
                    // All that was too much has to go, and a little more: else the queue creeps up,
                    // probe by probe, and the least delay with it.
                    let takes = rtt.smoothed() + SAMPLE_MIN_US / 2;
                    let excess = elapsed * (self.gain_percent() - 100) / takes;
                    self.down_percent = if queued { 75 } else { 100 - excess.min(25) };
                    self.enter(now, Phase::Down);
                }
            }
            Phase::Down => {
                // What the probe has brought is known a round trip after its end.
                let known = elapsed > rtt.smoothed() + SAMPLE_MIN_US / 2;
                if self.has_won(bw, rtt) && !known {
                    self.climb(now, bw);
                } else if known {
                    self.up_losses = if self.up_wins > 0 { 0 } else { self.up_losses + 1 };
                    self.enter(now, Phase::Cruise);
                }
            }
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

    /// A round trip after a drain: a queue that is gone was ours. What is left of the delay is the
    /// path's own, or another's, unless even what we send now does not get through.
    fn judge(&mut self, now: Time, queue: u64, limit: u64) {
        self.judged = true;
        // The newest rate is still that of the drain.
        let drain = self.bandwidth() * DRAIN_PERCENT / 100;
        let behind = !self.latest_limited && self.latest * 10 < drain * 9;
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
        self.enter(now, Phase::Drain);
    }

    /// The estimate is of a time when the link was ours. Coming back with all of it would push
    /// whoever uses the link now aside (as RFC 7661 has it for windows that were not used).
    fn watch_unused(&mut self, now: Time, queue: u64, limit: u64) {
        if !self.limited {
            self.shared = false;
        }
        if !self.limited || queue <= limit || self.latest * 2 > self.bandwidth() {
            self.unused_since = None;
            return;
        }
        let since = *self.unused_since.get_or_insert(now);
        if !self.shared && now.since(since) > UNUSED_US {
            self.shared = true;
            self.lower(now, self.bandwidth() / 2);
        }
    }

    /// Takes what was delivered while a queue stood for all there is.
    fn lower(&mut self, now: Time, rate: u64) {
        self.up_losses = 0;
        self.overused = 0;
        self.filter = [rate.clamp(self.bandwidth() / 8, self.bandwidth()), 0];
        self.filter_since = now;
    }

    /// The path comes back after an interruption: what it carried is a guess now, so begin at half.
    pub fn restart(&mut self, now: Time) {
        let half = self.bandwidth() / 2;
        let (delivered, max) = (self.delivered, self.max);
        let known = half > 0;
        *self = Rate { delivered, filter: [half, 0], full: half, known, ..Rate::new(now, max) };
    }
}

/// Standing delay that is tolerated on a path.
fn queue_limit(rtt: &Rtt, owd: &Owd) -> u64 {
    (rtt.min() / 8).clamp(QUEUE_MIN_US, 4 * QUEUE_MIN_US) + 3 * owd.noise()
}

#[cfg(test)]
mod tests;
