//! Path MTU discovery with probes of our own (DPLPMTUD, RFC 8899): ICMP is neither needed nor
//! believed.
//!
//! How: a search has three rounds. The first probes the link's MTU alone, the others also the sizes
//! that are common in access networks, the largest first; whatever is answered is confirmed, and
//! a round asks for nothing smaller than that. So two round trips find the size of a way that is
//! narrower than its link. Until one is confirmed, 1280 bytes are used, which IPv6 guarantees. A
//! search that ends below the link's MTU may have met a burst of loss, or the way may widen: it is
//! repeated soon, and then ever later.
//!
//! A way that becomes narrower shows by what is lost on it (RFC 8899 §4.3): long datagrams, one
//! after another, while shorter ones of the same time arrive. Then the size in use is probed first:
//! an answer says that it was a false alarm, and without one the search goes on below it.

use crate::time::{MS, SEC, Time};
use core::iter::once;

/// What every path carries (RFC 8200 §5).
pub const BASE: u16 = 1280;
/// Rounds of a search, and so probes of one size (RFC 8899 §5.1.2, MAX_PROBES).
const ROUNDS: u8 = 3;
/// Distance of a round's probes, microseconds: ten at once would be a burst.
const GAP_US: u64 = MS;
/// After this time the search begins anew (RFC 8899 §5.1.1, PMTU_RAISE_TIMER), and for the first
/// time after one that has failed.
const RAISE_US: u64 = 600 * SEC;
const AGAIN_US: u64 = 5 * SEC;
/// Common sizes: PPPoE, VXLAN and tunnels of access networks, LTE. The last two are what an inner
/// packet of 1280 bytes needs, with outer headers of IPv6 and of IPv4.
const COMMON: [u16; 11] = [1492, 1480, 1472, 1460, 1452, 1440, 1420, 1400, 1380, 1360, 1340];
/// Long datagrams lost one after another that make the size doubtful: fewer are a burst, or a full
/// queue into which only short ones fit. Simulation.
const MISSED: u8 = 5;
/// A short datagram sent so much later than the last of them speaks of another time: the path may
/// have been dead meanwhile. Microseconds.
const SAME_TIME_US: u64 = 50 * MS;

/// Long datagrams that were lost, since one has arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Missed {
    count: u8,
    /// The shortest of them, bytes.
    least: u16,
    /// When the first and the last were sent.
    from: Time,
    to: Time,
    /// When the newest short one was sent that has arrived; the same of long ones, and its size.
    short: Time,
    long: (Time, u16),
}

/// The search of one path.
#[derive(Debug)]
pub struct Mtu {
    link: u16,
    current: u16,
    /// What the first search may find, while it has found nothing.
    hope: u16,
    /// Round of the search; 0 when it is over.
    round: u8,
    /// What the first round asks for, and above what all do.
    top: u16,
    floor: u16,
    /// The size that was probed last in this round; [`u16::MAX`] at its beginning.
    last: u16,
    /// Whether the current size is in doubt.
    doubt: bool,
    next: Time,
    /// Wait for the next search.
    again: u64,
    /// The probes of the newest search: what their pings say, and their sizes.
    out: Vec<(u32, u16)>,
    missed: Missed,
}

impl Mtu {
    /// A path over a link of `link` bytes.
    pub fn new(now: Time, link: u16) -> Mtu {
        let link = link.max(BASE);
        let mut mtu = Mtu {
            link,
            current: BASE,
            hope: link,
            round: 0,
            top: link,
            floor: BASE,
            last: u16::MAX,
            doubt: false,
            next: Time::FAR,
            again: AGAIN_US,
            out: Vec::new(),
            missed: Missed::default(),
        };
        if link > BASE {
            mtu.begin(now, link, BASE);
        }
        mtu
    }

    /// The largest IP packet that is known to pass, bytes.
    pub fn current(&self) -> u16 {
        self.current
    }

    /// What the path may turn out to carry in its first search, else the current size.
    pub fn hoped(&self) -> u16 {
        self.hope.max(self.current)
    }

    /// When the next probe is due.
    pub fn due(&self) -> Time {
        self.next
    }

