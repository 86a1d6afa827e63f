//! Paths that would cost the bond more than they give are held out.
//!
//! Why: a path whose packets arrive late makes a bulk flow wait: the faster paths have to carry all
//! that comes before, so that much has to stand in the queue, and the flow's round trip grows by
//! as much. For a fifth of the bandwidth that is a bargain, for a hundredth it is not. The worst
//! are links that stall for moments: all that is behind waits for what is stuck in them.
//!
//! How: while packets wait, the lateness of each path behind the fastest is compared with what the
//! path's share of the bandwidth is worth ([`worth_us`]). A path that is too late for
//! [`ENTER_US`] is held out: it is kept alive and measured, and carries nothing new. After a while
//! it has to prove itself: it repeats packets that are on their way over the others, at full rate,
//! and comes back when these arrive in time. A path that is out looks like the best one, for its
//! queue is empty (the oscillation every 15 s of naive code): hence the proof under load, a limit
//! that is lower for coming back than for staying, and a longer wait after each failure.
//!
//! Limits: the last path in use is never held out, and a reserve is not judged.

use super::path::Path;
use super::path::state::Reason;
use super::{Engine, PathId};
use crate::time::{MS, SEC, Time};
use crate::wire::PATHS_MAX;

/// Distance of judgements.
const EVERY_US: u64 = 20 * MS;
/// Lateness that costs nothing worth mentioning.
const FREE_US: u64 = 150 * MS;
/// Lateness that doubling the bandwidth would be worth, beyond that.
const SHARE_US: u64 = 4 * SEC;
/// How long a path has to be too late until it is held out, and how slowly that is forgotten: a
/// path that stalls for moments, again and again, is too late as well.
const ENTER_US: u64 = 200 * MS;
const FORGET: u64 = 10;
/// How long a path is held out for the first time, and at most.
const OUT_FIRST_US: u64 = 5 * SEC;
const OUT_LAST_US: u64 = 320 * SEC;
/// How long it has to prove itself, and how much of its allowed lateness it may show then, percent.
const PROOF_US: u64 = 2 * SEC;
const PROOF_PERCENT: u64 = 60;
/// A path that has been in use for this long after it came back is trusted again.
const TRUSTED_US: u64 = 30 * SEC;

/// What the guard knows of a path.
#[derive(Debug)]
pub struct Guard {
    stage: Stage,
    since: Time,
    /// Time that the path has been too late, forgotten slowly when it is not, microseconds.
    too_late_us: u64,
    /// The worst lateness that was measured since the last judgement, microseconds.
    worst_us: u64,
    /// How long it will be out the next time.
    out_us: u64,
}

/// Where a path stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// In use.
    In,
    /// Held out.
    Out,
    /// Held out, and repeating what others carry, to see how late that comes.
    Proof,
}

/// What follows from a judgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing changes.
    Stay,
    /// It has become too costly.
    HoldOut,
    /// It has proved itself.
    Readmit,
}

impl Guard {
    /// A path in use.
    pub fn new(now: Time) -> Guard {
        Guard { stage: Stage::In, since: now, too_late_us: 0, worst_us: 0, out_us: OUT_FIRST_US }
    }

    /// Whether the path is proving itself.
    pub fn is_proving(&self) -> bool {
        self.stage == Stage::Proof
    }

    /// A packet has arrived `late_us` later than it would have on an idle path.
    pub fn on_delay(&mut self, late_us: u64) {
        self.worst_us = self.worst_us.max(late_us);
    }

    /// Judges a path that is late by `late_us` where `worth_us` would be acceptable.
    pub fn judge(&mut self, now: Time, late_us: u64, worth_us: u64) -> Verdict {
        let age = now.since(self.since);
        match self.stage {
            Stage::In => {
                if age > TRUSTED_US {
                    self.out_us = OUT_FIRST_US;
                }
                if late_us <= worth_us {
                    self.too_late_us = self.too_late_us.saturating_sub(EVERY_US / FORGET);
                    return Verdict::Stay;
                }
                self.too_late_us += EVERY_US;
                if self.too_late_us >= ENTER_US {
                    self.enter(now, Stage::Out);
                    return Verdict::HoldOut;
                }
            }
            Stage::Out if age > self.out_us => self.enter(now, Stage::Proof),
            Stage::Out => {}
            Stage::Proof if late_us * 100 > worth_us * PROOF_PERCENT => {
                self.out_us = (2 * self.out_us).min(OUT_LAST_US);
                self.enter(now, Stage::Out);
            }
            Stage::Proof if age > PROOF_US => {
                self.out_us = (2 * self.out_us).min(OUT_LAST_US);
                self.enter(now, Stage::In);
                return Verdict::Readmit;
            }
            Stage::Proof => {}
        }
        Verdict::Stay
    }

