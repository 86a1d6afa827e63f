//! One peer: its keys, its connection, and what there is of each of its paths.
//!
//! Why: sessions come and go every two minutes, a connection (the engine, the packet numbers and
//! the replay windows) lasts as long as both programs run.
//!
//! How: each side's *instance* names its end of a connection. When the peer comes with another
//! one, it has restarted: our end begins anew as well, under a session that only knows the new
//! connection. When we begin anew on our own, because the peer has said good-bye or somebody
//! wants to reconnect, we draw another instance and so tell the peer.
//!
//! The engine is made with the first session, or with the first packet that waits for one, and is
//! given up with the connection; what it has to know at its start is kept beside it ([`PathSlot`]).
//! While no session can seal, it stands still: packets wait in its queue, whose bound is the
//! engine's, and no timer of it runs.

use std::collections::VecDeque;

use super::address::{Addresses, CANDIDATES_MAX, Validated};
use super::attempts::{Attempts, Cause, Flights};
use super::budget::Budget;
use super::directory::Indices;
use super::drops::{Drop, Drops};
use super::session::{LIFE_US, REKEY_AFTER_US, REKEY_JITTER_US, Sessions, Slot};
use super::sparing::Sparing;
use super::via::Via;
use super::{Breach, Event, PeerId, PeerState};
use crate::buffer::Pool;
use crate::crypto::cookie::{Cookie, SECRET_US};
use crate::crypto::guard::InitGuard;
use crate::crypto::keys::{PresharedKey, PublicKey};
use crate::crypto::replay::ReplayWindow;
use crate::crypto::retry::Fresh;
use crate::crypto::rng::{Dice, SecretRng};
use crate::engine::{self, Engine, PathSettings, PathState, Reason, Side};
use crate::time::{SEC, Time};
use crate::wire::frame::{Frame, Frames};
use crate::wire::{PATHS_MAX, PathId};

/// Events that wait for the caller at most; the oldest are dropped.
pub(super) const EVENTS_MAX: usize = 1024;

/// What a path that the other side has opened is taken to carry until the path MTU is known, bytes
/// (Ethernet).
const MTU_UNKNOWN: u16 = 1500;
/// Cookies that are kept: as many as an INIT has ways.
const COOKIES_MAX: usize = PATHS_MAX * CANDIDATES_MAX;
/// From one word that a peer's handshakes are refused to the next, microseconds.
const REFUSED_GAP_US: u64 = 60 * SEC;
/// How long packets to a peer that calls are kept after it was last heard, microseconds: a router
/// restarts its program in seconds and boots in a minute.
const EXPECTED_US: u64 = 60 * SEC;

/// The settings of a path that the other side has opened over `via`.
pub(super) fn settings_for(via: &Via) -> PathSettings {
    PathSettings {
        mode: engine::Mode::Active,
        metered: false,
        send_rate_max: None,
        receive_rate_max: None,
        link_mtu: MTU_UNKNOWN,
        ip_overhead: via.overhead(),
    }
}

