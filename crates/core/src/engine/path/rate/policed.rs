//! Loss that has no queue before it: a policer, or a medium that loses.
//!
//! Why: a policer drops what is too much at once. There is no delay to see, the bursts that it lets
//! through look like a rate that it does not have, and a share of what is sent is lost for ever.
//!
//! How: losses are counted over windows of some round trips. When a large part is lost while no
//! queue stands, the rate at which the rest arrived becomes an upper bound. If that ends the loss, it
//! was a policer, or a bad moment that is over: a machine that gets no processor time drops what
//! arrives, too. So the bound is soon tried: it is raised by a step, and by larger ones as long as they
//! go well, each for a window that uses it. Only a raise that is lost says that there is a policer: then
//! the bound rests, for twice as long each time. If the bound does not end the loss, the medium loses,
//! whatever is sent: the bound is taken off, the former estimate comes back, and the question rests for
//! a wait of its own.
//!
//! Limits: where a queue stands, overflow is no policer. A policer that takes less than
//! [`LOSS_PERCENT`] goes unnoticed: the estimate itself follows what arrives. A bad moment in which
//! several raises are lost makes the bound rest for seconds after it.

use super::Rate;
use super::params::*;
use crate::time::Time;

/// What is known of losses that no queue explains.
#[derive(Debug)]
pub(super) struct Policed {
    /// When the present window began or will begin, and what had been delivered then.
    since: Time,
    begin: u64,
    lost: u64,
    /// Whether a queue has stood in it.
    queued: bool,
    /// Loss of the last window, percent, its end, and since when it has been of no use to anybody.
    percent: u64,
    at: Time,
    useless_since: Option<Time>,
    /// Upper bound of the rate, bytes per second; 0 for none.
    cap: u64,
    /// The bound before a raise that is being tried, or 0; how many in a row have gone well, and the
    /// bound before those.
    raised_from: u64,
    raises: u32,
    base: u64,
    raised_at: Time,
    /// How often in a row the bound was lowered, the loss before, and the estimate then.
    lowered: u32,
    percent_before: u64,
    rate_before: u64,
    /// When the bound was set or a raise was lost, and how long it is not raised then.
    changed_at: Time,
    wait_us: u64,
    /// When a bound was taken off as of no use, and how long none is set then.
    lifted_at: Option<Time>,
    rest_us: u64,
}

impl Policed {
    pub(super) fn new(now: Time) -> Policed {
        Policed {
            since: now,
            begin: 0,
            lost: 0,
            queued: false,
            percent: 0,
            at: now,
            useless_since: None,
            cap: 0,
            raised_from: 0,
            raises: 0,
            base: 0,
            raised_at: Time::ZERO,
            lowered: 0,
            percent_before: 0,
            rate_before: 0,
            changed_at: Time::ZERO,
            wait_us: RAISE_SOON_US,
            lifted_at: None,
            rest_us: ASK_FIRST_US,
        }
    }

    /// The upper bound, if there is one.
    pub(super) fn cap(&self) -> Option<u64> {
        (self.cap > 0).then_some(self.cap)
    }

    /// `bytes` were found to be lost.
    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// The next window begins at `since`.
    fn renew(&mut self, since: Time, delivered: u64) {
        (self.since, self.begin, self.lost, self.queued) = (since, delivered, 0, false);
    }

    /// A raise was lost: the next one waits longer.
    fn fail(&mut self) {
        (self.raised_from, self.raises) = (0, 0);
        self.wait_us = (2 * self.wait_us).min(RAISE_LAST_US);
    }
}

impl Rate {
    /// `bytes` that counted as lost have come late.
    pub fn on_found(&mut self, bytes: u64) {
        self.policed.lost = self.policed.lost.saturating_sub(bytes);
    }

    /// What is lost now, and in the next two round trips, has another reason.
    pub fn excuse_losses(&mut self, now: Time, rtt_us: u64) {
        self.policed.renew(now + 2 * rtt_us, self.delivered);
        if self.policed.lowered > 0 {
            self.lift_cap(now);
        }
    }

    /// The path is out of use, or was: what is lost meanwhile says nothing.
    pub fn interrupt(&mut self, now: Time, rtt_us: u64) {
        self.excuse_losses(now, rtt_us);
        (self.policed.percent, self.policed.useless_since) = (0, None);
    }

    /// Loss of the last window, percent, and when that ended.
    pub fn loss(&self) -> (u64, Time) {
        (self.policed.percent, self.policed.at)
    }

