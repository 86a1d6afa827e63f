//! When the client tries a handshake, and the handshakes that are under way.
//!
//! Why: after a restart of the server, or with the first packet after a long outage, people wait
//! for the very next attempt, so it must come soon; a server that is away for a night must not be
//! called every second by a thousand routers.
//!
//! How: while somebody waits, and for the first [`URGENT_US`], an attempt every half to one and
//! a half seconds; then pauses that double from one to sixty seconds, each drawn at random around
//! its mean. Every attempt is an INIT of its own, over every way at once. Earlier attempts may
//! still be answered: on a link with two seconds of queue each answer comes after the next
//! attempt. Attempts end with the first RESPONSE; if nothing under the new session follows it,
//! they go on after [`CONFIRM_US`], which is longer than such a queue, because each further INIT
//! replaces at the server the session that the one before has made.
//!
//! Limits: [`FLIGHTS_MAX`] handshakes under way per peer, each for [`FLIGHT_US`].

use core::ops::Range;

use super::directory::Indices;
use crate::crypto::handshake::{INIT_LEN, Initiator};
use crate::crypto::rng::Dice;
use crate::time::{MS, SEC, Time};

/// Between attempts while somebody waits, microseconds.
const URGENT_GAP_US: Range<u64> = 500 * MS..1_500 * MS;
/// Between attempts to replace a session that works, microseconds (WireGuard whitepaper §6.1,
/// Rekey-Timeout: 5 s).
const REKEY_GAP_US: Range<u64> = 4 * SEC..6 * SEC;
/// How long attempts are urgent without anybody waiting, microseconds.
pub const URGENT_US: u64 = 60 * SEC;
/// How long after a packet that could not be sent somebody is taken to wait, microseconds: the
/// time after which TCP and DNS try again.
const WANTED_US: u64 = 5 * SEC;
/// The mean of the longest pause is 2^6 = 64 s, bounded by [`BACKOFF_MAX_US`].
const BACKOFF_STEPS_MAX: u32 = 6;
/// The longest pause, microseconds.
const BACKOFF_MAX_US: u64 = 60 * SEC;
/// How long a new session may stay silent, microseconds.
pub const CONFIRM_US: u64 = 5 * SEC;
/// Handshakes under way at most.
pub const FLIGHTS_MAX: usize = 8;
/// How long an answer is waited for, microseconds: longer than any queue.
const FLIGHT_US: u64 = 20 * SEC;

/// Why there is to be a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// There is no session.
    Connect,
    /// There is one, but nothing comes back on any path: the server may have restarted.
    Silent,
    /// There is a new one under which nothing has come yet.
    Unconfirmed,
    /// There is one that works, and that grows old.
    Rekey,
}

/// The plan of the attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Whether there are any: not at a server, and not with a peer that is being left.
    enabled: bool,
    cause: Cause,
    since: Time,
    next: Time,
    last: Option<Time>,
    wanted: Option<Time>,
    backoff: u32,
}

impl Attempts {
    /// To connect, at once.
    pub fn new(now: Time) -> Attempts {
        let cause = Cause::Connect;
        Attempts {
            enabled: true,
            cause,
            since: now,
            next: now,
            last: None,
            wanted: None,
            backoff: 0,
        }
    }

    /// Never: the server's, or of a peer that is being left.
    pub fn none() -> Attempts {
        Attempts { enabled: false, ..Attempts::new(Time::ZERO) }
    }

    /// When the next attempt is due.
    pub fn next(&self) -> Time {
        if self.enabled { self.next } else { Time::FAR }
    }

    /// What the attempts are for.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Starts attempts for `cause`, urgently.
    pub fn begin(&mut self, now: Time, cause: Cause) {
        self.cause = cause;
        self.since = now;
        self.backoff = 0;
        self.next = match self.last {
            // Whatever the reason, never faster than this.
            Some(last) => now.max(last + URGENT_GAP_US.start),
            None => now,
        };
    }

    /// Somebody waits, or there is a new way to try: as soon as an attempt is allowed.
    pub fn hurry(&mut self, now: Time) {
        self.wanted = Some(now);
        if matches!(self.cause, Cause::Connect | Cause::Silent) {
            let soon = self.last.map_or(now, |last| now.max(last + URGENT_GAP_US.start));
            self.next = self.next.min(soon);
        }
    }

    /// There is no way to try now: look again a little later.
    pub fn no_way(&mut self, now: Time) {
        self.next = now + URGENT_GAP_US.end;
    }

    /// The one that is called wants to hear again, and says what: now.
    pub fn at_once(&mut self, now: Time) {
        self.next = now;
    }

