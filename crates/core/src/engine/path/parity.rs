//! Parity of one path: groups of datagrams that are sent, and copies of those that arrive.
//!
//! What it is for, how it works and where it ends is told one level up. [`Protect`] is the sending
//! side, [`Rebuild`] the receiving one.

use super::received::Received;
use crate::buffer::{Buf, CAPACITY, PACKET_MAX, Pool};
use crate::time::{MS, SEC, Time};
use crate::wire::frame::{Frame, Repair};
use crate::wire::{Writer, header};

/// How much later than the packet itself its repair comes, from where on a path is protected and
/// below which it no longer is: over a lone path of 100 ms it comes after 300, little below what a
/// call can bear (400 ms, ITU-T G.114).
const LATE_US: (u64, u64) = (200 * MS, 170 * MS);
/// Loss from where on a path is protected and below which it no longer is, millionths.
const LOSS_PPM: (u64, u64) = (1_000, 500);
/// Loss that is too much for it, and below which it is not any more, millionths.
const LOSS_MAX_PPM: (u64, u64) = (200_000, 150_000);
/// Members of a group at least and at most; between them, one loss in so many groups.
const MEMBERS_MIN: u64 = 4;
const MEMBERS_MAX: u64 = 32;
const GROUPS_PER_LOSS: u64 = 3;
/// Time after which a group gets its parity although it is small.
const SPAN_US: u64 = 40 * MS;
/// Packet numbers that a group may reach over; the rest of [`KEPT`] is for what comes before its
/// parity.
const REACH: u64 = 48;
/// Packets over which a loss is measured at least, in at least this time, and the weight of the
/// newest such measurement, one part in so many.
const LOSS_PACKETS: u64 = 50;
const LOSS_US: u64 = SEC;
const LOSS_WEIGHT: u64 = 8;
/// Payloads that a receiver keeps, for each path.
pub const KEPT: u64 = 64;
/// How long it does so after the last parity.
const FORGET_US: u64 = 5 * SEC;

/// Bytes of buffers for one path at most: parity being made, and payloads kept.
pub const BUFFERS_MAX: usize = (1 + KEPT as usize) * CAPACITY;

/// Adds `payload` to `parity`, which grows by zeros where it is shorter.
fn add(parity: &mut Buf, payload: &[u8]) {
    let was = parity.len();
    if payload.len() > was {
        parity.set_len(payload.len());
        parity.bytes_mut()[was..].fill(0);
    }
    parity.bytes_mut().iter_mut().zip(payload).for_each(|(p, b)| *p ^= b);
}

/// The numbers of a group's members.
fn numbers(first: u64, members: u64) -> impl Iterator<Item = u64> {
    (0..64).filter(move |i| members >> i & 1 == 1).map(move |i| first.wrapping_add(i))
}

/// The loss of a path, averaged over some seconds.
#[derive(Debug, Default)]
struct Loss {
    since: Time,
    sent: u64,
    lost: u64,
    /// When the last flood has been accounted for.
    settles: Time,
    ppm: u64,
}

impl Loss {
    /// Takes the path's counters. What was lost while it was `flooded` says nothing about the link,
    /// and is known `learn_us` later.
    fn measure(&mut self, now: Time, sent: u64, lost: u64, flooded: bool, learn_us: u64) {
        if flooded {
            self.settles = now + 2 * learn_us;
        }
        let packets = sent - self.sent;
        if now >= self.settles {
            if packets < LOSS_PACKETS || now.since(self.since) < LOSS_US {
                return;
            }
            let ppm = lost.saturating_sub(self.lost).min(packets) * 1_000_000 / packets;
            self.ppm = (self.ppm * (LOSS_WEIGHT - 1) + ppm) / LOSS_WEIGHT;
        }
        (self.since, self.sent, self.lost) = (now, sent, lost);
    }
}

/// The sending side of a path: whether it is protected, and the group that is being sent.
#[derive(Debug, Default)]
pub struct Protect {
    on: bool,
    loss: Loss,
    first: u64,
    /// As in the frame; 0: none yet.
    members: u64,
    lengths: u16,
    /// When the parity is due.
    due: Time,
    parity: Option<Buf>,
}

impl Protect {
    /// Whether datagrams are being protected.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// When parity wants to be sent; [`Time::FAR`] when there is none.
    pub fn due(&self) -> Time {
        if self.members == 0 { Time::FAR } else { self.due }
    }

    /// Bytes of buffers.
    pub fn buffers(&self) -> usize {
        if self.parity.is_some() { CAPACITY } else { 0 }
    }

    /// Takes the path's counters: see [`Loss::measure`].
    pub fn measure(&mut self, now: Time, sent: u64, lost: u64, flooded: bool, learn_us: u64) {
        self.loss.measure(now, sent, lost, flooded, learn_us);
    }

