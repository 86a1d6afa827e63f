//! Many peers behind one set of sockets.
//!
//! Why: an engine is one connection and knows neither keys nor addresses. Somebody has to find out
//! whose a datagram is, to agree on keys and change them, to know where each path leads, and to
//! see that nobody speaks for somebody else. A router does that for one server, a server for many
//! routers; which end of a connection it is, an endpoint knows for each peer ([`Side`]).
//!
//! How: pure, like the engine: time is an argument, randomness a seed. The caller, who owns the
//! sockets and the TUN device, calls
//!
//! * [`handle_datagram`](Endpoint::handle_datagram) with what comes from the network and
//!   [`push_packet`](Endpoint::push_packet) with what comes from the device;
//! * after that [`poll_transmit`](Endpoint::poll_transmit) until there is nothing more,
//!   [`poll_deliver`](Endpoint::poll_deliver) and [`poll_event`](Endpoint::poll_event) likewise;
//! * [`handle_timeout`](Endpoint::handle_timeout) when [`poll_timeout`](Endpoint::poll_timeout)
//!   has passed.
//!
//! ```text
//!  datagram -> receive -- index --> peer: session, path addresses -> engine -> allowed_ips -> device
//!                 \-- handshake --> attempts (client), accept (server)
//!  device -> allowed_ips -> peer: engine -> session -> transmit -> datagrams
//! ```
//!
//! Peers that something has happened to wait in three queues (to send, to deliver, to have their
//! timer looked at), so that a datagram costs the same with one peer as with a thousand.
//!
//! What packets pass is never inlined into the caller: a router's program is built for size around
//! it, and code that is inlined becomes what it is inlined into.
//!
//! A peer that has never connected costs its keys and its place in the tables; its engine is made
//! with the first session, or with the first packet that waits for one.
//!
//! Limits: [`PEERS_MAX`] peers; each table and queue has its bound in its module. One thread.

mod accept;
mod address;
mod allowed_ips;
mod attempts;
mod budget;
mod directory;
mod drops;
mod peer;
mod receive;
mod session;
mod snapshot;
mod sparing;
mod transmit;
mod via;

use core::fmt;
use std::collections::{BTreeSet, VecDeque};

use litemap::LiteMap;

pub use crate::prefix::Prefix;
pub use address::{AMPLIFICATION, CANDIDATES_MAX};
pub use allowed_ips::{AllowedIps, PREFIXES_MAX};
pub use drops::{Drop, Drops};
pub use snapshot::{PathSnapshot, PeerSnapshot, Snapshot, Total};
pub use sparing::Sparing;
pub use transmit::{BATCH_BYTES, BATCH_DATAGRAMS, DATAGRAM_MAX, Datagram, TransmitBatch};
pub use via::{SocketId, Udp, Via};

use crate::buffer::{Buf, Pool};
use crate::crypto::cookie::{self, Secrets};
use crate::crypto::handshake::{CAPABILITIES, Hello, Initiator};
use crate::crypto::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::crypto::rng::{Dice, SecretRng};
use crate::engine::{self, Mode, PathSettings, PathState, Reason, Side, SpeedTestPlan};
use crate::time::Time;
use crate::wire::{PATHS_MAX, PathId, ip};
use accept::{Answers, Lanes, Seen};
use address::Addresses;
use attempts::{Attempts, Cause, Flight};
use budget::Budget;
use directory::Directory;
use peer::{PathSlot, Peer};
use session::LEAVE_US;
use transmit::Handshake;

/// Peers at most.
pub const PEERS_MAX: usize = 4096;

/// A peer's number, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u32);

/// What an endpoint is told once.
pub struct Settings {
    /// Its identity.
    pub private_key: PrivateKey,
    /// Everything that must be unguessable comes from this: fresh from the system, never twice.
    pub seed: [u8; 32],
    /// Bound in bytes of the packets that all peers keep together; a peer has what is free of it, up
    /// to the bound of its engine. At twice that, one peer alone is never short.
    pub memory: usize,
    /// For every peer's engine; the seed and the side in it are set by the endpoint.
    pub engine: engine::Settings,
}

/// What is configured of a peer.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// Which end of the connection with it this is.
    pub side: Side,
    /// Its identity.
    pub public_key: PublicKey,
    /// The secret shared with it, or [`PresharedKey::none`].
    pub preshared_key: PresharedKey,
    /// The inner addresses that belong to it.
    pub allowed_ips: Vec<Prefix>,
}

