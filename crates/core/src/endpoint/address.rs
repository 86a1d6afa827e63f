//! Where a path's datagrams go, and which addresses have been proved.
//!
//! Why: a NAT may give a path another port at any time, and a router another address; the other
//! side must follow within a round trip. But a source address is only a claim: whoever copies a
//! datagram can send it from somebody else's address, and following it blindly would aim the
//! traffic at a victim.
//!
//! How: a path has one *current* address, to which data goes. A newer datagram from elsewhere
//! makes its source the *unproven* address; the engine challenges it, and until the response has
//! come from there data goes on to the current one. The client's *candidates* are given by its
//! configuration: the same WAN over each address family to each address of the server is one
//! path, and whichever of them answers becomes current.
//!
//! Limits: an unproven address gets at most [`AMPLIFICATION`] times the bytes that it has sent,
//! one unproven address at a time and [`CANDIDATES_MAX`] candidates per path.

use super::via::Via;
use crate::engine::Target;
use crate::time::{SEC, Time};

/// Bytes sent to an unproven address per byte received from it (RFC 9000 §8.1).
pub const AMPLIFICATION: u64 = 3;
/// Candidates of a path at most: two families to four addresses of the server.
pub const CANDIDATES_MAX: usize = 8;
/// While datagrams keep coming from an unproven address, a new challenge is asked for this often,
/// microseconds: the engine gives up on one after a while.
const CHALLENGE_AGAIN_US: u64 = SEC;

/// A source that has not shown yet that it receives.
#[derive(Clone, Debug)]
struct Unproven {
    via: Via,
    received: u64,
    sent: u64,
    challenged: Time,
}

impl Unproven {
    /// Takes `len` bytes out of the allowance, if it is that large.
    fn spend(&mut self, len: usize) -> bool {
        let sent = self.sent + len as u64;
        if sent > AMPLIFICATION * self.received {
            return false;
        }
        self.sent = sent;
        true
    }
}

/// What a validation has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Validated {
    /// Data goes here now.
    Moved(Via),
    /// The current address was confirmed.
    Confirmed,
    /// Nobody was challenged there: it proves nothing.
    Elsewhere,
}

