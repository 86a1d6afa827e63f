//! The server's side of a handshake: whose initiations are computed, how many, and which answer is
//! given again.
//!
//! Why: reading an INIT costs two multiplications on the curve, and who knows the server's public
//! key can make it read many. And one INIT arrives several times, once for each way that the
//! client has tried: each of its addresses should get the answer, for the price of one.
//!
//! How: an answer is kept per peer together with the very bytes it answers; the same bytes get the same
//! answer, without any computation. What was computed before is known by its `mac1`, and costs a hash. The
//! rest goes through two lanes: a small one for all whose address is only a claim, and one for each network
//! whose host has shown a cookie ([`cookie`](crate::crypto::cookie)), which are given out while the first
//! lane is full. So whoever forges addresses cannot keep out who has one.
//!
//! Limits: [`INITS_PER_SECOND`] with bursts of [`INITS_BURST`] in the first lane;
//! [`NETWORK_PER_SECOND`] and [`NETWORK_BURST`] for each of [`NETWORKS_MAX`] networks (an IPv4 address, 56
//! bits of an IPv6 one), and [`SHOWN_PER_SECOND`] and [`SHOWN_BURST`] for them together. An INIT is answered
//! [`ANSWERS_MAX`] times within [`ANSWER_US`]. An answer is shorter than its INIT, so nobody gains
//! by having it sent to somebody else.

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

use litemap::LiteMap;

use super::PeerId;
use crate::crypto::handshake::{INIT_LEN, RESPONSE_LEN, init_mac1};
use crate::crypto::retry::RETRY_LEN;
use crate::time::{SEC, Time};

/// Initiations from unproved addresses that are computed per second: at 0.2 ms each on a small server
/// 1 % of a core.
pub const INITS_PER_SECOND: u64 = 50;
/// Of these at once after a pause: all peers of a small server together.
pub const INITS_BURST: u64 = 100;
/// Initiations from one network that has shown a cookie: routers behind one address.
pub const NETWORK_PER_SECOND: u64 = 20;
/// Of these at once after a pause.
pub const NETWORK_BURST: u64 = 64;
/// Initiations of all who have shown a cookie: at 0.2 ms each 8 % of a core.
pub const SHOWN_PER_SECOND: u64 = 400;
/// Of these at once after a pause: the routers of a server that has restarted.
pub const SHOWN_BURST: u64 = 1000;
/// Networks whose initiations are counted; the one that has asked least lately makes room.
pub const NETWORKS_MAX: usize = 1024;
/// Initiations that are known to have been computed.
pub const SEEN_MAX: usize = 4096;
/// How often the answer to one INIT is sent: 16 paths with 4 addresses each.
pub const ANSWERS_MAX: u32 = 64;
/// How long, microseconds: the spread of the delays of one client's links.
const ANSWER_US: u64 = 10 * SEC;

/// Where the ephemeral key of an INIT is: nothing else is needed to look an INIT up.
const EPHEMERAL: core::ops::Range<usize> = 8..40;

/// The part of an INIT that decides what is answered: all but `mac2`, which is another one for each
/// address.
const READ: usize = INIT_LEN - 16;

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    /// Microseconds of credit; one token is `SEC / rate` of them.
    credit_us: u64,
    at: Time,
    rate: u64,
    burst: u64,
}

impl Bucket {
    /// A full one.
    fn new(now: Time, rate: u64, burst: u64) -> Bucket {
        Bucket { credit_us: burst * SEC / rate, at: now, rate, burst }
    }

    /// Whether there is a token.
    fn ready(&mut self, now: Time) -> bool {
        let full = self.burst * SEC / self.rate;
        self.credit_us = self.credit_us.saturating_add(now.since(self.at)).min(full);
        self.at = self.at.max(now);
        self.credit_us >= SEC / self.rate
    }

    /// Takes it.
    fn take(&mut self) {
        self.credit_us = self.credit_us.saturating_sub(SEC / self.rate);
    }
}

/// A network: 32 bits of IPv4, 56 of IPv6, and which of them.
type Network = [u8; 8];

fn network(source: &SocketAddr) -> Network {
    let mut network = [0; 8];
    match source.ip().to_canonical() {
        IpAddr::V4(ip) => network[1..5].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => {
            network[0] = 6;
            network[1..].copy_from_slice(&ip.octets()[..7]);
        }
    }
    network
}