    /// An attempt was made: when is the next?
    pub fn attempted(&mut self, now: Time, dice: &mut Dice) {
        self.last = Some(now);
        if self.cause == Cause::Unconfirmed {
            self.cause = Cause::Connect;
            self.since = now;
        }
        let waited_for = self.wanted.is_some_and(|at| now.since(at) < WANTED_US);
        let pause = if self.cause == Cause::Rekey {
            between(REKEY_GAP_US, dice)
        } else if waited_for || now.since(self.since) < URGENT_US {
            self.backoff = 0;
            between(URGENT_GAP_US, dice)
        } else {
            let mean = SEC << self.backoff;
            self.backoff = (self.backoff + 1).min(BACKOFF_STEPS_MAX);
            between(mean / 2..mean + mean / 2, dice).min(BACKOFF_MAX_US)
        };
        self.next = now + pause;
    }

    /// A RESPONSE has come.
    pub fn answered(&mut self, now: Time) {
        self.cause = Cause::Unconfirmed;
        self.next = now + CONFIRM_US;
    }

    /// The session works: replace it at `rekey`.
    pub fn settled(&mut self, rekey: Time) {
        self.cause = Cause::Rekey;
        self.next = rekey;
    }
}

/// A number of this range.
fn between(range: Range<u64>, dice: &mut Dice) -> u64 {
    range.start + dice.below(range.end - range.start)
}

/// An INIT that waits for its RESPONSE.
#[derive(Debug)]
pub(super) struct Flight {
    pub initiator: Initiator,
    /// As it was sent, but for cookies.
    pub init: [u8; INIT_LEN],
    /// Whether it says that it is fresh.
    pub fresh: bool,
    /// How often it was sent again with a cookie.
    pub again: u32,
    pub index: u32,
    pub attempt: u64,
    pub sent: Time,
}

/// The handshakes of a peer that are under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Flights(Vec<Flight>);

impl Flights {
    /// Adds one; the oldest makes room.
    pub fn push(&mut self, flight: Flight, indices: &mut Indices) {
        if self.0.len() >= FLIGHTS_MAX {
            indices.free(self.0.remove(0).index);
        }
        self.0.push(flight);
    }

    /// The one with our index `index`.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Flight> {
        self.0.iter_mut().find(|flight| flight.index == index)
    }

    /// Whether no later one than this is under way.
    pub fn is_last(&self, index: u32) -> bool {
        self.0.last().is_some_and(|flight| flight.index == index)
    }

    /// The one with this index has become a session, which takes the index over: it and the
    /// earlier ones are of no use any more. Later ones are, because the server may have
    /// answered them already and kept only the last.
    pub fn finished(&mut self, index: u32, indices: &mut Indices) {
        let Some(place) = self.0.iter().position(|flight| flight.index == index) else { return };
        for flight in self.0.drain(..=place) {
            if flight.index != index {
                indices.free(flight.index);
            }
        }
    }

    /// Drops what is not worth waiting for.
    pub fn expire(&mut self, now: Time, indices: &mut Indices) {
        self.0.retain(|flight| {
            let keep = flight.sent + FLIGHT_US > now;
            if !keep {
                indices.free(flight.index);
            }
            keep
        });
    }

    /// Drops all.
    pub fn clear(&mut self, indices: &mut Indices) {
        for flight in self.0.drain(..) {
            indices.free(flight.index);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn poll_timeout(&self) -> Time {
        self.0.first().map_or(Time::FAR, |flight| flight.sent + FLIGHT_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(attempts: &mut Attempts, until: Time) -> Vec<u64> {
        let mut dice = Dice::new(1);
        let mut times = Vec::new();
        while attempts.next() <= until {
            let now = attempts.next();
            times.push(now.0);
            attempts.attempted(now, &mut dice);
        }
        times.windows(2).map(|w| w[1] - w[0]).collect()
    }

    #[test]
    fn a_minute_of_urgency_then_pauses_that_double() {
        let mut attempts = Attempts::new(Time(0));
        let gaps = run(&mut attempts, Time(600 * SEC));
        let urgent = gaps.iter().take_while(|&&g| g <= 1_500 * MS).count();
        assert!((40..=120).contains(&urgent), "{gaps:?}");
        assert!(gaps.iter().all(|&g| (500 * MS..=BACKOFF_MAX_US).contains(&g)));
        assert!(gaps.last().is_some_and(|&g| g >= 30 * SEC), "{gaps:?}");
    }

    #[test]
    fn a_waiting_packet_ends_the_pause_but_never_floods() {
        let mut attempts = Attempts::new(Time(0));
        run(&mut attempts, Time(600 * SEC));
        let now = Time(601 * SEC);
        attempts.hurry(now);
        assert_eq!(attempts.next(), now);
        attempts.attempted(now, &mut Dice::new(2));
        attempts.hurry(now + 1);
        assert!(attempts.next() >= now + 500 * MS);
        assert!(attempts.next() < now + 1_500 * MS);
    }

    #[test]
    fn an_unconfirmed_session_is_tried_again() {
        let mut attempts = Attempts::new(Time(0));
        attempts.answered(Time(10));
        assert_eq!(attempts.next(), Time(10) + CONFIRM_US);
        attempts.attempted(attempts.next(), &mut Dice::new(3));
        assert_eq!(attempts.cause(), Cause::Connect);
    }
}
