//! The bonding state machine: one peer's connection over many paths.
//!
//! Why: everything that makes several links behave like one better link is decided here, on both
//! ends in the same way: what to send next, on which path and when; what was lost and where it
//! goes again; what has to wait for its predecessors and for how long; which path can be trusted.
//!
//! How: a pure state machine in the manner of quinn-proto. Inner packets go in with
//! [`push_packet`](Engine::push_packet), decrypted payloads with
//! [`handle_payload`](Engine::handle_payload); payloads to seal and send come out of
//! [`poll_transmit`](Engine::poll_transmit), packets for the TUN device out of
//! [`poll_deliver`](Engine::poll_deliver), and [`poll_timeout`](Engine::poll_timeout) says when
//! [`handle_timeout`](Engine::handle_timeout) wants to be called if nothing else happens before.
//! There is no clock, socket or thread in here, and the only randomness is a seed.
//!
//! ```text
//!  push_packet -> queue -> schedule -> path (pacing, rate) -> poll_transmit
//!                              ^  unacked <- acknowledgements
//!  handle_payload -> path (acks) -> resequence -> poll_deliver
//! ```
//!
//! Modules know only those that stand before them: `settings`, `flow_table`, `queue`, `path` (all that is one
//! path's: accounts, delays, rate, state, its part of exclusion and parity), `unacked`,
//! `resequence`. What concerns several paths is [`Engine`]'s, in `schedule`, `exclusion`, `parity`,
//! `duplicate`, `receive`, `transmit`, `timer` and `snapshot`, which see all of these.
//!
//! Limits: [`PATHS_MAX`] paths; memory as [`Settings::memory`] says.

mod duplicate;
mod exclusion;
mod flow_table;
mod load;
mod parity;
mod path;
mod queue;
mod receive;
mod resequence;
mod schedule;
mod settings;
mod snapshot;
mod speed_test;
mod timer;
mod transmit;
mod unacked;
mod work;

pub use load::{Allowance, HOUR_BYTES_MAX, LOAD_BYTES_MAX, LOAD_US_MAX};
pub use path::rate::Phase;
pub use path::state::{PathState, Reason};
pub use settings::{HOLD_MAX_US, MEMORY, Mode, PathSettings, Settings, Side};
pub use snapshot::{Memory, PathSnapshot, Snapshot};
pub use speed_test::{Refusal, STEP_US_MIN, SpeedTestPlan, SpeedTestSnapshot, StepResult, Way};

use crate::buffer::{Buf, Pool};
use crate::crypto::packet::{PacketNumber, PacketNumbers};
use crate::crypto::rng::SecretRng;
use crate::time::{MS, SEC, Time};
use crate::wire::{PATHS_MAX, PathId, ip};
use core::net::SocketAddr;
use path::{Meter, Path};
use queue::Queue;
use resequence::Resequencer;
use std::collections::VecDeque;
use unacked::Unacked;
use work::Work;

/// Least MTU of the tunnel (RFC 8200 §5).
const MTU_MIN: u16 = 1280;
/// BLAKE3 context of what the peer must not guess.
const SECRETS: &str = "onebox v1 engine secrets";
/// Time without inner packets after which the connection counts as idle.
const BUSY_US: u64 = 2 * SEC;
/// Hold that a receiver uses until the sender has said one.
const HOLD_FIRST_US: u64 = 200 * MS;
/// Reason of a CLOSE frame: its receiver has acknowledged what was never sent.
pub const CLOSE_LIE: u8 = 2;
/// Events that wait to be read when another path changes its state: older ones are dropped.
const EVENTS_MAX: usize = 64;

/// Where a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To the path's validated address.
    Current,
    /// It proves addresses: to one only.
    Proof {
        /// It answers the challenge with this data: to where that came from.
        answer: Option<u64>,
        /// It holds a challenge with this data: to an address that is to be proved by it. For each
        /// further one there is [`challenge`](Engine::challenge).
        challenge: Option<u64>,
    },
}

