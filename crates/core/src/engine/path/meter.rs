//! Rates and losses, averaged: for people, and for what follows from frequent loss.

use crate::time::{SEC, Time};

/// Time over which they are averaged, microseconds.
const METER_US: u64 = SEC;
/// Packets over which a loss is measured at least.
const LOSS_PACKETS: u64 = 20;
/// The newest measurement of loss counts one part in so many.
const LOSS_WEIGHT: u64 = 4;

/// Bytes and losses of the last second or so.
#[derive(Debug, Default)]
pub struct Meter {
    since: Time,
    bytes: u64,
    sent0: u64,
    lost0: u64,
    /// Bytes per second.
    pub rate: u64,
    /// Millionths, averaged over some seconds.
    pub loss_ppm: u64,
}

impl Meter {
    /// Bytes per second; falls to zero when nothing comes any more.
    pub fn current(&self, now: Time) -> u64 {
        if now.since(self.since) > 2 * METER_US { 0 } else { self.rate }
    }

    /// Counts bytes; `sent` and `lost` are packets since the beginning.
    pub fn add(&mut self, now: Time, bytes: u64, sent: u64, lost: u64) {
        self.bytes += bytes;
        let span = now.since(self.since);
        if span < METER_US {
            return;
        }
        self.rate = self.bytes * SEC / span;
        let packets = sent - self.sent0;
        if packets >= LOSS_PACKETS {
            let ppm = lost.saturating_sub(self.lost0) * 1_000_000 / packets;
            self.loss_ppm = (self.loss_ppm * (LOSS_WEIGHT - 1) + ppm.min(1_000_000)) / LOSS_WEIGHT;
            (self.sent0, self.lost0) = (sent, lost);
        }
        (self.since, self.bytes) = (now, 0);
    }
}