/// The addresses of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    current: Option<Via>,
    candidates: Vec<Via>,
    unproven: Option<Unproven>,
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

    /// An answer to our handshake came over `from`: a first address, when there is none yet.
    /// `false` when `from` is not of this path.
    pub fn answered(&mut self, from: &Via) -> bool {
        let Some(candidate) = self.candidates.iter().find(|c| c.is(from)) else {
            return self.current.is_some_and(|c| c.is(from));
        };
        self.current.get_or_insert(*candidate);
        true
    }

    /// An authentic datagram of `len` bytes has come; `newest`: its number is the highest of the
    /// path. Returns whether its source has to be challenged.
    pub fn observe(&mut self, now: Time, from: Via, len: usize, newest: bool) -> bool {
        if self.current.is_some_and(|c| c.is(&from)) || self.is_candidate(&from) {
            return false;
        }
        let received = len as u64;
        match &mut self.unproven {
            Some(unproven) if unproven.via.is(&from) => {
                unproven.received += received;
                if !newest || now.since(unproven.challenged) < CHALLENGE_AGAIN_US {
                    return false;
                }
                unproven.challenged = now;
                true
            }
            _ if newest => {
                self.unproven = Some(Unproven { via: from, received, sent: 0, challenged: now });
                true
            }
            _ => false,
        }
    }

    /// The engine has got its challenge back in a datagram from `from`. Only an address that a
    /// challenge was sent to is proved by that.
    pub fn validated(&mut self, from: &Via) -> Validated {
        if self.current.is_some_and(|c| c.is(from)) {
            self.unproven = None;
            return Validated::Confirmed;
        }
        let proved = match (&self.unproven, self.candidates.iter().find(|c| c.is(from))) {
            (_, Some(candidate)) => *candidate,
            (Some(unproven), None) if unproven.via.is(from) && unproven.sent > 0 => unproven.via,
            _ => return Validated::Elsewhere,
        };
        self.unproven = None;
        self.current = Some(proved);
        Validated::Moved(proved)
    }

    /// Calls `send` for every address that a datagram of `len` bytes goes to. Returns how many
    /// were left out because they are not proved.
    pub fn targets(&mut self, target: Target, len: usize, mut send: impl FnMut(Via)) -> usize {
        match (target, self.current) {
            (Target::Current, Some(current)) => {
                send(current);
                return 0;
            }
            (Target::Current, None) => {
                if let Some(first) = self.candidates.first() {
                    send(*first);
                    return 0;
                }
            }
            (Target::Probe, _) => self.known().for_each(&mut send),
        }
        let Some(unproven) = &mut self.unproven else { return 0 };
        if !unproven.spend(len) {
            return 1;
        }
        send(unproven.via);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{SocketId, Udp};

    fn way(text: &str) -> Via {
        Via::Udp(Udp { socket: SocketId(0), remote: text.parse().unwrap(), local: None })
    }

    fn sent(addresses: &mut Addresses, target: Target, len: usize) -> Vec<Via> {
        let mut out = Vec::new();
        addresses.targets(target, len, |o| out.push(o));
        out
    }

    #[test]
    fn data_stays_until_the_new_source_is_proved() {
        let (old, new) = (way("192.0.2.1:1"), way("192.0.2.1:2"));
        let mut a = Addresses::default();
        assert!(a.observe(Time(0), old, 40, true));
        assert_eq!(sent(&mut a, Target::Probe, 40), [old]);
        assert_eq!(a.validated(&old), Validated::Moved(old));

        assert!(!a.observe(Time(1), new, 40, false), "an old datagram moves nothing");
        assert!(a.observe(Time(2), new, 40, true));
        assert_eq!(sent(&mut a, Target::Current, 1400), [old]);
        assert_eq!(a.validated(&new), Validated::Elsewhere, "not challenged yet");
        assert_eq!(sent(&mut a, Target::Probe, 40), [old, new]);
        assert_eq!(a.validated(&new), Validated::Moved(new));
        assert_eq!(sent(&mut a, Target::Current, 1400), [new]);
    }

    #[test]
    fn an_unproven_address_gets_three_times_what_it_sent() {
        let victim = way("192.0.2.1:1");
        let mut a = Addresses::default();
        assert!(a.observe(Time(0), victim, 50, true));
        assert_eq!(sent(&mut a, Target::Current, 100).len(), 1);
        assert_eq!(a.targets(Target::Probe, 51, |_| panic!("too much")), 1);
        assert_eq!(sent(&mut a, Target::Probe, 50).len(), 1);
        assert_eq!(sent(&mut a, Target::Probe, 1).len(), 0);
        assert!(!a.observe(Time(1), victim, 50, true), "challenged a moment ago");
        assert_eq!(sent(&mut a, Target::Probe, 150).len(), 1);
        assert!(a.observe(Time(CHALLENGE_AGAIN_US), victim, 50, true));
    }

    #[test]
    fn the_first_candidate_that_answers_is_used() {
        let (v4, v6) = (way("192.0.2.1:1"), way("[2001:db8::1]:1"));
        let mut a = Addresses::default();
        a.set_candidates(&[v4, v6, v4]);
        assert_eq!(sent(&mut a, Target::Probe, 40), [v4, v6]);
        let Via::Udp(plain) = v6;
        let arrived = Via::Udp(Udp { local: Some("2001:db8::2".parse().unwrap()), ..plain });
        assert!(a.answered(&arrived));
        assert_eq!(a.current(), Some(v6));
        assert!(a.answered(&v4));
        assert_eq!(a.current(), Some(v6), "the first one stays");
        assert!(!a.observe(Time(0), v4, 40, true), "a candidate needs no challenge");
        assert_eq!(a.validated(&v4), Validated::Moved(v4));
        a.set_candidates(&[v6]);
        assert_eq!(a.current(), None);
    }
}
