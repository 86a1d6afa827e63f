//! Round-trip time, one-way delay, and how much they vary.
//!
//! The round trip is RFC 9002 §5's. One-way delay is relative: the peer's arrival time minus our
//! sending time, off by the unknown difference of the two clocks, which is the same for all paths
//! of the connection. So paths can be compared, and a path with its own past, and that is all it
//! is used for.

use crate::time::{MS, SEC, Time};

/// Round trip assumed before the first sample (RFC 9002 §6.2.2 says 333 ms for an unknown path;
/// the handshake has just crossed one).
const INITIAL_US: u64 = 100 * MS;
/// How long a minimum is remembered (BBR's MinRTTFilterLen, draft-ietf-ccwg-bbr §2.14).
const MIN_WINDOW_US: u64 = 10 * SEC;
const BUCKETS: usize = 5;

/// The extreme of the last ten seconds, in buckets, so that the memory is constant.
#[derive(Clone, Debug)]
pub struct Windowed {
    buckets: [Option<i64>; BUCKETS],
    at: usize,
    since: Time,
    sign: i64,
}

impl Windowed {
    /// The least of the window.
    pub fn min() -> Windowed {
        Windowed { buckets: [None; BUCKETS], at: 0, since: Time::ZERO, sign: 1 }
    }

    /// The greatest of the window.
    pub fn max() -> Windowed {
        Windowed { sign: -1, ..Windowed::min() }
    }

    /// Adds a sample.
    pub fn add(&mut self, now: Time, value: i64) {
        let width = MIN_WINDOW_US / BUCKETS as u64;
        let steps = now.since(self.since) / width;
        if steps > 0 {
            for _ in 0..steps.min(BUCKETS as u64) {
                self.at = (self.at + 1) % BUCKETS;
                self.buckets[self.at] = None;
            }
            self.since = now;
        }
        let value = value * self.sign;
        let bucket = &mut self.buckets[self.at];
        *bucket = Some(bucket.map_or(value, |b| b.min(value)));
    }

    /// The extreme; `None` before the first sample.
    pub fn get(&self) -> Option<i64> {
        self.buckets.iter().flatten().min().map(|v| v * self.sign)
    }
}

/// Distance from which on samples count as sparse.
const SPARSE_US: u64 = 150 * MS;

/// A delay under load: the mean over short windows of samples, how far samples lie from it, and
/// the least mean of the last seconds.
///
/// Of a link with jitter the least sample says little: a flow of many packets has the jitter's
/// upper end nearly always, for a late packet holds up those behind it.
#[derive(Clone, Debug)]
pub struct Loaded {
    began: Time,
    sum: i64,
    count: i64,
    deviations: i64,
    mean: Option<i64>,
    deviation: i64,
    base: Windowed,
}

/// Shortest window, samples that it needs, and the time after which it is given up without them.
const LOADED_US: u64 = 30 * MS;
const LOADED_SAMPLES: i64 = 6;
const LOADED_MAX_US: u64 = 200 * MS;

impl Default for Loaded {
    fn default() -> Self {
        Loaded {
            began: Time::ZERO,
            sum: 0,
            count: 0,
            deviations: 0,
            mean: None,
            deviation: 0,
            base: Windowed::min(),
        }
    }
}

impl Loaded {
    /// Adds a sample of a time of load.
    pub fn add(&mut self, now: Time, sample: i64) {
        if self.count == 0 {
            self.began = now;
        }
        let near = if self.count > 0 { self.sum / self.count } else { sample };
        self.sum += sample;
        self.count += 1;
        self.deviations += (sample - near).abs();
        let age = now.since(self.began);
        if age < LOADED_US || (self.count < LOADED_SAMPLES && age < LOADED_MAX_US) {
            return;
        }
        if self.count >= LOADED_SAMPLES {
            let mean = self.sum / self.count;
            self.mean = Some(mean);
            self.deviation += (self.deviations / self.count - self.deviation) / 8;
            self.base.add(now, mean);
        }
        (self.sum, self.count, self.deviations) = (0, 0, 0);
    }

    /// A sample without load: there is no more queue than it shows.
    fn relieve(&mut self, sample: i64) {
        self.mean = self.mean.map(|m| m.min(sample));
        (self.sum, self.count, self.deviations) = (0, 0, 0);
    }

    /// Mean of the last complete window, microseconds.
    pub fn mean(&self) -> Option<i64> {
        self.mean
    }

    /// Mean distance of samples from their window's mean, smoothed, microseconds.
    pub fn deviation(&self) -> u64 {
        self.deviation.max(0) as u64
    }

    /// Least mean of the last seconds, microseconds.
    pub fn base(&self) -> Option<i64> {
        self.base.get()
    }
}

/// Round-trip time of a path.
#[derive(Clone, Debug)]
pub struct Rtt {
    smoothed: Option<u64>,
    variation: u64,
    min: Windowed,
    loaded: Loaded,
    last: Time,
}

