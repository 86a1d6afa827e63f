//! One direction of a link between the router and the server.
//!
//! Why: what a bond is worth depends on what its links do wrong, and an emulator that does it in
//! the wrong order (counting packets in propagation as queued, jitter that reorders) tests
//! another world than the one outside.
//!
//! How: policer, then the serialiser (rate and a drop-tail queue in bytes), then the medium: loss,
//! corruption, duplication, propagation with jitter, reordering. On the wire a packet counts as
//! an Ethernet frame: 14 bytes of header and 24 of preamble, checksum and gap.
//!
//! Limits: a change of rate takes effect with the next packet, not within one.

use crate::rng::Rng;
use onebox::time::Time;
use std::collections::VecDeque;

/// Ethernet header, and preamble, frame check sequence and inter-frame gap (IEEE 802.3).
pub const FRAMING: usize = 14 + 24;

/// How packets are lost on the medium.
#[derive(Clone, Copy, Debug, Default)]
pub enum Loss {
    /// Not at all.
    #[default]
    None,
    /// Independently, in millionths.
    Random(u32),
    /// Gilbert-Elliott: chances in millionths per packet of going from good to bad and back, and
    /// of losing a packet in each state.
    Bursts {
        /// From good to bad.
        enter: u32,
        /// From bad to good.
        leave: u32,
        /// Loss while good.
        good: u32,
        /// Loss while bad.
        bad: u32,
    },
    /// IP packets of more than so many bytes, independently, in millionths.
    Long(usize, u32),
    /// While more is sent than so many kbit/s, for [`OVERLOAD_US`], independently, in millionths.
    Overload(u64, u32),
}

/// So long may more be sent than a link stands, microseconds.
const OVERLOAD_US: u64 = 100_000;

/// What a direction of a link is like. May be changed while it runs.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Rate, kbit/s, of Ethernet frames.
    pub kbps: u64,
    /// Propagation delay, microseconds.
    pub delay_us: u64,
    /// Additional delay, uniform from zero to this, microseconds.
    pub jitter_us: u64,
    /// Whether jitter changes the order; else nobody is overtaken.
    pub jitter_mixes: bool,
    /// Loss.
    pub loss: Loss,
    /// The longest IP packet that passes, bytes; longer ones are dropped without a word.
    pub mtu: usize,
    /// Bytes that wait for the serialiser at most; `None`: 150 ms of the rate, at least 64 KiB.
    pub queue: Option<usize>,
    /// Millionths of packets that are overtaken: they arrive `reorder_us` later.
    pub reorder_ppm: u32,
    /// How much later an overtaken packet arrives, microseconds.
    pub reorder_us: u64,
    /// Millionths of packets that arrive twice.
    pub duplicate_ppm: u32,
    /// Millionths of packets that arrive with a bit flipped.
    pub corrupt_ppm: u32,
    /// Swallows everything without a word.
    pub blackhole: bool,
    /// Token bucket without a queue: kbit/s and bytes of burst.
    pub policer: Option<(u64, usize)>,
    /// A rate that changes by itself: `(from, kbit/s)` in microseconds since the trace's begin,
    /// and the period after which it repeats.
    pub trace: Option<(Vec<(u64, u64)>, u64)>,
}

impl Spec {
    /// A clean link.
    pub fn new(kbps: u64, delay_us: u64) -> Spec {
        Spec {
            kbps,
            delay_us,
            jitter_us: 0,
            jitter_mixes: false,
            loss: Loss::None,
            mtu: 1500,
            queue: None,
            reorder_ppm: 0,
            reorder_us: 0,
            duplicate_ppm: 0,
            corrupt_ppm: 0,
            blackhole: false,
            policer: None,
            trace: None,
        }
    }

    /// With jitter.
    pub fn jitter(self, jitter_us: u64) -> Spec {
        Spec { jitter_us, ..self }
    }

    /// With independent loss in millionths.
    pub fn loss(self, ppm: u32) -> Spec {
        Spec { loss: if ppm == 0 { Loss::None } else { Loss::Random(ppm) }, ..self }
    }

    /// The rate now, kbit/s.
    pub fn rate_kbps(&self, now: Time) -> u64 {
        let Some((steps, period)) = &self.trace else { return self.kbps };
        let at = now.0 % (*period).max(1);
        let passed = steps.partition_point(|s| s.0 <= at);
        passed.checked_sub(1).map_or(self.kbps, |i| steps[i].1)
    }

    fn queue_max(&self, now: Time) -> usize {
        let of_rate = (self.rate_kbps(now) / 8 * 150) as usize;
        self.queue.unwrap_or(of_rate.max(64 * 1024))
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The bytes that matter to the receiver (for bare engines: the payload of the datagram).
    pub bytes: Vec<u8>,
    /// Packet number, where it does not travel in the bytes.
    pub number: u64,
    /// Length of the IP packet.
    pub ip_len: usize,
    /// Port of the client as the sender (up) or the destination (down) sees it.
    pub port: u16,
    /// Which session of the sender it belongs to, for nodes that have no cryptography.
    pub session: u32,
    /// Whether a bit was flipped on the way.
    pub corrupted: bool,
    /// Whether it is a packet of hosts that use the link beside the tunnel.
    pub outside: bool,
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Offered.
    pub offered: u64,
    /// Bytes on the wire of those that went through the serialiser.
    pub wire_bytes: u64,
    /// Dropped at the policer or for want of room in the queue.
    pub dropped: u64,
    /// Lost on the medium or in the hole.
    pub lost: u64,
    /// The longest that the queue has been, bytes.
    pub queue_peak: usize,
}

/// One direction of a link, at work.
#[derive(Debug)]
pub struct Link {
    /// What it is like now.
    pub spec: Spec,
    /// What it has done.
    pub counters: Counters,
    rng: Rng,
    queue: VecDeque<Datagram>,
    queued: usize,
    busy: bool,
    last_arrival: Time,
    in_burst: bool,
    tokens_us: (f64, Time),
    /// Bits above what it stands, in thousandths, and when that was.
    overload: (u64, Time),
}

impl Link {
    /// The link called `name` in the world with this seed.
    pub fn new(spec: Spec, seed: u64, name: &str) -> Link {
        Link {
            spec,
            counters: Counters::default(),
            rng: Rng::of(seed, name),
            queue: VecDeque::new(),
            queued: 0,
            busy: false,
            last_arrival: Time::ZERO,
            in_burst: false,
            tokens_us: (f64::MAX, Time::ZERO),
            overload: (0, Time::ZERO),
        }
    }

