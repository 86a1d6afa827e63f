//! The session keys of a peer, over their changes.
//!
//! Why: keys are changed every two minutes, so that who takes a device reads little, and nobody
//! may notice it: no packet is lost at a change, and packets that were under way arrive.
//!
//! How: the initiator seals with a new session from the RESPONSE on. The responder keeps it among the
//! *next* ones until a datagram under it has been opened, because only that shows that the initiator
//! is alive and has the answer, and goes on sealing with the *current* one until then. A session
//! that was replaced opens for [`GRACE_US`] more.
//!
//! Packet numbers and replay windows are not the session's: they belong to the connection and
//! go on. So 2^60 packets end a connection, not a session (`crypto::packet`).
//!
//! Limits: [`OLD_MAX`] replaced sessions, [`NEXT_MAX`] next ones.

use super::directory::Indices;
use crate::crypto::handshake::Established;
use crate::crypto::packet::{OpenKey, SealKey};
use crate::time::{SEC, Time};

/// Age at which the client begins to replace a session, microseconds (WireGuard whitepaper §6.1,
/// Rekey-After-Time).
pub const REKEY_AFTER_US: u64 = 120 * SEC;
/// At most this much is added to it, drawn anew each time, microseconds, so that the peers of a
/// server do not come all at once after its restart.
pub const REKEY_JITTER_US: u64 = 10 * SEC;
/// Age at which a session that could not be replaced is not used any more, microseconds
/// (WireGuard whitepaper §6.1, Reject-After-Time).
pub const LIFE_US: u64 = 180 * SEC;
/// How long a replaced session still opens late datagrams, microseconds: the longest queue of a
/// radio link is a few seconds; a responder may not have heard of the new one for as long as
/// the initiator has nothing to send.
pub const GRACE_US: u64 = 60 * SEC;
/// How long a responder waits for the first datagram of a new session, microseconds.
pub const NEXT_LIFE_US: u64 = 30 * SEC;
/// How long after our good-bye a session is still there to send it and to hear the peer's,
/// microseconds: some round trips.
pub const LEAVE_US: u64 = SEC;
/// Replaced sessions at most: several handshakes of a slow link may end within one grace time.
const OLD_MAX: usize = 3;
/// Sessions that wait for their first datagram at most: an INIT that somebody has kept back does not push
/// out the session of the one that was made after it.
const NEXT_MAX: usize = 4;

/// The keys of one handshake.
#[derive(Debug)]
pub(super) struct Session {
    /// Our name for it, which the other side's datagrams bear.
    pub index: u32,
    /// The other side's name for it.
    pub remote_index: u32,
    /// The other side's run.
    pub remote_instance: u64,
    pub seal: SealKey,
    pub open: OpenKey,
    /// Which attempt of the initiator it came from; zero at a responder.
    pub attempt: u64,
    /// When it is not used any more.
    pub ends: Time,
}

impl Session {
    pub fn new(index: u32, attempt: u64, keys: Established, ends: Time) -> Session {
        let Established { seal, open, remote_index, remote_instance, .. } = keys;
        Session { index, remote_index, remote_instance, seal, open, attempt, ends }
    }
}

/// Which of a peer's sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    Old(usize),
    Current,
    Next(usize),
}

/// The sessions of one peer.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    old: Vec<Session>,
    current: Option<Session>,
    /// In the order of their INITs.
    next: Vec<Session>,
}

impl Sessions {
    /// The one that seals.
    pub fn current(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// Which session has our index `index`.
    pub fn find(&self, index: u32) -> Option<Slot> {
        let is = |s: &Session| s.index == index;
        if self.current.as_ref().is_some_and(is) {
            return Some(Slot::Current);
        }
        if let Some(place) = self.next.iter().position(is) {
            return Some(Slot::Next(place));
        }
        self.old.iter().position(is).map(Slot::Old)
    }

    /// The session in `slot`.
    pub fn get(&self, slot: Slot) -> Option<&Session> {
        match slot {
            Slot::Old(place) => self.old.get(place),
            Slot::Current => self.current.as_ref(),
            Slot::Next(place) => self.next.get(place),
        }
    }

    /// Seals with `session` from now on; the one before opens a little longer.
    pub fn replace(&mut self, now: Time, session: Session, indices: &mut Indices) {
        if let Some(mut before) = self.current.replace(session) {
            before.ends = before.ends.min(now + GRACE_US);
            if self.old.len() >= OLD_MAX {
                indices.free(self.old.remove(0).index);
            }
            self.old.push(before);
        }
    }

    /// Keeps `session` until its first datagram shows that the initiator has it. The earliest such
    /// session makes room: INITs are answered only in their order, or with a nonce.
    pub fn expect(&mut self, session: Session, indices: &mut Indices) {
        if self.next.len() >= NEXT_MAX {
            indices.free(self.next.remove(0).index);
        }
        self.next.push(session);
    }

    /// The first datagram under a next session has come: seal with it. Earlier ones are of no use any
    /// more.
    pub fn promote(&mut self, now: Time, place: usize, ends: Time, indices: &mut Indices) {
        if place >= self.next.len() {
            return;
        }
        for earlier in self.next.drain(..place) {
            indices.free(earlier.index);
        }
        let mut session = self.next.remove(0);
        session.ends = ends;
        self.replace(now, session, indices);
    }

    /// Drops what has ended. Returns whether the current session was among it.
    pub fn expire(&mut self, now: Time, indices: &mut Indices) -> bool {
        self.old.retain(|session| {
            if session.ends <= now {
                indices.free(session.index);
            }
            session.ends > now
        });
        let mut ended = |session: &mut Session| {
            if session.ends <= now {
                indices.free(session.index);
            }
            session.ends <= now
        };
        self.next.retain_mut(|session| !ended(session));
        self.current.take_if(&mut ended).is_some()
    }

    /// Lets no session last longer than until `end`.
    pub fn shorten(&mut self, end: Time) {
        for session in self.old.iter_mut().chain(&mut self.current).chain(&mut self.next) {
            session.ends = session.ends.min(end);
        }
    }

    /// Drops all sessions but the next ones.
    pub fn drop_used(&mut self, indices: &mut Indices) {
        for session in self.old.drain(..).chain(self.current.take()) {
            indices.free(session.index);
        }
    }

    /// Drops all sessions.
    pub fn clear(&mut self, indices: &mut Indices) {
        self.drop_used(indices);
        for session in self.next.drain(..) {
            indices.free(session.index);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn poll_timeout(&self) -> Time {
        let all = self.old.iter().chain(&self.current).chain(&self.next);
        all.map(|session| session.ends).min().unwrap_or(Time::FAR)
    }
}