    fn enter(&mut self, now: Time, stage: Stage) {
        self.stage = stage;
        self.since = now;
        self.too_late_us = 0;
    }
}

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
    pub(super) fn guard(&mut self, now: Time) {
        if now.since(self.guarded_at) < EVERY_US {
            return;
        }
        self.guarded_at = now;
        let zero = self.paths().filter_map(|p| p.owd.base()).min().unwrap_or(0);
        let mut seen = [None; PATHS_MAX];
        let judged = |p: &&Path| p.health.is_usable() && !p.is_reserve();
        for path in self.paths().filter(judged) {
            seen[path.id.index()] = Some(Seen {
                delay: path.delay(now, zero) + path.stall_us(now) as i64,
                worst: path.owd.base().unwrap_or(zero) + path.guard.worst_us as i64,
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
            path.guard.worst_us = 0;
            // Until its rate is found a path carries only repeats.
            if !path.rate.is_settled() {
                continue;
            }
            match path.guard.judge(now, late_us, worth_us) {
                Verdict::Stay => {}
                Verdict::HoldOut => {
                    let reason = Reason::Late(late_us / MS);
                    self.change(now, id, |path| path.health.hold_out(now, reason));
                }
                Verdict::Readmit => self.change(now, id, |path| path.health.readmit(now)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges every EVERY_US for `lasts_us`; the verdicts that were none of [`Verdict::Stay`].
    fn run(guard: &mut Guard, now: &mut Time, lasts_us: u64, late_us: u64) -> Vec<Verdict> {
        let until = *now + lasts_us;
        let mut verdicts = Vec::new();
        while *now < until {
            *now = *now + EVERY_US;
            verdicts.push(guard.judge(*now, late_us, 300 * MS));
        }
        verdicts.retain(|&v| v != Verdict::Stay);
        verdicts
    }

    #[test]
    fn a_late_path_goes_out_and_comes_back_on_proof() {
        let (mut guard, mut now) = (Guard::new(Time(0)), Time(0));
        assert_eq!(run(&mut guard, &mut now, SEC, 300 * MS), [], "that much is worth it");
        assert_eq!(run(&mut guard, &mut now, SEC, 301 * MS), [Verdict::HoldOut]);
        assert_eq!(run(&mut guard, &mut now, OUT_FIRST_US - SEC, 0), [], "looks good when idle");
        assert_eq!(run(&mut guard, &mut now, PROOF_US + SEC, 100 * MS), [Verdict::Readmit]);
    }

    #[test]
    fn a_moment_is_no_reason() {
        let (mut guard, mut now) = (Guard::new(Time(0)), Time(0));
        for _ in 0..10 {
            assert_eq!(run(&mut guard, &mut now, ENTER_US / 2, SEC), []);
            assert_eq!(run(&mut guard, &mut now, 2 * SEC, 0), []);
        }
        let often = |guard: &mut _, now: &mut _| {
            let (late, good) =
                (run(guard, now, ENTER_US / 2, SEC), run(guard, now, ENTER_US / 2, 0));
            !late.is_empty() || !good.is_empty()
        };
        assert!((0..4).any(|_| often(&mut guard, &mut now)), "but many are");
    }

    #[test]
    fn the_waits_grow_while_the_proofs_fail() {
        let (mut guard, mut now) = (Guard::new(Time(0)), Time(0));
        assert_eq!(run(&mut guard, &mut now, SEC, SEC), [Verdict::HoldOut]);
        assert_eq!(run(&mut guard, &mut now, 60 * SEC, SEC), []);
        assert!(guard.out_us >= 8 * OUT_FIRST_US, "{}", guard.out_us);
    }

    #[test]
    fn what_lateness_is_worth() {
        assert_eq!(worth_us(0, 1000), FREE_US);
        assert_eq!(worth_us(250, 1000), FREE_US + SEC);
    }
}
