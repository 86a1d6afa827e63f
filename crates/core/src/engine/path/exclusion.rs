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
/// How long a path is out for the first time, and at most, microseconds; doubled each time.
const OUT_FIRST_US: u64 = 5 * SEC;
const OUT_LAST_US: u64 = 320 * SEC;
/// How long it has to prove itself, microseconds.
const PROOF_US: u64 = 2 * SEC;
/// How much of its allowed lateness it may show then, percent.
const PROOF_PERCENT: u64 = 60;
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
    /// How long it will be out the next time.
    out_us: u64,
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
            out_us: OUT_FIRST_US,
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

    /// Judges a path that is late by `late_us` where `worth_us` would be acceptable.
    pub fn judge(&mut self, now: Time, late_us: u64, worth_us: u64) -> Judgement {
        let age = now.since(self.since);
        match self.stage {
            Stage::In => {
                if age > TRUSTED_US {
                    self.out_us = OUT_FIRST_US;
                }
                if late_us <= worth_us {
                    self.too_late_us = self.too_late_us.saturating_sub(EVERY_US / FORGET);
                    return Judgement::Stay;
                }
                self.too_late_us += EVERY_US;
                if self.too_late_us >= ENTER_US {
                    self.enter(now, Stage::Out);
                    return Judgement::Exclude;
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
                return Judgement::Readmit;
            }
            Stage::Proof => {}
        }
        Judgement::Stay
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
            judgements.push(exclusion.judge(*now, late_us, 300 * MS));
        }
        judgements.retain(|&v| v != Judgement::Stay);
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
        assert!(exclusion.out_us >= 8 * OUT_FIRST_US, "{}", exclusion.out_us);
    }
}
