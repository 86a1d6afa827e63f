//! Which packet goes next, and on which path: earliest arrival.
//!
//! Why: sharing a flow over paths by weight makes it as slow as the slowest path. A packet should
//! go where it arrives first, and a second path helps a flow only when the first one is busy for
//! longer than the second one is slower.
//!
//! How: paths in use are ordered by predicted one-way delay. The fastest that may send now (window
//! and pacer) takes the head of the queue. A path that is slower by *d* may take a packet only from
//! behind as many bytes as the faster ones will carry within *d*: that packet arrives there in
//! order, and earlier than it would have otherwise (the idea of BLEST, Ferlin 2016; ECF, Lim 2017;
//! DEMS, Guo 2017). A short queue therefore never leaves the fastest path. What was lost goes
//! first, on the fastest path that has room.
//!
//! Backup and metered paths join when no other path is in use, or when the others cannot carry the
//! demand: packets have stood in the queue for [`DEMAND_US`].
//!
//! The numbers are tuned in the simulation (`tests/bench/bond --sim`, `tests/sim`); the range around
//! them was not swept.

use super::path::Path;
use super::path::received::ACK_DELAY_US;
use super::path::sent::{CONTENT_MAX, NONE};
use super::queue::codel::Aqm;
use super::queue::{Outgoing, Want};
use super::{Engine, Heard, Target, Transmit};
use crate::buffer::Pool;
use crate::time::{MS, SEC, Time};
use crate::wire::frame::{Frame, PACKET_HEAD, PacketHead, SIZE_FIELD};
use crate::wire::{PATHS_MAX, PathId, Writer};

/// Wait in the queue that shows that the paths in use cannot carry the demand, microseconds.
const DEMAND_US: u64 = 300 * MS;
/// A packet up to this share of a datagram leaves room worth filling with another.
const SMALL_SHARE: usize = 3;
/// Age at which a packet is no longer sent again, beyond the hold, microseconds.
const RESEND_SLACK_US: u64 = 100 * MS;
/// How long a flow is given to shrink after the loss of a path, microseconds: if that comes back
/// within this time it finds the flow large enough.
const RETURN_US: u64 = 5 * SEC;
/// Loss from which on repairs shape a flow, millionths.
const LOSSY_PPM: u64 = 1000;
/// A path this much slower than the fastest is as good for what is urgent, microseconds.
const NEAR_US: i64 = 10 * MS as i64;
/// Room behind a packet from which on acknowledgements ride along, bytes.
const ACKS_ROOM: usize = 200;

/// What a path may take.
#[derive(Clone, Copy, Debug)]
struct Take {
    /// New packets from behind so many bytes.
    ahead: usize,
    /// Lost packets too: they would come late over a slow path.
    near: bool,
}

/// The paths that may carry data, the fastest first.
#[derive(Debug, Default)]
pub(super) struct Order {
    places: [(i64, u8); PATHS_MAX],
    len: usize,
}

impl Order {
    /// The paths' ids, the fastest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = PathId> + '_ {
        self.places[..self.len].iter().map(|&(_, id)| PathId(id))
    }

    /// The ids of the paths that are slower than the fastest by at most `later_us`.
    pub(super) fn near(&self, later_us: i64) -> impl Iterator<Item = PathId> + '_ {
        let least = self.places[0].0;
        let places = self.places[..self.len].iter();
        places.take_while(move |p| p.0 - least <= later_us).map(|&(_, id)| PathId(id))
    }

    /// The fastest.
    pub(super) fn first(&self) -> Option<PathId> {
        self.ids().next()
    }

    fn add(&mut self, delay: i64, id: PathId) {
        self.places[self.len] = (delay, id.0);
        self.len += 1;
        self.places[..self.len].sort_unstable();
    }

    /// Microseconds between the fastest and the slowest.
    pub(super) fn spread(&self) -> u64 {
        match (self.places[..self.len].first(), self.places[..self.len].last()) {
            (Some(a), Some(b)) => (b.0 - a.0).max(0) as u64,
            _ => 0,
        }
    }
}

impl Engine {
    /// Orders the paths by predicted delay.
    pub(super) fn order(&self, now: Time) -> Order {
        let order = self.order_of(now, |p| !p.is_reserve() && !p.health.is_held());
        let reserves = self.paths().any(|p| p.is_reserve() && p.health.is_usable());
        if reserves && (order.len == 0 || self.queue.oldest_us(now) > DEMAND_US) {
            return self.order_of(now, |p| !p.health.is_held());
        }
        match order.len {
            0 => self.order_of(now, |_| true),
            _ => order,
        }
    }

