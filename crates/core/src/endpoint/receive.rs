//! What arrives: whose it is, whether it is authentic and new, and what follows from it.
//!
//! Why: everything here was written by anybody. A datagram changes something only after its
//! authenticity is known, and what is dropped is counted and never answered.
//!
//! How, for data: the receiver index names the session, the header and the path's highest number
//! give the packet number, the replay window is asked, the datagram is opened where it lies, the
//! number is remembered, and the engine gets the payload.

use super::accept::{Again, Reply};
use super::drops::Drop;
use super::peer::{PathSlot, Received, settings_for};
use super::session::{LIFE_US, NEXT_LIFE_US, Session, Slot};
use super::transmit::Handshake;
use super::via::Via;
use super::{Endpoint, PeerId};
use crate::buffer::Pool;
use crate::crypto::guard::Verdict;
use crate::crypto::handshake::{self, CAPABILITIES, Hello, INIT_LEN, Incoming};
use crate::crypto::retry::{self, Fresh};
use crate::crypto::{Error, cookie};
use crate::time::Time;
use crate::wire::TAG_LEN;
use crate::wire::header::{self, DataHeader};
use subtle::ConstantTimeEq;

/// How often an INIT is sent again with a cookie: over each way once, and some are lost.
const COOKIE_RESENDS_MAX: u32 = 64;

impl Endpoint {
    /// Takes a datagram that has come. It is opened in place, so its bytes are of no use
    /// afterwards.
    #[inline(never)] // See the module documentation.
    pub fn handle_datagram(&mut self, now: Time, pool: &mut Pool, from: Via, datagram: &mut [u8]) {
        let result = match datagram.first() {
            Some(&header::TYPE_DATA) => self.handle_data(now, pool, from, datagram),
            Some(&handshake::TYPE_INIT) => self.handle_init(now, from, datagram),
            Some(&handshake::TYPE_RESPONSE) => self.handle_response(now, from, datagram),
            Some(&handshake::TYPE_COOKIE) => self.handle_cookie(now, from, datagram),
            Some(&handshake::TYPE_RETRY) => self.handle_retry(now, datagram),
            _ => Err(Drop::Malformed),
        };
        if let Err(reason) = result {
            self.drops.count(reason);
        }
    }

    fn handle_data(
        &mut self,
        now: Time,
        pool: &mut Pool,
        from: Via,
        datagram: &mut [u8],
    ) -> Result<(), Drop> {
        let head = DataHeader::read(datagram).map_err(|_| Drop::Malformed)?;
        let wire_len = datagram.len();
        if wire_len < header::LEN + TAG_LEN {
            return Err(Drop::Malformed);
        }
        let id = self.directory.indices.get(head.receiver).ok_or(Drop::UnknownSession)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownSession)?;
        let slot = peer.sessions.find(head.receiver).ok_or(Drop::UnknownSession)?;
        let session = peer.sessions.get(slot).ok_or(Drop::UnknownSession)?;

        // Under a session of another run of the peer's program everything begins anew.
        let anew = peer.remote_instance != Some(session.remote_instance);
        let known = peer.paths[head.path.index()].as_deref();
        if peer.side.opens() && !known.is_some_and(|path| path.open) {
            return Err(Drop::Unexpected);
        }
        let window = known.map(|path| &path.window).filter(|_| !anew);
        let highest = window.and_then(|window| window.highest());
        let number = head.number(highest.unwrap_or(0));
        let copy = window.is_some_and(|window| !window.check(number));
        if copy && !known.is_some_and(|path| path.addresses.awaits_copy(now, &from)) {
            return Err(Drop::Replayed);
        }
        let (header, sealed) = datagram.split_at_mut(header::LEN);
        let len = session.open.open(head.path.0, number, header, sealed)?;
        if copy {
            peer.take_copy(now, head.path, (&from, &sealed[..len]), &mut self.events);
            self.touch(now, id);
            return Err(Drop::Replayed);
        }

