//! Which first message of a handshake is answered.
//!
//! Why: a recorded INIT is authentic for ever. Answering it again would cost a handshake each
//! time and put a session in place that its peer knows nothing of. A timestamp that must grow
//! stops that, but a router without a battery-backed clock boots years in the past: after a power
//! cut it would be locked out until it learns the time, and it may need the tunnel to learn it.
//!
//! How: the guard of a peer knows, authenticated by the handshake, the [`Stamp`] of each INIT.
//!
//! * The one that was answered last comes again: the same INIT went out over several paths, or
//!   the answer was lost. [`Verdict::Duplicate`]: send the same answer again.
//! * The time must be newer than the newest one of the same run of the peer's program, or, for
//!   another run, newer than every one seen. A router whose clock is wrong thus goes on
//!   rekeying, while the recordings of its earlier runs stay refused.
//! * An older one is [`Verdict::Old`]: its sender is asked to say it again with a nonce (`retry`), and
//!   with that it is accepted, whatever its clock says. A recording cannot.
//!
//! Limits: the guard forgets with the program. It remembers the last [`REMEMBERED`] ephemeral keys, so
//! that of INITs with the same nonce each is accepted once.

use std::collections::VecDeque;

/// How many answered INITs are remembered; 512 bytes.
pub const REMEMBERED: usize = 16;

/// What sets one INIT apart from every other; all of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The initiator's ephemeral public key, new for every INIT.
    pub ephemeral: [u8; 32],
    /// The initiator's clock, microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// A random number of the initiator's program, new at each start.
    pub instance: u64,
}

/// What to do with an INIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Answer it, and say so with [`InitGuard::answered`].
    Accept,
    /// It is the one that was answered last: send the same answer again.
    Duplicate,
    /// Older than one that was answered: a recording, or a wrong clock. Ask for it again, with
    /// [`InitGuard::state`] in the nonce.
    Old,
    /// Answered before: drop it.
    Stale,
}

/// The INITs of one peer that were answered.
#[derive(Clone, Debug, Default)]
pub struct InitGuard {
    /// The newest timestamp of every run of the peer's program.
    greatest_us: Option<u64>,
    /// The run that was answered last, and its newest timestamp.
    current: Option<(u64, u64)>,
    /// The ephemeral keys of the last INITs, the newest last. A peer that never came needs no room.
    ephemerals: VecDeque<[u8; 32]>,
}

impl InitGuard {
    /// The guard of a peer that has not been heard of.
    pub fn new() -> InitGuard {
        InitGuard::default()
    }

    /// Judges an INIT; `fresh` says that it has shown a nonce which was made after [`answered`] was last
    /// called.
    ///
    /// Changes nothing, because the preshared key is not checked yet: only [`answered`] does.
    ///
    /// [`answered`]: Self::answered
    pub fn judge(&self, stamp: &Stamp, fresh: bool) -> Verdict {
        if self.ephemerals.back() == Some(&stamp.ephemeral) {
            return Verdict::Duplicate;
        }
        if self.ephemerals.contains(&stamp.ephemeral) {
            return Verdict::Stale;
        }
        let newest_us = match self.current {
            Some((instance, newest_us)) if instance == stamp.instance => Some(newest_us),
            _ => self.greatest_us,
        };
        let newer = newest_us.is_none_or(|newest_us| stamp.timestamp_us > newest_us);
        if newer || fresh { Verdict::Accept } else { Verdict::Old }
    }

    /// What is another one after each INIT that was answered.
    pub fn state(&self) -> [u8; 40] {
        let mut state = [0; 40];
        state[..8].copy_from_slice(&self.greatest_us.unwrap_or_default().to_le_bytes());
        if let Some(ephemeral) = self.ephemerals.back() {
            state[8..].copy_from_slice(ephemeral);
        }
        state
    }

    /// Remembers an INIT that was judged [`Verdict::Accept`] and then answered.
    pub fn answered(&mut self, stamp: &Stamp) {
        self.greatest_us = self.greatest_us.max(Some(stamp.timestamp_us));
        self.current = Some((stamp.instance, stamp.timestamp_us));
        if self.ephemerals.len() == REMEMBERED {
            self.ephemerals.pop_front();
        }
        self.ephemerals.push_back(stamp.ephemeral);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time with a working clock, in microseconds.
    const TODAY: u64 = 1_800_000_000_000_000;

    fn stamp(id: u8, timestamp_us: u64, instance: u64) -> Stamp {
        Stamp { ephemeral: [id; 32], timestamp_us, instance }
    }

    #[test]
    fn newer_is_accepted_older_is_stale_last_is_duplicate() {
        let mut guard = InitGuard::new();
        let first = stamp(1, TODAY, 1);
        assert_eq!(guard.judge(&first, false), Verdict::Accept);
        assert_eq!(guard.judge(&first, false), Verdict::Accept, "judging changes nothing");
        guard.answered(&first);
        assert_eq!(guard.judge(&first, false), Verdict::Duplicate);
        assert_eq!(guard.judge(&stamp(2, TODAY, 1), false), Verdict::Old, "not newer");
        assert_eq!(guard.judge(&stamp(3, TODAY - 1, 1), false), Verdict::Old);

        let second = stamp(4, TODAY + 1, 1);
        assert_eq!(guard.judge(&second, false), Verdict::Accept);
        guard.answered(&second);
        assert_eq!(guard.judge(&second, true), Verdict::Duplicate);
        assert_eq!(guard.judge(&first, false), Verdict::Stale);
        assert_eq!(guard.judge(&first, true), Verdict::Stale, "answered before");
    }

    #[test]
    fn a_router_that_boots_in_the_past_is_not_locked_out() {
        let mut guard = InitGuard::new();
        guard.answered(&stamp(1, TODAY, 1));
        // The power comes back, the clock says 1970.
        assert_eq!(guard.judge(&stamp(2, 5, 2), false), Verdict::Old);
        assert_eq!(guard.judge(&stamp(2, 5, 2), true), Verdict::Accept);
        guard.answered(&stamp(2, 5, 2));
        // It goes on rekeying on its wrong clock, and after learning the time.
        assert_eq!(guard.judge(&stamp(3, 6, 2), false), Verdict::Accept);
        guard.answered(&stamp(3, 6, 2));
        // A recording of its earlier run does not come between.
        assert_eq!(guard.judge(&stamp(9, TODAY - 1, 1), false), Verdict::Old);
        assert_eq!(guard.judge(&stamp(4, TODAY + 7, 2), false), Verdict::Accept);
    }

    #[test]
    fn a_clock_in_the_future_keeps_nobody_out() {
        let mut guard = InitGuard::new();
        guard.answered(&stamp(1, u64::MAX, 1));
        assert_eq!(guard.judge(&stamp(2, TODAY, 2), false), Verdict::Old);
        assert_eq!(guard.judge(&stamp(2, TODAY, 2), true), Verdict::Accept);
        guard.answered(&stamp(2, TODAY, 2));
        assert_eq!(guard.judge(&stamp(3, TODAY + 1, 2), false), Verdict::Accept);
    }

    #[test]
    fn the_last_sixteen_are_remembered() {
        let mut guard = InitGuard::new();
        for id in 0..40 {
            guard.answered(&stamp(id, u64::from(id), u64::from(id)));
        }
        for id in 0..40 {
            let verdict = guard.judge(&stamp(id, u64::from(id), u64::from(id)), true);
            let expected = match id {
                39 => Verdict::Duplicate,
                24..39 => Verdict::Stale,
                _ => Verdict::Accept,
            };
            assert_eq!(verdict, expected, "{id}");
        }
    }
}
