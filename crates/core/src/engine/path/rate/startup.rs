//! The search for the rate: doubling each round until it stops growing (draft-ietf-ccwg-bbr §5.3.1).

use super::params::*;
use super::policed::Policed;
use super::{Observed, Phase, Rate};
use crate::time::Time;

impl Rate {
    /// A queue ends the search.
    pub(super) fn steer_startup(&mut self, at: &Observed<'_>) {
        if at.queue > at.limit && self.latest > 0 {
            self.note_filled();
            self.enter(at.now, Phase::Drain);
        }
    }

    /// A round trip's worth of data has been acknowledged.
    pub(super) fn on_round(&mut self, now: Time) {
        if self.phase != Phase::Startup || self.latest == 0 {
            return;
        }
        let bw = self.bandwidth();
        if bw * 100 >= self.full * FULL_GROWTH {
            self.full = bw;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += u32::from(!self.limited);
        // A link without a queue worth the name drops what is too much (a policer, a small buffer).
        let round = self.delivered - self.round_begin;
        let lossy = round > INITIAL_WINDOW && self.round_lost * 100 > round * STARTUP_LOSS;
        if self.full_rounds >= FULL_ROUNDS || lossy {
            self.note_filled();
            self.enter(now, Phase::Drain);
        }
    }

    /// The path comes back after an interruption: what it carried is a guess now, so begin at a part of it.
    pub fn restart(&mut self, now: Time) {
        let part = self.bandwidth() * RESTART_PERCENT / 100;
        let (delivered, max, carried) = (self.delivered, self.max, self.carried);
        let known = part > 0;
        self.interrupt(now, 0);
        let policed = core::mem::replace(&mut self.policed, Policed::new(now));
        let anew = Rate::new(now, max);
        // What was under way is no proof of what comes.
        let limited_until = delivered;
        *self = Rate {
            delivered,
            limited_until,
            filter: [part, 0],
            full: part,
            known,
            policed,
            carried,
            ..anew
        };
    }
}
