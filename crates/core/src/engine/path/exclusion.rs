//! Whether a path is kept out of the bond, and how it comes back.
//!
//! A path that has been too late for [`ENTER_US`] is out. After a while it has to prove itself
//! under load, within a limit that is lower than the one for staying, and waits longer after each
//! failure. Who compares it with the other paths, and why, is told one level up.

use crate::time::{MS, SEC, Time};

/// Distance of judgements, microseconds.
pub const EVERY_US: u64 = 20 * MS;
/// How long a path has to be too late until it is excluded, microseconds.
const ENTER_US: u64 = 200 * MS;
/// So many times more slowly that is forgotten: a path that stalls for moments, again and again, is
/// too late as well.
const FORGET: u64 = 10;
/// How long a path that was late is out for the first time, microseconds; doubled each time.
const OUT_FIRST_US: u64 = 5 * SEC;
/// The same of a path that lost; half as much again each time: what it repeats costs nobody time.
const OUT_LOSSY_US: u64 = SEC;
/// So often that does not grow yet: what was a moment's trouble is over soon.
const LOSSY_SHORT: u32 = 3;
/// How long it is out at most, microseconds, and how often that grows.
const OUT_LAST_US: u64 = 320 * SEC;
const TIMES_MAX: u32 = 16;
/// How long it has to prove itself, microseconds.
const PROOF_US: u64 = 2 * SEC;
/// How long it takes at least to show that it no longer loses more than so much, microseconds and
/// percent.
const PROOF_CLEAN_US: u64 = 600 * MS;
const PROOF_CLEAN: u64 = 3;
/// How much of its allowed lateness it may show then, percent.
const PROOF_PERCENT: u64 = 60;
/// Loss that all of a window or two shows is this, microseconds: then it has failed.
const PROOF_USELESS_US: u64 = 800 * MS;
/// Loss that it may show then, when it was out for that, percent.
const PROOF_LOSS: u64 = 30;
/// A path that has been in use for this long after it came back is trusted again, microseconds.
const TRUSTED_US: u64 = 30 * SEC;

/// A path's standing, and since when.
#[derive(Debug)]
pub struct Exclusion {
    stage: Stage,
    since: Time,
    /// Time that the path has been too late, forgotten slowly when it is not, microseconds.
    too_late_us: u64,
    /// The worst lateness that was measured since the last judgement, microseconds.
    worst_us: u64,
    /// How often it has been out, until it was trusted again.
    times: u32,
    /// Whether it is out for what it loses.
    lossy: bool,
}

/// Where a path stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// In use.
    In,
    /// Excluded.
    Out,
    /// Excluded, and repeating what others carry, to see how late that comes.
    Proof,
}

/// What follows from a judgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Nothing changes.
    Stay,
    /// It begins to prove itself.
    Prove,
    /// It has become too costly.
    Exclude,
    /// It has proved itself.
    Readmit,
}

impl Exclusion {
    /// A path in use.
    pub fn new(now: Time) -> Exclusion {
        Exclusion {
            stage: Stage::In,
            since: now,
            too_late_us: 0,
            worst_us: 0,
            times: 0,
            lossy: false,
        }
    }

    /// Whether the path is proving itself.
    pub fn is_proving(&self) -> bool {
        self.stage == Stage::Proof
    }

    /// A packet has arrived `late_us` later than it would have on an idle path.
    pub fn on_delay(&mut self, late_us: u64) {
        self.worst_us = self.worst_us.max(late_us);
    }

    /// The worst lateness that was measured since the last judgement, microseconds.
    pub fn worst_us(&self) -> u64 {
        self.worst_us
    }

    /// The worst lateness has been taken into account.
    pub fn forget_worst(&mut self) {
        self.worst_us = 0;
    }

    /// It loses so much that it is excluded.
    pub fn on_lossy(&mut self, now: Time) {
        if self.stage == Stage::In && now.since(self.since) > TRUSTED_US {
            self.times = 0;
        }
        self.lossy = true;
        self.enter(now, Stage::Out);
    }

    fn out_us(&self) -> u64 {
        let times = self.times.min(TIMES_MAX);
        let us = match self.lossy {
            true => (LOSSY_SHORT..times).fold(OUT_LOSSY_US, |us, _| us + us / 2),
            false => OUT_FIRST_US << times,
        };
        us.min(OUT_LAST_US)
    }

