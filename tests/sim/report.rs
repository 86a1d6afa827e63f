//! What applications measure, and figures made of it.

use onebox::time::{MS, SEC, Time};

/// Width of a bin of the goodput series, microseconds.
pub const BIN_US: u64 = 10 * MS;
/// What plain TCP gets of an Ethernet link: 1448 of 1538 bytes.
pub const TCP_SHARE: f64 = 1448.0 / 1538.0;

/// A packet of a stream: when it was sent, and its delay when it has come (for a ping: back).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was sent.
    pub sent: Time,
    /// Microseconds until it was there, or back.
    pub delay_us: Option<u64>,
}

/// What one end of a flow has measured.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Bytes received in order, in bins of [`BIN_US`].
    pub bins: Vec<u64>,
    /// Packets of a stream or ping, by number.
    pub samples: Vec<Sample>,
    /// Packets that came later than a successor.
    pub reordered: u64,
    /// Payloads that are not what was sent.
    pub corrupt: u64,
    /// Connections that broke.
    pub resets: u64,
    /// When the last byte was acknowledged, or received.
    pub finished: Option<Time>,
    /// TCP: segments sent again.
    pub resent: u64,
    /// TCP: reductions of the window.
    pub cuts: u64,
    /// TCP: reductions taken back as spurious.
    pub undone: u64,
    /// TCP: why slow start ended first, when, and at which window in segments.
    pub slow_start_end: Option<(&'static str, Time, f64)>,
    /// TCP: retransmission timeouts.
    pub timeouts: u64,
}

impl Record {
    /// Counts bytes received in order.
    pub fn received(&mut self, now: Time, bytes: u64) {
        let bin = (now.0 / BIN_US) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += bytes;
    }

    /// Bytes received between two times.
    pub fn bytes(&self, from: u64, to: u64) -> u64 {
        let bin = |us: u64| ((us / BIN_US) as usize).min(self.bins.len());
        self.bins[bin(from)..bin(to).max(bin(from))].iter().sum()
    }

    /// Mbit/s between two times.
    pub fn mbps(&self, from: u64, to: u64) -> f64 {
        self.bytes(from, to) as f64 * 8.0 / to.saturating_sub(from).max(1) as f64
    }

    /// Mbit/s in steps of `step_us`.
    pub fn series(&self, from: u64, to: u64, step_us: u64) -> Vec<f64> {
        (from..to).step_by(step_us as usize).map(|t| self.mbps(t, t + step_us)).collect()
    }

    /// The longest time between two times in which nothing was received, microseconds.
    pub fn longest_stall_us(&self, from: u64, to: u64) -> u64 {
        let bins = (from / BIN_US)..(to / BIN_US);
        let empty = |bin: u64| self.bins.get(bin as usize).is_none_or(|&b| b == 0);
        let (mut longest, mut run) = (0, 0);
        for bin in bins {
            run = if empty(bin) { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest * BIN_US
    }

    /// The delays of packets sent between two times, sorted, in milliseconds, and how many of
    /// those packets never came.
    pub fn delays_ms(&self, from: u64, to: u64) -> (Vec<f64>, usize) {
        let within = self.samples.iter().filter(|s| (from..to).contains(&s.sent.0));
        let mut delays: Vec<u64> = within.clone().filter_map(|s| s.delay_us).collect();
        delays.sort_unstable();
        let lost = within.count() - delays.len();
        (delays.into_iter().map(|d| d as f64 / 1000.0).collect(), lost)
    }

    /// A percentile of the delays, milliseconds; infinite when nothing came.
    pub fn percentile_ms(&self, from: u64, to: u64, percent: f64) -> f64 {
        let (delays, _) = self.delays_ms(from, to);
        let at = (delays.len() as f64 * percent / 100.0).ceil() as usize;
        delays.get(at.max(1) - 1).copied().unwrap_or(f64::INFINITY)
    }

    /// The longest time between two arrivals of a stream, milliseconds.
    pub fn longest_gap_ms(&self, from: u64, to: u64) -> f64 {
        let within = self.samples.iter().filter(|s| (from..to).contains(&s.sent.0));
        let mut arrivals: Vec<u64> =
            within.filter_map(|s| s.delay_us.map(|d| s.sent.0 + d)).collect();
        arrivals.sort_unstable();
        let gaps = arrivals.windows(2).map(|w| w[1] - w[0]);
        gaps.max().unwrap_or(to - from) as f64 / 1000.0
    }
}

/// One figure of merit: goodput as a share of what plain TCP would get of all links' rates.
pub fn efficiency(mbps: f64, kbps_sum: u64) -> f64 {
    mbps * 1000.0 / (TCP_SHARE * kbps_sum as f64)
}

/// Seconds as microseconds.
pub fn seconds(s: f64) -> u64 {
    (s * SEC as f64) as u64
}
