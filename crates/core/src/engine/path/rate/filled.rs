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
//! Limits: nothing is forgotten with time. After an interruption the old figure is told until the link
//! is full again.

use super::Rate;
use super::params::FILLED_BYTES;

impl Rate {
    /// More has been sent than the link takes, if there was enough to send.
    pub(super) fn note_filled(&mut self) {
        self.filled |= self.delivered >= self.limited_until + FILLED_BYTES;
    }

    /// What the link can carry, bytes per second; `None` if it was never full and nobody has said
    /// what it may carry.
    pub fn capacity(&self) -> Option<u64> {
        let carried = (self.carried > 0).then_some(self.carried);
        if self.filled { Some(self.bandwidth()) } else { self.max.or(carried) }
    }

    /// What is to be told until the link is full again.
    pub(super) fn carried(&self) -> u64 {
        if self.filled { self.bandwidth() } else { self.carried }
    }
}