/// One path of a peer.
#[derive(Debug)]
pub(super) struct PathSlot {
    /// A path that was closed leaves its window here, so that it cannot be replayed when it is
    /// opened again under the same session.
    pub open: bool,
    pub window: ReplayWindow,
    pub addresses: Addresses,
    pub settings: PathSettings,
    /// Why its link cannot be used, if so.
    pub lost: Option<Reason>,
    /// The last authentic datagram, or the opening.
    pub quiet_since: Time,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

impl PathSlot {
    pub fn new(now: Time, settings: PathSettings) -> PathSlot {
        PathSlot {
            open: true,
            window: ReplayWindow::new(),
            addresses: Addresses::default(),
            settings,
            lost: None,
            quiet_since: now,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }
}

/// What of a peer is waiting in which queue of the endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queued {
    pub transmit: bool,
    pub deliver: bool,
    pub timer: bool,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub id: PeerId,
    pub key: PublicKey,
    pub psk: PresharedKey,
    pub side: Side,
    template: engine::Settings,
    pub engine: Option<Box<Engine>>,
    /// What it may still ask for to test its speed: no more by beginning anew.
    allowance: engine::Allowance,
    /// What of the memory of all it was counted to have, bytes.
    pub charged: usize,
    /// Names our end of the connection.
    pub instance: u64,
    /// Names the peer's end.
    pub remote_instance: Option<u64>,
    pub sessions: Sessions,
    pub flights: Flights,
    pub attempts: Attempts,
    pub guard: InitGuard,
    /// What the server wants to read in our next INIT.
    pub fresh: Option<Fresh>,
    /// Cookies that the server has given our addresses, and when.
    pub cookies: Vec<(Via, Cookie, Time)>,
    pub paths: [Option<Box<PathSlot>>; PATHS_MAX],
    /// The last authentic datagram.
    pub heard: Option<Time>,
    /// The last handshake that ended in a session.
    pub handshake: Option<Time>,
    /// When and why a handshake of the peer's was refused last, since there was a session.
    pub refused: Option<(Time, Drop)>,
    /// When that was told last.
    refused_told: Option<Time>,
    /// When a connection ended last for false acknowledgements, and whose.
    pub breach: Option<(Time, Breach)>,
    /// When that was told last.
    breach_told: Option<Time>,
    /// Something authentic has come in this connection. A RESPONSE alone shows only that somebody was
    /// there when it was sent.
    pub alive: bool,
    /// The engine hears nothing on any path.
    pub silent: bool,
    told: PeerState,
    /// How often each path's state has been told, and the one that is yet to be.
    telling: Vec<(Sparing, Option<PathState>)>,
    /// When that may be.
    pub untold_due: Time,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub wake: Time,
    pub queued: Queued,
}

impl Peer {
    pub fn new(
        now: Time,
        id: PeerId,
        (key, psk): (PublicKey, PresharedKey),
        mut template: engine::Settings,
        side: Side,
        rng: &mut SecretRng,
    ) -> Peer {
        template.side = side;
        template.seed = rng.next_u64();
        let attempts = if side.opens() { Attempts::new(now) } else { Attempts::none() };
        let told = if side.opens() { PeerState::Connecting } else { PeerState::Down };
        Peer {
            id,
            key,
            psk,
            side,
            template,
            engine: None,
            allowance: engine::Allowance::default(),
            charged: 0,
            instance: rng.next_u64(),
            remote_instance: None,
            sessions: Sessions::default(),
            flights: Flights::default(),
            attempts,
            guard: InitGuard::new(),
            fresh: None,
            cookies: Vec::new(),
            paths: [const { None }; PATHS_MAX],
            heard: None,
            handshake: None,
            refused: None,
            refused_told: None,
            breach: None,
            breach_told: None,
            alive: false,
            silent: false,
            told,
            telling: Vec::new(),
            untold_due: Time::FAR,
            rx_bytes: 0,
            tx_bytes: 0,
            wake: Time::FAR,
            queued: Queued::default(),
        }
    }

    pub fn path(&mut self, id: PathId) -> Option<&mut PathSlot> {
        self.paths.get_mut(id.index())?.as_deref_mut().filter(|slot| slot.open)
    }

    /// The paths that are open.
    pub fn paths(&self) -> impl Iterator<Item = (PathId, &PathSlot)> {
        let numbered = self.paths.iter().enumerate();
        let slots = numbered.filter_map(|(id, slot)| Some((PathId(id as u8), slot.as_deref()?)));
        slots.filter(|(_, slot)| slot.open)
    }

    /// What to say of the connection.
    pub fn state(&self) -> PeerState {
        match (self.sessions.current(), self.side.opens()) {
            (Some(_), _) if self.alive && !self.silent => PeerState::Up,
            (_, true) => PeerState::Connecting,
            (_, false) => PeerState::Down,
        }
    }

    /// The engine of the connection, made if there is none.
    pub fn connection(&mut self, now: Time) -> &mut Engine {
        let engine = self.engine.take().unwrap_or_else(|| Box::new(self.new_engine(now)));
        self.engine.insert(engine)
    }

