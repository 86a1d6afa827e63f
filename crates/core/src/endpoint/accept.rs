//! The server's side of a handshake: how many initiations are computed, and which answer is
//! given again.
//!
//! Why: reading an INIT costs two multiplications on the curve, and who knows the server's public
//! key can make it read many. And one INIT arrives several times, once for each way that the
//! client has tried: each of its addresses should get the answer, for the price of one.
//!
//! How: a token bucket for the whole endpoint. An answer is kept per peer together with the very
//! bytes it answers; the same bytes get the same answer, without any computation.
//!
//! Limits: [`INITS_PER_SECOND`] with bursts of [`INITS_BURST`]; an INIT is answered
//! [`ANSWERS_MAX`] times within [`ANSWER_US`]. An answer is shorter than its INIT, so nobody gains
//! by having it sent to somebody else.

use litemap::LiteMap;

use super::PeerId;
use crate::crypto::handshake::{INIT_LEN, RESPONSE_LEN};
use crate::time::{SEC, Time};

/// Initiations that are computed per second: at 0.2 ms each on a small server 1 % of a core.
pub const INITS_PER_SECOND: u64 = 50;
/// Initiations that are computed at once after a pause: all peers of a small server together.
pub const INITS_BURST: u64 = 100;
/// How often the answer to one INIT is sent: 16 paths with 4 addresses each.
pub const ANSWERS_MAX: u32 = 64;
/// How long, microseconds: the spread of the delays of one client's links.
const ANSWER_US: u64 = 10 * SEC;

/// Where the ephemeral key of an INIT is: nothing else is needed to look an INIT up.
const EPHEMERAL: core::ops::Range<usize> = 8..40;

/// The part of an INIT that is read: all but `mac2`, which is not while there are no cookies.
const READ: usize = INIT_LEN - 16;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Microseconds of credit; one token is `SEC / INITS_PER_SECOND` of them.
    credit_us: u64,
    at: Time,
}

impl Bucket {
    const TOKEN_US: u64 = SEC / INITS_PER_SECOND;
    const FULL_US: u64 = INITS_BURST * Self::TOKEN_US;

    /// A full one.
    pub fn new(now: Time) -> Bucket {
        Bucket { credit_us: Self::FULL_US, at: now }
    }

    /// Whether there is a token.
    pub fn ready(&mut self, now: Time) -> bool {
        self.credit_us = self.credit_us.saturating_add(now.since(self.at)).min(Self::FULL_US);
        self.at = self.at.max(now);
        self.credit_us >= Self::TOKEN_US
    }

    /// Takes it.
    pub fn take(&mut self) {
        self.credit_us = self.credit_us.saturating_sub(Self::TOKEN_US);
    }
}

/// An INIT and what was answered.
#[derive(Debug)]
struct Answer {
    init: [u8; INIT_LEN],
    response: [u8; RESPONSE_LEN],
    at: Time,
    sent: u32,
}

/// What is known of an INIT that comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    /// It is new.
    New,
    /// This is the answer, once more.
    Answer([u8; RESPONSE_LEN]),
    /// It has been answered often enough.
    Enough,
}

/// The last answer to each peer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_peer: LiteMap<PeerId, Box<Answer>>,
    by_ephemeral: LiteMap<[u8; 32], PeerId>,
}

impl Answers {
    /// Looks an INIT up.
    pub fn again(&mut self, now: Time, datagram: &[u8]) -> Again {
        let known = ephemeral(datagram).and_then(|key| self.by_ephemeral.get(&key));
        let Some(answer) = known.and_then(|peer| self.by_peer.get_mut(peer)) else {
            return Again::New;
        };
        if datagram.get(..READ) != answer.init.get(..READ) {
            // Somebody has changed it: whatever is to be said of that, the handshake says.
            return Again::New;
        }
        if answer.sent >= ANSWERS_MAX || now.since(answer.at) > ANSWER_US {
            return Again::Enough;
        }
        answer.sent += 1;
        Again::Answer(answer.response)
    }

    /// Remembers what `peer` was answered.
    pub fn insert(
        &mut self,
        now: Time,
        peer: PeerId,
        init: &[u8; INIT_LEN],
        response: [u8; RESPONSE_LEN],
    ) {
        self.remove(peer);
        if let Some(key) = ephemeral(init) {
            self.by_ephemeral.insert(key, peer);
            let answer = Answer { init: *init, response, at: now, sent: 1 };
            self.by_peer.insert(peer, Box::new(answer));
        }
    }

    /// Forgets a peer.
    pub fn remove(&mut self, peer: PeerId) {
        if let Some(key) = self.by_peer.remove(&peer).and_then(|answer| ephemeral(&answer.init)) {
            self.by_ephemeral.remove(&key);
        }
    }
}

fn ephemeral(init: &[u8]) -> Option<[u8; 32]> {
    init.get(EPHEMERAL)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let mut bucket = Bucket::new(Time(0));
        let mut taken = |now: Time, tries: u64| {
            (0..tries)
                .filter(|_| {
                    let ready = bucket.ready(now);
                    if ready {
                        bucket.take();
                    }
                    ready
                })
                .count() as u64
        };
        assert_eq!(taken(Time(0), 1_000), INITS_BURST);
        assert_eq!(taken(Time(SEC), 1_000), INITS_PER_SECOND);
        assert_eq!(taken(Time(SEC) + SEC / INITS_PER_SECOND / 2, 1_000), 0);
        assert_eq!(taken(Time(3_600 * SEC), 1_000), INITS_BURST);
    }

    #[test]
    fn the_same_bytes_get_the_same_answer_for_a_while() {
        let mut answers = Answers::default();
        let init = [7; INIT_LEN];
        answers.insert(Time(0), PeerId(1), &init, [8; RESPONSE_LEN]);
        assert_eq!(answers.again(Time(1), &init), Again::Answer([8; RESPONSE_LEN]));
        let mut other = init;
        other[READ - 1] ^= 1;
        assert_eq!(answers.again(Time(1), &other), Again::New);
        assert_eq!(answers.again(Time(1), &init[..100]), Again::New);
        let more = (0..1_000).filter(|_| answers.again(Time(2), &init) != Again::Enough).count();
        assert_eq!(more as u32, ANSWERS_MAX - 2);
        answers.insert(Time(3), PeerId(1), &init, [9; RESPONSE_LEN]);
        assert_eq!(answers.again(Time(3) + ANSWER_US + 1, &init), Again::Enough);
        answers.remove(PeerId(1));
        assert_eq!(answers.again(Time(4), &init), Again::New);
        assert!(answers.by_ephemeral.is_empty());
    }
}