impl Default for Rtt {
    fn default() -> Self {
        Rtt {
            smoothed: None,
            variation: INITIAL_US / 2,
            min: Windowed::min(),
            loaded: Loaded::default(),
            last: Time::ZERO,
        }
    }
}

impl Rtt {
    /// Adds a sample (RFC 9002 §5.3).
    pub fn add(&mut self, now: Time, sample_us: u64) {
        self.min.add(now, sample_us as i64);
        self.loaded.add(now, sample_us as i64);
        match self.smoothed {
            None => {
                self.smoothed = Some(sample_us);
                self.variation = sample_us / 2;
            }
            // The first sample in a while says more of now than the old ones.
            Some(s) if now.since(self.last) > SPARSE_US => {
                self.variation = (self.variation + s.abs_diff(sample_us)) / 2;
                self.smoothed = Some((s + sample_us) / 2);
            }
            Some(s) => {
                self.variation = (3 * self.variation + s.abs_diff(sample_us)) / 4;
                self.smoothed = Some((7 * s + sample_us) / 8);
            }
        }
        self.last = now;
    }

    /// Smoothed, microseconds.
    pub fn smoothed(&self) -> u64 {
        self.smoothed.unwrap_or(INITIAL_US)
    }

    /// Whether there has been a sample.
    pub fn is_known(&self) -> bool {
        self.smoothed.is_some()
    }

    /// Mean deviation, microseconds.
    pub fn variation(&self) -> u64 {
        self.variation
    }

    /// Least of the last seconds, microseconds.
    pub fn min(&self) -> u64 {
        self.min.get().map_or(self.smoothed(), |v| v as u64)
    }

    /// Least of the last seconds under load, without a queue of ours: microseconds.
    pub fn loaded(&self) -> u64 {
        self.loaded.base().map_or(0, |v| v as u64).max(self.min())
    }

    /// Probe timeout (RFC 9002 §6.2.1) with the peer's acknowledgement delay.
    pub fn timeout(&self, ack_delay_us: u64) -> u64 {
        self.smoothed() + (4 * self.variation).max(MS) + ack_delay_us
    }
}

/// How much the two clocks may drift apart: one part in so many.
const DRIFT: u64 = 512;
/// After so long at odds with ours the peer's clock has been set, or stood still, microseconds.
const CLOCK_SET_US: u64 = SEC;

/// The peer's clock, of which acknowledgements tell the low half, and how it stands to ours. The low
/// half wraps every 71 minutes; ours tells how far it has gone since it was seen last, so that a long
/// silence does no harm. One for all paths: their delays are compared.
///
/// What arrived did so after it was sent and before its acknowledgement came, on our clock: each
/// acknowledgement bounds by how much the peer's clock is ahead, and what contradicts the others is
/// not believed. So when a datagram arrived cannot be moved by more than a round trip, whatever the
/// peer says.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerClock {
    newest: Option<(u64, Time)>,
    /// By how much it is ahead of ours, at least and at most, and when that was.
    ahead: Option<(i64, i64, Time)>,
    /// Since when acknowledgements have contradicted that.
    odd_since: Option<Time>,
}

impl PeerClock {
    /// The full time of which `low` is the low half.
    pub fn expand(&mut self, now: Time, low: u32) -> u64 {
        let full = match self.newest {
            None => u64::from(low) + (1 << 32),
            Some((seen, at)) => crate::wire::header::expand(low, seen + now.since(at)),
        };
        if self.newest.is_none_or(|(seen, _)| full > seen) {
            self.newest = Some((full, now));
        }
        full
    }

    /// When something arrived that was `sent` then, as far as that can be true of what the peer says
    /// now.
    pub fn believe(&mut self, now: Time, sent: Time, arrived: u64) -> u64 {
        let says = (arrived as i64 - now.0 as i64, arrived as i64 - sent.0 as i64);
        let (least, most, since) = self.ahead.unwrap_or((says.0, says.1, now));
        let drift = now.since(since) / DRIFT;
        let (least, most) = (least - drift as i64, most + drift as i64);
        let since = since + drift * DRIFT;
        if says.1 >= least && says.0 <= most {
            self.odd_since = None;
            self.ahead = Some((least.max(says.0), most.min(says.1), since));
            return arrived;
        }
        if now.since(*self.odd_since.get_or_insert(now)) >= CLOCK_SET_US {
            *self = PeerClock {
                newest: self.newest,
                ahead: Some((says.0, says.1, now)),
                odd_since: None,
            };
            return arrived;
        }
        self.ahead = Some((least, most, since));
        (arrived as i64).clamp(sent.0 as i64 + least, now.0 as i64 + most).max(0) as u64
    }
}

