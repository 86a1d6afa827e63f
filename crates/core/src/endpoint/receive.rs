//! What arrives: whose it is, whether it is authentic and new, and what follows from it.
//!
//! Why: everything here was written by anybody. A datagram changes something only after its
//! authenticity is known, and what is dropped is counted and never answered.
//!
//! How, for data: the receiver index names the session, the header and the path's highest number
//! give the packet number, the replay window is asked, the datagram is opened where it lies, the
//! number is remembered, and the engine gets the payload.

use super::accept::Again;
use super::drops::Drop;
use super::peer::{PathSlot, Received, settings_for};
use super::session::{LIFE_US, NEXT_LIFE_US, Session, Slot};
use super::transmit::Handshake;
use super::via::Via;
use super::{Endpoint, PeerId};
use crate::buffer::Pool;
use crate::crypto::guard::Verdict;
use crate::crypto::handshake::{self, INIT_LEN, Incoming};
use crate::time::{SEC, Time};
use crate::wire::TAG_LEN;
use crate::wire::header::{self, DataHeader};

/// After this time without an authentic datagram, microseconds, an initiation with an old
/// timestamp is taken for a router that has lost its clock, not for a recording: longer than any
/// outage that does not restart something, shorter than a router boots.
const DEAD_AFTER_US: u64 = 15 * SEC;

impl Endpoint {
    /// Takes a datagram that has come. It is opened in place, so its bytes are of no use
    /// afterwards.
    #[inline(never)] // See the module documentation.
    pub fn handle_datagram(&mut self, now: Time, pool: &mut Pool, from: Via, datagram: &mut [u8]) {
        let result = match datagram.first() {
            Some(&header::TYPE_DATA) => self.handle_data(now, pool, from, datagram),
            Some(&handshake::TYPE_INIT) => self.handle_init(now, from, datagram),
            Some(&handshake::TYPE_RESPONSE) => self.handle_response(now, from, datagram),
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
            Slot::Next => peer.promote(now, &mut self.directory.indices),
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
        match self.answers.again(now, init) {
            Again::New => {}
            Again::Enough => return Err(Drop::StaleInitiation),
            Again::Answer(response) => {
                self.send_handshake(Handshake::response(response, from));
                return Ok(());
            }
        }
        if !self.bucket.ready(now) {
            return Err(Drop::InitiationRate);
        }
        let incoming = Incoming::read(&self.private_key, init);
        // What was not made for our public key costs next to nothing, and must not take the
        // place of what was.
        if !matches!(
            incoming,
            Err(crate::crypto::Error::WrongMac | crate::crypto::Error::Malformed)
        ) {
            self.bucket.take();
        }
        let incoming = incoming?;
        let id = self.directory.by_key(&incoming.remote).ok_or(Drop::UnknownKey)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownKey)?;
        if peer.side.opens() {
            return Err(Drop::Unexpected);
        }
        let dead = peer.heard.is_none_or(|at| now.since(at) > DEAD_AFTER_US);
        let stamp = incoming.stamp;
        if peer.guard.judge(&stamp, dead) != Verdict::Accept {
            return Err(Drop::StaleInitiation);
        }
        let index = self.directory.indices.draw(&mut self.rng, id);
        let answer = incoming.respond(&peer.psk, index, peer.instance, self.rng.seed());
        let (keys, response) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.directory.indices.free(index);
                let why = error.into();
                peer.refuse(now, why, &mut self.events);
                return Err(why);
            }
        };
        peer.guard.answered(&stamp);
        let session = Session::new(index, 0, keys, now + NEXT_LIFE_US);
        peer.sessions.expect(session, &mut self.directory.indices);
        self.answers.insert(now, id, init, response);
        self.send_handshake(Handshake::response(response, from));
        self.touch(now, id);
        Ok(())
    }

    fn handle_response(&mut self, now: Time, from: Via, datagram: &[u8]) -> Result<(), Drop> {
        let index = handshake::response_receiver(datagram).ok_or(Drop::Malformed)?;
        let id: PeerId = self.directory.indices.get(index).ok_or(Drop::UnknownSession)?;
        let peer = self.peers.get_mut(&id).ok_or(Drop::UnknownSession)?;
        let flight = peer.flights.get_mut(index).ok_or(Drop::UnknownSession)?;
        let attempt = flight.attempt;
        let keys = flight.initiator.finish(datagram)?;

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
        peer.connection(now);
        peer.handshake = Some(now);
        peer.heard = Some(now);
        peer.attempts.answered(now);
        for path in peer.paths.iter_mut().flatten() {
            if path.addresses.answered(&from) {
                break;
            }
        }
        self.touch(now, id);
        Ok(())
    }
}