    fn order_of(&self, now: Time, which: impl Fn(&Path) -> bool) -> Order {
        let zero = self.paths().filter_map(|p| p.owd.base()).min().unwrap_or(0);
        let mut order = Order::default();
        for path in self.paths().filter(|p| p.health.is_usable()) {
            if which(path) {
                order.add(path.delay(now, zero) + path.stall_us(now) as i64, path.id);
            }
        }
        order
    }

    /// Sends the next inner packet, if a path may send and one is to be had.
    pub(super) fn transmit_data(
        &mut self,
        now: Time,
        pool: &mut Pool,
        out: &mut [u8],
    ) -> Option<Transmit> {
        if let Some(transmit) = self.transmit_duplicate(now, out) {
            return Some(transmit);
        }
        let idle = self.queue.is_empty() && !self.unacked.wants_resend();
        if idle {
            self.note_limited(now);
            return None;
        }
        self.judge_paths(now);
        let order = self.order(now);
        let flows = self.queue.backlogged().max(1) as u64;
        let least = order.places[0].0;
        let (mut ahead, mut rate, mut before) = (0u64, 0u64, None);
        for &(delay, id) in &order.places[..order.len] {
            // Bytes of one flow that the faster paths carry until a packet sent here arrives.
            ahead += rate * (delay - before.unwrap_or(delay)).max(0) as u64 / 1_000_000;
            before = Some(delay);
            let near = delay - least <= NEAR_US;
            let id = PathId(id);
            let path = self.path_mut(id)?;
            path.rate.set_near(near);
            let known = path.rate.bandwidth();
            let nearer = rate;
            rate += if known > 0 { known } else { path.rate.pacing(&path.feedback, &path.owd) };
            if !path.may_send(now) {
                continue;
            }
            let trial = !near && !path.rate.is_settled() && !path.is_reserve() && known < nearer;
            let take = Take { ahead: (ahead / flows) as usize, near };
            let transmit = match trial {
                true => self.fill_trial(now, out, id),
                false => self.fill(now, pool, out, id, take, &order),
            };
            if transmit.is_some() {
                return transmit;
            }
            if let Some(path) = self.path_mut(id).filter(|path| !path.loaded) {
                path.rate.on_limited(path.sent.in_flight());
            }
            if take.ahead == 0 && !trial {
                // All that waits is too long for it: nothing will go before.
                rate = nearer;
            }
        }
        let proves = |p: &&Path| p.health.is_held() && p.exclusion.is_proving() && p.may_send(now);
        let id = self.paths().find(proves)?.id;
        self.fill_trial(now, out, id)
    }

    /// Nothing waits: whatever the paths deliver now says little about what they could.
    fn note_limited(&mut self, now: Time) {
        for path in self.paths.iter_mut().flatten().filter(|p| p.health.is_usable()) {
            if path.pacer.next() <= now && path.room() > 0 && !path.loaded {
                path.rate.on_limited(path.sent.in_flight());
            }
        }
    }

    /// Writes a datagram for a path: acknowledgements if they fit, then one packet or several
    /// small ones.
    fn fill(
        &mut self,
        now: Time,
        pool: &mut Pool,
        out: &mut [u8],
        id: PathId,
        take: Take,
        order: &Order,
    ) -> Option<Transmit> {
        let capacity = self.path(id)?.payload_max().min(out.len());
        let mut w = Writer::new(&mut out[..capacity]);
        let mut content = [NONE; CONTENT_MAX];
        let mut asks = false;
        for (i, slot) in content.iter_mut().enumerate() {
            let reserved = PACKET_HEAD + if i > 0 { SIZE_FIELD } else { 0 };
            let Some(max_len) = w.room().checked_sub(reserved) else { break };
            let Some(place) = self.next_place(now, pool, take, max_len, order) else { break };
            *slot = place;
            if i == 0 {
                asks = self.write_pending_acks(now, id, place, &mut w);
            }
            let more = !self.queue.is_empty() || self.unacked.wants_resend();
            let Some(packet) = self.unacked.get(place) else { break };
            let bytes = packet.packet.bytes();
            let (flow, sequence, ordered) = (packet.flow, packet.sequence, packet.ordered);
            let head = PacketHead { flow, sequence, ordered };
            let small = bytes.len() <= capacity / SMALL_SHARE;
            if small && more && i + 1 < CONTENT_MAX && head.write_sized(&mut w, bytes) {
                continue;
            }
            let whole = Frame::Packet { flow, sequence, ordered, packet: bytes }.write(&mut w);
            debug_assert!(whole, "a packet of {} bytes does not fit", bytes.len());
            break;
        }
        if content[0] == NONE {
            return None;
        }
        let len = w.len();
        self.duplicates.on_sent(now, len as u64);
        let mut sparse = false;
        for &place in content.iter().filter(|&&p| p != NONE) {
            if let Some(packet) = self.unacked.get(place).filter(|o| o.alone) {
                sparse = true;
                self.duplicates.offer(now, place, id, packet.packet.len(), packet.ordered);
            }
        }
        let transmit = self.finish(now, id, len, true, content, Target::Current)?;
        if asks {
            self.ask(now, id, Heard::Acked(transmit.number.value()));
        }
        if sparse {
            self.protect(now, pool, &transmit, &out[..len]);
        }
        Some(transmit)
    }

