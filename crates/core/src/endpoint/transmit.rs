//! What is sent: batches of sealed datagrams.
//!
//! Why: a system call per datagram costs more than sealing it. The kernel takes many at once, and
//! with UDP segmentation offload many of one size to one address as a single one, if they lie
//! back to back in memory.
//!
//! How: the engine writes its payload into the batch right behind the place of the header, and it
//! is sealed there. An INIT that goes to several addresses is there once, with an entry for
//! each. Peers take turns, [`TURN`] datagrams each, so that a busy one delays the others by no
//! more than that and still fills a segmentation run.
//!
//! Limits: [`BATCH_BYTES`] and about [`BATCH_DATAGRAMS`] per batch; nothing is allocated for a
//! datagram once the batch exists.

use core::ops::Range;

use super::drops::{Drop, Drops};
use super::peer::{PathSlot, Peer};
use super::session::Session;
use super::via::Via;
use super::{Endpoint, address};
use crate::buffer::Pool;
use crate::crypto::handshake::INIT_LEN;
use crate::engine::{Target, Transmit};
use crate::time::Time;
use crate::wire::TAG_LEN;
use crate::wire::header::{self, DataHeader};

/// Bytes of a batch: what one segmentation run can have at most (a UDP datagram's 65,535).
pub const BATCH_BYTES: usize = 64 * 1024;
/// Datagrams of a batch, after which it counts as full (`UDP_MAX_SEGMENTS` of Linux).
pub const BATCH_DATAGRAMS: usize = 64;
/// The longest datagram, bytes: an inner packet that fills a buffer, in its frame.
pub const DATAGRAM_MAX: usize = 2048;
/// Datagrams in a row of one peer.
const TURN: usize = 16;
/// A challenge to a new address is filled up to this, if that may get so much: data are as long (RFC 9000
/// §8.2.1).
const CHALLENGE_LEN: u64 = 1200;
/// Handshake messages that wait to be sent at most: the oldest are dropped.
const OUTBOX_MAX: usize = 256;

/// One datagram of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Where it goes, and how. The source address is the system's choice where none is given.
    pub via: Via,
    /// Where it lies in [`TransmitBatch::bytes`].
    pub range: Range<usize>,
}

/// Datagrams to send.
#[derive(Debug)]
pub struct TransmitBatch {
    bytes: Box<[u8]>,
    used: usize,
    datagrams: Vec<Datagram>,
}

impl TransmitBatch {
    /// An empty batch, to be used again and again.
    pub fn new() -> TransmitBatch {
        TransmitBatch {
            bytes: vec![0; BATCH_BYTES].into_boxed_slice(),
            used: 0,
            // A probe goes to a few addresses at once.
            datagrams: Vec::with_capacity(BATCH_DATAGRAMS + 16),
        }
    }

    /// The bytes that the datagrams' ranges are of.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// The datagrams in the order in which they are to be sent.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    fn clear(&mut self) {
        self.used = 0;
        self.datagrams.clear();
    }

    fn has_room(&self) -> bool {
        self.datagrams.len() < BATCH_DATAGRAMS && self.bytes.len() - self.used >= DATAGRAM_MAX
    }

    /// The place of the next datagram.
    fn place(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..self.used + DATAGRAM_MAX]
    }

    /// Takes in what was sealed in its place, if there is somewhere that it may go.
    fn send(&mut self, slot: &mut PathSlot, len: usize, to: address::Target, drops: &mut Drops) {
        match to {
            Ok(Some(via)) => {
                self.add(len, &via);
                self.used += len;
                slot.tx_bytes += len as u64;
            }
            Ok(None) => drops.count(Drop::NoAddress),
            Err(()) => drops.count(Drop::Unproven),
        }
    }

    fn add(&mut self, len: usize, to: &Via) {
        self.datagrams.push(Datagram { via: *to, range: self.used..self.used + len });
    }
}

impl Default for TransmitBatch {
    fn default() -> Self {
        TransmitBatch::new()
    }
}

/// A handshake message that waits to be sent.
#[derive(Debug)]
pub(super) struct Handshake {
    bytes: [u8; INIT_LEN],
    len: usize,
    to: Vec<Via>,
}

impl Handshake {
    /// An INIT, the same to every address.
    pub fn init(bytes: [u8; INIT_LEN], to: Vec<Via>) -> Handshake {
        Handshake { bytes, len: INIT_LEN, to }
    }

