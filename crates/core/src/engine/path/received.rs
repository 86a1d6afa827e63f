//! What has arrived on a path, and when it has to be acknowledged.
//!
//! An acknowledgement repeats the newest ranges, so that losing one loses nothing. It is due at
//! once when a gap has become a loss (the sender should repair it now), otherwise after a short time or a
//! number of datagrams, whichever is first (RFC 9000 §13.2). What the peer is known to have heard is not
//! repeated for ever (§13.2.4): it leaves gaps on purpose, and each would be told 32 times over.

use crate::time::{MS, Time};
use crate::wire::frame::{ACK_RANGES_MAX, Ack};
use crate::wire::{AckRanges, PathId};

/// Longest wait before an acknowledgement. Shorter than RFC 9000's 25 ms: the sender's rate
/// estimate and repair live from it, and an acknowledgement costs about 110 bytes of the line.
pub const ACK_DELAY_US: u64 = 4 * MS;

/// Datagrams after which an acknowledgement is sent without waiting.
const ACK_EVERY: u32 = 64;

/// Datagrams behind the one that shows a gap that make it a loss for the sender (RFC 9002 §6.1.1:
/// three in all): then it hears at once.
const PROOF: u64 = 2;

/// Numbers below the highest that are told for as long as there is room: parity may rebuild what is
/// missing among them.
const NEAR: u64 = 64;

/// The receiving side of a path.
#[derive(Debug, Default)]
pub struct Received {
    /// Inclusive ranges of packet numbers, newest first.
    ranges: Vec<(u64, u64)>,
    /// When the highest packet number arrived.
    arrived: Time,
    /// Datagrams that ask for an acknowledgement and have none yet.
    pending: u32,
    pending_since: Time,
    urgent: bool,
    /// The datagram that showed the newest gap, and the one that will prove the oldest gap that is
    /// not reported yet.
    gap: u64,
    proof: Option<u64>,
    /// When anything last arrived.
    last: Option<Time>,
    /// The highest number that the newest acknowledgement told, and the one that is certain to have
    /// been heard when a ping is answered.
    told: Option<u64>,
    asked: Option<u64>,
}

impl Received {
    /// Notes packet `number`, which the replay window has let through.
    pub fn record(&mut self, now: Time, number: u64, elicits_ack: bool) {
        self.last = Some(now);
        let gap = self.insert(now, number);
        if elicits_ack {
            if self.pending == 0 {
                self.pending_since = now;
            }
            self.pending += 1;
            if gap {
                self.gap = number;
                self.proof.get_or_insert(number + PROOF);
            }
            if self.proof.is_some_and(|p| number >= p) {
                self.urgent = true;
                self.proof = Some(self.gap + PROOF).filter(|&p| p > number);
            }
            self.urgent |= self.pending >= ACK_EVERY;
        }
    }

    /// Adds `number` to the ranges; whether it showed a new gap.
    fn insert(&mut self, now: Time, number: u64) -> bool {
        match self.ranges.first_mut() {
            Some((_, high)) if number == *high + 1 => {
                *high = number;
                self.arrived = now;
                return false;
            }
            Some((_, high)) if number > *high => {
                self.ranges.insert(0, (number, number));
                self.ranges.truncate(ACK_RANGES_MAX);
                self.arrived = now;
                return true;
            }
            None => {
                self.ranges.push((number, number));
                self.arrived = now;
                return false;
            }
            Some(_) => {}
        }
        self.insert_late(number);
        false
    }

    fn insert_late(&mut self, number: u64) {
        // First range that ends below the number: it goes in front of that one.
        let at = self.ranges.iter().position(|&(_, high)| high < number);
        let at = at.unwrap_or(self.ranges.len());
        let joins_above = at > 0 && self.ranges[at - 1].0 <= number + 1;
        if joins_above && self.ranges[at - 1].0 <= number {
            return;
        }
        let joins_below = self.ranges.get(at).is_some_and(|&(_, high)| high + 1 == number);
        match (joins_above, joins_below) {
            (true, true) => {
                self.ranges[at - 1].0 = self.ranges[at].0;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].0 = number,
            (false, true) => self.ranges[at].1 = number,
            (false, false) => {
                self.ranges.insert(at, (number, number));
                self.ranges.truncate(ACK_RANGES_MAX);
            }
        }
    }