    /// Takes a datagram from a sender. Returns when the serialiser is done with it, when it was
    /// idle.
    pub fn offer(&mut self, now: Time, datagram: Datagram) -> Option<Time> {
        self.counters.offered += 1;
        if datagram.ip_len > self.spec.mtu || !self.policed(now, datagram.ip_len) {
            self.counters.dropped += 1;
            return None;
        }
        let size = datagram.ip_len + FRAMING;
        if self.busy && self.queued + size > self.spec.queue_max(now) {
            self.counters.dropped += 1;
            return None;
        }
        self.queue.push_back(datagram);
        if self.busy {
            self.queued += size;
            self.counters.queue_peak = self.counters.queue_peak.max(self.queued);
            return None;
        }
        self.busy = true;
        Some(self.done_at(now, size))
    }

    /// The serialiser is done: what arrives when (a lost datagram: nothing, a duplicated one:
    /// twice), and when it is done with the next.
    pub fn done(&mut self, now: Time) -> ([Option<(Time, Datagram)>; 2], Option<Time>) {
        let Some(datagram) = self.queue.pop_front() else { return ([None, None], None) };
        self.counters.wire_bytes += (datagram.ip_len + FRAMING) as u64;
        let next = self.queue.front().map(|d| d.ip_len + FRAMING);
        self.busy = next.is_some();
        let next = next.map(|size| {
            self.queued -= size;
            self.done_at(now, size)
        });
        (self.propagate(now, datagram), next)
    }

    /// Forgets all that waits, as a modem does that loses power. What is being serialised is lost
    /// with it when its time comes, as the hole is open by then.
    pub fn flush(&mut self) {
        self.counters.lost += self.queue.len().saturating_sub(1) as u64;
        self.queue.truncate(1);
        self.queued = 0;
    }

    /// Bytes that wait.
    pub fn queued(&self) -> usize {
        self.queued
    }

    fn done_at(&self, now: Time, size: usize) -> Time {
        let kbps = self.spec.rate_kbps(now).max(1);
        now + (size as u64 * 8 * 1000).div_ceil(kbps)
    }

    fn policed(&mut self, now: Time, ip_len: usize) -> bool {
        let Some((kbps, burst)) = self.spec.policer else { return true };
        let (tokens, at) = self.tokens_us;
        let tokens = (tokens + now.since(at) as f64 * kbps as f64 / 8000.0).min(burst as f64);
        let passes = tokens >= ip_len as f64;
        self.tokens_us = (if passes { tokens - ip_len as f64 } else { tokens }, now);
        passes
    }

    fn loses(&mut self, now: Time, ip_len: usize) -> bool {
        match self.spec.loss {
            Loss::None => false,
            Loss::Random(ppm) => self.rng.chance(ppm),
            Loss::Bursts { enter, leave, good, bad } => {
                self.in_burst ^= self.rng.chance(if self.in_burst { leave } else { enter });
                self.rng.chance(if self.in_burst { bad } else { good })
            }
            Loss::Long(most, ppm) => ip_len > most && self.rng.chance(ppm),
            Loss::Overload(kbps, ppm) => {
                let (above, at) = self.overload;
                let most = kbps * OVERLOAD_US;
                let above = above.saturating_sub(now.since(at) * kbps) + ip_len as u64 * 8000;
                self.overload = (above.min(2 * most), now);
                above > most && self.rng.chance(ppm)
            }
        }
    }

    fn propagate(&mut self, now: Time, mut datagram: Datagram) -> [Option<(Time, Datagram)>; 2] {
        if self.loses(now, datagram.ip_len) || self.spec.blackhole {
            self.counters.lost += 1;
            return [None, None];
        }
        if self.rng.chance(self.spec.corrupt_ppm) && !datagram.bytes.is_empty() {
            let bit = self.rng.below(datagram.bytes.len() as u64 * 8);
            datagram.bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            datagram.corrupted = true;
        }
        let mut arrives = now + self.spec.delay_us;
        if self.spec.jitter_us > 0 {
            arrives = arrives + self.rng.below(self.spec.jitter_us + 1);
        }
        if !self.spec.jitter_mixes {
            arrives = arrives.max(self.last_arrival);
        }
        if self.rng.chance(self.spec.reorder_ppm) {
            arrives = arrives + self.spec.reorder_us;
        } else {
            self.last_arrival = arrives;
        }
        let twice = self.rng.chance(self.spec.duplicate_ppm);
        let second = twice.then(|| (arrives + 100, datagram.clone()));
        [Some((arrives, datagram)), second]
    }
}