/// How many initiations are computed, and of whom.
#[derive(Debug)]
pub(super) struct Lanes {
    claimed: Bucket,
    shown: Bucket,
    networks: LiteMap<Network, Bucket>,
}

impl Lanes {
    /// Nothing was computed yet.
    pub fn new(now: Time) -> Lanes {
        Lanes {
            claimed: Bucket::new(now, INITS_PER_SECOND, INITS_BURST),
            shown: Bucket::new(now, SHOWN_PER_SECOND, SHOWN_BURST),
            networks: LiteMap::new(),
        }
    }

    /// Takes room for one initiation from an address that is only a claim, if there is any.
    pub fn take_claimed(&mut self, now: Time) -> bool {
        let ready = self.claimed.ready(now);
        if ready {
            self.claimed.take();
        }
        ready
    }

    /// Takes room for one from an address that has shown a cookie, if there is any.
    pub fn take_shown(&mut self, now: Time, source: &SocketAddr) -> bool {
        if !self.shown.ready(now) {
            return false;
        }
        let network = network(source);
        if !self.networks.contains_key(&network) {
            if self.networks.len() >= NETWORKS_MAX {
                let oldest = self.networks.iter().min_by_key(|(_, bucket)| bucket.at);
                let oldest = oldest.map(|(network, _)| *network);
                oldest.map(|oldest| self.networks.remove(&oldest));
            }
            let full = Bucket::new(now, NETWORK_PER_SECOND, NETWORK_BURST);
            self.networks.insert(network, full);
        }
        let Some(bucket) = self.networks.get_mut(&network) else { return false };
        let ready = bucket.ready(now);
        if ready {
            bucket.take();
            self.shown.take();
        }
        ready
    }
}

/// The initiations that were computed last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    set: LiteMap<u64, ()>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Half of a `mac1`: who wants another INIT to be taken for a seen one would need one with the same.
    fn name(init: &[u8; INIT_LEN]) -> u64 {
        let mac1 = init_mac1(init);
        u64::from_le_bytes(core::array::from_fn(|place| mac1[place]))
    }

    /// Whether this one was computed.
    pub fn contains(&self, init: &[u8; INIT_LEN]) -> bool {
        self.set.contains_key(&Seen::name(init))
    }

    /// This one is being computed.
    pub fn insert(&mut self, init: &[u8; INIT_LEN]) {
        let name = Seen::name(init);
        if self.set.insert(name, ()).is_some() {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

/// A datagram that answers an INIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// The handshake goes on.
    Response([u8; RESPONSE_LEN]),
    /// It is to begin again, with a nonce.
    Retry([u8; RETRY_LEN]),
}

impl Reply {
    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Response(bytes) => bytes,
            Reply::Retry(bytes) => bytes,
        }
    }
}

/// An INIT and what was answered.
#[derive(Debug)]
struct Answer {
    init: [u8; INIT_LEN],
    reply: Reply,
    at: Time,
    sent: u32,
}

/// What is known of an INIT that comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    /// It is new.
    New,
    /// This is the answer, once more.
    Answer(Reply),
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
    pub fn again(&mut self, now: Time, init: &[u8; INIT_LEN]) -> Again {
        let known = self.by_ephemeral.get(&ephemeral(init));
        let Some(answer) = known.and_then(|peer| self.by_peer.get_mut(peer)) else {
            return Again::New;
        };
        if init[..READ] != answer.init[..READ] {
            // Somebody has changed it: whatever is to be said of that, the handshake says.
            return Again::New;
        }
        if answer.sent >= ANSWERS_MAX || now.since(answer.at) > ANSWER_US {
            return Again::Enough;
        }
        answer.sent += 1;
        Again::Answer(answer.reply)
    }

    /// Remembers what `peer` was answered.
    pub fn insert(&mut self, now: Time, peer: PeerId, init: &[u8; INIT_LEN], reply: Reply) {
        self.remove(peer);
        self.by_ephemeral.insert(ephemeral(init), peer);
        let answer = Answer { init: *init, reply, at: now, sent: 1 };
        self.by_peer.insert(peer, Box::new(answer));
    }

    /// Forgets a peer.
    pub fn remove(&mut self, peer: PeerId) {
        if let Some(answer) = self.by_peer.remove(&peer) {
            self.by_ephemeral.remove(&ephemeral(&answer.init));
        }
    }
}