    /// When an acknowledgement has to go out; [`Time::FAR`] when none has.
    pub fn due(&self) -> Time {
        match (self.pending, self.urgent) {
            (0, _) => Time::FAR,
            (_, true) => Time::ZERO,
            _ => self.pending_since + ACK_DELAY_US,
        }
    }

    /// Whether anything arrived within the last `us` microseconds.
    pub fn heard_within(&self, now: Time, us: u64) -> bool {
        self.last.is_some_and(|t| now.since(t) < us)
    }

    /// Whether datagram `number` is known to have arrived.
    pub fn has(&self, number: u64) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&number))
    }

    /// Ranges of packet numbers that are remembered.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Whether something waits for an acknowledgement.
    pub fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// The acknowledgement to send now.
    pub fn ack(&self, now: Time, path: PathId) -> Option<Ack> {
        let &(_, largest) = self.ranges.first()?;
        Some(Ack {
            path,
            largest_low: largest as u32,
            arrived: self.arrived.0 as u32,
            delay_us: now.since(self.arrived).min(u64::from(u32::MAX)) as u32,
            ranges: AckRanges::from_descending(self.ranges.iter().copied())?,
        })
    }

    /// An acknowledgement has been written.
    pub fn tell(&mut self) {
        self.told = self.ranges.first().map(|&(_, high)| high);
    }

    /// A datagram is being written with a ping.
    pub fn begin_asking(&mut self) {
        self.told = None;
    }

    /// It is written: when it is answered, what it told has been heard.
    pub fn ask(&mut self) {
        self.asked = self.told;
    }

    /// It is answered: what it told need not be told again, but for a few numbers.
    pub fn heard(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        let newest = self.ranges.first().map_or(0, |&(_, high)| high);
        while let [_, .., (_, high)] = self.ranges[..]
            && high <= asked
            && high + NEAR < newest
        {
            self.ranges.pop();
        }
    }

    /// The acknowledgement has been sent.
    pub fn acked(&mut self) {
        self.pending = 0;
        self.urgent = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn due_after_the_delay_and_at_once_for_a_gap() {
        let mut r = Received::default();
        assert_eq!(r.due(), Time::FAR);
        r.record(Time(1000), 0, false);
        assert_eq!(r.due(), Time::FAR);
        r.record(Time(2000), 1, true);
        assert_eq!(r.due(), Time(2000 + ACK_DELAY_US));
        r.record(Time(3000), 3, true);
        r.record(Time(3000), 4, true);
        assert_eq!(r.due(), Time(2000 + ACK_DELAY_US), "may be a little reordering");
        r.record(Time(3000), 5, true);
        assert_eq!(r.due(), Time::ZERO);
        r.acked();
        assert_eq!(r.due(), Time::FAR);
    }

    #[test]
    fn every_nth_datagram_is_acknowledged_at_once() {
        let mut r = Received::default();
        for n in 0..u64::from(ACK_EVERY) {
            assert_ne!(r.due(), Time::ZERO);
            r.record(Time(n), n, true);
        }
        assert_eq!(r.due(), Time::ZERO);
    }

    #[test]
    fn what_was_heard_is_not_told_again() {
        let mut r = Received::default();
        for n in (0..1000).filter(|n| n % 100 != 50) {
            r.record(Time(n), n, true);
        }
        assert_eq!(r.ranges(), 11);
        r.begin_asking();
        r.ask();
        r.heard();
        assert_eq!(r.ranges(), 11, "nothing was told in that datagram");
        r.begin_asking();
        r.tell();
        r.ask();
        r.record(Time(1000), 1001, true);
        r.heard();
        assert_eq!(r.ranges, [(1001, 1001), (951, 999), (851, 949)]);
        r.record(Time(1000), 50, true);
        assert_eq!(r.ranges[3..], [(50, 50)], "news again");
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_what_arrived(numbers in prop::collection::vec(0u64..60, 1..60)) {
            let mut r = Received::default();
            let mut model = BTreeSet::new();
            for &n in &numbers {
                r.record(Time(n), n, true);
                model.insert(n);
            }
            let ack = r.ack(Time(100), PathId(0)).unwrap();
            let largest = *model.last().unwrap();
            prop_assert_eq!(u64::from(ack.largest_low), largest);
            let reported: BTreeSet<u64> =
                ack.ranges.descending(largest).flat_map(|(low, high)| low..=high).collect();
            prop_assert_eq!(reported, model);
        }
    }
}