    /// For how long so much has been lost that the path is of no use beside others, microseconds.
    pub fn useless_us(&self, now: Time) -> u64 {
        self.policed.useless_since.map_or(0, |t| now.since(t))
    }

    /// Whether more than the bound is being tried: what is lost then may have been too much.
    pub fn is_raising(&self, now: Time) -> bool {
        self.policed.raised_from > 0 && now.since(self.policed.raised_at) < WINDOW_LAST_US
    }

    /// Looks at the losses of the window when it is over. `queued` says whether a queue stands.
    pub(super) fn watch_policer(&mut self, now: Time, rtt_us: u64, queued: bool) {
        let (delivered, policed) = (self.delivered, &mut self.policed);
        if now < policed.since {
            return policed.renew(policed.since, delivered);
        }
        policed.queued |= queued;
        let span = now.since(policed.since);
        if span < (WINDOW_ROUNDS * rtt_us).max(WINDOW_US) {
            return;
        }
        let arrived = delivered - policed.begin;
        let sum = arrived + policed.lost;
        let rate = arrived * 1_000_000 / span;
        let rested = now.since(policed.changed_at) > policed.wait_us;
        let raise =
            policed.cap > 0 && rested && !self.limited && rate * 100 > policed.cap * BINDS_PERCENT;
        if sum < WINDOW_BYTES {
            if raise && policed.lost == 0 {
                // A low bound lets through no more.
                self.raise_cap(now, rtt_us);
            } else if span > WINDOW_LAST_US {
                policed.percent = 0;
                policed.renew(now, delivered);
            }
            return;
        }
        let percent = policed.lost * 100 / sum;
        (policed.percent, policed.at) = (percent, now);
        if percent < USELESS_PERCENT {
            policed.useless_since = None;
        } else {
            policed.useless_since.get_or_insert(policed.since);
        }
        let queued = policed.queued;
        policed.renew(now, delivered);
        if queued && policed.cap == 0 {
            return;
        }
        let asks = policed.lifted_at.is_none_or(|t| now.since(t) > policed.rest_us);
        let most = if policed.cap > 0 { RELAPSE_PERCENT } else { LOSS_PERCENT };
        if percent >= most && (policed.cap > 0 || asks) {
            self.lower_cap(now, rtt_us, percent, rate);
        } else if self.policed.cap > 0 {
            self.policed.lowered = 0;
            if raise {
                self.raise_cap(now, rtt_us);
            }
        }
    }

    /// Much is lost: only as much as arrives is sent, unless that has been tried in vain.
    fn lower_cap(&mut self, now: Time, rtt_us: u64, percent: u64, rate: u64) {
        let bandwidth = self.bandwidth();
        let policed = &mut self.policed;
        policed.changed_at = now;
        policed.renew(now + rtt_us, self.delivered);
        if policed.lowered == 0 {
            (policed.percent_before, policed.rate_before) = (percent, bandwidth);
        }
        if policed.raised_from > 0 {
            policed.cap = rate.clamp(policed.base, policed.raised_from);
            policed.fail();
        } else if policed.lowered >= LOWERED_MAX && 2 * percent > policed.percent_before {
            // Sending less does not help.
            policed.rest_us = (2 * policed.rest_us).min(ASK_LAST_US);
            policed.lifted_at = Some(now);
            self.lift_cap(now);
            return;
        } else {
            policed.lowered += 1;
            policed.cap = rate.max(MIN_WINDOW);
        }
        let cap = self.policed.cap;
        self.filter = [cap.min(bandwidth), 0];
        self.filter_since = now;
    }

    /// Takes the bound off: it was set in error.
    fn lift_cap(&mut self, now: Time) {
        self.filter = [self.policed.rate_before, 0];
        self.filter_since = now;
        (self.policed.cap, self.policed.lowered) = (0, 0);
        (self.policed.raised_from, self.policed.raises) = (0, 0);
    }

    fn raise_cap(&mut self, now: Time, rtt_us: u64) {
        let policed = &mut self.policed;
        if policed.raised_from > 0 {
            policed.raises += 1;
            policed.wait_us = (policed.wait_us / 2).max(RAISE_SOON_US);
        } else {
            policed.base = policed.cap;
        }
        (policed.raised_from, policed.raised_at) = (policed.cap, now);
        let percent = match policed.raises {
            0 => RAISE_PERCENT,
            1 => RAISE_AGAIN_PERCENT,
            _ => RAISE_MORE_PERCENT,
        };
        policed.cap = policed.cap * percent / 100;
        policed.renew(now + rtt_us, self.delivered);
    }
}
