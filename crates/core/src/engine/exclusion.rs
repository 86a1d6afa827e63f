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
            if !path.rate.is_settled() {
                continue;
            }
            match path.exclusion.judge(now, late_us, worth_us) {
                Judgement::Stay => {}
                Judgement::Exclude => {
                    let reason = Reason::Late(late_us / MS);
                    self.change(now, id, |path| path.health.exclude(now, reason));
                }
                Judgement::Readmit => self.change(now, id, |path| path.health.readmit(now)),
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
