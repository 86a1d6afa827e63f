//! Paths that would cost the bond more than they give are excluded (state `Held`).
//!
//! Why: a path whose packets arrive late makes a bulk flow wait: the faster paths have to carry all
//! that comes before, so that much has to stand in the queue, and the flow's round trip grows by
//! as much. For a fifth of the bandwidth that is a bargain, for a hundredth it is not. The worst
//! are links that stall for moments: all that is behind waits for what is stuck in them.
//!
//! How: while packets wait, the lateness of each path behind the fastest is compared with what the
//! path's share of the bandwidth is worth ([`worth_us`]). A path that is too late for a while is
//! excluded (`path/exclusion.rs`): it is kept alive and measured, and carries nothing new. Later it has
//! to prove itself: it repeats packets that are on their way over the others, at full rate,
//! and comes back when these arrive in time. A path that is out looks like the best one, for its
//! queue is empty (the oscillation every 15 s of naive code): hence the proof under load, a limit
//! that is lower for coming back than for staying, and a longer wait after each failure.
//!
//! A path that loses most of what is sent is excluded likewise, beside others (`path/brown_out.rs`,
//! `path/rate/policed.rs`): small probes pass a policer, so it comes back by what it repeats, at the load
//! that it will carry. Packets that turn out to be late, not lost, bring it back sooner.
//!
//! Limits: the last path in use is never excluded, and a reserve is not judged.
//!
//! The numbers here and in `path/exclusion.rs` are tuned in the simulation (`tests/bench/bond --sim`,
//! `tests/sim`); the range around them was not swept. What they give for links drawn at random, and
//! which draws miss their goal: `poor_links` and `never_below` in tests/README.md.

use super::path::Path;
use super::path::exclusion::{EVERY_US, Judgement};
use super::path::state::Reason;
use super::{Engine, PathId};
use crate::time::{MS, SEC, Time};
use crate::wire::PATHS_MAX;

/// Lateness that costs nothing worth mentioning, microseconds.
const FREE_US: u64 = 150 * MS;
/// Lateness that doubling the bandwidth would be worth, beyond that, microseconds.
const SHARE_US: u64 = 4 * SEC;

/// Lateness that is acceptable of a path that adds `rate` to the `others`, microseconds.
fn worth_us(rate: u64, others: u64) -> u64 {
    FREE_US + rate * SHARE_US / others.max(1)
}

/// What a path is compared by.
#[derive(Clone, Copy, Debug)]
struct Seen {
    delay: i64,
    /// The longest delay that was measured lately.
    worst: i64,
    rate: u64,
    held: bool,
}

impl Engine {
    /// A path loses most of what is sent. Beside others it is excluded, and what is under way on it goes
    /// over those; where there are only reserves, they step in for it. Alone it is better than nothing.
    pub(super) fn exclude_lossy(&mut self, now: Time, id: PathId, percent: u64) {
        let others = || self.paths().filter(|p| p.id != id && p.health.is_usable());
        let used = others().any(|p| !p.is_reserve() && !p.health.is_held());
        let any = others().next().is_some();
        let Some(path) = self.path(id).filter(|p| p.health.is_usable()) else { return };
        if path.health.is_held() {
            return;
        }
        if !used || path.is_reserve() {
            if any {
                self.change(now, id, |path| path.health.on_brown_out(now, percent));
            }
            return;
        }
        self.change(now, id, |path| {
            path.exclusion.on_lossy(now);
            path.health.exclude(now, Reason::Lossy(percent));
        });
        self.path_lost_at = Some(now);
        let Engine { paths, unacked, .. } = self;
        if let Some(path) = paths.get_mut(id.index()).and_then(|p| p.as_deref_mut()) {
            path.give_up(now, |sent| unacked.on_lost(sent));
        }
    }

    /// A path is used again. Of one that was away for its losses the others' flows have grown small:
    /// as after any outage the rate is searched for, which gives them time to grow.
    pub(super) fn readmit(&mut self, now: Time, id: PathId) {
        self.change(now, id, |path| {
            if path.health.is_lossy() {
                path.rate.restart(now);
            }
            path.health.readmit(now);
        });
    }

    /// Judges the paths, while there is something to send.
    pub(super) fn judge_paths(&mut self, now: Time) {
        if now.since(self.judged_at) < EVERY_US {
            return;
        }
        self.judged_at = now;
        let zero = self.paths().filter_map(|p| p.owd.base()).min().unwrap_or(0);
        let mut seen = [None; PATHS_MAX];
        let judged = |p: &&Path| p.health.is_usable() && !p.is_reserve();
        for path in self.paths().filter(judged) {
            seen[path.id.index()] = Some(Seen {
                delay: path.delay(now, zero) + path.stall_us(now) as i64,
                worst: path.owd.base().unwrap_or(zero) + path.exclusion.worst_us() as i64,
                rate: path.rate.bandwidth(),
                held: path.health.is_held(),
            });
        }
        let used = || seen.iter().flatten().filter(|s| !s.held);
        let Some(least) = used().map(|s| s.delay).min() else { return };
        for (index, own) in seen.iter().enumerate() {
            let Some(own) = own else { continue };
            let others = used().filter(|s| s.delay < own.delay).map(|s| s.rate).sum();
            let late_us = (own.delay.max(own.worst) - least).max(0) as u64;
            let worth_us = worth_us(own.rate, others);
            let id = PathId(index as u8);
            let Some(path) = self.path_mut(id) else { continue };
            path.exclusion.forget_worst();
            // Until its rate is found a path carries only repeats.
            if !path.rate.is_settled() && !own.held {
                continue;
            }
            if own.held && !path.exclusion.is_proving() {
                // What little it carries says nothing about its rate.
                path.rate.on_limited(path.sent.in_flight());
            }
            let (percent, known) = path.rate.loss();
            let loss = (percent, known, path.rate.useless_us(now));
            match path.exclusion.judge(now, late_us, worth_us, loss) {
                Judgement::Stay => {}
                // What is lost at load has to be lost again, or not.
                Judgement::Prove if path.health.is_lossy() => {
                    path.rate.restart(now);
                    path.mtu.look_again(now);
                    // Flows may grow for what it will carry.
                    self.path_lost_at = Some(now);
                }
                Judgement::Prove => {}
                Judgement::Exclude => {
                    let reason = Reason::Late(late_us / MS);
                    self.change(now, id, |path| path.health.exclude(now, reason));
                }
                Judgement::Readmit => self.readmit(now, id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lateness_is_worth() {
        assert_eq!(worth_us(0, 1000), FREE_US);
        assert_eq!(worth_us(250, 1000), FREE_US + SEC);
    }
}
