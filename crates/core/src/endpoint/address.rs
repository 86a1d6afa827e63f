//! Where a path's datagrams go, and which addresses have been proved.
//!
//! Why: a NAT may give a path another port at any time, and a router another address; the other
//! side must follow within a round trip. But a source address is only a claim: whoever copies a
//! datagram can send it from somebody else's address, and following it blindly would aim the
//! traffic at a victim. So can a peer with valid keys that answers for an address which is not its own.
//!
//! How: a path has one *current* address, to which data goes. A newer datagram from elsewhere
//! makes its source the *unproven* address. Both are challenged, each with data of its own that nobody
//! can guess; an answer counts once, from where its challenge was sent to, within [`ASKED_US`]. The
//! unproven address's answer moves the path there. If the one before answers as well, it was not the
//! peer that moved: somebody's copies were faster (RFC 9000 §9.3.3), the path goes back, and the next
//! move has to wait whether the current address answers first, longer each time. The client's
//! *candidates* are given by its configuration: the same WAN over each address family to each address
//! of the server is one path, and whichever of them answers becomes current.
//!
//! Limits: an unproven address gets at most [`AMPLIFICATION`] times the bytes that it has sent,
//! one unproven address at a time, [`CLAIMS`] of them at once and one each second, and
//! [`CANDIDATES_MAX`] candidates per path. Who copies all datagrams faster than they arrive, and answers
//! for both addresses, is on the way: it could drop them as well.

use super::via::Via;
use crate::time::{MS, SEC, Time};
use std::collections::VecDeque;

/// Bytes sent to an unproven address per byte received from it (RFC 9000 §8.1).
pub const AMPLIFICATION: u64 = 3;
/// Candidates of a path at most: two families to four addresses of the server.
pub const CANDIDATES_MAX: usize = 8;
/// While datagrams keep coming from an unproven address, a new challenge is asked for this often,
/// microseconds: the engine gives up on one after a while.
const CHALLENGE_AGAIN_US: u64 = SEC;
/// An answer from an address that is not known counts for so long, microseconds.
const ASKED_US: u64 = 3 * SEC;
/// Challenges that are remembered: probes each 50 ms to a few addresses, and slow answers.
const ASKED_MAX: usize = 32;
/// Challenges of the other side that wait to be answered.
const ANSWERS_MAX: usize = 8;
/// New addresses that are looked at in a row; after that one each second.
const CLAIMS: u64 = 4;
/// How long a new address waits for the answer of the current one when a move was false before,
/// microseconds: doubled each time up to the last.
const DOUBT_FIRST_US: u64 = 250 * MS;
const DOUBT_LAST_US: u64 = 4 * SEC;
/// Without a false move for so long, moves are believed at once again, microseconds.
const DOUBT_FORGOTTEN_US: u64 = 60 * SEC;

/// Where a datagram goes, if anywhere; `Err` when that address may not get so much.
pub(super) type Target = Result<Option<Via>, ()>;

/// A source that has not shown yet that it receives.
#[derive(Clone, Debug)]
struct Unproven {
    via: Via,
    received: u64,
    sent: u64,
    since: Time,
    challenged: Time,
}

impl Unproven {
    /// What may still be sent to it, bytes.
    fn allowance(&self) -> u64 {
        (AMPLIFICATION * self.received).saturating_sub(self.sent)
    }

    /// Takes `len` bytes out of the allowance, if it is that large.
    fn spend(&mut self, len: usize) -> bool {
        let enough = len as u64 <= self.allowance();
        if enough {
            self.sent += len as u64;
        }
        enough
    }
}

/// A challenge that is out: what has to come back, from where.
#[derive(Clone, Copy, Debug)]
struct Asked {
    data: u64,
    via: Via,
    sent: Time,
}

/// What an answer has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Validated {
    /// Data goes to the second one now; it went to the first.
    Moved(Option<Via>, Via),
    /// The current address was confirmed.
    Confirmed,
    /// Not what was asked for there: it proves nothing.
    Elsewhere,
}

/// The addresses of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    current: Option<Via>,
    candidates: Vec<Via>,
    unproven: Option<Unproven>,
    /// Where data went before a move, and when that was.
    before: Option<(Via, Time)>,
    asked: VecDeque<Asked>,
    /// Challenges of the other side, and where they came from.
    answers: VecDeque<(u64, Via)>,
    /// The claims of new addresses, a second each, end here.
    claims_until: Time,
    /// False moves lately, and the last.
    false_moves: u32,
    false_move: Time,
}

impl Addresses {
    /// Where data goes.
    pub fn current(&self) -> Option<Via> {
        self.current
    }

