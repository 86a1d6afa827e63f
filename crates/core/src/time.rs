//! Time as an argument.
//!
//! The pure layers never read a clock: whoever drives them passes [`Time`], microseconds on a
//! monotonic clock whose zero is arbitrary (start of the process, start of the simulation).
//! Durations are plain `u64` microseconds, named with the suffix `_us`.

use core::ops::{Add, Sub};

/// One millisecond in microseconds.
pub const MS: u64 = 1_000;
/// One second in microseconds.
pub const SEC: u64 = 1_000_000;

/// A point in time, microseconds on a monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The clock's zero.
    pub const ZERO: Time = Time(0);
    /// Later than every point that is ever reached.
    pub const FAR: Time = Time(u64::MAX);

    /// Microseconds from `earlier` to `self`, zero when `earlier` is the later one.
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Time {
    type Output = Time;
    fn add(self, us: u64) -> Time {
        Time(self.0.saturating_add(us))
    }
}

impl Sub<u64> for Time {
    type Output = Time;
    fn sub(self, us: u64) -> Time {
        Time(self.0.saturating_sub(us))
    }
}