/// Relative one-way delay of a path in our sending direction.
#[derive(Clone, Debug)]
pub struct Owd {
    smoothed: Option<i64>,
    base: Windowed,
    spread: Windowed,
    loaded: Loaded,
    /// The last sample, if it was taken unloaded.
    last: Option<i64>,
}

/// How far the least delay under load may lie above the least of all, beyond the jitter, before it
/// is taken for a queue.
const LOADED_ABOVE_US: i64 = 30 * MS as i64;

impl Default for Owd {
    fn default() -> Self {
        Owd {
            smoothed: None,
            base: Windowed::min(),
            spread: Windowed::max(),
            loaded: Loaded::default(),
            last: None,
        }
    }
}

impl Owd {
    /// Adds a sample. `unloaded` says that our own sending cannot have built a queue, so that what
    /// varies is the link's jitter.
    pub fn add(&mut self, now: Time, sample_us: i64, unloaded: bool) {
        self.smoothed = Some(match self.smoothed {
            None => sample_us,
            Some(s) => s + (sample_us - s) / 8,
        });
        self.base.add(now, sample_us);
        match unloaded {
            true => self.loaded.relieve(sample_us),
            false => self.loaded.add(now, sample_us),
        }
        // Neighbouring samples, both taken unloaded: of a path that carries little they are the
        // only ones there are, and on a busy one they tell enough.
        if let Some(last) = self.last.filter(|_| unloaded) {
            self.spread.add(now, (sample_us - last).abs());
        }
        self.last = unloaded.then_some(sample_us);
    }

    /// Smoothed, microseconds on the shared relative scale; `None` before the first sample.
    pub fn smoothed(&self) -> Option<i64> {
        self.smoothed
    }

    /// Least of the last seconds on the same scale.
    pub fn base(&self) -> Option<i64> {
        self.base.get()
    }

    /// How far samples lie apart when we do not send much: the link's jitter, microseconds.
    pub fn spread(&self) -> u64 {
        self.spread.get().unwrap_or(0).max(0) as u64
    }

    /// Mean delay of the last short window of load beyond the least such mean of the last seconds,
    /// microseconds: a queue, or a longer route.
    pub fn queue(&self) -> u64 {
        let (Some(mean), Some(base), Some(least)) =
            (self.loaded.mean(), self.loaded.base(), self.base())
        else {
            return 0;
        };
        let base = base.min(least + self.spread() as i64 + LOADED_ABOVE_US);
        (mean - base).max(0) as u64
    }

    /// What varies within short windows, microseconds.
    pub fn noise(&self) -> u64 {
        self.loaded.deviation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtt_of_rfc_9002() {
        let mut rtt = Rtt::default();
        rtt.add(Time(0), 40_000);
        assert_eq!((rtt.smoothed(), rtt.variation(), rtt.min()), (40_000, 20_000, 40_000));
        rtt.add(Time(1), 48_000);
        assert_eq!((rtt.smoothed(), rtt.variation(), rtt.min()), (41_000, 17_000, 40_000));
    }

    #[test]
    fn a_minimum_is_forgotten_after_its_window() {
        let mut w = Windowed::min();
        w.add(Time(0), 5);
        w.add(Time(3 * SEC), 9);
        assert_eq!(w.get(), Some(5));
        w.add(Time(13 * SEC), 8);
        assert_eq!(w.get(), Some(8));
    }

    #[test]
    fn the_peers_clock_wraps() {
        let mut clock = PeerClock::default();
        let a = clock.expand(Time(0), u32::MAX - 10);
        assert_eq!(clock.expand(Time(31), 20) - a, 31);
        assert_eq!(clock.expand(Time(32), u32::MAX - 10), a, "an older one stays older");
        let hour = 3600 * SEC;
        for n in 1..5 {
            let low = (u64::from(u32::MAX - 10) + n * hour + 7) as u32;
            assert_eq!(clock.expand(Time(n * hour), low), a + n * hour + 7, "nothing for an hour");
        }
    }

    #[test]
    fn a_queue_is_what_the_mean_under_load_has_grown_by() {
        let mut owd = Owd::default();
        for t in 0..100 {
            owd.add(Time(t * 4000), 100_000 + (t as i64 % 3) * 2000, false);
        }
        assert!(owd.queue() < 1000, "jitter is none: {}", owd.queue());
        for t in 100..200 {
            owd.add(Time(t * 4000), 130_000, false);
        }
        assert!((27_000..=30_000).contains(&owd.queue()), "{}", owd.queue());
        owd.add(Time(900_000), 101_000, true);
        assert!(owd.queue() < 1000, "an unloaded sample shows that it is gone");
    }

    #[test]
    fn sparse_samples_show_jitter_too() {
        let mut owd = Owd::default();
        owd.add(Time(0), 10_000, true);
        owd.add(Time(SEC), 25_000, true);
        assert_eq!(owd.spread(), 15_000);
    }
}
