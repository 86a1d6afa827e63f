//! Pacing: datagrams leave at the rate that the link is believed to carry, in small bursts.
//!
//! A virtual clock that runs ahead by `size / rate` for each datagram; sending is allowed while
//! it is not ahead of the real one. Letting it lag by `BURST_US` gives the shell something to
//! batch and absorbs late timers.

use crate::time::{MS, Time};

/// How much sending may be caught up on after a pause (as Linux's TCP pacing, about 1 ms, and
/// one late timer).
const BURST_US: u64 = 2 * MS;
/// Datagrams that may always go together, bytes.
const BURST_BYTES: u64 = 4 * 1500;

/// The pacer of a path.
#[derive(Debug, Default)]
pub struct Pacer {
    next: Time,
    /// Bytes whose time, at the present rate, is less than a microsecond.
    rest: u64,
}

impl Pacer {
    /// When the next datagram may leave.
    pub fn next(&self) -> Time {
        self.next
    }

    /// A datagram of `bytes` has left at `rate` bytes per second.
    pub fn on_sent(&mut self, now: Time, bytes: u64, rate: u64) {
        let rate = rate.max(1);
        let burst = BURST_US.max((BURST_BYTES * 1_000_000 / rate).min(50 * MS));
        let from = self.next.max(now - burst);
        let scaled = bytes * 1_000_000 + self.rest;
        self.rest = scaled % rate;
        self.next = from + scaled / rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_exactly() {
        let mut pacer = Pacer::default();
        let rate = 6_250_000;
        let mut now = Time(1_000_000);
        let mut sent = 0;
        while now < Time(2_000_000) {
            while pacer.next() <= now {
                pacer.on_sent(now, 1400, rate);
                sent += 1400;
            }
            now = now + 1000;
        }
        assert!((6_230_000..6_280_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let mut pacer = Pacer::default();
        pacer.on_sent(Time(0), 1400, 1_000_000);
        let now = Time(10_000_000);
        let mut burst = 0;
        while pacer.next() <= now {
            pacer.on_sent(now, 1400, 1_000_000);
            burst += 1;
        }
        assert!((4..=6).contains(&burst), "{burst}");
    }
}
