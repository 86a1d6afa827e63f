//! Path MTU discovery with probes of our own (DPLPMTUD, RFC 8899): ICMP is neither needed nor
//! believed.
//!
//! The link's MTU is tried first, then the sizes that are common in access networks, in falling
//! order; each is given up after three unanswered probes. Until one is confirmed, 1280 bytes are
//! used, which IPv6 guarantees. A search that ends below the link's MTU may have met a burst of
//! loss: it is repeated soon, and then ever later.

use crate::time::{SEC, Time};

/// What every path carries (RFC 8200 §5).
pub const BASE: u16 = 1280;
/// Probes of one size before it is given up (RFC 8899 §5.1.2, MAX_PROBES).
const TRIES: u8 = 3;
/// After this time the search begins anew (RFC 8899 §5.1.1, PMTU_RAISE_TIMER), and for the first
/// time after one that has failed.
const RAISE_US: u64 = 600 * SEC;
const AGAIN_US: u64 = 5 * SEC;
/// Common sizes: PPPoE, VXLAN and tunnels of access networks, LTE.
const COMMON: [u16; 9] = [1492, 1480, 1472, 1460, 1440, 1420, 1400, 1360, 1320];

/// The search of one path.
#[derive(Debug)]
pub struct Mtu {
    link: u16,
    current: u16,
    /// Size that is being tried; `None` when the search is over.
    trying: Option<u16>,
    tries: u8,
    next: Time,
    /// Wait for the next search.
    again: u64,
    /// Time of the probe that is out, as its ping says it.
    out: Option<u32>,
}

impl Mtu {
    /// A path over a link of `link` bytes.
    pub fn new(now: Time, link: u16) -> Mtu {
        let link = link.max(BASE);
        let trying = Some(link).filter(|&l| l > BASE);
        Mtu { link, current: BASE, trying, tries: 0, next: now, again: AGAIN_US, out: None }
    }

    /// The largest IP packet that is known to pass, bytes.
    pub fn current(&self) -> u16 {
        self.current
    }

    /// What the path may turn out to carry: the size being tried, else the current one.
    pub fn hoped(&self) -> u16 {
        self.trying.unwrap_or(self.current)
    }

    /// When the next probe is due.
    pub fn due(&self) -> Time {
        self.next
    }

    /// The size to probe now; `sent` is the time written into the ping.
    pub fn probe(&mut self, now: Time, sent: u32, rtt_us: u64) -> Option<u16> {
        if now < self.next {
            return None;
        }
        if self.trying.is_none() {
            // Time to look again whether the path has become wider.
            self.trying = Some(self.link).filter(|&l| l > self.current);
            self.tries = 0;
        }
        if self.tries >= TRIES {
            let below = self.trying.unwrap_or(0);
            self.trying = COMMON.into_iter().find(|&s| s < below && s > self.current);
            self.tries = 0;
        }
        let Some(size) = self.trying else {
            self.next = now + if self.current < self.link { self.again } else { RAISE_US };
            self.again = (2 * self.again).min(RAISE_US);
            return None;
        };
        self.tries += 1;
        self.next = now + rtt_us * 3 / 2 + 20_000;
        self.out = Some(sent);
        Some(size)
    }

    /// The ping with time `echo` was answered; whether the MTU has changed.
    pub fn confirm(&mut self, now: Time, echo: u32) -> bool {
        let (Some(size), true) = (self.trying, self.out == Some(echo)) else { return false };
        self.current = size;
        self.trying = None;
        self.tries = 0;
        self.out = None;
        self.next = now + if size < self.link { self.again } else { RAISE_US };
        true
    }

    /// The address has changed: the way may be another.
    pub fn restart(&mut self, now: Time) {
        *self = Mtu::new(now, self.link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(link: u16, passes: u16) -> u16 {
        let mut mtu = Mtu::new(Time(0), link);
        for step in 0..200u32 {
            let now = Time(u64::from(step) * 100_000);
            if mtu.probe(now, step, 40_000).is_some_and(|size| size <= passes) {
                mtu.confirm(now, step);
            }
        }
        mtu.current()
    }

    #[test]
    fn finds_the_link_mtu_and_common_smaller_ones() {
        assert_eq!(search(1500, 1500), 1500);
        assert_eq!(search(1500, 1492), 1492);
        assert_eq!(search(1500, 1430), 1420);
        assert_eq!(search(1500, 1280), 1280);
        assert_eq!(search(1280, 1280), 1280);
        assert_eq!(search(900, 1500), 1280, "below the minimum of IPv6 there is no tunnel");
    }

    #[test]
    fn a_search_that_met_a_burst_of_loss_is_repeated_soon() {
        let mut mtu = Mtu::new(Time(0), 1500);
        let (mut now, mut step) = (Time(0), 0);
        while mtu.current() < 1500 {
            step += 1;
            now = mtu.due();
            if mtu.probe(now, step, 40_000).is_some() && now > Time(8 * SEC) {
                mtu.confirm(now, step);
            }
        }
        assert!(now < Time(20 * SEC), "{now:?}");
    }

    #[test]
    fn an_old_answer_confirms_nothing() {
        let mut mtu = Mtu::new(Time(0), 1500);
        mtu.probe(Time(0), 7, 40_000);
        assert!(!mtu.confirm(Time(1), 6));
        assert!(mtu.confirm(Time(1), 7));
    }
}