/// Why a peer was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerError {
    /// Two peers cannot be told apart.
    #[error("there is a peer with this public key already")]
    DuplicateKey,
    /// The key is this device's own.
    #[error("the public key is this device's own")]
    OwnKey,
    /// There are [`PEERS_MAX`] peers.
    #[error("more than {PEERS_MAX} peers")]
    TooManyPeers,
    /// There are [`PREFIXES_MAX`] prefixes.
    #[error("more than {PREFIXES_MAX} allowed address ranges")]
    TooManyPrefixes,
    /// The peer is not there (any more).
    #[error("no such peer")]
    NoSuchPeer,
}

/// How the connection to a peer is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PeerState {
    /// We call, and there is no answer yet, or no more.
    Connecting,
    /// There is a session under which something has come, and at least one path is not silent.
    Up,
    /// The peer calls, and is not there.
    Down,
}

impl PeerState {
    /// Its name in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Connecting => "connecting",
            PeerState::Up => "up",
            PeerState::Down => "down",
        }
    }
}

/// Who has acknowledged what was never sent, for which a connection was ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breach {
    /// The peer, as this end has seen.
    Theirs,
    /// This end, as the peer says.
    Ours,
}

/// A change worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The connection is in another state.
    State(PeerState),
    /// A path is in another state. Of one that changes all the time not each is told, and the last one
    /// within a second.
    PathChanged(PathId, PathState),
    /// So many changes of a path were left out.
    PathRestless(PathId, u32),
    /// The data of a path goes somewhere else.
    AddressChanged(PathId, Via),
    /// A handshake of the peer's was refused; told once a minute at most.
    Refused(Drop),
    /// The connection was ended for false acknowledgements; told once a minute at most.
    Broken(Breach),
    /// The tunnel's MTU toward this peer should be this.
    Mtu(u16),
}

/// Many peers behind one set of sockets.
pub struct Endpoint {
    private_key: PrivateKey,
    engine: engine::Settings,
    budget: Budget,
    rng: SecretRng,
    dice: Dice,
    /// Of the last INIT: they must grow, whatever the clock does.
    timestamp_us: u64,
    attempt: u64,
    closing: bool,

    peers: LiteMap<PeerId, Box<Peer>>,
    next_peer: u32,
    directory: Directory,
    answers: Answers,
    retries: Answers,
    lanes: Lanes,
    seen: Seen,
    secrets: Secrets,
    /// What cookies are sealed with.
    cookie_key: [u8; 32],
    drops: Drops,

    outbox: VecDeque<Handshake>,
    events: VecDeque<(PeerId, Event)>,
    /// Peers that may have something to send.
    ready: VecDeque<PeerId>,
    /// Peers that may have something to deliver.
    delivering: VecDeque<PeerId>,
    /// Peers whose time in `timers` may be wrong.
    moved: Vec<PeerId>,
    timers: BTreeSet<(Time, PeerId)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Endpoint");
        out.field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint without peers.
    pub fn new(settings: Settings, now: Time) -> Endpoint {
        let Settings { private_key, seed, memory, engine } = settings;
        let mut rng = SecretRng::new(seed);
        let secrets = Secrets::new(now, &mut rng);
        let cookie_key = cookie::cookie_key(&private_key.public());
        Endpoint {
            private_key,
            budget: Budget::new(memory, engine.memory),
            engine,
            dice: Dice::new(rng.next_u64()),
            rng,
            timestamp_us: 0,
            attempt: 0,
            closing: false,
            peers: LiteMap::new(),
            next_peer: 0,
            directory: Directory::default(),
            answers: Answers::default(),
            retries: Answers::default(),
            lanes: Lanes::new(now),
            seen: Seen::default(),
            secrets,
            cookie_key,
            drops: Drops::default(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            ready: VecDeque::new(),
            delivering: VecDeque::new(),
            moved: Vec::new(),
            timers: BTreeSet::new(),
        }
    }

    /// Adds a peer. If it is ours to call, that begins with the first path that has candidates.
    ///
    /// # Errors
    /// See [`PeerError`]; nothing is changed then.
    #[inline(never)] // See the module documentation.
    pub fn add_peer(&mut self, now: Time, settings: PeerSettings) -> Result<PeerId, PeerError> {
        let PeerSettings { side, public_key, preshared_key, allowed_ips } = settings;
        if public_key == self.private_key.public() {
            return Err(PeerError::OwnKey);
        }
        let id = PeerId(self.next_peer);
        self.directory.add(id, public_key, side, &allowed_ips)?;
        self.next_peer += 1;
        let keys = (public_key, preshared_key);
        let peer = Peer::new(now, id, keys, self.engine.clone(), side, &mut self.rng);
        self.peers.insert(id, Box::new(peer));
        self.touch(now, id);
        Ok(id)
    }

    /// Changes what is configured of a peer, without interrupting it. The preshared key counts
    /// from the next handshake on.
    ///
    /// # Errors
    /// See [`PeerError`]; nothing is changed then.
    pub fn update_peer(
        &mut self,
        id: PeerId,
        preshared_key: PresharedKey,
        allowed_ips: &[Prefix],
    ) -> Result<(), PeerError> {
        let peer = self.peers.get_mut(&id).ok_or(PeerError::NoSuchPeer)?;
        self.directory.set_allowed_ips(id, allowed_ips)?;
        peer.psk = preshared_key;
        Ok(())
    }

    /// Forgets a peer at once; to say good-bye, [`close_peer`](Self::close_peer) it before and
    /// send what there is to send.
    pub fn remove_peer(&mut self, id: PeerId) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        self.budget.charge(&mut peer.charged, 0);
        peer.sessions.clear(&mut self.directory.indices);
        peer.flights.clear(&mut self.directory.indices);
        self.timers.remove(&(peer.wake, id));
        self.directory.remove(id, &peer.key, peer.side);
        self.answers.remove(id);
        self.retries.remove(id);
    }