    /// A slow path of which the rate is not known yet, while the faster ones are busy: repeats
    /// packets that are on their way over those. So its rate is found before anything depends on
    /// it, and what it would have lost or delayed hurts nobody. As soon as it is known to carry as
    /// much as those do, it goes on with new packets: there would be too few to repeat.
    fn fill_trial(&mut self, now: Time, out: &mut [u8], id: PathId) -> Option<Transmit> {
        let path = self.path(id)?;
        let capacity = path.payload_max().min(out.len());
        let packet = self.unacked.any(capacity - PACKET_HEAD)?;
        let mut w = Writer::new(&mut out[..capacity]);
        let Outgoing { flow, sequence, ordered, .. } = *packet;
        Frame::Packet { flow, sequence, ordered, packet: packet.packet.bytes() }.write(&mut w);
        self.duplicated += 1;
        let len = w.len();
        let transmit = self.finish(now, id, len, true, [NONE; CONTENT_MAX], Target::Current);
        if let Some(path) = self.path_mut(id) {
            path.on_paced(now, len);
        }
        transmit
    }

    /// The place of the next packet to send on a path: a lost one first.
    fn next_place(
        &mut self,
        now: Time,
        pool: &mut Pool,
        take: Take,
        max_len: usize,
        order: &Order,
    ) -> Option<u32> {
        let deadline = self.settings.hold_max_us + RESEND_SLACK_US;
        let longest = usize::from(self.longest);
        // Not before a sparse flow: there may be a whole window of a lost path to repeat.
        if take.near
            && (!self.queue.has_sparse() || self.unacked.is_full())
            && let Some(place) = self.unacked.next_resend(now, pool, deadline, max_len, longest)
        {
            self.unacked.resent(place);
            return Some(place);
        }
        if self.unacked.is_full() {
            return None;
        }
        let paths = || order.ids().filter_map(|id| self.path(id));
        let slowest = paths().map(|p| p.feedback.smoothed()).max().unwrap_or(0);
        let searching = paths().any(|p| !p.rate.is_settled())
            || self.path_lost_at.is_some_and(|t| now.since(t) < RETURN_US)
                && self.paths().any(|p| !p.health.is_usable() || p.health.is_lossy());
        let repair = if self.is_lossy(order) { self.repair(order) } else { 0 };
        let aqm = Aqm::new(slowest, order.spread(), repair, searching);
        let want = Want { ahead: take.ahead, max_len, longest };
        let mut outgoing = self.queue.pop(now, pool, want, aqm)?;
        if let Some((first, count)) = outgoing.skip.take()
            && outgoing.ordered
        {
            self.unacked.push_skip(outgoing.flow, first, count);
        }
        Some(self.unacked.keep(now, outgoing))
    }

    /// Whether repairs are frequent.
    fn is_lossy(&self, order: &Order) -> bool {
        order.ids().filter_map(|id| self.path(id)).any(|p| p.tx.loss_ppm > LOSSY_PPM)
    }

    /// How long a repair takes: we learn of the loss, and the packet comes again on the fastest
    /// path. Microseconds.
    pub(super) fn repair(&self, order: &Order) -> u64 {
        let paths = || order.ids().filter_map(|id| self.path(id));
        let learn = paths().map(|p| p.feedback.timeout(2 * ACK_DELAY_US) + p.owd.spread()).max();
        let again = paths().map(|p| p.feedback.smoothed()).min();
        learn.unwrap_or(0) + again.unwrap_or(0) / 2
    }

    /// Acknowledgements ride along when they are due anyway and there is room behind the packet, and
    /// take no more than that: there may be many, after a time of loss. Whether they are to show what
    /// the peer has heard.
    fn write_pending_acks(
        &mut self,
        now: Time,
        id: PathId,
        place: u32,
        w: &mut Writer<'_>,
    ) -> bool {
        let pending = self.path(id).is_some_and(|p| p.received.is_pending());
        let packet = self.unacked.get(place).map_or(usize::MAX, |o| o.packet.len());
        let room = w.room().saturating_sub(PACKET_HEAD + SIZE_FIELD).saturating_sub(packet);
        if !pending || room < ACKS_ROOM {
            return false;
        }
        let asks = self.may_ask(now);
        w.limited(room, |w| self.write_acks(now, id, w));
        asks
    }
}