    /// Decides anew, `allowed` or not, for a path whose repairs come `late_us` after the packets.
    pub fn decide(&mut self, late_us: i64, allowed: bool) {
        let of = |(enter, leave): (u64, u64)| if self.on { leave } else { enter };
        // The bound from above is left upwards.
        let most = if self.on { LOSS_MAX_PPM.0 } else { LOSS_MAX_PPM.1 };
        let late = late_us >= of(LATE_US) as i64;
        let on = allowed && late && (of(LOSS_PPM)..most).contains(&self.loss.ppm);
        if self.on && !on {
            (self.members, self.parity) = (0, None);
        }
        self.on = on;
    }

    /// Members of a full group.
    fn size(&self) -> u64 {
        let size = 1_000_000 / (GROUPS_PER_LOSS * self.loss.ppm).max(1);
        size.clamp(MEMBERS_MIN, MEMBERS_MAX)
    }

    /// Datagram `number` has been sent; the parity may have `len_max` bytes.
    pub fn on_sent(
        &mut self,
        now: Time,
        pool: &mut Pool,
        number: u64,
        payload: &[u8],
        len_max: usize,
    ) {
        if !self.on || payload.len() > len_max.min(PACKET_MAX) {
            return;
        }
        let parity = self.parity.get_or_insert_with(|| pool.take());
        if self.members == 0 {
            (self.first, self.lengths, self.due) = (number, 0, now + SPAN_US);
            parity.set_len(0);
        }
        let place = number - self.first;
        if place < REACH {
            self.members |= 1 << place;
            self.lengths ^= payload.len() as u16;
            add(parity, payload);
        }
        if place >= REACH || u64::from(self.members.count_ones()) >= self.size() {
            self.due = Time::ZERO;
        }
    }

    /// Ends the group and writes its parity; `false` when the path has become too narrow for it.
    pub fn write(&mut self, w: &mut Writer<'_>) -> bool {
        let members = core::mem::take(&mut self.members);
        let parity = self.parity.as_ref().map_or(&[][..], Buf::bytes);
        let (first, lengths) = (self.first as u32, self.lengths);
        Frame::Repair(Repair { first, members, lengths, parity }).write(w)
    }
}

/// The receiving side of a path: what came lately.
#[derive(Debug, Default)]
pub struct Rebuild {
    /// Payloads, each in the place of its number modulo [`KEPT`]; empty while no parity comes.
    kept: Vec<Option<(u64, Buf)>>,
    newest: u64,
    /// When parity last came.
    last: Time,
}

impl Rebuild {
    fn find(&self, number: u64) -> Option<&Buf> {
        let (n, payload) = self.kept.get((number % KEPT) as usize)?.as_ref()?;
        (*n == number).then_some(payload)
    }

    /// Whether the payload of datagram `number` is known, received or rebuilt.
    pub fn has(&self, number: u64) -> bool {
        self.find(number).is_some()
    }

    /// Bytes of buffers.
    pub fn buffers(&self) -> usize {
        self.kept.iter().flatten().count() * CAPACITY
    }

    /// Keeps a payload, if parity may come for it.
    pub fn keep(&mut self, now: Time, pool: &mut Pool, number: u64, payload: &[u8]) {
        if self.kept.is_empty() {
            return;
        }
        if now.since(self.last) > FORGET_US {
            self.kept.drain(..).flatten().for_each(|(_, payload)| pool.give(payload));
            return;
        }
        self.newest = self.newest.max(number);
        if self.newest - number >= KEPT {
            return;
        }
        match &mut self.kept[(number % KEPT) as usize] {
            Some((n, buf)) => {
                *n = number;
                buf.copy_from(payload);
            }
            empty => *empty = Some((number, pool.copy(payload))),
        }
    }

    /// Takes what came in datagram `near`. A payload that follows from it, with its number.
    pub fn on_repair(
        &mut self,
        now: Time,
        pool: &mut Pool,
        near: u64,
        repair: &Repair<'_>,
        received: &Received,
    ) -> Option<(u64, Buf)> {
        self.last = now;
        if self.kept.is_empty() {
            self.kept.resize_with(KEPT as usize, || None);
            self.newest = near;
        }
        let first = header::expand(repair.first, near);
        let members = || numbers(first, repair.members);
        let mut missing = members().filter(|&n| !self.has(n));
        let (Some(number), None) = (missing.next(), missing.next()) else { return None };
        // What came before copies were kept, or is too old for them, is not missing.
        if number >= near || self.newest.saturating_sub(number) >= KEPT || received.has(number) {
            return None;
        }
        let others = || members().filter_map(|n| self.find(n));
        let len = usize::from(others().fold(repair.lengths, |len, p| len ^ p.len() as u16));
        let mut payload = pool.copy(repair.parity.get(..len)?);
        others().for_each(|other| add(&mut payload, &other.bytes()[..other.len().min(len)]));
        Some((number, payload))
    }
}

#[cfg(test)]
mod tests;