    /// Counts what the engine keeps, and tells it what it may keep.
    pub fn charge(&mut self, budget: &mut Budget) {
        let buffered = self.engine.as_ref().map_or(0, |engine| engine.buffered());
        budget.charge(&mut self.charged, buffered);
    }

    /// An engine with the paths that are open.
    fn new_engine(&self, now: Time) -> Engine {
        let mut engine = Engine::new(self.template.clone(), now);
        engine.set_allowance(self.allowance);
        for (id, slot) in self.paths() {
            engine.open_path(now, id, slot.settings);
            if let Some(reason) = slot.lost {
                engine.path_lost(now, id, reason);
            }
        }
        engine
    }

    /// How the connection is; of one that has yet to begin, how it would begin.
    pub fn engine_snapshot(&self, now: Time) -> engine::Snapshot {
        match &self.engine {
            Some(engine) => engine.snapshot(now),
            None => self.new_engine(now).snapshot(now),
        }
    }

    /// Whether a session with the peer may be waited for.
    pub fn is_expected(&self, now: Time) -> bool {
        self.side.opens() || self.heard.is_some_and(|at| now.since(at) < EXPECTED_US)
    }

    /// Gives our end of the connection up, to begin anew: with the paths that were opened here,
    /// none of those that the peer has opened. Whatever the engine held is lost; the session that
    /// knew it must be gone already.
    pub fn rebuild(&mut self) {
        self.template.seed = self.template.seed.wrapping_add(1);
        if let Some(engine) = self.engine.take() {
            self.allowance = engine.allowance();
        }
        self.alive = false;
        self.silent = false;
        if !self.side.opens() {
            self.paths = [const { None }; PATHS_MAX];
            return;
        }
        for slot in self.paths.iter_mut().flatten() {
            slot.window = ReplayWindow::new();
        }
    }

    /// Ends the connection on our own: nothing of it is usable any more, on either side.
    pub fn reset(&mut self, now: Time, rng: &mut SecretRng, indices: &mut Indices) {
        self.sessions.clear(indices);
        self.flights.clear(indices);
        self.instance = rng.next_u64();
        self.remote_instance = None;
        self.rebuild();
        self.attempts.begin(now, Cause::Connect);
    }

    /// The first datagram under a next session has been opened: the initiator has it, so it is
    /// the current one from now on. Of another run of its program, nothing else is left then.
    pub fn promote(&mut self, now: Time, place: usize, indices: &mut Indices) {
        let Some(next) = self.sessions.get(Slot::Next(place)) else { return };
        let remote_instance = next.remote_instance;
        if self.remote_instance != Some(remote_instance) {
            self.sessions.drop_used(indices);
            if self.remote_instance.replace(remote_instance).is_some() {
                self.rebuild();
            }
        }
        self.sessions.promote(now, place, now + LIFE_US, indices);
        self.handshake = Some(now);
        self.refused = None;
        self.connection(now);
    }

    /// A handshake of the peer's was refused: whoever looks after this end should know, but not be
    /// told of each.
    pub fn refuse(&mut self, now: Time, why: Drop, events: &mut VecDeque<(PeerId, Event)>) {
        self.refused = Some((now, why));
        if self.refused_told.is_none_or(|at| now.since(at) >= REFUSED_GAP_US) {
            self.refused_told = Some(now);
            push(events, self.id, Event::Refused(why));
        }
    }

    /// The connection ends as one side has acknowledged what was never sent. Who loses it has to know
    /// why, and not be told of each.
    fn broken(&mut self, now: Time, whose: Breach, events: &mut VecDeque<(PeerId, Event)>) {
        self.breach = Some((now, whose));
        if self.breach_told.is_none_or(|at| now.since(at) >= REFUSED_GAP_US) {
            self.breach_told = Some(now);
            push(events, self.id, Event::Broken(whose));
        }
    }

    /// A datagram under the current session has been opened: the responder has it as well, so
    /// the next handshake can wait until the session grows old.
    pub fn confirm(&mut self, now: Time, dice: &mut Dice) {
        if self.attempts.cause() == Cause::Unconfirmed {
            let made = self.handshake.unwrap_or(now);
            let rekey = made + REKEY_AFTER_US + dice.below(REKEY_JITTER_US);
            self.attempts.settled(now.max(rekey));
        }
    }

