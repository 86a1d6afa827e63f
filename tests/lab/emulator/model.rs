//! One direction of an emulated link as a pure model: frames in, frames out at their time.
//!
//! Order of the stages, as on a real access line:
//!
//! 1. policer, if there is one: a token bucket without queue;
//! 2. serialisation at the link's rate, with a drop-tail queue in bytes in front of it. The queue
//!    counts only what waits for serialisation, never what is already under way: an emulator that
//!    counts both gets the capacity of long links wrong;
//! 3. loss, independent or in bursts (Gilbert-Elliott), and corruption;
//! 4. propagation: a fixed delay plus a uniform jitter that keeps the order; a packet chosen for
//!    reordering is held back beyond that and may be overtaken; a duplicate follows its original.
//!
//! Time is an argument in nanoseconds and randomness a seed, so that the model is exact: how late
//! the frames really leave depends on the thread that drives it (`super`).
//!
//! Limit: a change of the rate applies to frames that arrive after it; what is queued keeps its
//! time.

use super::nat;
use std::collections::VecDeque;

/// What a frame occupies on an Ethernet line beyond its bytes: frame check sequence (4), preamble
/// and start delimiter (8), inter-frame gap (12); IEEE 802.3 §3 and §4.4.2. With it, plain TCP
/// with timestamps gets 1448/1538 = 0.9415 of the rate.
pub const LINE_OVERHEAD_BYTES: u64 = 24;
/// Default queue: this much of the rate, nanoseconds …
pub const QUEUE_NS: u64 = 150_000_000;
/// … but at least this many bytes.
pub const QUEUE_BYTES_MIN: u64 = 64 * 1024;
/// Frames in propagation at most; beyond it frames are lost (2 s of 1 Gbit/s in full frames).
const UNDER_WAY_MAX: usize = 200_000;

/// Bursts of loss: a chain of a good state without loss and a bad one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Chance per frame to go from good to bad, millionths.
    pub enter_ppm: u32,
    /// Chance per frame to go from bad to good, millionths.
    pub leave_ppm: u32,
    /// Loss while bad, millionths.
    pub loss_ppm: u32,
}

/// A token bucket without queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policer {
    /// Rate at which tokens arrive, bit/s.
    pub rate_bps: u64,
    /// Size of the bucket, bytes.
    pub burst_bytes: u64,
}

/// What one direction of a link is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Rate on the line, bit/s.
    pub rate_bps: u64,
    /// Propagation delay, microseconds.
    pub delay_us: u64,
    /// Jitter on top, uniform between 0 and this, microseconds; order is kept.
    pub jitter_us: u64,
    /// Independent loss, millionths.
    pub loss_ppm: u32,
    /// Loss in bursts.
    pub burst: Option<Burst>,
    /// Share of frames held back, millionths.
    pub reorder_ppm: u32,
    /// How long such frames are held back, microseconds.
    pub reorder_us: u64,
    /// Share of frames sent twice, millionths.
    pub duplicate_ppm: u32,
    /// Share of frames in which a bit is flipped, millionths.
    pub corrupt_ppm: u32,
    /// Queue in bytes; without it the default of [`QUEUE_NS`] and [`QUEUE_BYTES_MIN`].
    pub queue_bytes: Option<u64>,
    /// Policer in front of the queue.
    pub policer: Option<Policer>,
}

impl Profile {
    /// A clean link of a rate and a one-way delay.
    pub const fn new(rate_bps: u64, delay_us: u64) -> Profile {
        Profile {
            rate_bps,
            delay_us,
            jitter_us: 0,
            loss_ppm: 0,
            burst: None,
            reorder_ppm: 0,
            reorder_us: 0,
            duplicate_ppm: 0,
            corrupt_ppm: 0,
            queue_bytes: None,
            policer: None,
        }
    }

    /// A clean link in the units people use.
    pub const fn mbit_ms(rate_mbit: u64, delay_ms: u64) -> Profile {
        Profile::new(rate_mbit * 1_000_000, delay_ms * 1000)
    }

    /// The queue in bytes on the line.
    pub fn queue(&self) -> u64 {
        self.queue_bytes.unwrap_or_else(|| {
            (self.rate_bps / 8 * (QUEUE_NS / 1_000_000) / 1000).max(QUEUE_BYTES_MIN)
        })
    }

    fn line_time_ns(&self, bytes: u64) -> u64 {
        bytes * 8_000_000_000 / self.rate_bps.max(1)
    }
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Frames and bytes that came in.
    pub in_frames: u64,
    /// Bytes of frames that came in.
    pub in_bytes: u64,
    /// Frames that left.
    pub out_frames: u64,
    /// Bytes of frames that left.
    pub out_bytes: u64,
    /// Dropped because the queue was full.
    pub dropped_queue: u64,
    /// Lost on the line.
    pub dropped_loss: u64,
    /// Swallowed by the blackhole (or a cable that is out).
    pub dropped_blackhole: u64,
    /// Over the policer's rate.
    pub dropped_policer: u64,
    /// Addressed to a port mapping that no longer exists.
    pub dropped_nat: u64,
    /// Longest queue seen, nanoseconds of line time.
    pub queue_ns_max: u64,
    /// How late frames left, summed, nanoseconds.
    pub late_ns_sum: u64,
    /// How late the latest left, nanoseconds.
    pub late_ns_max: u64,
    /// Frames that left more than 200 µs late.
    pub late_frames: u64,
}

/// Frames more than this late are counted as late, nanoseconds.
const LATE_NS: u64 = 200_000;

struct UnderWay {
    due_ns: u64,
    frame: Vec<u8>,
}

