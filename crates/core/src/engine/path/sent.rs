//! What was sent on a path and is not yet accounted for.
//!
//! A path is first in, first out but for a little reordering: a packet is lost when later ones
//! have been acknowledged, by number (RFC 9002 §6.1.1) or by time (§6.1.2). A late acknowledgement
//! for a packet given up shows that the threshold was too tight, and it widens (as RFC 8985 does).

use crate::time::{MS, SEC, Time};
use std::collections::VecDeque;

/// Later packets acknowledged before one is lost (RFC 9002 §6.1.1).
const THRESHOLD_MIN: u64 = 3;
/// Upper bound of the adapted threshold.
const THRESHOLD_MAX: u64 = 128;
/// Shortest time threshold (RFC 9002 §6.1.2, kGranularity).
const GRANULARITY_US: u64 = MS;

/// Skipped numbers that are remembered when the log has none any more.
const SKIPPED_KEPT: usize = 16;

/// How long a lost datagram is remembered when nothing is acknowledged.
const KEEP_LOST_US: u64 = 3 * SEC;

/// Inner packets in one datagram at most.
pub const CONTENT_MAX: usize = 4;
/// No packet in this place.
pub const NONE: u32 = u32::MAX;

/// Where a sent datagram stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Account {
    Outstanding,
    Acked,
    Lost,
}

/// A datagram that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub time: Time,
    /// Bytes on the line, IP header included.
    pub size: u16,
    /// Places of the inner packets among the unacknowledged; [`NONE`] where there is none.
    pub content: [u32; CONTENT_MAX],
    /// Wait in the link's queue that was predicted for it, microseconds.
    pub queue_us: u32,
    /// Whether so little had been sent lately that nothing of ours can have been in its way.
    pub unloaded: bool,
    elicits_ack: bool,
    state: Account,
}

/// What an acknowledgement brought.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Bytes newly acknowledged.
    pub acked_bytes: u64,
    /// Those of them that had been given up as lost.
    pub found_bytes: u64,
    /// The newest of them, if the highest number is new: when it was sent, the wait predicted for
    /// it, and whether it was unloaded.
    pub newest_sent: Option<(Time, u32, bool)>,
    /// Datagrams newly acknowledged.
    pub acked: u64,
}

/// Whether so many later datagrams have been sent that number `number` is lost when `largest` has
/// arrived. Numbers that were skipped are none.
fn is_behind(skipped: &VecDeque<u64>, number: u64, largest: u64, threshold: u64) -> bool {
    if number + threshold > largest {
        return false;
    }
    let later = skipped.iter().rev().take_while(|&&skip| skip > number);
    number + threshold + later.filter(|&&skip| skip < largest).count() as u64 <= largest
}

/// The sending side's memory of a path.
#[derive(Debug, Default)]
pub struct SentLog {
    log: VecDeque<Sent>,
    /// Packet number of the first entry.
    first: u64,
    /// Highest number acknowledged.
    largest_acked: Option<u64>,
    threshold: u64,
    in_flight: u64,
    outstanding: u64,
    /// When the time threshold next expires.
    loss_time: Option<Time>,
    /// Numbers that were never sent, of those that the log has and the last few before, ascending.
    skipped: VecDeque<u64>,
    /// Counters since the beginning.
    pub packets_sent: u64,
    /// Datagrams given up as lost, without those acknowledged after all.
    pub packets_lost: u64,
}

impl SentLog {
    /// Notes datagram `number`; numbers come in order, without gaps but those that [`skip`](Self::skip)
    /// notes.
    #[allow(clippy::too_many_arguments)] // Each is a field of the entry.
    pub fn on_sent(
        &mut self,
        now: Time,
        number: u64,
        size: u16,
        elicits_ack: bool,
        content: [u32; CONTENT_MAX],
        queue_us: u32,
        unloaded: bool,
    ) {
        if self.log.is_empty() {
            self.first = number;
        }
        let state = if elicits_ack { Account::Outstanding } else { Account::Acked };
        if elicits_ack {
            self.in_flight += u64::from(size);
            self.outstanding += 1;
            self.packets_sent += 1;
        }
        self.log.push_back(Sent {
            time: now,
            size,
            content,
            queue_us,
            unloaded,
            elicits_ack,
            state,
        });
        self.prune(now, KEEP_LOST_US);
    }

    /// Number `number`, the next one, is not going to be sent: whoever acknowledges it lies. It is no
    /// datagram, can neither arrive nor be lost, and nothing counts it.
    pub fn skip(&mut self, now: Time, number: u64) {
        if !self.log.is_empty() {
            self.log.push_back(Sent {
                time: now,
                size: 0,
                content: [NONE; CONTENT_MAX],
                queue_us: 0,
                unloaded: false,
                elicits_ack: false,
                state: Account::Acked,
            });
        }
        let first = self.first;
        while self.skipped.len() >= SKIPPED_KEPT && self.skipped.front().is_some_and(|&n| n < first)
        {
            self.skipped.pop_front();
        }
        self.skipped.push_back(number);
    }