    /// Takes in what the engine has to tell. `from`: where the datagram came from that has just
    /// been handled. Returns whether the peer has said good-bye.
    pub fn take_events(
        &mut self,
        now: Time,
        from: Option<&Via>,
        events: &mut VecDeque<(PeerId, Event)>,
    ) -> bool {
        let mut closed = false;
        while let Some(event) = self.engine.as_mut().and_then(|engine| engine.poll_event()) {
            match event {
                engine::Event::Answered(path, data) => {
                    self.answered(now, path, data, from, events);
                }
                engine::Event::Challenged(path, data) => {
                    if let (Some(from), Some(slot)) =
                        (from, self.paths[path.index()].as_deref_mut())
                    {
                        slot.addresses.challenged(data, *from);
                    }
                }
                engine::Event::PathChanged(path, state) => {
                    if matches!(state, PathState::Active | PathState::Backup | PathState::Held) {
                        self.silent = false;
                        if self.attempts.cause() == Cause::Silent {
                            self.attempts.answered(now);
                        }
                    }
                    self.tell_path(now, path, state, events);
                }
                engine::Event::PeerSilent => {
                    self.silent = true;
                    self.attempts.begin(now, Cause::Silent);
                }
                engine::Event::PeerClosed(reason) => {
                    closed = true;
                    if reason == engine::CLOSE_LIE {
                        self.broken(now, Breach::Ours, events);
                    }
                }
                engine::Event::PeerLied => {
                    closed = true;
                    self.broken(now, Breach::Theirs, events);
                }
                engine::Event::Mtu(mtu) => push(events, self.id, Event::Mtu(mtu)),
            }
        }
        closed
    }

    /// A challenge of ours was answered, with this data.
    fn answered(
        &mut self,
        now: Time,
        id: PathId,
        data: u64,
        from: Option<&Via>,
        events: &mut VecDeque<(PeerId, Event)>,
    ) {
        let (Some(from), Some(slot)) = (from, self.paths[id.index()].as_deref_mut()) else {
            return;
        };
        let validated = slot.addresses.validated(now, data, from);
        if validated != Validated::Elsewhere
            && !self.side.opens()
            && let Some(engine) = &mut self.engine
        {
            // Who calls knows where it called; who was called tells where from.
            engine.see(id, from.remote());
        }
        if let Validated::Moved(before, via) = validated {
            // Another port is the same way behind another NAT entry (RFC 9000 §9.4).
            if before.is_some_and(|before| before.remote().ip() != via.remote().ip())
                && let Some(engine) = &mut self.engine
            {
                engine.path_moved(now, id);
            }
            let overhead = via.overhead();
            if slot.settings.ip_overhead != overhead {
                slot.settings.ip_overhead = overhead;
                if let Some(engine) = &mut self.engine {
                    engine.open_path(now, id, slot.settings);
                }
            }
            push(events, self.id, Event::AddressChanged(id, via));
        }
    }

    /// The server has given a cookie to what it sees of one of our ways. Returns that way.
    pub fn take_cookie(&mut self, now: Time, from: &Via, cookie: Cookie) -> Option<Via> {
        let way = self.paths().find_map(|(_, slot)| slot.addresses.known().find(|w| w.is(from)))?;
        self.cookies.retain(|(w, _, at)| *w != way && now.since(*at) < SECRET_US);
        if self.cookies.len() >= COOKIES_MAX {
            self.cookies.remove(0);
        }
        self.cookies.push((way, cookie, now));
        Some(way)
    }

    /// The cookie of a way, if it is good still.
    pub fn cookie(&self, now: Time, way: &Via) -> Option<Cookie> {
        let of_way = |(w, _, at): &&(Via, Cookie, Time)| w == way && now.since(*at) < SECRET_US;
        self.cookies.iter().find(of_way).map(|(_, cookie, _)| *cookie)
    }

