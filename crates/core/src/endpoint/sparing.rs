//! Words that somebody else can bring about, told no more than somebody can read.
//!
//! Why: a peer may change how its paths are used thousands of times a second. Each change told is a
//! line of log, a notification on the bus and work for all who listen.
//!
//! How: a token bucket. What comes beyond it is counted; what is told next says how much that was.
//!
//! Limits: [`BURST`] at once, then one each [`EVERY_US`].

use crate::time::{SEC, Time};

/// What may be told at once after a pause: a path that comes and goes does so within this.
const BURST: u8 = 8;
/// From one to the next when that is used up, microseconds.
const EVERY_US: u64 = SEC;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Sparing {
    left: u8,
    at: Time,
    left_out: u32,
}

impl Sparing {
    /// Nothing has been told yet.
    pub fn new(now: Time) -> Sparing {
        Sparing { left: BURST, at: now, left_out: 0 }
    }

    /// Whether something may be told now, and then how much was left out before; otherwise it is
    /// counted.
    pub fn tell(&mut self, now: Time) -> Option<u32> {
        let more = now.since(self.at) / EVERY_US;
        self.at = self.at + more * EVERY_US;
        self.left = BURST.min(self.left.saturating_add(more.min(BURST.into()) as u8));
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(core::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out = self.left_out.saturating_add(1);
                None
            }
        }
    }

    /// When something may be told again, after it was refused.
    pub fn due(&self) -> Time {
        self.at + EVERY_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_and_then_one_a_second() {
        let mut sparing = Sparing::new(Time(0));
        let told = (0..100_000).filter(|n| sparing.tell(Time(n * 100)).is_some()).count();
        assert_eq!(told, usize::from(BURST) + 9, "in ten seconds");
        assert_eq!(sparing.due(), Time(10 * SEC));
        assert!(sparing.tell(sparing.due()).is_some_and(|left_out| left_out > 9_000));
        assert!((0..8).all(|_| sparing.tell(Time(60 * SEC)) == Some(0)));
        assert_eq!(sparing.tell(Time(60 * SEC)), None);
    }
}