    /// Whether ranges (descending, inclusive) have only numbers that were sent, of which the last was
    /// `newest`.
    pub fn were_sent(&self, newest: u64, ranges: impl Iterator<Item = (u64, u64)>) -> bool {
        let skips = |low, high| {
            let at = self.skipped.partition_point(|&number| number < low);
            self.skipped.get(at).is_some_and(|&number| number <= high)
        };
        let oldest = self.skipped.front().copied().unwrap_or(u64::MAX);
        for (low, high) in ranges {
            if high > newest || skips(low, high) {
                return false;
            }
            if low < oldest {
                break;
            }
        }
        true
    }

    /// Bytes sent and neither acknowledged nor lost.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Datagrams sent and neither acknowledged nor lost.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Datagrams that are remembered.
    pub fn entries(&self) -> usize {
        self.log.len()
    }

    /// When the outstanding datagram was sent that `n` older ones precede.
    pub fn oldest(&self, n: usize) -> Option<Time> {
        self.log.iter().filter(|s| s.state == Account::Outstanding).nth(n).map(|s| s.time)
    }

    /// When [`detect_lost`](SentLog::detect_lost) should be called again.
    pub fn loss_time(&self) -> Time {
        self.loss_time.unwrap_or(Time::FAR)
    }

    /// Applies an acknowledgement of `ranges` (descending, inclusive). `each` sees the content of
    /// every newly acknowledged datagram.
    pub fn on_ack(
        &mut self,
        ranges: impl Iterator<Item = (u64, u64)>,
        mut each: impl FnMut(&Sent),
    ) -> Outcome {
        let mut out = Outcome::default();
        let end = self.first + self.log.len() as u64;
        for (low, high) in ranges {
            if low >= end || high < self.first {
                if high < self.first {
                    break;
                }
                continue;
            }
            for number in low.max(self.first)..=high.min(end - 1) {
                let entry = &mut self.log[(number - self.first) as usize];
                match entry.state {
                    Account::Acked => continue,
                    Account::Lost => {
                        let late = self.largest_acked.unwrap_or(0).saturating_sub(number);
                        self.threshold = self.threshold.max(late + 1).min(THRESHOLD_MAX);
                        self.packets_lost = self.packets_lost.saturating_sub(1);
                        out.found_bytes += u64::from(entry.size);
                    }
                    Account::Outstanding => {
                        self.in_flight -= u64::from(entry.size);
                        self.outstanding -= 1;
                    }
                }
                entry.state = Account::Acked;
                out.acked_bytes += u64::from(entry.size);
                out.acked += 1;
                if self.largest_acked.is_none_or(|l| number > l) {
                    self.largest_acked = Some(number);
                    out.newest_sent = Some((entry.time, entry.queue_us, entry.unloaded));
                }
                each(entry);
            }
        }
        out
    }

    /// Finds the datagrams that are lost, given the smoothed round-trip time. `each` sees the
    /// content of every one. Returns the bytes lost.
    pub fn detect_lost(&mut self, now: Time, rtt_us: u64, mut each: impl FnMut(&Sent)) -> u64 {
        self.loss_time = None;
        let Some(largest) = self.largest_acked else { return 0 };
        let threshold = self.threshold.max(THRESHOLD_MIN);
        let patience = (rtt_us + rtt_us / 8).max(GRANULARITY_US);
        let mut lost = 0;
        let first = self.first;
        let below = (largest.saturating_sub(first) as usize).min(self.log.len());
        for (i, entry) in self.log.iter_mut().take(below).enumerate() {
            if entry.state != Account::Outstanding {
                continue;
            }
            let number = first + i as u64;
            if is_behind(&self.skipped, number, largest, threshold)
                || now.since(entry.time) >= patience
            {
                entry.state = Account::Lost;
                self.in_flight -= u64::from(entry.size);
                self.outstanding -= 1;
                self.packets_lost += 1;
                lost += u64::from(entry.size);
                each(entry);
            } else {
                let due = entry.time + patience;
                self.loss_time = Some(self.loss_time.map_or(due, |t| t.min(due)));
            }
        }
        self.prune(now, 2 * patience);
        lost
    }

    /// Gives up everything outstanding: the path is suspect or gone.
    pub fn abandon(&mut self, mut each: impl FnMut(&Sent)) {
        for entry in self.log.iter_mut().filter(|e| e.state == Account::Outstanding) {
            entry.state = Account::Lost;
            self.packets_lost += 1;
            each(entry);
        }
        self.in_flight = 0;
        self.outstanding = 0;
        self.loss_time = None;
    }

    /// The content of the oldest outstanding datagrams, at most `n`, for a tail-loss probe.
    pub fn oldest_content(&self, n: usize, mut each: impl FnMut(&Sent)) {
        self.log
            .iter()
            .filter(|e| e.state == Account::Outstanding && e.elicits_ack)
            .take(n)
            .for_each(&mut each);
    }

    /// Gives back memory that is not needed at present.
    pub fn shrink(&mut self) {
        self.log.shrink_to_fit();
        self.skipped.shrink_to_fit();
    }