    /// Every address that a handshake may be tried on.
    pub fn known(&self) -> impl Iterator<Item = Via> + '_ {
        let extra = self.current.filter(|c| !self.is_candidate(c));
        self.candidates.iter().copied().chain(extra)
    }

    /// Replaces the candidates; the current address goes with its candidate.
    pub fn set_candidates(&mut self, candidates: &[Via]) {
        let was = core::mem::take(&mut self.candidates);
        for candidate in candidates.iter().take(CANDIDATES_MAX) {
            if !self.candidates.contains(candidate) {
                self.candidates.push(*candidate);
            }
        }
        if let Some(current) = self.current {
            let of_old = was.iter().any(|c| c.is(&current));
            self.current = match self.candidates.iter().find(|c| c.is(&current)) {
                Some(candidate) => Some(*candidate),
                None if of_old => None,
                None => Some(current),
            };
        }
    }

    fn is_candidate(&self, via: &Via) -> bool {
        self.candidates.iter().any(|c| c.is(via))
    }

    fn is_current(&self, via: &Via) -> bool {
        self.current.is_some_and(|c| c.is(via))
    }

    /// An answer to our handshake came over `from`: a first address, when there is none yet.
    /// `false` when `from` is not of this path.
    pub fn answered(&mut self, from: &Via) -> bool {
        let Some(candidate) = self.candidates.iter().find(|c| c.is(from)) else {
            return self.is_current(from);
        };
        self.current.get_or_insert(*candidate);
        true
    }

    /// An authentic datagram of `len` bytes has come; `newest`: its number is the highest of the
    /// path. Returns whether its source has to be challenged.
    pub fn observe(&mut self, now: Time, from: Via, len: usize, newest: bool) -> bool {
        if self.is_current(&from) || self.is_candidate(&from) {
            return false;
        }
        let received = len as u64;
        if let Some(unproven) = &mut self.unproven
            && unproven.via.is(&from)
        {
            unproven.received += received;
            if !newest || now.since(unproven.challenged) < CHALLENGE_AGAIN_US {
                return false;
            }
            unproven.challenged = now;
            return true;
        }
        // Each claim takes a second, of which some are in store.
        let taken = self.claims_until.max(now);
        if !newest || (self.current.is_some() && taken.since(now) > (CLAIMS - 1) * SEC) {
            return false;
        }
        self.claims_until = taken + SEC;
        let (since, challenged) = (now, now);
        self.unproven = Some(Unproven { via: from, received, sent: 0, since, challenged });
        true
    }

    /// An answer with this data has come in a datagram from `from`.
    pub fn validated(&mut self, now: Time, data: u64, from: &Via) -> Validated {
        let asked = self.asked.iter().position(|a| a.data == data && a.via.is(from));
        // Once.
        let Some(asked) = asked.and_then(|place| self.asked.remove(place)) else {
            return Validated::Elsewhere;
        };
        let lately = |since: Time| now.since(since) <= ASKED_US;
        if self.is_current(from) {
            self.unproven = None;
            return Validated::Confirmed;
        }
        let candidate = self.candidates.iter().find(|c| c.is(from)).copied();
        if !lately(asked.sent) && candidate.is_none() {
            return Validated::Elsewhere;
        }
        if let Some((before, at)) = self.before.take() {
            if before.is(from) && lately(at) {
                self.false_moves = self.false_moves_lately(now) + 1;
                self.false_move = now;
                return self.go(now, before);
            }
            self.before = Some((before, at));
        }
        let doubt = self.doubt(now);
        match (&self.unproven, candidate) {
            (_, Some(candidate)) => self.go(now, candidate),
            (Some(u), None) if u.via.is(from) && now.since(u.since) >= doubt => {
                let via = u.via;
                self.go(now, via)
            }
            _ => Validated::Elsewhere,
        }
    }

    fn go(&mut self, now: Time, to: Via) -> Validated {
        let before = self.current.replace(to);
        self.unproven = None;
        self.before = before.filter(|b| !self.is_candidate(b)).map(|before| (before, now));
        Validated::Moved(before, to)
    }

    fn false_moves_lately(&self, now: Time) -> u32 {
        if now.since(self.false_move) > DOUBT_FORGOTTEN_US { 0 } else { self.false_moves }
    }

    /// How long a new address has to have been known before it is believed.
    fn doubt(&self, now: Time) -> u64 {
        match (self.current, self.false_moves_lately(now)) {
            (None, _) | (_, 0) => 0,
            (Some(_), n) => (DOUBT_FIRST_US << (n - 1).min(8)).min(DOUBT_LAST_US),
        }
    }

    /// Whether a datagram from `from` may hold an answer that decides where data goes, although one
    /// with its number was there before: a copy of it, from elsewhere, was faster.
    pub fn awaits_copy(&self, now: Time, from: &Via) -> bool {
        let before = self.before.filter(|(via, at)| via.is(from) && now.since(*at) <= ASKED_US);
        before.is_some() || self.unproven.is_some() && self.is_current(from)
    }

    /// Where a challenge has to go: to all known addresses, or to the one that wants to be. With what
    /// it may be filled up to, bytes of the datagram: the new way has to carry what the old one did.
    pub fn to_challenge(&self) -> impl Iterator<Item = (Via, u64)> + '_ {
        // An answer has to have room as well.
        let unproven = self.unproven.as_ref().map(|u| (u.via, u.allowance() / 2));
        // Where we have been before a move, it is asked whether it is there still.
        let before = self.before.filter(|_| self.unproven.is_none()).map(|(via, _)| (via, 0));
        self.known().map(|via| (via, 0)).chain(unproven).chain(before)
    }

    /// A challenge with this data, a datagram of `len` bytes, is to be sent to `via`; `Err` when that
    /// is more than the address may get.
    pub fn challenge(&mut self, now: Time, data: u64, len: usize, via: Via) -> Target {
        if let Some(unproven) = &mut self.unproven
            && unproven.via == via
            && !unproven.spend(len)
        {
            return Err(());
        }
        self.note_challenge(now, data, via);
        Ok(Some(via))
    }

    /// A challenge with this data goes to `via` along with something that was accounted for.
    pub fn note_challenge(&mut self, now: Time, data: u64, via: Via) {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { data, via, sent: now });
    }

    /// The other side has sent a challenge, from `from`.
    pub fn challenged(&mut self, data: u64, from: Via) {
        if self.answers.len() == ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back((data, from));
    }

    /// Where the answer to a challenge, a datagram of `len` bytes, goes; `Err` when that is more than
    /// the address may get.
    pub fn answer(&mut self, data: u64, len: usize) -> Target {
        let place = self.answers.iter().position(|(d, _)| *d == data);
        let Some((_, from)) = place.and_then(|place| self.answers.remove(place)) else {
            return Ok(None);
        };
        if let Some(known) = self.known().find(|k| k.is(&from)) {
            return Ok(Some(known));
        }
        let refused = match &mut self.unproven {
            Some(unproven) if unproven.via.is(&from) => {
                if unproven.spend(len) {
                    return Ok(Some(unproven.via));
                }
                Err(())
            }
            // It is none of ours, yet or any more.
            _ => Ok(None),
        };
        // Who has asked hears it as well where data goes, if both lead to it.
        self.current.map_or(refused, |current| Ok(Some(current)))
    }

    /// Where a datagram of `len` bytes with data goes; `Err` when that is more than the address may get.
    pub fn data(&mut self, len: usize) -> Target {
        if let Some(to) = self.current.or(self.candidates.first().copied()) {
            return Ok(Some(to));
        }
        let Some(unproven) = &mut self.unproven else { return Ok(None) };
        if unproven.spend(len) { Ok(Some(unproven.via)) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{SocketId, Udp};

    fn way(text: &str) -> Via {
        Via::Udp(Udp { socket: SocketId(0), remote: text.parse().unwrap(), local: None })
    }

    /// Sends a challenge with this data to every address that is to be challenged, and says which.
    fn challenge(a: &mut Addresses, now: Time, data: u64, len: usize) -> Vec<Via> {
        let ways: Vec<_> = a.to_challenge().map(|(via, _)| via).collect();
        let each = ways.iter().zip(data..);
        each.filter_map(|(via, data)| a.challenge(now, data, len, *via).ok().flatten()).collect()
    }

    fn at(old: Via) -> Addresses {
        Addresses { current: Some(old), ..Addresses::default() }
    }

    const T: Time = Time(100 * SEC);

    #[test]
    fn data_stays_until_the_new_source_is_proved() {
        let (old, new) = (way("192.0.2.1:1"), way("192.0.2.1:2"));
        let mut a = Addresses::default();
        assert!(a.observe(T, old, 40, true));
        assert_eq!(challenge(&mut a, T, 1, 40), [old]);
        assert_eq!(a.validated(T, 1, &old), Validated::Moved(None, old));

        assert!(!a.observe(T, new, 40, false), "an old datagram moves nothing");
        assert!(a.observe(T, new, 40, true));
        assert_eq!(a.data(1400), Ok(Some(old)));
        assert_eq!(a.validated(T, 3, &new), Validated::Elsewhere, "not challenged yet");
        assert_eq!(challenge(&mut a, T, 2, 40), [old, new]);
        assert_eq!(a.validated(T, 2, &new), Validated::Elsewhere, "it was asked of the other");
        assert_eq!(a.validated(T + ASKED_US + 1, 3, &new), Validated::Elsewhere, "too late");
        assert_eq!(challenge(&mut a, T, 4, 40), [old, new]);
        assert_eq!(a.validated(T, 5, &new), Validated::Moved(Some(old), new));
        assert_eq!(a.validated(T, 5, &new), Validated::Elsewhere, "once");
        assert_eq!(a.data(1400), Ok(Some(new)));
    }

    #[test]
    fn an_unproven_address_gets_three_times_what_it_sent() {
        let victim = way("192.0.2.1:1");
        let mut a = Addresses::default();
        assert!(a.observe(T, victim, 50, true));
        assert_eq!(a.data(100), Ok(Some(victim)));
        assert_eq!(challenge(&mut a, T, 1, 51), []);
        assert_eq!(challenge(&mut a, T, 2, 50), [victim]);
        a.challenged(9, victim);
        assert_eq!(a.answer(9, 1), Err(()));
        let real = way("192.0.2.9:9");
        let mut proved = Addresses { current: Some(real), ..a.clone() };
        proved.challenged(9, victim);
        assert_eq!(proved.answer(9, 1), Ok(Some(real)), "the one that is known has room");
        proved.challenged(8, way("192.0.2.8:8"));
        assert_eq!(proved.answer(8, 1), Ok(Some(real)));
        assert!(!a.observe(T, victim, 50, true), "challenged a moment ago");
        assert_eq!(a.data(150), Ok(Some(victim)));
        assert!(a.observe(T + CHALLENGE_AGAIN_US, victim, 50, true));
    }

    #[test]
    fn a_move_is_undone_when_the_address_before_answers_too() {
        let (real, copier) = (way("192.0.2.1:1"), way("198.51.100.66:6"));
        let mut a = at(real);
        let (mut now, mut data) = (T, 0);
        for (n, doubt) in [0, 250 * MS, 500 * MS, SEC].into_iter().enumerate() {
            assert!(a.observe(now, copier, 40, true), "{n}");
            // Asked again until it is believed: the current one may still answer.
            while a.data(40) == Ok(Some(real)) {
                data += 2;
                assert_eq!(challenge(&mut a, now, data, 40), [real, copier]);
                let waited = a.validated(now, data + 1, &copier) == Validated::Elsewhere;
                assert_eq!(waited, now.since(T + n as u64 * 10 * SEC) < doubt);
                now = if waited { now + 50 * MS } else { now };
                a.observe(now, copier, 40, true);
            }
            assert_eq!(a.data(40), Ok(Some(copier)));
            assert!(a.awaits_copy(now, &real) && !a.awaits_copy(now, &copier));
            assert_eq!(a.validated(now, data, &real), Validated::Moved(Some(copier), real));
            assert!(!a.awaits_copy(now, &real));
            now = T + (n as u64 + 1) * 10 * SEC;
        }
        now = now + DOUBT_FORGOTTEN_US;
        assert_eq!(a.doubt(now), 0);
    }

    #[test]
    fn whoever_answers_first_of_the_current_and_a_new_one_has_it() {
        let (real, copier) = (way("192.0.2.1:1"), way("198.51.100.66:6"));
        let mut a = at(real);
        assert!(a.observe(T, copier, 40, true));
        assert_eq!(challenge(&mut a, T, 1, 40), [real, copier]);
        assert_eq!(a.validated(T, 1, &real), Validated::Confirmed);
        assert_eq!(a.validated(T, 2, &copier), Validated::Elsewhere);
    }

    #[test]
    fn claims_are_bounded() {
        let mut a = at(way("192.0.2.1:1"));
        let claimed = (0..60_000).filter(|n: &u64| {
            let from = way(&format!("198.51.100.{}:{n}", n % 250));
            a.observe(T + n * MS, from, 40, true)
        });
        assert_eq!(claimed.count() as u64, CLAIMS + 59);
    }

    #[test]
    fn the_first_candidate_that_answers_is_used() {
        let (v4, v6) = (way("192.0.2.1:1"), way("[2001:db8::1]:1"));
        let mut a = Addresses::default();
        a.set_candidates(&[v4, v6, v4]);
        assert_eq!(challenge(&mut a, T, 1, 40), [v4, v6]);
        let Via::Udp(plain) = v6;
        let arrived = Via::Udp(Udp { local: Some("2001:db8::2".parse().unwrap()), ..plain });
        assert!(a.answered(&arrived));
        assert_eq!(a.current(), Some(v6));
        assert!(a.answered(&v4));
        assert_eq!(a.current(), Some(v6), "the first one stays");
        assert!(!a.observe(T, v4, 40, true), "a candidate needs no challenge");
        assert_eq!(a.validated(T, 1, &v4), Validated::Moved(Some(v6), v4));
        a.set_candidates(&[v6]);
        assert_eq!(a.current(), None);
    }
}