/// A payload to seal and send.
#[derive(Debug)]
pub struct Transmit {
    /// The path to send it on.
    pub path: PathId,
    /// Its packet number, to be used up by sealing.
    pub number: PacketNumber,
    /// How many bytes were written.
    pub len: usize,
    /// Where it goes.
    pub target: Target,
}

/// What shows that a datagram of ours has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    /// The answer to the ping in it.
    Pong(u32),
    /// The acknowledgement of its number.
    Acked(u64),
}

/// A change that the owner has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The datagram now being handled asks for an answer with this data, to where it came from.
    Challenged(PathId, u64),
    /// The datagram now being handled answers the challenge with this data: whether it comes from where
    /// that was sent is the owner's to know.
    Answered(PathId, u64),
    /// A path has a new state.
    PathChanged(PathId, PathState),
    /// All paths are suspect or down: the peer may have restarted.
    PeerSilent,
    /// The peer has said good-bye, with the reason of its frame.
    PeerClosed(u8),
    /// The peer has acknowledged what was never sent, and has been told: nothing is to be had from
    /// this engine any more.
    PeerLied,
    /// The tunnel's MTU should be this.
    Mtu(u16),
}

/// One peer's connection.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    /// By number, up to the highest that is open: every datagram looks at all of them.
    paths: Vec<Option<Box<Path>>>,
    /// Next packet number of each path. They outlive the path: a number is never used twice in a
    /// connection.
    numbers: [PacketNumbers; PATHS_MAX],
    queue: Queue,
    unacked: Unacked,
    resequencer: Resequencer,
    /// Datagrams until a number is skipped, of each path.
    until_skip: [u16; PATHS_MAX],
    events: VecDeque<Event>,
    /// For what the peer must not guess.
    secrets: SecretRng,
    /// Last inner packet in either direction.
    last_used: Option<Time>,
    /// The use after which memory was last given back.
    shrunk_for: Option<Time>,
    /// When the flows gave back last.
    shrunk_at: Time,
    last_report: Time,
    /// How we want the paths to be used has to be reported to the peer.
    report_status: bool,
    /// Hold that was last reported to the peer, the one computed last, and when that was.
    hold_reported: u64,
    hold_now: u64,
    hold_at: Time,
    /// When the paths were last judged.
    judged_at: Time,
    closing: Option<u8>,
    work: Work,
    /// The peer has acknowledged what was never sent: nothing of it counts any more.
    lied_to: bool,
    /// A datagram with acknowledgements of which we shall know that it has arrived, and so that they
    /// have been heard: when it was sent, on which path, and by what it shows.
    asked: Option<(Time, PathId, Heard)>,
    /// When a path last fell out of use.
    path_lost_at: Option<Time>,
    /// The peer's clock.
    clock: path::rtt::PeerClock,
    /// When the newest acknowledgement was written, on that clock.
    last_reported: u64,
    /// When [`poll_transmit`](Engine::poll_transmit) last found nothing more to send.
    drained_at: Time,
    mtu_reported: u16,
    /// The longest inner packet that some path takes, or is hoped to take. Longer than the MTU that
    /// was told: what is on its way when a narrow path comes goes over the wider ones.
    longest: u16,
    /// Inner bytes taken in and delivered.
    tx_bytes: u64,
    rx_bytes: u64,
    tx: Meter,
    rx: Meter,
    /// Inner packets longer than any path takes.
    too_long: u64,
    duplicates: duplicate::Duplicates,
    /// Packets sent twice.
    duplicated: u64,
    /// Datagrams of the peer that were lost and rebuilt.
    repaired: u64,
    /// Paths that are being filled with padding, and what the peer has asked of that kind.
    load: Option<Box<load::Load>>,
    requested: Option<load::Requested>,
    /// A request that came while another was under way.
    refused: Option<u32>,
    allowance: Allowance,
    speed_test: Option<Box<speed_test::SpeedTest>>,
}