fn ephemeral(init: &[u8; INIT_LEN]) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(&init[EPHEMERAL]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(tries: u64, mut take: impl FnMut() -> bool) -> u64 {
        (0..tries).filter(|_| take()).count() as u64
    }

    #[test]
    fn a_burst_then_a_rate() {
        let mut lanes = Lanes::new(Time(0));
        assert_eq!(taken(1_000, || lanes.take_claimed(Time(0))), INITS_BURST);
        assert_eq!(taken(1_000, || lanes.take_claimed(Time(SEC))), INITS_PER_SECOND);
        assert_eq!(taken(1_000, || lanes.take_claimed(Time(100 * SEC))), INITS_BURST);
    }

    #[test]
    fn who_has_shown_a_cookie_waits_for_the_own_network_only() {
        let mut lanes = Lanes::new(Time(0));
        while lanes.take_claimed(Time(0)) {}
        let mut take = |source: &str| {
            let source = source.parse().unwrap();
            taken(200, || lanes.take_shown(Time(0), &source))
        };
        assert_eq!(take("192.0.2.1:1"), NETWORK_BURST);
        assert_eq!(take("192.0.2.1:2"), 0, "another port");
        assert_eq!(take("192.0.2.2:1"), NETWORK_BURST);
        assert_eq!(take("[::ffff:192.0.2.2]:1"), 0, "the same in other clothes");
        assert_eq!(take("[2001:db8:0:1::1]:1"), NETWORK_BURST);
        assert_eq!(take("[2001:db8:0:2::1]:1"), 0, "the same 56 bits");
        assert_eq!(take("[2001:db8:0:100::1]:1"), NETWORK_BURST);
    }

    #[test]
    fn many_networks_are_bounded() {
        let mut lanes = Lanes::new(Time(0));
        let from = |n: u32| SocketAddr::from((n.to_be_bytes(), 1));
        let n = core::cell::Cell::new(0);
        let all = taken(5_000, || {
            n.set(n.get() + 1);
            lanes.take_shown(Time(u64::from(n.get())), &from(n.get()))
        });
        assert!((SHOWN_BURST..SHOWN_BURST + 5).contains(&all), "{all}");
        for n in 0..3_000 {
            lanes.take_shown(Time(SEC * u64::from(n)), &from(n));
        }
        assert_eq!(lanes.networks.len(), NETWORKS_MAX);
    }

    #[test]
    fn what_was_computed_last_is_known() {
        let mut seen = Seen::default();
        let init = |n: u64| {
            let mut init = [0; INIT_LEN];
            init[READ - 16..READ - 8].copy_from_slice(&n.to_le_bytes());
            init
        };
        for n in 0..2 * SEEN_MAX as u64 {
            assert!(!seen.contains(&init(n)));
            seen.insert(&init(n));
            seen.insert(&init(n));
            assert!(seen.contains(&init(n)));
        }
        assert!(!seen.contains(&init(0)) && seen.contains(&init(SEEN_MAX as u64)));
        assert_eq!((seen.set.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
    }

    #[test]
    fn the_same_bytes_get_the_same_answer_for_a_while() {
        let mut answers = Answers::default();
        let init = [7; INIT_LEN];
        let reply = |n| Reply::Response([n; RESPONSE_LEN]);
        assert_eq!(answers.again(Time(0), &init), Again::New);
        answers.insert(Time(0), PeerId(1), &init, reply(8));
        assert_eq!(answers.again(Time(1), &init), Again::Answer(reply(8)));
        let mut other = init;
        other[READ - 1] ^= 1;
        assert_eq!(answers.again(Time(1), &other), Again::New);
        other = init;
        other[READ] ^= 1;
        assert_eq!(
            answers.again(Time(1), &other),
            Again::Answer(reply(8)),
            "mac2 is no part of it"
        );
        let more = (0..1_000).filter(|_| answers.again(Time(2), &init) != Again::Enough).count();
        assert_eq!(more as u32, ANSWERS_MAX - 3);
        answers.insert(Time(3), PeerId(1), &init, reply(9));
        assert_eq!(answers.again(Time(3 + ANSWER_US + 1), &init), Again::Enough);
        answers.remove(PeerId(1));
        assert_eq!(answers.again(Time(4), &init), Again::New);
    }
}