    /// Tells the new state of a path, later if there was too much to tell of it lately.
    fn tell_path(
        &mut self,
        now: Time,
        path: PathId,
        state: PathState,
        events: &mut VecDeque<(PeerId, Event)>,
    ) {
        if path.index() >= self.telling.len() {
            self.telling.resize(path.index() + 1, (Sparing::new(now), None));
        }
        let (sparing, untold) = &mut self.telling[path.index()];
        match sparing.tell(now) {
            Some(left_out) => {
                // The one that is told now was counted when it was put off.
                let left_out = left_out.saturating_sub(u32::from(*untold == Some(state)));
                *untold = None;
                if left_out > 0 {
                    push(events, self.id, Event::PathRestless(path, left_out));
                }
                push(events, self.id, Event::PathChanged(path, state));
            }
            None => {
                *untold = Some(state);
                self.untold_due = self.untold_due.min(sparing.due());
            }
        }
    }

    /// Tells what may be told by now of paths that change all the time.
    pub fn tell_untold(&mut self, now: Time, events: &mut VecDeque<(PeerId, Event)>) {
        self.untold_due = Time::FAR;
        for index in 0..self.telling.len() {
            match self.telling[index] {
                (sparing, Some(state)) if sparing.due() <= now => {
                    self.tell_path(now, PathId(index as u8), state, events);
                }
                (sparing, Some(_)) => self.untold_due = self.untold_due.min(sparing.due()),
                (_, None) => {}
            }
        }
    }

    /// Tells a change of state, once.
    pub fn tell_state(&mut self, events: &mut VecDeque<(PeerId, Event)>) {
        let state = self.state();
        if state != self.told {
            self.told = state;
            push(events, self.id, Event::State(state));
        }
    }

    /// A copy of this datagram has come before, from elsewhere. All that counts in it are answers that
    /// show where the peer is.
    pub fn take_copy(
        &mut self,
        now: Time,
        id: PathId,
        (from, payload): (&Via, &[u8]),
        events: &mut VecDeque<(PeerId, Event)>,
    ) {
        for frame in Frames::new(payload).flatten() {
            if let Frame::Response { data } = frame {
                self.answered(now, id, data, Some(from), events);
            }
        }
    }

    /// Hands an opened payload to the engine and sees to the address it came from. Returns
    /// whether the peer has said good-bye.
    pub fn take_payload(
        &mut self,
        now: Time,
        pool: &mut Pool,
        received: Received<'_>,
        (drops, events): (&mut Drops, &mut VecDeque<(PeerId, Event)>),
    ) -> bool {
        let Received { path: id, number, newest, from, payload, wire_len } = received;
        let on_line = wire_len + usize::from(from.overhead());
        let engine = self.connection(now);
        let taken = engine.handle_payload(now, pool, id, number, payload, on_line);
        if taken.is_err() {
            drops.count(Drop::Malformed);
        }
        // Before the source is looked at: what this datagram proves, it proves of an address that
        // was challenged before it came.
        let closed = self.take_events(now, Some(&from), events);
        let Some(slot) = self.paths[id.index()].as_deref_mut() else { return closed };
        slot.rx_bytes += wire_len as u64;
        slot.quiet_since = now;
        if slot.addresses.observe(now, from, wire_len, newest) {
            self.connection(now).prove(now, id);
        }
        closed
    }

    /// When the peer wants to be woken.
    pub fn poll_timeout(&self) -> Time {
        let mut next = self.attempts.next().min(self.sessions.poll_timeout());
        next = next.min(self.flights.poll_timeout()).min(self.untold_due);
        if let (Some(engine), Some(_)) = (&self.engine, self.sessions.current()) {
            next = next.min(engine.poll_timeout());
        }
        next
    }
}

/// A datagram that was opened.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub path: PathId,
    pub number: u64,
    /// Whether its number is the highest of its path.
    pub newest: bool,
    pub from: Via,
    pub payload: &'a [u8],
    /// Bytes of the datagram, without IP and UDP headers.
    pub wire_len: usize,
}

/// Queues an event; the oldest makes room.
fn push(events: &mut VecDeque<(PeerId, Event)>, peer: PeerId, event: Event) {
    if events.len() >= EVENTS_MAX {
        events.pop_front();
    }
    events.push_back((peer, event));
}