        // Authentic from here on.
        match slot {
            Slot::Next(place) => peer.promote(now, place, &mut self.directory.indices),
            Slot::Current => peer.confirm(now, &mut self.dice),
            Slot::Old(_) => {}
        }
        peer.heard = Some(now);
        peer.alive = true;
        if peer.paths[head.path.index()].is_none() {
            let settings = settings_for(&from);
            peer.connection(now).open_path(now, head.path, settings);
            peer.paths[head.path.index()] = Some(Box::new(PathSlot::new(now, settings)));
        }
        let path = peer.paths[head.path.index()].as_deref_mut().ok_or(Drop::Unexpected)?;
        let highest = path.window.highest();
        if !path.window.accept(number) {
            return Err(Drop::Replayed);
        }
        let newest = highest.is_none_or(|highest| number > highest);
        let payload = &sealed[..len];
        peer.connection(now).set_memory(self.budget.share());
        let received = Received { path: head.path, number, newest, from, payload, wire_len };
        let closed = peer.take_payload(now, pool, received, (&mut self.drops, &mut self.events));
        if closed {
            peer.reset(now, &mut self.rng, &mut self.directory.indices);
        }
        self.deliver_later(id);
        self.touch(now, id);
        Ok(())
    }

    fn handle_init(&mut self, now: Time, from: Via, datagram: &[u8]) -> Result<(), Drop> {
        if self.closing || !self.directory.answers() {
            return Err(Drop::Unexpected);
        }
        let init: &[u8; INIT_LEN] = datagram.try_into().map_err(|_| Drop::Malformed)?;
        let again = match self.answers.again(now, init) {
            Again::New => self.retries.again(now, init),
            known => known,
        };
        match again {
            Again::New => {}
            Again::Enough => return Err(Drop::StaleInitiation),
            Again::Answer(reply) => {
                self.send_handshake(Handshake::answer(reply.bytes(), from));
                return Ok(());
            }
        }
        // What was not made for our public key costs next to nothing, and must not take the
        // place of what was; nor must what was computed before.
        let init = handshake::check_init(&self.private_key.public(), init)?;
        if self.seen.contains(init) {
            return Err(Drop::StaleInitiation);
        }
        self.secrets.renew(now, &mut self.rng);
        if cookie::shows_cookie(&self.secrets, init, &from.remote()) {
            if !self.lanes.take_shown(now, &from.remote()) {
                return Err(Drop::InitiationRate);
            }
        } else if !self.lanes.take_claimed(now) {
            let (key, source) = (&self.cookie_key, from.remote());
            let reply = cookie::reply(key, &self.secrets, init, &source, &mut self.rng);
            self.send_handshake(Handshake::answer(&reply, from));
            return Err(Drop::InitiationRate);
        }
        self.seen.insert(init);
        let incoming = Incoming::read(&self.private_key, init)?;
        let id = self.directory.by_key(&incoming.remote).ok_or(Drop::UnknownKey)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownKey)?;
        if peer.side.opens() {
            return Err(Drop::Unexpected);
        }
        self.answer(now, id, incoming, init, from)
    }

    /// Answers what is authentic, but may be a recording.
    fn answer(
        &mut self,
        now: Time,
        id: PeerId,
        mut incoming: Incoming,
        init: &[u8; INIT_LEN],
        from: Via,
    ) -> Result<(), Drop> {
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownKey)?;
        let stamp = incoming.stamp;
        let asked = [&peer.key.as_bytes()[..], &peer.guard.state()].concat();
        let fresh = incoming.fresh.is_some_and(|fresh| {
            self.secrets.hashes(&asked).iter().any(|hash| hash[..fresh.len()].ct_eq(&fresh).into())
        });
        match peer.guard.judge(&stamp, fresh) {
            Verdict::Accept => {}
            Verdict::Old => {
                incoming.check_psk(&peer.psk).map_err(|_| Drop::StaleInitiation)?;
                let hash = self.secrets.hash(&asked);
                let fresh: Fresh = core::array::from_fn(|place| hash[place]);
                let reply = Reply::Retry(incoming.retry(fresh, &mut self.rng));
                self.retries.insert(now, id, init, reply);
                self.send_handshake(Handshake::answer(reply.bytes(), from));
                return Err(Drop::StaleInitiation);
            }
            Verdict::Duplicate | Verdict::Stale => return Err(Drop::StaleInitiation),
        }
        let other_version = incoming.other_version().is_some();
        let index = self.directory.indices.draw(&mut self.rng, id);
        let hello = Hello { index, instance: peer.instance, capabilities: CAPABILITIES };
        let (keys, response) = match incoming.respond(&peer.psk, hello, self.rng.seed()) {
            Ok(answer) => answer,
            Err(error) => {
                self.directory.indices.free(index);
                let why = error.into();
                peer.refuse(now, why, &mut self.events);
                return Err(why);
            }
        };
        let reply = Reply::Response(response);
        self.answers.insert(now, id, init, reply);
        if other_version {
            // It is told which one we have, and that is all.
            self.directory.indices.free(index);
            peer.refuse(now, Drop::WrongVersion, &mut self.events);
            self.send_handshake(Handshake::answer(reply.bytes(), from));
            return Err(Drop::WrongVersion);
        }
        peer.guard.answered(&stamp);
        let session = Session::new(index, 0, keys, now + NEXT_LIFE_US);
        peer.sessions.expect(session, &mut self.directory.indices);
        self.send_handshake(Handshake::answer(reply.bytes(), from));
        self.touch(now, id);
        Ok(())
    }

    /// The server is busy, and wants to see that we are where we say: the same INIT again, with what it
    /// has sent there.
    fn handle_cookie(&mut self, now: Time, from: Via, datagram: &[u8]) -> Result<(), Drop> {
        let index = cookie::reply_receiver(datagram).ok_or(Drop::Malformed)?;
        let id = self.directory.indices.get(index).ok_or(Drop::UnknownSession)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownSession)?;
        let flight = peer.flights.get_mut(index).ok_or(Drop::UnknownSession)?;
        let cookie = cookie::open_reply(&peer.key, &flight.init, datagram)?;
        if flight.again >= COOKIE_RESENDS_MAX {
            return Err(Drop::Unexpected);
        }
        flight.again += 1;
        let init = cookie::with_cookie(&flight.init, &cookie);
        let way = peer.take_cookie(now, &from, cookie).ok_or(Drop::Unexpected)?;
        self.send_handshake(Handshake::init(init, vec![way]));
        Ok(())
    }

    /// The server has seen a later INIT than ours, and wants to see that ours is no recording.
    fn handle_retry(&mut self, now: Time, datagram: &[u8]) -> Result<(), Drop> {
        let index = retry::receiver(datagram).ok_or(Drop::Malformed)?;
        let id = self.directory.indices.get(index).ok_or(Drop::UnknownSession)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownSession)?;
        let flight = peer.flights.get_mut(index).ok_or(Drop::UnknownSession)?;
        let fresh = flight.initiator.retry(datagram)?;
        let again = flight.fresh;
        // A later one is under way, or was answered.
        if !peer.flights.is_last(index) {
            return Err(Drop::StaleInitiation);
        }
        peer.fresh = Some(fresh);
        // Asked again: what was said before has grown old. The next attempt says the new one, in its time.
        if !again {
            peer.attempts.at_once(now);
        }
        self.touch(now, id);
        Ok(())
    }

    fn handle_response(&mut self, now: Time, from: Via, datagram: &[u8]) -> Result<(), Drop> {
        let index = handshake::response_receiver(datagram).ok_or(Drop::Malformed)?;
        let id: PeerId = self.directory.indices.get(index).ok_or(Drop::UnknownSession)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownSession)?;
        let flight = peer.flights.get_mut(index).ok_or(Drop::UnknownSession)?;
        let attempt = flight.attempt;
        let keys = match flight.initiator.finish(datagram) {
            Ok(keys) => keys,
            Err(error) => {
                if matches!(error, Error::WrongVersion(_)) {
                    peer.refuse(now, Drop::WrongVersion, &mut self.events);
                }
                return Err(error.into());
            }
        };

        peer.flights.finished(index, &mut self.directory.indices);
        if peer.sessions.current().is_some_and(|current| current.attempt > attempt) {
            // Cannot happen while `finished` drops the earlier ones; a session must never be
            // replaced by an older one.
            self.directory.indices.free(index);
            return Err(Drop::UnknownSession);
        }
        if peer.remote_instance != Some(keys.remote_instance) {
            if peer.remote_instance.is_some() {
                peer.sessions.clear(&mut self.directory.indices);
                peer.rebuild();
            }
            peer.remote_instance = Some(keys.remote_instance);
        }
        let session = Session::new(index, attempt, keys, now + LIFE_US);
        peer.sessions.replace(now, session, &mut self.directory.indices);
        peer.connection(now).ping(now);
        peer.handshake = Some(now);
        peer.heard = Some(now);
        peer.attempts.answered(now);
        peer.fresh = None;
        for path in peer.paths.iter_mut().flatten() {
            if path.addresses.answered(&from) {
                break;
            }
        }
        self.touch(now, id);
        Ok(())
    }
}