    /// The peer with this key.
    pub fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.directory.by_key(key)
    }

    /// Says good-bye to every peer; handshakes end.
    pub fn close(&mut self, now: Time) {
        self.closing = true;
        let all: Vec<_> = self.peers.keys().copied().collect();
        for id in all {
            self.close_peer(now, id);
        }
    }

    /// Says good-bye to a peer, with the next datagrams; a little later its session ends. No
    /// handshakes any more.
    pub fn close_peer(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.attempts = Attempts::none();
        peer.flights.clear(&mut self.directory.indices);
        peer.sessions.shorten(now + LEAVE_US);
        if let Some(engine) = &mut peer.engine {
            engine.close(0);
        }
        self.touch(now, id);
    }

    /// Begins the connection to a peer anew: with a handshake at once if it is ours to call, else
    /// with its next one.
    pub fn reconnect(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.reset(now, &mut self.rng, &mut self.directory.indices);
        self.touch(now, id);
    }

    /// Opens a path to a peer, or changes the settings of an open one. Its datagrams go to its
    /// [candidates](Self::set_candidates).
    pub fn open_path(&mut self, now: Time, peer: PeerId, path: PathId, settings: PathSettings) {
        self.with_path(now, peer, path, |peer| {
            let place = &mut peer.paths[path.index()];
            let slot = place.get_or_insert_with(|| Box::new(PathSlot::new(now, settings)));
            slot.settings = settings;
            if !slot.open || slot.lost.is_some() {
                slot.quiet_since = now;
            }
            slot.open = true;
            slot.lost = None;
            if let Some(engine) = &mut peer.engine {
                engine.open_path(now, path, settings);
            }
            peer.attempts.hurry(now);
        });
    }

    /// Says which ways a path has: the socket of its WAN, over each family, to each address of
    /// the server. Replaces what was said before; at most [`CANDIDATES_MAX`] count.
    pub fn set_candidates(&mut self, now: Time, peer: PeerId, path: PathId, candidates: &[Via]) {
        self.with_path(now, peer, path, |peer| {
            let Some(slot) = peer.path(path) else { return };
            slot.addresses.set_candidates(candidates);
            if !candidates.is_empty() {
                peer.attempts.hurry(now);
            }
        });
    }

    /// A path has a new address, or its link is back: prove it.
    pub fn revalidate(&mut self, now: Time, peer: PeerId, path: PathId) {
        self.with_path(now, peer, path, |peer| {
            if let Some(slot) = peer.path(path) {
                slot.lost = None;
            }
            if let Some(engine) = &mut peer.engine {
                engine.revalidate(now, path);
            }
            peer.attempts.hurry(now);
        });
    }

    /// A path's link is gone.
    pub fn path_lost(&mut self, now: Time, peer: PeerId, path: PathId, reason: Reason) {
        self.with_path(now, peer, path, |peer| {
            if let Some(slot) = peer.path(path) {
                slot.lost = Some(reason);
            }
            if let Some(engine) = &mut peer.engine {
                engine.path_lost(now, path, reason);
            }
        });
    }

    /// Changes how a path may be used.
    pub fn set_mode(&mut self, now: Time, peer: PeerId, path: PathId, mode: Mode) {
        self.with_path(now, peer, path, |peer| {
            if let Some(slot) = peer.path(path) {
                slot.settings.mode = mode;
            }
            if let Some(engine) = &mut peer.engine {
                engine.set_mode(now, path, mode);
            }
        });
    }

    /// Begins a speed test towards a peer; whether it is connected.
    pub fn start_speed_test(&mut self, now: Time, id: PeerId, plan: SpeedTestPlan) -> bool {
        let up = self.peers.get_mut(&id).filter(|peer| peer.state() == PeerState::Up);
        let Some(engine) = up.and_then(|peer| peer.engine.as_mut()) else { return false };
        engine.start_speed_test(now, plan);
        self.touch(now, id);
        true
    }

    /// Ends the speed test towards a peer.
    pub fn stop_speed_test(&mut self, now: Time, id: PeerId) {
        let engine = self.peers.get_mut(&id).and_then(|peer| peer.engine.as_mut());
        if let Some(engine) = engine {
            engine.stop_speed_test(now);
            self.touch(now, id);
        }
    }

    /// Forgets a path, but for its packet numbers and its replay window: should its id be used
    /// again, both go on where they were.
    pub fn close_path(&mut self, now: Time, peer: PeerId, path: PathId) {
        self.with_path(now, peer, path, |peer| {
            if let Some(engine) = &mut peer.engine {
                engine.close_path(now, path);
            }
            if let Some(slot) = peer.path(path) {
                slot.open = false;
                slot.addresses = Addresses::default();
            }
        });
    }

    fn with_path(&mut self, now: Time, id: PeerId, path: PathId, f: impl FnOnce(&mut Peer)) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if path.index() < PATHS_MAX {
            f(peer);
            self.touch(now, id);
        }
    }

    /// Takes an inner packet from the device: it goes to the peer that its destination belongs
    /// to. While there is no session with that peer it waits, within the engine's bound, unless
    /// nobody knows whether the peer will come.
    #[inline(never)] // See the module documentation.
    pub fn push_packet(&mut self, now: Time, pool: &mut Pool, packet: Buf) {
        let view = ip::Packet::parse(packet.bytes()).ok_or(Some(Drop::NotIp));
        let peer = view.and_then(|view| {
            let id = self.directory.allowed_ips.lookup(view.destination);
            // What the system says to a group, such as MLD reports, is meant for nobody here.
            let nobody = || (!view.destination.is_multicast()).then_some(Drop::UnknownDestination);
            let peer = id.and_then(|id| self.peers.get_mut(&id)).ok_or_else(nobody)?;
            let expected = peer.engine.is_some() || peer.is_expected(now);
            expected.then_some((view, peer)).ok_or(Some(Drop::NotConnected))
        });
        match peer {
            Ok((view, peer)) => {
                let id = peer.id;
                peer.tx_bytes += packet.len() as u64;
                let memory = self.budget.share();
                let engine = peer.connection(now);
                engine.set_memory(memory);
                engine.push_packet(now, pool, packet, &view);
                if peer.state() != PeerState::Up {
                    peer.attempts.hurry(now);
                }
                self.touch(now, id);
            }
            Err(reason) => {
                if let Some(reason) = reason {
                    self.drops.count(reason);
                }
                pool.give(packet);
            }
        }
    }

    /// The next inner packet for the device, and the peer that sent it. Packets whose source is
    /// not that peer's are dropped here.
    #[inline(never)] // See the module documentation.
    pub fn poll_deliver(&mut self, pool: &mut Pool) -> Option<(PeerId, Buf)> {
        while let Some(&id) = self.delivering.front() {
            let peer = self.peers.get_mut(&id);
            let next = peer.and_then(|p| Some((p.engine.as_mut()?.poll_deliver()?, p)));
            let Some((packet, peer)) = next else {
                self.delivering.pop_front();
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.queued.deliver = false;
                    peer.charge(&mut self.budget);
                }
                continue;
            };
            let reason = match ip::Packet::parse(packet.bytes()) {
                None => Drop::NotIp,
                Some(view) if self.directory.allowed_ips.lookup(view.source) == Some(id) => {
                    peer.rx_bytes += packet.len() as u64;
                    return Some((id, packet));
                }
                Some(_) => Drop::SpoofedSource,
            };
            self.drops.count(reason);
            pool.give(packet);
        }
        None
    }

    /// The next change worth telling.
    pub fn poll_event(&mut self) -> Option<(PeerId, Event)> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; at once when there is
    /// something to send.
    #[inline(never)] // See the module documentation.
    pub fn poll_timeout(&mut self) -> Time {
        self.settle_timers();
        if !self.outbox.is_empty() || !self.ready.is_empty() {
            return Time::ZERO;
        }
        self.timers.first().map_or(Time::FAR, |&(at, _)| at)
    }

    /// Does what is due. `unix_us` is the wall clock, microseconds since 1970; it may be wrong
    /// and may jump.
    #[inline(never)] // See the module documentation.
    pub fn handle_timeout(&mut self, now: Time, unix_us: u64, pool: &mut Pool) {
        self.settle_timers();
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.wake = Time::FAR;
                self.wake(now, unix_us, pool, id);
            }
        }
    }

    fn wake(&mut self, now: Time, unix_us: u64, pool: &mut Pool, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.flights.expire(now, &mut self.directory.indices);
        let lost = peer.sessions.expire(now, &mut self.directory.indices);
        if lost {
            peer.attempts.begin(now, Cause::Connect);
        }
        if let (Some(engine), Some(_)) = (&mut peer.engine, peer.sessions.current()) {
            engine.handle_timeout(now, pool);
        }
        if peer.untold_due <= now {
            peer.tell_untold(now, &mut self.events);
        }
        if peer.attempts.next() <= now {
            self.attempt(now, unix_us, id);
        }
        // The engine may release packets that have waited for others long enough.
        self.deliver_later(id);
        self.touch(now, id);
    }

    /// Sends an INIT over every way at once.
    fn attempt(&mut self, now: Time, unix_us: u64, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let usable = peer.paths().filter(|(_, slot)| slot.settings.mode != Mode::Off);
        let ways = usable.flat_map(|(_, slot)| slot.addresses.known());
        let mut ways: Vec<Via> = ways.collect();
        ways.sort_unstable();
        ways.dedup();
        if ways.is_empty() {
            peer.attempts.no_way(now);
            return;
        }
        peer.attempts.attempted(now, &mut self.dice);
        self.timestamp_us = unix_us.max(self.timestamp_us + 1);
        self.attempt += 1;
        let index = self.directory.indices.draw(&mut self.rng, id);
        let hello = Hello { index, instance: peer.instance, capabilities: CAPABILITIES };
        let fresh = peer.fresh;
        let (when, seed) = ((self.timestamp_us, fresh), self.rng.seed());
        match Initiator::new(&self.private_key, &peer.key, &peer.psk, hello, when, seed) {
            Ok((initiator, init)) => {
                let (attempt, sent, fresh) = (self.attempt, now, fresh.is_some());
                let flight = Flight { initiator, init, fresh, again: 0, index, attempt, sent };
                peer.flights.push(flight, &mut self.directory.indices);
                let shown = |way: &Via| Some((*way, peer.cookie(now, way)?));
                let shown: Vec<_> = ways.iter().filter_map(shown).collect();
                ways.retain(|way| shown.iter().all(|(with, _)| with != way));
                for (way, cookie) in shown {
                    let init = cookie::with_cookie(&init, &cookie);
                    self.send_handshake(Handshake::init(init, vec![way]));
                }
                if !ways.is_empty() {
                    self.send_handshake(Handshake::init(init, ways));
                }
            }
            Err(error) => {
                self.directory.indices.free(index);
                self.drops.count(error.into());
            }
        }
    }

    /// Something has happened to a peer: it may have something to send, to tell, and another
    /// time to be woken.
    fn touch(&mut self, now: Time, id: PeerId) {
        self.observe(now, id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.queued.transmit && peer.sessions.current().is_some() {
            peer.queued.transmit = true;
            self.ready.push_back(id);
        }
    }

    /// As [`touch`](Self::touch), for a peer that has just been asked what it has to send.
    fn observe(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.take_events(now, None, &mut self.events) {
            peer.reset(now, &mut self.rng, &mut self.directory.indices);
        }
        peer.tell_state(&mut self.events);
        peer.charge(&mut self.budget);
        if !peer.queued.timer {
            peer.queued.timer = true;
            self.moved.push(id);
        }
    }

    /// A peer may have something to deliver.
    fn deliver_later(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.queued.deliver {
            peer.queued.deliver = true;
            self.delivering.push_back(id);
        }
    }

    /// Brings `timers` up to date.
    fn settle_timers(&mut self) {
        while let Some(id) = self.moved.pop() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.queued.timer = false;
            let wake = peer.poll_timeout();
            if wake != peer.wake {
                self.timers.remove(&(peer.wake, id));
                peer.wake = wake;
            }
            if wake != Time::FAR {
                self.timers.insert((wake, id));
            }
        }
    }
}

#[cfg(test)]
mod tests;