impl Engine {
    /// An engine without paths.
    pub fn new(settings: Settings, now: Time) -> Engine {
        let quarter = settings.quarter();
        Engine {
            paths: Vec::new(),
            numbers: core::array::from_fn(|path| PacketNumbers::new(path as u8)),
            queue: Queue::new(settings.seed),
            unacked: Unacked::new(2 * quarter),
            resequencer: Resequencer::new(quarter, HOLD_FIRST_US.min(settings.hold_max_us)),
            events: VecDeque::new(),
            until_skip: [0; PATHS_MAX],
            secrets: SecretRng::new(blake3::derive_key(SECRETS, &settings.seed.to_le_bytes())),
            last_used: None,
            shrunk_for: None,
            shrunk_at: now,
            last_report: now,
            report_status: settings.side.opens(),
            hold_reported: 0,
            hold_now: 0,
            hold_at: Time::ZERO,
            judged_at: now,
            closing: None,
            work: Work::new(now),
            lied_to: false,
            asked: None,
            path_lost_at: None,
            clock: path::rtt::PeerClock::default(),
            last_reported: 0,
            drained_at: now,
            mtu_reported: 0,
            longest: MTU_MIN,
            tx_bytes: 0,
            rx_bytes: 0,
            tx: Meter::default(),
            rx: Meter::default(),
            too_long: 0,
            duplicates: duplicate::Duplicates::default(),
            duplicated: 0,
            repaired: 0,
            load: None,
            requested: None,
            refused: None,
            allowance: Allowance::default(),
            speed_test: None,
            settings,
        }
    }

    fn path(&self, id: PathId) -> Option<&Path> {
        self.paths.get(id.index())?.as_deref()
    }

    fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths.get_mut(id.index())?.as_deref_mut()
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().flatten().map(|p| &**p)
    }

    /// Opens a path, or changes the settings of an open one.
    pub fn open_path(&mut self, now: Time, id: PathId, settings: PathSettings) {
        if id.index() >= PATHS_MAX {
            return;
        }
        if id.index() >= self.paths.len() {
            self.paths.resize_with(id.index() + 1, || None);
        }
        let place = &mut self.paths[id.index()];
        self.report_status = true;
        match place {
            Some(path) => {
                path.rate.set_max(settings.send_rate_max);
                if settings.link_mtu != path.settings.link_mtu
                    || settings.ip_overhead != path.settings.ip_overhead
                {
                    path.mtu = path::mtu::Mtu::new(now, settings.link_mtu);
                }
                path.settings = settings;
                self.change(now, id, |path| path.health.set_mode(now, settings.mode));
            }
            None => *place = Some(Box::new(Path::new(now, id, settings))),
        }
        self.update_mtu(now);
    }

    /// Whether a path is open.
    pub fn has_path(&self, id: PathId) -> bool {
        self.path(id).is_some()
    }

    /// The link of a path is gone: what was on its way goes over the others at once.
    pub fn path_lost(&mut self, now: Time, id: PathId, reason: Reason) {
        // The peer need not find out by itself.
        self.report_status = self.settings.side.opens();
        self.change(now, id, |path| path.health.on_link_lost(now, reason));
    }

    /// A path has a new address on our end, or its link is back: prove it.
    pub fn revalidate(&mut self, now: Time, id: PathId) {
        self.change(now, id, |path| path.mtu.restart(now));
        self.prove(now, id);
    }

    /// Asks the peer for a word on each path in use: there are new keys, and only a datagram under them
    /// shows that it has them.
    pub fn ping(&mut self, now: Time) {
        for index in 0..self.paths.len() {
            self.change(now, PathId(index as u8), |path| path.ping_now = path.health.is_usable());
        }
    }

    /// The peer seems to have another address on a path: prove it. Until then all goes on as it was.
    pub fn prove(&mut self, now: Time, id: PathId) {
        self.change(now, id, |path| {
            if path.health.is_usable() {
                path.health.prove(now);
            } else {
                path.health.on_link(now);
            }
        });
    }

    /// The peer has another IP address on a path: nothing that was measured holds for the new way (RFC
    /// 9000 §9.4). Not for another port alone, which is how a NAT forgets.
    pub fn path_moved(&mut self, now: Time, id: PathId) {
        self.change(now, id, |path| path.forget_measures(now));
        self.update_mtu(now);
    }

    /// The peer's datagrams on a path come from `address`, which has been proved: it is told so.
    pub fn see(&mut self, id: PathId, address: SocketAddr) {
        if let Some(path) = self.path_mut(id) {
            path.see(address);
        }
    }

    /// Forgets a path.
    pub fn close_path(&mut self, now: Time, id: PathId) {
        self.path_lost(now, id, Reason::SwitchedOff);
        if let Some(place) = self.paths.get_mut(id.index()) {
            *place = None;
        }
        while let Some(None) = self.paths.last() {
            self.paths.pop();
        }
        self.update_mtu(now);
    }

    /// Changes how a path may be used.
    pub fn set_mode(&mut self, now: Time, id: PathId, mode: Mode) {
        self.report_status = true;
        self.change(now, id, |path| {
            path.settings.mode = mode;
            path.health.set_mode(now, mode);
        });
    }

    /// Does something to a path that may change its state, and sees to what follows from that.
    fn change(&mut self, now: Time, id: PathId, what: impl FnOnce(&mut Path)) {
        let Engine { paths, unacked, events, path_lost_at, .. } = self;
        let Some(path) = paths.get_mut(id.index()).and_then(|p| p.as_deref_mut()) else { return };
        let (was, usable) = (path.health.state(), path.health.is_usable());
        what(path);
        let (is, still) = (path.health.state(), path.health.is_usable());
        if usable && !still {
            *path_lost_at = Some(now);
            path.abandon(now, |sent| unacked.on_lost(sent));
            paths.iter_mut().flatten().for_each(|path| path.reset_silence(now));
        }
        let Some(path) = paths.get_mut(id.index()).and_then(|p| p.as_deref_mut()) else { return };
        if !usable && still {
            path.rate.restart(now);
            // What is lost at load does not show while it is probed.
            if !path.health.is_held() {
                path.exclusion = path::exclusion::Exclusion::new(now);
            }
            path.ping_now |= path.observed.again();
        }
        if was != is {
            if events.len() == EVENTS_MAX {
                events.pop_front();
            }
            events.push_back(Event::PathChanged(id, is));
            if usable && !self.paths().any(|p| p.health.is_usable()) {
                self.events.push_back(Event::PeerSilent);
            }
            self.update_mtu(now);
        }
    }

    /// Takes an inner packet that wants to go to the peer.
    pub fn push_packet(&mut self, now: Time, pool: &mut Pool, packet: Buf, view: &ip::Packet) {
        self.last_used = Some(now);
        self.tx_bytes += packet.len() as u64;
        self.tx.add(now, packet.len() as u64, 0, 0);
        if packet.len() > usize::from(self.longest) {
            self.too_long += 1;
            pool.give(packet);
            return;
        }
        let limit = self.queue_max();
        self.queue.push(now, pool, packet, view, limit);
    }

    /// Bytes of buffers that are kept.
    pub fn buffered(&self) -> usize {
        self.queue.buffers() + self.unacked.buffers().0 + self.resequencer.held_bytes()
    }

    /// Changes the bound of what is kept ([`Settings::memory`]). What is above a smaller one stays
    /// until it is sent, acknowledged or delivered, and nothing is added to it.
    pub fn set_memory(&mut self, bytes: usize) {
        if bytes != self.settings.memory {
            self.settings.memory = bytes;
            self.unacked.set_limit(2 * self.settings.quarter());
        }
    }

    /// Bytes of buffers that may wait to be sent, beside what is on its way: what is received has
    /// left room for, and a quarter is its own.
    fn queue_max(&self) -> usize {
        let received = self.resequencer.held_bytes().max(self.settings.quarter());
        self.settings.memory.saturating_sub(received + self.unacked.buffers().0)
    }

    /// Bytes of buffers that may wait for their predecessors: what is sent has left room for, and a
    /// quarter is its own.
    fn held_max(&self) -> usize {
        let sent = self.queue.buffers() + self.unacked.buffers().0;
        self.settings.memory.saturating_sub(sent.max(self.settings.quarter()))
    }

    /// The next inner packet from the peer.
    pub fn poll_deliver(&mut self) -> Option<Buf> {
        self.resequencer.pop()
    }

    /// The next change that the owner has to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says good-bye with the next datagram; `reason` is that of the frame.
    pub fn close(&mut self, reason: u8) {
        self.closing = Some(reason);
    }

    /// Whether inner packets wait to be sent.
    pub fn wants_to_send(&self) -> bool {
        !self.queue.is_empty() || self.unacked.wants_resend()
    }

    /// The tunnel's MTU: what the narrowest path takes, or is hoped to take while that is being
    /// found out. Below 1280 only where no path takes that much.
    pub fn mtu(&self) -> u16 {
        // One that is too narrow may be silent rather than held.
        let wide = self.widths().filter(|width| *width >= MTU_MIN).min();
        let least = wide.or_else(|| self.widths().min());
        least.unwrap_or(if self.mtu_reported > 0 { self.mtu_reported } else { 1400 })
    }

    /// The longest inner packets that the paths take, or are hoped to take.
    fn widths(&self) -> impl Iterator<Item = u16> {
        let counts = |p: &&Path| {
            p.health.state() != PathState::Down && !p.health.is_narrow() && !p.health.is_lossy()
        };
        self.paths().filter(counts).map(|p| p.inner(p.mtu.hoped()))
    }

    /// What the paths carry, or which of them there are, has changed: holds those that are too
    /// narrow while there is a wider one, and tells the tunnel's MTU.
    fn update_mtu(&mut self, now: Time) {
        let wide = |p: &Path| {
            let size = if p.health.is_usable() { p.mtu.hoped() } else { p.mtu.current() };
            p.health.state() != PathState::Down && p.inner(size) >= MTU_MIN
        };
        let others = self.paths().any(wide);
        for index in 0..self.paths.len() {
            let id = PathId(index as u8);
            let Some(path) = self.path(id).filter(|p| p.health.is_usable()) else { continue };
            let inner = path.inner(path.mtu.hoped());
            let narrow = others && inner < MTU_MIN;
            if narrow != path.health.is_narrow() && !path.health.is_lossy() {
                // Which comes here again.
                return self.change(now, id, |path| {
                    path.health.set_narrow(now, narrow.then_some(inner));
                });
            }
        }
        let mtu = self.mtu();
        self.longest = self.widths().max().unwrap_or(mtu).max(mtu);
        if mtu != self.mtu_reported && self.paths().next().is_some() {
            self.mtu_reported = mtu;
            self.events.push_back(Event::Mtu(mtu));
        }
    }

    fn is_busy(&self, now: Time) -> bool {
        self.is_used_within(now, BUSY_US)
    }

    fn is_used_within(&self, now: Time, us: u64) -> bool {
        self.last_used.is_some_and(|t| now.since(t) < us)
    }

    /// A number that the peer cannot guess, whatever it has seen of earlier ones: who could would answer
    /// challenges that were sent to somebody else.
    fn roll(&mut self) -> u64 {
        self.secrets.next_u64()
    }
}

#[cfg(test)]
mod tests;