    /// Whether the current size is in doubt: what is lost is lost for its length.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt
    }

    fn begin(&mut self, now: Time, top: u16, floor: u16) {
        (self.top, self.floor, self.round, self.last) = (top, floor, 1, u16::MAX);
        self.out.clear();
        self.next = now;
    }

    /// The size that this round asks for next.
    fn candidate(&self) -> Option<u16> {
        let common = if self.round > 1 { &COMMON[..] } else { &[] };
        let sizes = once(self.top).chain(common.iter().copied().filter(|&s| s < self.top));
        sizes.filter(|&s| s > self.floor).find(|&s| s < self.last)
    }

    /// The size to probe now, with a ping that says `stamp`, as no other of this path does.
    pub fn probe(&mut self, now: Time, stamp: u32, rtt_us: u64) -> Option<u16> {
        if now < self.next {
            return None;
        }
        if self.round == 0 {
            // Time to look again whether the path has become wider.
            self.begin(now, self.link, self.current);
        }
        let candidate = self.candidate().or_else(|| {
            (self.round, self.last) = (self.round + 1, u16::MAX);
            self.candidate()
        });
        let Some(size) = candidate.filter(|_| self.round <= ROUNDS) else {
            if self.doubt {
                self.current = self.floor;
            }
            self.end(now);
            return None;
        };
        self.last = size;
        self.out.push((stamp, size));
        let more = self.candidate().is_some();
        self.next = now + if more { GAP_US } else { rtt_us * 3 / 2 + 20 * MS };
        Some(size)
    }

    fn end(&mut self, now: Time) {
        (self.round, self.doubt, self.hope) = (0, false, BASE);
        self.missed.count = 0;
        if self.current >= self.link {
            (self.next, self.again) = (Time::FAR, AGAIN_US);
        } else {
            self.next = now + self.again;
            self.again = (2 * self.again).min(RAISE_US);
        }
    }

    /// The ping that said `echo` was answered; whether that confirms a size.
    pub fn confirm(&mut self, now: Time, echo: u32) -> bool {
        let probe = self.out.iter().find(|probe| probe.0 == echo);
        let Some(&(_, size)) = probe.filter(|probe| probe.1 > self.floor) else { return false };
        self.floor = size;
        self.current = size;
        self.hope = BASE;
        if size >= self.top || self.round == 0 {
            self.end(now);
        }
        true
    }

    /// A datagram of `size` bytes, sent at `sent`, is lost.
    pub fn on_lost(&mut self, now: Time, sent: Time, size: u16) {
        if size <= BASE || size > self.current {
            return;
        }
        let missed = &mut self.missed;
        if sent < missed.long.0 && size <= missed.long.1 {
            return;
        }
        if missed.count == 0 {
            (missed.from, missed.to, missed.least) = (sent, sent, size);
        }
        missed.count = missed.count.saturating_add(1);
        missed.from = missed.from.min(sent);
        missed.to = missed.to.max(sent);
        missed.least = missed.least.min(size);
        self.judge(now);
    }

    /// A datagram of `size` bytes, sent at `sent`, has arrived.
    pub fn on_arrived(&mut self, now: Time, sent: Time, size: u16) {
        let missed = &mut self.missed;
        if size <= BASE {
            missed.short = missed.short.max(sent);
            return self.judge(now);
        }
        if sent >= missed.long.0 {
            missed.long = (sent, size);
        }
        if size >= missed.least && sent >= missed.from {
            missed.count = 0;
        }
    }

    /// Whether the current size is in doubt: short datagrams arrive, long ones do not.
    fn judge(&mut self, now: Time) {
        let Missed { count, from, to, short, .. } = self.missed;
        let searches_below = self.round > 0 && (self.doubt || self.current == BASE);
        if count >= MISSED && short >= from && short <= to + SAME_TIME_US && !searches_below {
            self.doubt = true;
            self.again = AGAIN_US;
            self.begin(now, self.current, BASE);
        }
    }

    /// Whatever was found was found while most was lost.
    pub fn look_again(&mut self, now: Time) {
        if self.doubt || self.current < self.link {
            self.restart(now);
        }
    }

    /// The address has changed: the way may be another.
    pub fn restart(&mut self, now: Time) {
        let before = self.current;
        *self = Mtu::new(now, self.link);
        if before > BASE {
            self.hope = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path, of which `passes` says what passes; the time goes on for `lasts_us`.
    fn run(mtu: &mut Mtu, now: &mut Time, lasts_us: u64, passes: u16) {
        let until = *now + lasts_us;
        let mut stamp = now.0 as u32;
        while mtu.due() <= until {
            *now = (*now).max(mtu.due());
            stamp += 1;
            if mtu.probe(*now, stamp, 40_000).is_some_and(|size| size <= passes) {
                mtu.confirm(*now, stamp);
            }
        }
        *now = until;
    }

    fn search(link: u16, passes: u16) -> u16 {
        let (mut mtu, mut now) = (Mtu::new(Time(0), link), Time(0));
        run(&mut mtu, &mut now, SEC, passes);
        assert_eq!(mtu.hoped(), mtu.current(), "what is hoped for ends with the search");
        mtu.current()
    }

    #[test]
    fn finds_the_link_mtu_and_common_smaller_ones() {
        assert_eq!(search(1500, 1500), 1500);
        assert_eq!(search(1500, 1492), 1492);
        assert_eq!(search(1500, 1430), 1420);
        assert_eq!(search(1500, 1358), 1340);
        assert_eq!(search(1500, 1280), 1280);
        assert_eq!(search(1350, 1500), 1350);
        assert_eq!(search(1280, 1280), 1280);
        assert_eq!(search(900, 1500), 1280, "below the minimum of IPv6 there is no tunnel");
    }

    #[test]
    fn a_search_that_met_a_burst_of_loss_is_repeated_soon() {
        let (mut mtu, mut now) = (Mtu::new(Time(0), 1500), Time(0));
        run(&mut mtu, &mut now, 8 * SEC, 0);
        assert_eq!(mtu.current(), 1280);
        run(&mut mtu, &mut now, 12 * SEC, 1500);
        assert_eq!(mtu.current(), 1500);
    }

    #[test]
    fn another_pings_answer_confirms_nothing() {
        let mut mtu = Mtu::new(Time(0), 1500);
        assert_eq!(mtu.probe(Time(0), 7, 40_000), Some(1500));
        assert!(!mtu.confirm(Time(1), 6));
        assert!(mtu.confirm(Time(1), 7));
        assert!(!mtu.confirm(Time(2), 7), "twice");
    }

    /// Long datagrams are lost from now on, `short_after` later a short one arrives.
    fn hole(mtu: &mut Mtu, now: Time, short_after: u64) {
        (0..u64::from(MISSED)).for_each(|i| mtu.on_lost(now + SEC, now + i, 1500));
        mtu.on_arrived(now + SEC, now + short_after, 100);
    }

    #[test]
    fn a_way_that_becomes_narrower_is_followed_down_and_up() {
        let (mut mtu, mut now) = (Mtu::new(Time(0), 1500), Time(0));
        run(&mut mtu, &mut now, SEC, 1500);
        hole(&mut mtu, now, 10 * MS);
        now = now + SEC;
        run(&mut mtu, &mut now, 200 * MS, 1400);
        assert_eq!(mtu.current(), 1400);
        run(&mut mtu, &mut now, 60 * SEC, 1400);
        assert_eq!((mtu.current(), mtu.hoped()), (1400, 1400));
        run(&mut mtu, &mut now, RAISE_US, 1500);
        assert_eq!(mtu.current(), 1500, "it is wide again");
    }

    #[test]
    fn a_false_alarm_costs_a_probe() {
        let (mut mtu, mut now) = (Mtu::new(Time(0), 1500), Time(0));
        run(&mut mtu, &mut now, SEC, 1500);
        hole(&mut mtu, now, 0);
        assert_eq!(mtu.probe(now + SEC, 9, 40_000), Some(1500));
        assert_eq!(mtu.current(), 1500, "in use until something smaller is confirmed");
        mtu.confirm(now + SEC, 9);
        assert_eq!((mtu.current(), mtu.due()), (1500, Time::FAR));
    }

    #[test]
    fn neither_a_dead_path_nor_loss_is_a_narrow_way() {
        let (mut mtu, mut now) = (Mtu::new(Time(0), 1500), Time(0));
        run(&mut mtu, &mut now, SEC, 1500);
        hole(&mut mtu, now, SEC);
        assert_eq!(mtu.due(), Time::FAR, "nothing arrived when they were lost");
        for i in 0..100 {
            mtu.on_lost(now, now + 2 * i, 1500);
            mtu.on_arrived(now, now + 2 * i, 100);
            if i % 4 == 0 {
                mtu.on_arrived(now, now + 2 * i + 1, 1500);
            }
        }
        assert_eq!(mtu.due(), Time::FAR, "one of five arrives");
    }
}