    /// Forgets what is accounted for; lost ones stay `keep_us`, to recognise a late
    /// acknowledgement.
    fn prune(&mut self, now: Time, keep_us: u64) {
        while let Some(front) = self.log.front() {
            let done = match front.state {
                Account::Outstanding => false,
                Account::Acked => true,
                Account::Lost => now.since(front.time) > keep_us,
            };
            if !done || self.log.len() == 1 {
                break;
            }
            self.log.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: u64) -> SentLog {
        let mut log = SentLog::default();
        for number in 0..n {
            log.on_sent(
                Time(number * 1000),
                number,
                100,
                true,
                [number as u32, NONE, NONE, NONE],
                0,
                true,
            );
        }
        log
    }

    #[test]
    fn a_packet_is_lost_when_three_later_ones_arrived() {
        let mut log = log(6);
        let out = log.on_ack([(1, 2)].into_iter(), |_| {});
        assert_eq!((out.acked, out.newest_sent), (2, Some((Time(2000), 0, true))));
        let mut lost = Vec::new();
        log.detect_lost(Time(6000), 40_000, |s| lost.push(s.content[0]));
        assert!(lost.is_empty());
        log.on_ack([(3, 3)].into_iter(), |_| {});
        log.detect_lost(Time(6000), 40_000, |s| lost.push(s.content[0]));
        assert_eq!(lost, [0]);
        assert_eq!(log.in_flight(), 200);
    }

    #[test]
    fn the_time_threshold_finds_what_the_count_does_not() {
        let mut log = log(2);
        log.on_ack([(1, 1)].into_iter(), |_| {});
        log.detect_lost(Time(2000), 40_000, |_| panic!("too early"));
        assert_eq!(log.loss_time(), Time(45_000));
        assert_eq!(log.detect_lost(Time(45_000), 40_000, |_| {}), 100);
    }

    #[test]
    fn a_late_acknowledgement_widens_the_threshold() {
        let mut log = log(20);
        log.on_ack([(1, 4)].into_iter(), |_| {});
        assert_eq!(log.detect_lost(Time(20_000), 40_000, |_| {}), 100);
        assert_eq!(log.packets_lost, 1);
        log.on_ack([(0, 4)].into_iter(), |_| {});
        assert_eq!(log.packets_lost, 0);
        log.on_ack([(6, 9)].into_iter(), |_| {});
        assert_eq!(log.detect_lost(Time(20_000), 40_000, |_| {}), 0, "4 later ones are fine now");
    }

    #[test]
    fn a_skipped_number_is_no_datagram() {
        let mut log = log(6);
        log.skip(Time(6000), 6);
        for number in 7..10 {
            log.on_sent(Time(number * 1000), number, 100, true, [number as u32; 4], 0, true);
        }
        assert_eq!((log.in_flight(), log.packets_sent, log.outstanding()), (900, 9, 9));
        log.on_ack([(7, 8), (0, 4)].into_iter(), |_| {});
        assert_eq!(log.detect_lost(Time(9000), 40_000, |_| {}), 0, "two later ones, not three");
        log.on_ack([(9, 9)].into_iter(), |_| {});
        assert_eq!(log.detect_lost(Time(9000), 40_000, |_| {}), 100);
        assert_eq!((log.packets_lost, log.in_flight()), (1, 0));
    }

    #[test]
    fn who_acknowledges_what_was_not_sent_is_seen() {
        let mut log = log(6);
        log.skip(Time(6000), 6);
        log.on_sent(Time(7000), 7, 100, true, [7; 4], 0, true);
        let sent = |log: &SentLog, ranges: &[(u64, u64)]| log.were_sent(7, ranges.iter().copied());
        for honest in [&[(7, 7), (0, 5)][..], &[(0, 5)], &[(7, 7), (3, 3)]] {
            assert!(sent(&log, honest), "{honest:?}");
        }
        let lies = [&[(8, 8)][..], &[(6, 7)], &[(7, 7), (6, 6)], &[(0, 7)], &[(7, 9), (0, 5)]];
        for lie in lies {
            assert!(!sent(&log, lie), "{lie:?}");
        }
        // Also one by one, when all before it is done with.
        log.on_ack([(7, 7), (0, 5)].into_iter(), |_| {});
        log.detect_lost(Time(8000), 1000, |_| {});
        assert_eq!(log.entries(), 1);
        assert!(!sent(&log, &[(6, 6)]));
    }

    #[test]
    fn acknowledging_again_changes_nothing() {
        let mut log = log(3);
        assert_eq!(log.on_ack([(0, 2)].into_iter(), |_| {}).acked_bytes, 300);
        assert_eq!(log.on_ack([(0, 2)].into_iter(), |_| {}).acked_bytes, 0);
        assert_eq!(log.on_ack([(90, 99)].into_iter(), |_| {}).acked_bytes, 0, "never sent");
    }

    #[test]
    fn memory_follows_what_is_outstanding() {
        let mut log = SentLog::default();
        for number in 0..10_000u64 {
            log.on_sent(Time(number), number, 100, true, [NONE; CONTENT_MAX], 0, true);
            log.on_ack([(0, number)].into_iter(), |_| {});
            log.detect_lost(Time(number), 1000, |_| {});
        }
        assert!(log.log.len() < 10);
    }
}
