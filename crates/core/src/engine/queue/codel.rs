//! CoDel (RFC 8289): keeps the standing queue of one flow short.
//!
//! Why and how: RFC 8289 §3. A packet that has waited for longer than the target, while every one
//! within an interval has, is dropped or marked, and then ever more often until the wait is short.
//! Target and interval follow the paths: see [`Aqm::new`].

use crate::time::{MS, Time};

/// Backlog that is none: one Ethernet frame (`maxpacket_` of RFC 8289 §5), bytes.
const MTU: usize = 1514;
/// CoDel's target for a short path. Above RFC 8289's 5 ms: flows do not wait in each other's
/// queue, so this delays only the flow that builds it, and one CUBIC flow needs some to keep a
/// path full.
const TARGET_MIN_US: u64 = 15 * MS;
/// Further wait that is tolerated while the rate of a path is still being searched for: a drop
/// then would end the flow's own slow start long before the path is full.
const SEARCH_US: u64 = 150 * MS;
/// CoDel's interval for a short path (RFC 8289 §4.2).
const INTERVAL_MIN_US: u64 = 100 * MS;

/// CoDel's state of one flow (RFC 8289 §5).
#[derive(Debug, Default)]
pub struct Codel {
    first_above: Option<Time>,
    dropping: bool,
    drop_next: Time,
    count: u32,
    last_count: u32,
}

/// CoDel's two parameters, as the paths ask for them.
#[derive(Clone, Copy, Debug)]
pub struct Aqm {
    /// Wait that a flow may stand in, microseconds.
    pub target_us: u64,
    /// Time to observe before acting: about one round trip, microseconds.
    pub interval_us: u64,
}

impl Aqm {
    /// For paths of which the longest has round trip `rtt_us`, which need `ahead_us` of wait to be
    /// served in order, and where a repair delays what follows by `repair_us` every now and then.
    /// `searching` says that the rate of one is not known yet.
    ///
    /// CUBIC gives up three tenths of its window for one drop: the path stays full when
    /// the queue had three sevenths of what was in flight, repairs included. After a repair all that has
    /// waited comes in one burst: that is no standing queue, hence the longer interval.
    pub fn new(rtt_us: u64, ahead_us: u64, repair_us: u64, searching: bool) -> Aqm {
        let search_us = if searching { SEARCH_US } else { 0 };
        Aqm {
            target_us: TARGET_MIN_US.max((rtt_us + repair_us) / 2) + ahead_us + search_us,
            interval_us: INTERVAL_MIN_US.max(3 * rtt_us + ahead_us + 3 * repair_us),
        }
    }
}

impl Codel {
    /// Whether the packet at the head, that has waited for `sojourn_us`, is to be dropped or
    /// marked.
    pub fn acts(&mut self, now: Time, sojourn_us: u64, backlog: usize, aqm: Aqm) -> bool {
        if sojourn_us < aqm.target_us || backlog <= MTU {
            self.first_above = None;
            self.dropping = false;
            return false;
        }
        let first_above = *self.first_above.get_or_insert(now + aqm.interval_us);
        if self.dropping {
            if now < self.drop_next {
                return false;
            }
            self.count += 1;
            self.drop_next = self.drop_next + control_law(aqm.interval_us, self.count);
            return true;
        }
        if now < first_above {
            return false;
        }
        self.dropping = true;
        // Resume near the rate at which the queue was last under control (RFC 8289 §5.4).
        let recent = now.since(self.drop_next) < 16 * aqm.interval_us;
        let delta = self.count.saturating_sub(self.last_count);
        self.count = if recent && delta > 1 { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = now + control_law(aqm.interval_us, self.count);
        true
    }
}

/// Time to the next drop (RFC 8289 §3.3).
fn control_law(interval_us: u64, count: u32) -> u64 {
    interval_us * 1024 / u64::from(count).saturating_mul(1024 * 1024).isqrt().max(1)
}
