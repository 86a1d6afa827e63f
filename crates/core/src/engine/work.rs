//! What of the peer's frames is read.
//!
//! Why: a datagram of many small frames costs its receiver several times what an honest one does, and
//! whoever sends nothing else takes a core from all other peers.
//!
//! How: the first frames of a datagram are free. Those beyond them come out of a bucket that an honest
//! peer does not empty: it has four packets in a datagram, and more only in reports, twice a second, and
//! in the acknowledgements of many paths.
//!
//! Limits: [`FREE`] frames of each datagram, [`BURST`] beyond them at once, [`PER_SECOND`] in the long run.

use crate::time::{SEC, Time};

/// Frames of a datagram that are always read.
const FREE: u32 = 8;
/// Further ones at once, and a second.
const BURST: u64 = 4_000;
const PER_SECOND: u64 = 20_000;

/// See the module.
#[derive(Debug)]
pub struct Work {
    /// Frames that may be read beyond the free ones, times the microseconds of a second.
    credit: u64,
    at: Time,
    /// Frames of this datagram.
    frames: u32,
}

impl Work {
    /// A full bucket.
    pub fn new(now: Time) -> Work {
        Work { credit: BURST * SEC, at: now, frames: 0 }
    }

    /// A datagram comes.
    pub fn begin(&mut self) {
        self.frames = 0;
    }

    /// Whether another frame of it is to be read.
    pub fn may_read(&mut self, now: Time) -> bool {
        self.frames += 1;
        self.frames <= FREE || self.spend(now)
    }

    #[cold]
    fn spend(&mut self, now: Time) -> bool {
        let more = now.since(self.at).min(SEC) * PER_SECOND;
        self.at = now;
        self.credit = (self.credit + more).min(BURST * SEC);
        match self.credit.checked_sub(SEC) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_datagrams_are_read_and_floods_are_cut() {
        let mut work = Work::new(Time(0));
        let mut read = |at: u64, frames: u32| {
            work.begin();
            (0..frames).filter(|_| work.may_read(Time(at))).count()
        };
        assert!((0..100_000).all(|n| read(n, 8) == 8));
        assert!((0..1000).all(|n| read(n * 4_000, 51) == 51), "the most that is ever said");
        let flood: usize = (0..100_000).map(|n| read(5 * SEC + n * 10, 64)).sum();
        let most = 8 * 100_000 + BURST + PER_SECOND;
        assert!(
            (most - 1000..=most).contains(&(flood as u64)),
            "{flood} of 6.4 million in a second"
        );
    }
}
