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
//! Each phase has a file: `startup`, `drain`, `cruise`, `probe` (up and down); `delivery` makes the
//! samples, `sharing` is about who else uses the link, `policed` about loss without a queue, `filled`
//! about what may be told of the estimate, `params` has the numbers.
//!
//! Limits: random loss never lowers the rate by itself; if it is rare it cannot be told from an
//! overflow beside a rival, and costs those few percent each time. Samples taken while there was
//! not enough to send can raise the estimate, never lower it.

mod cruise;
mod delivery;
mod drain;
mod filled;
mod params;
mod policed;
mod probe;
mod sharing;
mod startup;

use super::rtt::{Owd, Rtt};
use crate::time::{MS, Time};
use delivery::Point;
use params::*;
use policed::Policed;
use std::collections::VecDeque;

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

/// What is seen when something has been acknowledged.
#[derive(Clone, Copy, Debug)]
struct Observed<'a> {
    now: Time,
    /// How long the phase has lasted, microseconds.
    elapsed: u64,
    /// Delay that stands, and how much may, microseconds.
    queue: u64,
    limit: u64,
    /// Believed bandwidth, bytes per second.
    bw: u64,
    rtt: &'a Rtt,
    owd: &'a Owd,
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
    policed: Policed,
    /// Whether the link was once full, since the search began; and the estimate when it was, also of
    /// the time before.
    filled: bool,
    carried: u64,
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
            policed: Policed::new(now),
            filled: false,
            carried: 0,
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
        self.bounded(self.filter[0].max(self.filter[1]))
    }

    /// No more than is allowed, and than a policer lets through.
    fn bounded(&self, rate: u64) -> u64 {
        let rate = self.max.map_or(rate, |m| rate.min(m));
        self.policed.cap().map_or(rate, |m| rate.min(m))
    }

    /// Bytes acknowledged since the beginning.
    pub fn delivered(&self) -> u64 {
        self.delivered
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
            Phase::Up if self.up_wins > 0 => UP_AGAIN_PERCENT,
            Phase::Up => UP_PERCENT,
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
            let standing = owd.queue() > self.tolerated + limit / TOLERABLE_PART && !self.rival;
            let gain = match self.phase {
                // A small queue that stays: the estimate is a little too high.
                Phase::Cruise if standing => STANDING_PERCENT,
                _ => self.gain_percent(),
            };
            self.bandwidth() * gain / 100
        };
        self.bounded(rate).max(MIN_WINDOW)
    }

    /// Bytes that may be in flight.
    pub fn window(&self, rtt: &Rtt, owd: &Owd) -> u64 {
        let bw = self.bandwidth();
        // What is tolerated one way comes back the other way as well, more often than not.
        let span = rtt.loaded() + NOISE_MARGIN * owd.noise() + 2 * self.tolerated + SLACK_US;
        let bdp = bw * span / 1_000_000;
        match self.phase {
            Phase::Startup => (bdp * STARTUP_WINDOW / 100).max(INITIAL_WINDOW),
            Phase::Up => (bdp + bw * rtt.min() / 1_000_000 / UP_WINDOW_PART).max(MIN_WINDOW),
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
        let limit = queue_limit(rtt, owd);
        self.watch_policer(now, rtt.smoothed(), owd.queue() > self.tolerated + limit);
        let elapsed = now.since(self.phase_since);
        let at =
            Observed { now, elapsed, queue: owd.queue(), limit, bw: self.bandwidth(), rtt, owd };
        match self.phase {
            Phase::Startup => self.steer_startup(&at),
            Phase::Drain => self.steer_drain(&at, in_flight),
            Phase::Cruise => self.steer_cruise(&at),
            Phase::Up => self.steer_up(&at),
            Phase::Down => self.steer_down(&at),
        }
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.history.shrink_to_fit();
    }

    fn enter(&mut self, now: Time, phase: Phase) {
        self.phase = phase;
        self.phase_since = now;
        self.queue_since = None;
    }

    /// Takes what was delivered while a queue stood for all there is.
    fn lower(&mut self, now: Time, rate: u64) {
        self.up_losses = 0;
        self.overused = 0;
        self.filter = [rate.clamp(self.bandwidth() / LOWER_PART, self.bandwidth()), 0];
        self.filter_since = now;
    }
}

/// Standing delay that is tolerated on a path.
fn queue_limit(rtt: &Rtt, owd: &Owd) -> u64 {
    (rtt.min() / QUEUE_PART).clamp(QUEUE_MIN_US, QUEUE_MAX * QUEUE_MIN_US)
        + NOISE_MARGIN * owd.noise()
}

#[cfg(test)]
mod tests;
