//! CUBIC with HyStart, counted in segments, as Linux has it (`tcp_cubic.c`, RFC 9438).

use onebox::time::{MS, Time};

/// Multiplicative decrease (RFC 9438 §4.6).
const BETA: f64 = 0.7;
/// Aggressiveness, segments per second cubed (RFC 9438 §5).
const C: f64 = 0.4;
/// Initial window, segments (RFC 6928).
const INITIAL: f64 = 10.0;
/// HyStart starts to look at this window, segments (Linux `hystart_low_window`).
const HYSTART_LOW: f64 = 16.0;
/// Least growth for each segment acknowledged before the first loss (Linux `bictcp_update`).
const INITIAL_STEP: f64 = 1.0 / 20.0;
/// Samples of a round that HyStart looks at (Linux `HYSTART_MIN_SAMPLES`).
const HYSTART_SAMPLES: u32 = 8;
/// ACKs closer together than this make a train, microseconds (Linux `hystart_ack_delta_us`).
const TRAIN_GAP_US: u64 = 2 * MS;

/// The window.
#[derive(Debug)]
pub struct Cubic {
    /// Segments that may be in flight.
    pub cwnd: f64,
    /// Where slow start ends.
    pub ssthresh: f64,
    w_max: f64,
    k: f64,
    origin: f64,
    w_est: f64,
    epoch: Option<Time>,
    delay_min_us: u64,
    round_end: u64,
    round_start: Time,
    last_ack: Time,
    round_delay_us: u64,
    samples: u32,
    /// Why slow start ended first, when, and at which window.
    pub ended: Option<(&'static str, Time, f64)>,
}

impl Cubic {
    /// At the begin of a flow.
    pub fn new() -> Cubic {
        Cubic {
            cwnd: INITIAL,
            ssthresh: f64::MAX,
            w_max: 0.0,
            k: 0.0,
            origin: 0.0,
            w_est: 0.0,
            epoch: None,
            delay_min_us: u64::MAX,
            round_end: 0,
            round_start: Time::ZERO,
            last_ack: Time::ZERO,
            round_delay_us: u64::MAX,
            samples: 0,
            ended: None,
        }
    }

    /// Whether the window is below its slow start threshold.
    pub fn slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// A round trip was measured on new data. `una` and `next` are the sender's segment numbers.
    pub fn sample(&mut self, now: Time, rtt_us: u64, una: u64, next: u64) {
        self.delay_min_us = self.delay_min_us.min(rtt_us);
        if !self.slow_start() || self.cwnd < HYSTART_LOW {
            return;
        }
        if una > self.round_end {
            self.round_end = next;
            self.round_start = now;
            self.last_ack = now;
            self.round_delay_us = u64::MAX;
            self.samples = 0;
        }
        if now.since(self.last_ack) <= TRAIN_GAP_US {
            self.last_ack = now;
            if now.since(self.round_start) > self.delay_min_us / 2 {
                self.end_slow_start("ACK train", now);
            }
        }
        self.round_delay_us = self.round_delay_us.min(rtt_us);
        self.samples += 1;
        let threshold = (self.delay_min_us / 8).clamp(4 * MS, 16 * MS);
        if self.samples >= HYSTART_SAMPLES && self.round_delay_us > self.delay_min_us + threshold {
            self.end_slow_start("delay", now);
        }
    }

    fn end_slow_start(&mut self, why: &'static str, now: Time) {
        self.ssthresh = self.cwnd;
        self.ended.get_or_insert((why, now, self.cwnd));
    }

    /// `acked` segments were acknowledged while the window was the limit.
    pub fn acked(&mut self, now: Time, acked: f64, srtt_us: u64) {
        let mut acked = acked;
        if self.slow_start() {
            let room = self.ssthresh - self.cwnd;
            let step = acked.min(room);
            self.cwnd += step;
            acked -= step;
            if acked <= 0.0 {
                return;
            }
        }
        let epoch = *self.epoch.get_or_insert(now);
        if epoch == now {
            self.w_est = self.cwnd;
            self.origin = self.cwnd.max(self.w_max);
            self.k = ((self.origin - self.cwnd) / C).cbrt();
        }
        let t = (now.since(epoch) + srtt_us) as f64 / 1e6 - self.k;
        let target = (self.origin + C * t.powi(3)).clamp(self.cwnd, 1.5 * self.cwnd);
        let mut step = (target - self.cwnd).max(0.01) / self.cwnd;
        if self.w_max == 0.0 {
            // Linux: nothing is known before the first loss, hence at least 5 % each round trip.
            step = step.max(INITIAL_STEP);
        }
        self.cwnd += step * acked;
        let alpha = if self.w_est < self.w_max { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        self.w_est += alpha * acked / self.cwnd;
        self.cwnd = self.cwnd.max(self.w_est);
    }

    /// The window after a loss; [`Cubic::cwnd`] is for the caller to lower.
    pub fn lost(&mut self) {
        self.epoch = None;
        self.w_max = match self.cwnd < self.w_max {
            true => self.cwnd * (1.0 + BETA) / 2.0,
            false => self.cwnd,
        };
        self.ssthresh = (self.cwnd * BETA).max(2.0);
    }

    /// The loss was none.
    pub fn undo(&mut self, cwnd: f64, ssthresh: f64) {
        self.cwnd = self.cwnd.max(cwnd);
        self.ssthresh = self.ssthresh.max(ssthresh);
        self.w_max = self.w_max.max(cwnd);
        self.epoch = None;
    }
}
