//! Whether the link was ever full: only then the estimate says what it can carry.
//!
//! Why: while there is little to send, the estimate is what was sent. Told as the link's capacity it
//! would be a wrong figure: 23 kbit/s of a line of 50 Mbit/s on which nobody did anything yet.
//!
//! How: the link was full when more was sent than it took, and that is seen four ways: the search
//! ends because the rate no longer grows, or because a queue stands; a queue stands later on; or a
//! trial of more finds nothing. Each counts only if there was something to send all the time, over
//! [`FILLED_BYTES`] at least: a few packets show nothing, and at a low estimate our own pacing keeps
//! them apart.
//!
//! The estimate of such a moment is what is told. A lower one of the next such moment takes a part of
//! it away at a time, so that a processor that was busy or a radio that faded for a moment does not make a
//! slow link of a fast one.
//!
//! Limits: nothing is forgotten with time. After an interruption the old figure is told until the link
//! is full again; a link that has become slower is told after some seconds at full load.

use super::Rate;
use super::params::{FILLED_BYTES, FILLED_PART};

impl Rate {
    /// More has been sent than the link takes, if there was enough to send.
    pub(super) fn note_filled(&mut self) {
        if self.delivered < self.limited_until + FILLED_BYTES {
            return;
        }
        let now = self.bandwidth();
        self.filled = true;
        self.carried = now.max(self.carried - self.carried.saturating_sub(now) / FILLED_PART);
    }

    /// What the link can carry, bytes per second; `None` if it was never full and nobody has said
    /// what it may carry.
    pub fn capacity(&self) -> Option<u64> {
        let now = if self.filled { self.bandwidth() } else { 0 };
        let known = self.carried.max(now);
        let allowed = |rate: u64| self.max.map_or(rate, |max| rate.min(max));
        if known > 0 { Some(allowed(known)) } else { self.max }
    }
}
