//! When a path that does not answer is found suspect, and what happens before that.

use super::Path;
use super::received::ACK_DELAY_US;
use crate::time::{MS, Time};

/// Silence after which a path in full use is suspect, beyond its jitter, microseconds: the failover's
/// ping is to have no gap above 100 ms. Simulation.
const SILENCE_BUSY_US: u64 = 60 * MS;
/// Silence after which another path is suspect, microseconds: at least twice this, at most twice
/// [`SILENCE_MAX_US`] or twice so many round trips. Traffic is to be moved within 300 ms. Simulation.
const SILENCE_MIN_US: u64 = 80 * MS;
const SILENCE_MAX_US: u64 = 250 * MS;
const SILENCE_ROUNDS: u64 = 3;
/// What a silence may last beyond the expected answer, microseconds. Simulation.
const SILENCE_SLACK_US: u64 = 30 * MS;
/// The same of a path that is not used for what it loses: of its pings many are lost, microseconds.
const SILENCE_LOSSY_US: u64 = 3000 * MS;
/// Datagrams without an answer that show a silence quickly; fewer may be a lost tail, for which
/// twice the time is allowed. Simulation: with one, a lone satellite link that loses 1 % was
/// suspect again and again (E 0.05 and 0.12 with two seeds, 0.78 with eight).
const SILENCE_EVIDENCE: u64 = 8;
/// How often the mean deviation of delays counts as jitter. Simulation.
const NOISE_MARGIN: u64 = 3;
/// How often the probe timeout doubles at most; then it stays what it is.
const TAIL_DOUBLED: u32 = 6;

impl Path {
    /// Another path has just failed, and with it the acknowledgements of this one that came over it:
    /// silence is counted from now on.
    pub fn reset_silence(&mut self, now: Time) {
        self.last_progress = now;
    }

    /// Since when nothing has been acknowledged although something is out.
    fn silent_since(&self) -> Option<Time> {
        (self.sent.outstanding() > 0).then_some(self.last_progress)
    }

    /// When [`silence`](Path::silence) will find the path suspect: of a path in full use
    /// eight datagrams are overdue (one may be lost, and what came behind it in the
    /// next burst is not due yet) and nothing at all has come for a while; of another one time is
    /// given for a lost tail to be repeated.
    ///
    /// `last_reported` is when the newest acknowledgement of any path was written, on the peer's clock.
    pub fn silence_due(&self, last_reported: u64) -> Time {
        let (true, Some(since)) = (self.health.is_usable(), self.silent_since()) else {
            return Time::FAR;
        };
        if self.health.is_lossy() {
            return since + SILENCE_LOSSY_US;
        }
        let expected = self.feedback.timeout(ACK_DELAY_US) + self.owd.spread() / 2;
        let most = SILENCE_MAX_US.max(SILENCE_ROUNDS * self.feedback.smoothed());
        if self.sent.outstanding() >= SILENCE_EVIDENCE {
            let nth = self.sent.oldest(SILENCE_EVIDENCE as usize - 1);
            let overdue = nth.map_or(since, |t| t + expected);
            let quiet =
                since + SILENCE_BUSY_US + self.owd.spread() / 2 + NOISE_MARGIN * self.owd.noise();
            let due = overdue.max(quiet).min(since + most);
            match nth {
                Some(nth) if !self.is_missed(nth, last_reported) => {
                    due.max(nth + self.rtt.timeout(ACK_DELAY_US))
                }
                _ => due,
            }
        } else {
            let quick = (expected + SILENCE_SLACK_US).clamp(SILENCE_MIN_US, most);
            since + (2 * quick).min(2 * most)
        }
    }

    /// Whether the peer has told us anything since a datagram of that time should have reached it.
    /// Acknowledgements come over any path: theirs may be the one that is silent.
    fn is_missed(&self, sent: Time, last_reported: u64) -> bool {
        let margin =
            (self.owd.spread() / 2 + NOISE_MARGIN * self.owd.noise() + ACK_DELAY_US) as i64;
        self.owd.smoothed().is_none_or(|owd| last_reported as i64 >= sent.0 as i64 + owd + margin)
    }

    /// For how long nothing has been acknowledged, if that is too long.
    pub fn silence(&self, now: Time, last_reported: u64) -> Option<u64> {
        self.silence_due(last_reported).le(&now).then(|| now.since(self.last_progress))
    }

    /// How much longer than expected the path has been silent: added to its delay when paths are
    /// compared, so that traffic leaves a stalling path before it is called suspect.
    pub fn stall_us(&self, now: Time) -> u64 {
        let Some(since) = self.silent_since() else { return 0 };
        let expected = self.feedback.timeout(2 * ACK_DELAY_US) + self.owd.spread();
        now.since(since).saturating_sub(expected)
    }

    /// When a tail-loss probe is due (RFC 9002 §6.2).
    pub fn probe_timeout(&self) -> Time {
        if !self.health.is_usable() {
            return Time::FAR;
        }
        // Each probe moves the next one on: one that stayed due would be sent without a pause.
        let doubled = self.probes.min(TAIL_DOUBLED);
        let backoff = u64::from(1 + self.probes - doubled) << doubled;
        self.silent_since()
            .map_or(Time::FAR, |t| t + self.feedback.timeout(2 * ACK_DELAY_US) * backoff)
    }

    /// A tail-loss probe is being sent.
    pub fn on_probe_timeout(&mut self) {
        self.probes += 1;
    }
}