    /// Judges a path that is late by `late_us` where `worth_us` would be acceptable; `loss` is what it
    /// has lost lately, percent, when that was known, and how long it has been of no use.
    pub fn judge(
        &mut self,
        now: Time,
        late_us: u64,
        worth_us: u64,
        loss: (u64, Time, u64),
    ) -> Judgement {
        let age = now.since(self.since);
        match self.stage {
            Stage::In => {
                if age > TRUSTED_US {
                    self.times = 0;
                }
                if late_us <= worth_us {
                    self.too_late_us = self.too_late_us.saturating_sub(EVERY_US / FORGET);
                    return Judgement::Stay;
                }
                self.too_late_us += EVERY_US;
                if self.too_late_us >= ENTER_US {
                    self.lossy = false;
                    self.enter(now, Stage::Out);
                    return Judgement::Exclude;
                }
            }
            Stage::Out if age > self.out_us() => {
                self.enter(now, Stage::Proof);
                return Judgement::Prove;
            }
            Stage::Out => {}
            Stage::Proof if late_us * 100 > worth_us * PROOF_PERCENT => self.fail(now),
            // Without load there is no proof.
            Stage::Proof if self.lossy && loss.1 < self.since + PROOF_CLEAN_US / 2 => {}
            Stage::Proof if self.lossy && age > PROOF_US && loss.0 > PROOF_LOSS => self.fail(now),
            Stage::Proof if self.lossy && loss.2 > PROOF_USELESS_US => self.fail(now),
            Stage::Proof
                if age > PROOF_US
                    || self.lossy && age > PROOF_CLEAN_US && loss.0 <= PROOF_CLEAN =>
            {
                self.times += 1;
                self.enter(now, Stage::In);
                return Judgement::Readmit;
            }
            Stage::Proof => {}
        }
        Judgement::Stay
    }

    fn fail(&mut self, now: Time) {
        self.times += 1;
        self.enter(now, Stage::Out);
    }

    fn enter(&mut self, now: Time, stage: Stage) {
        self.stage = stage;
        self.since = now;
        self.too_late_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges every EVERY_US for `lasts_us`; the judgements that were none of [`Judgement::Stay`].
    fn run(
        exclusion: &mut Exclusion,
        now: &mut Time,
        lasts_us: u64,
        late_us: u64,
    ) -> Vec<Judgement> {
        let until = *now + lasts_us;
        let mut judgements = Vec::new();
        while *now < until {
            *now = *now + EVERY_US;
            judgements.push(exclusion.judge(*now, late_us, 300 * MS, (0, *now, 0)));
        }
        judgements.retain(|v| !matches!(v, Judgement::Stay | Judgement::Prove));
        judgements
    }

    #[test]
    fn a_late_path_goes_out_and_comes_back_on_proof() {
        let (mut exclusion, mut now) = (Exclusion::new(Time(0)), Time(0));
        assert_eq!(run(&mut exclusion, &mut now, SEC, 300 * MS), [], "that much is worth it");
        assert_eq!(run(&mut exclusion, &mut now, SEC, 301 * MS), [Judgement::Exclude]);
        assert_eq!(
            run(&mut exclusion, &mut now, OUT_FIRST_US - SEC, 0),
            [],
            "looks good when idle"
        );
        assert_eq!(run(&mut exclusion, &mut now, PROOF_US + SEC, 100 * MS), [Judgement::Readmit]);
    }

    #[test]
    fn a_moment_is_no_reason() {
        let (mut exclusion, mut now) = (Exclusion::new(Time(0)), Time(0));
        for _ in 0..10 {
            assert_eq!(run(&mut exclusion, &mut now, ENTER_US / 2, SEC), []);
            assert_eq!(run(&mut exclusion, &mut now, 2 * SEC, 0), []);
        }
        let often = |exclusion: &mut _, now: &mut _| {
            let (late, good) =
                (run(exclusion, now, ENTER_US / 2, SEC), run(exclusion, now, ENTER_US / 2, 0));
            !late.is_empty() || !good.is_empty()
        };
        assert!((0..4).any(|_| often(&mut exclusion, &mut now)), "but many are");
    }

    #[test]
    fn the_waits_grow_while_the_proofs_fail() {
        let (mut exclusion, mut now) = (Exclusion::new(Time(0)), Time(0));
        assert_eq!(run(&mut exclusion, &mut now, SEC, SEC), [Judgement::Exclude]);
        assert_eq!(run(&mut exclusion, &mut now, 60 * SEC, SEC), []);
        assert!(exclusion.times >= 3, "{}", exclusion.times);
    }
}