/// One direction of a link.
pub struct Direction {
    /// What it is like.
    pub profile: Profile,
    /// Swallow everything.
    pub blackhole: bool,
    /// Counters.
    pub stats: Stats,
    random: Random,
    line_free_ns: u64,
    last_due_ns: u64,
    bad: bool,
    tokens_bits: u64,
    tokens_at_ns: u64,
    under_way: VecDeque<UnderWay>,
    spare: Vec<Vec<u8>>,
}

impl Direction {
    /// A direction with its own random stream.
    pub fn new(profile: Profile, seed: u64) -> Direction {
        Direction {
            profile,
            blackhole: false,
            stats: Stats::default(),
            random: Random::new(seed),
            line_free_ns: 0,
            last_due_ns: 0,
            bad: false,
            tokens_bits: profile.policer.map_or(0, |p| p.burst_bytes * 8),
            tokens_at_ns: 0,
            under_way: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Bytes that wait for the line, the frame on it included.
    pub fn waiting_bytes(&self, now_ns: u64) -> u64 {
        let wait_ns = self.line_free_ns.saturating_sub(now_ns);
        (u128::from(wait_ns) * u128::from(self.profile.rate_bps) / 8_000_000_000) as u64
    }

    /// A frame comes in.
    pub fn arrive(&mut self, now_ns: u64, bytes: &[u8]) {
        self.stats.in_frames += 1;
        self.stats.in_bytes += bytes.len() as u64;
        if self.blackhole {
            self.stats.dropped_blackhole += 1;
            return;
        }
        let line_bytes = bytes.len() as u64 + LINE_OVERHEAD_BYTES;
        if !self.police(now_ns, line_bytes) {
            self.stats.dropped_policer += 1;
            return;
        }
        if self.waiting_bytes(now_ns) + line_bytes > self.profile.queue() {
            self.stats.dropped_queue += 1;
            return;
        }
        self.line_free_ns = self.line_free_ns.max(now_ns) + self.profile.line_time_ns(line_bytes);
        self.stats.queue_ns_max = self.stats.queue_ns_max.max(self.line_free_ns - now_ns);
        if self.lost() || self.under_way.len() >= UNDER_WAY_MAX {
            self.stats.dropped_loss += 1;
            return;
        }
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.clear();
        frame.extend_from_slice(bytes);
        if self.random.chance(self.profile.corrupt_ppm) {
            let at = self.random.next();
            nat::corrupt(&mut frame, at);
        }
        self.propagate(frame);
    }

    /// When the next frame leaves.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.under_way.front().map(|u| u.due_ns)
    }

    /// Take the next frame if its time has come; give it back with [`Direction::recycle`].
    pub fn depart(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        while self.next_due_ns()? <= now_ns {
            let under_way = self.under_way.pop_front()?;
            if self.blackhole {
                self.stats.dropped_blackhole += 1;
                self.recycle(under_way.frame);
                continue;
            }
            let late_ns = now_ns - under_way.due_ns;
            self.stats.late_ns_sum += late_ns;
            self.stats.late_ns_max = self.stats.late_ns_max.max(late_ns);
            self.stats.late_frames += u64::from(late_ns > LATE_NS);
            self.stats.out_frames += 1;
            self.stats.out_bytes += under_way.frame.len() as u64;
            return Some(under_way.frame);
        }
        None
    }

    /// A buffer to use again.
    pub fn recycle(&mut self, frame: Vec<u8>) {
        if self.spare.len() < 1024 {
            self.spare.push(frame);
        }
    }

    fn propagate(&mut self, frame: Vec<u8>) {
        let jitter_ns = match self.profile.jitter_us {
            0 => 0,
            us => self.random.next() % (us * 1000 + 1),
        };
        let due_ns = self.line_free_ns + self.profile.delay_us * 1000 + jitter_ns;
        if self.random.chance(self.profile.reorder_ppm) {
            self.insert(due_ns.max(self.last_due_ns) + self.profile.reorder_us * 1000, frame);
            return;
        }
        let due_ns = due_ns.max(self.last_due_ns);
        self.last_due_ns = due_ns;
        if self.random.chance(self.profile.duplicate_ppm) {
            self.insert(due_ns, frame.clone());
        }
        self.insert(due_ns, frame);
    }

    /// Keep `under_way` in the order of departure; nearly always the place is the end.
    fn insert(&mut self, due_ns: u64, frame: Vec<u8>) {
        let mut place = self.under_way.len();
        while place > 0 && self.under_way[place - 1].due_ns > due_ns {
            place -= 1;
        }
        self.under_way.insert(place, UnderWay { due_ns, frame });
    }

    fn police(&mut self, now_ns: u64, line_bytes: u64) -> bool {
        let Some(policer) = self.profile.policer else { return true };
        let earned = u128::from(now_ns.saturating_sub(self.tokens_at_ns))
            * u128::from(policer.rate_bps)
            / 1_000_000_000;
        let full = u128::from(policer.burst_bytes * 8);
        self.tokens_bits = (u128::from(self.tokens_bits) + earned).min(full) as u64;
        self.tokens_at_ns = now_ns;
        let passes = self.tokens_bits >= line_bytes * 8;
        if passes {
            self.tokens_bits -= line_bytes * 8;
        }
        passes
    }

    fn lost(&mut self) -> bool {
        let independent = self.random.chance(self.profile.loss_ppm);
        let Some(burst) = self.profile.burst else { return independent };
        let turn = if self.bad { burst.leave_ppm } else { burst.enter_ppm };
        if self.random.chance(turn) {
            self.bad = !self.bad;
        }
        independent || (self.bad && self.random.chance(burst.loss_ppm))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for links.
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in `ppm` of a million cases; draws nothing at zero.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.next() % 1_000_000 < u64::from(ppm)
    }
}