    /// An answer to one, which is never longer.
    pub fn answer(answer: &[u8], to: Via) -> Handshake {
        let mut bytes = [0; INIT_LEN];
        let len = answer.len().min(INIT_LEN);
        bytes[..len].copy_from_slice(&answer[..len]);
        Handshake { bytes, len, to: vec![to] }
    }
}

impl Endpoint {
    /// Queues a handshake message.
    pub(super) fn send_handshake(&mut self, handshake: Handshake) {
        if self.outbox.len() >= OUTBOX_MAX {
            self.outbox.pop_front();
        }
        self.outbox.push_back(handshake);
    }

    /// Replaces the contents of `out` by what is to be sent now. Returns `false` when that is
    /// nothing; otherwise there may be more.
    #[inline(never)] // See the module documentation.
    pub fn poll_transmit(&mut self, now: Time, pool: &mut Pool, out: &mut TransmitBatch) -> bool {
        out.clear();
        while out.has_room() {
            let Some(message) = self.outbox.pop_front() else { break };
            out.place()[..message.len].copy_from_slice(&message.bytes[..message.len]);
            message.to.iter().for_each(|to| out.add(message.len, to));
            out.used += message.len;
        }
        while out.has_room() {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.queued.transmit = peer.transmit(now, pool, out, &mut self.drops);
            if peer.queued.transmit {
                self.ready.push_back(id);
            }
            self.observe(now, id);
        }
        !out.is_empty()
    }
}

impl Peer {
    /// Takes a turn. Returns whether there may be more to send.
    fn transmit(
        &mut self,
        now: Time,
        pool: &mut Pool,
        out: &mut TransmitBatch,
        drops: &mut Drops,
    ) -> bool {
        let Peer { sessions, engine, paths, .. } = self;
        let (Some(session), Some(engine)) = (sessions.current(), engine) else { return false };
        for _ in 0..TURN {
            if !out.has_room() {
                return true;
            }
            let place = out.place();
            let payload = &mut place[header::LEN..DATAGRAM_MAX - TAG_LEN];
            let Some(transmit) = engine.poll_transmit(now, pool, payload) else {
                return false;
            };
            let (path, target) = (transmit.path, transmit.target);
            let Some(len) = seal(session, transmit, place) else { continue };
            let Some(slot) = paths[path.index()].as_deref_mut() else { continue };
            let (answer, challenge) = match target {
                Target::Current => {
                    let to = slot.addresses.data(len);
                    out.send(slot, len, to, drops);
                    continue;
                }
                Target::Proof { answer, challenge } => (answer, challenge),
            };
            let mut to = match answer {
                Some(data) => slot.addresses.answer(data, len),
                None => Ok(None),
            };
            let Some(data) = challenge else {
                out.send(slot, len, to, drops);
                continue;
            };
            let mut ways: Vec<_> = slot.addresses.to_challenge().collect();
            if let Ok(Some(way)) = to {
                // The answer is a challenge as well, to where it goes.
                slot.addresses.note_challenge(now, data, way);
                ways.retain(|(other, _)| *other != way);
            } else if !ways.is_empty() {
                to = slot.addresses.challenge(now, data, len, ways.remove(0).0);
            }
            out.send(slot, len, to, drops);
            // Each further address has a datagram of its own.
            for (way, may) in ways {
                if !out.has_room() {
                    break;
                }
                let least = may.min(CHALLENGE_LEN) as usize;
                let least = least.saturating_sub(header::LEN + TAG_LEN);
                let place = out.place();
                let payload = &mut place[header::LEN..DATAGRAM_MAX - TAG_LEN];
                let Some(transmit) = engine.challenge(now, path, least, payload) else { break };
                let Target::Proof { challenge: Some(data), .. } = transmit.target else { break };
                let Some(len) = seal(session, transmit, place) else { break };
                let to = slot.addresses.challenge(now, data, len, way);
                out.send(slot, len, to, drops);
            }
        }
        true
    }
}

/// Seals a datagram whose payload lies behind the place of its header. Returns its length.
fn seal(session: &Session, transmit: Transmit, place: &mut [u8]) -> Option<usize> {
    let len = header::LEN + transmit.len + TAG_LEN;
    let number = transmit.number.value();
    let head = DataHeader::bytes(transmit.path, session.remote_index, number);
    let (place, sealed) = place[..len].split_at_mut(header::LEN);
    place.copy_from_slice(&head);
    session.seal.seal(transmit.number, &head, sealed).ok()?;
    Some(len)
}
