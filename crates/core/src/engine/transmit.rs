//! Datagrams that the connection itself needs: acknowledgements, challenges, pings, reports.

use super::path::sent::{CONTENT_MAX, NONE};
use super::path::{self, CHALLENGES_MAX, Challenge};
use super::{Engine, Event, Heard, Mode, Target, Transmit};
use crate::buffer::Pool;
use crate::crypto::packet::PacketNumber;
use crate::time::{MS, SEC, Time};
use crate::wire::frame::{self, Frame};
use crate::wire::{OVERHEAD, PathId, Writer};

/// Distance of reports to the peer while the connection is in use, microseconds.
pub(super) const REPORT_US: u64 = 500 * MS;
/// An acknowledgement also tells of other paths on which something came within this time, so that
/// it does not matter over which path it arrives.
const ALSO_US: u64 = 200 * MS;
/// Distance at which the hold is computed, microseconds.
const HOLD_EVERY_US: u64 = 10 * MS;
/// What the hold allows beyond delays and repairs, and the least hold, microseconds. Tuned in the
/// simulation; range not swept.
const HOLD_SLACK_US: u64 = 10 * MS;
const HOLD_MIN_US: u64 = 20 * MS;
/// The longest of these datagrams that passes wherever there is a tunnel, without the headers: 1280
/// bytes with those of IPv6 and UDP. After a time of loss the acknowledgements of many paths want more.
const CONTROL_MAX: usize = path::mtu::BASE as usize - 48 - OVERHEAD;
/// Room in which another note of given-up packets fits behind what was written, bytes.
const SKIP_ROOM: usize = 64;
/// Such notes in a datagram at most: with reports on all paths there are fewer frames than count.
const SKIPS_MAX: usize = 16;
/// Datagrams from one skipped packet number to the next, at least and at most.
const LEFT_OUT_MIN: u16 = 64;
const LEFT_OUT_MAX: u16 = 512;
/// How long it may take to show what the peer has heard, microseconds.
const ASKED_US: u64 = SEC;
/// The hold is reported anew when it has changed by more than one part in this many.
const HOLD_CHANGE: u64 = 4;

impl Engine {
    /// The next datagram to seal and send, its frames written to the front of `out`; `None` when
    /// there is nothing to send now.
    pub fn poll_transmit(
        &mut self,
        now: Time,
        pool: &mut Pool,
        out: &mut [u8],
    ) -> Option<Transmit> {
        if self.lied_to && self.closing.is_none() {
            return None;
        }
        let transmit = self
            .transmit_control(now, out)
            .or_else(|| self.transmit_repair(now, out))
            .or_else(|| self.transmit_data(now, pool, out))
            .or_else(|| if self.load.is_some() { self.transmit_load(now, out) } else { None });
        if transmit.is_none() {
            self.drained_at = now;
        }
        transmit
    }

    fn transmit_control(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        if let Some(reason) = self.closing {
            if self.lied_to {
                // Whatever becomes of the word for it.
                self.closing = None;
                self.events.push_back(Event::PeerLied);
            }
            let best = self.best_path(now)?;
            self.closing = None;
            let mut w = control(out);
            Frame::Close { reason }.write(&mut w);
            let len = w.len();
            return self.finish(now, best, len, false, NOTHING, Target::Current);
        }
        let busy = self.is_busy(now);
        for index in 0..self.paths.len() {
            let id = PathId(index as u8);
            if self.paths[index].is_none() {
                continue;
            }
            let transmit = self
                .transmit_proof(now, id, out)
                .or_else(|| self.transmit_mtu_probe(now, id, out))
                .or_else(|| self.transmit_upkeep(now, id, busy, out));
            if transmit.is_some() {
                return transmit;
            }
        }
        self.transmit_report(now, busy, out)
    }

    /// The path of earliest arrival, or any that is open.
    fn best_path(&self, now: Time) -> Option<PathId> {
        self.order(now).first().or_else(|| self.paths().next().map(|p| p.id))
    }

    /// Challenges and their answers: they prove addresses and bring silent paths back.
    fn transmit_proof(&mut self, now: Time, id: PathId, out: &mut [u8]) -> Option<Transmit> {
        let path = self.path_mut(id)?;
        let mut w = control(out);
        let due = path.health.probe_due() <= now;
        let answer = path.respond.pop_front();
        if !due && answer.is_none() {
            return None;
        }
        if let Some(data) = answer {
            Frame::Response { data }.write(&mut w);
        }
        let challenge = if due { self.write_challenge(now, id, &mut w) } else { None };
        if due {
            // It may be called down by it.
            self.change(now, id, |path| path.health.on_probe(now));
        }
        self.write_acks(now, id, &mut w);
        let len = w.len();
        self.finish(now, id, len, false, NOTHING, Target::Proof { answer, challenge })
    }

    /// Another challenge of a path, to another address than the one before: with data of its own, since
    /// it is to prove that address and no other. It is filled up to `least` bytes, if they fit.
    pub fn challenge(
        &mut self,
        now: Time,
        id: PathId,
        least: usize,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let mut w = control(out);
        let data = self.write_challenge(now, id, &mut w)?;
        let padding = least.saturating_sub(w.len()).min(w.room());
        frame::pad(&mut w, padding);
        let len = w.len();
        let target = Target::Proof { answer: None, challenge: Some(data) };
        self.finish(now, id, len, false, NOTHING, target)
    }

    fn write_challenge(&mut self, now: Time, id: PathId, w: &mut Writer<'_>) -> Option<u64> {
        let data = self.roll();
        let path = self.path_mut(id)?;
        if path.challenges.len() == CHALLENGES_MAX {
            path.challenges.pop_front();
        }
        path.challenges.push_back(Challenge { data, sent: now });
        Frame::Challenge { data }.write(w);
        Some(data)
    }

    fn transmit_mtu_probe(&mut self, now: Time, id: PathId, out: &mut [u8]) -> Option<Transmit> {
        let path = self.path_mut(id)?;
        if !path.probes_mtu() || path.mtu.due() > now {
            return None;
        }
        let sent = path.stamp(now);
        let Some(size) = path.mtu.probe(now, sent, path.rtt.smoothed()) else {
            // The search is over.
            self.update_mtu(now);
            return None;
        };
        let len = usize::from(size.saturating_sub(path.settings.ip_overhead));
        let len = len.saturating_sub(OVERHEAD).min(out.len());
        let mut w = Writer::new(&mut out[..len]);
        Frame::Ping { sent }.write(&mut w);
        let room = w.room();
        frame::pad(&mut w, room);
        let len = w.len();
        // Its loss says nothing about congestion (RFC 8899 §3): it is in no account.
        self.finish(now, id, len, false, NOTHING, Target::Current)
    }

    /// Acknowledgements, pongs and pings of one path.
    fn transmit_upkeep(
        &mut self,
        now: Time,
        id: PathId,
        busy: bool,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let idle_us = self.settings.probe_interval_us;
        let path = self.path_mut(id)?;
        let usable = path.health.is_usable();
        let ping = path.ping_due(busy, idle_us) <= now;
        let ack = path.received.due() <= now;
        let pong = !path.pongs.is_empty();
        if !ping && !ack && !pong {
            return None;
        }
        let stamp = if ping { path.stamp(now) } else { 0 };
        // Another one is not asked for before this one had time to be answered.
        let asks = ping && self.may_ask(now);
        let path = self.path_mut(id)?;
        let mut w = control(out);
        for echo in path.pongs.drain(..) {
            Frame::Pong { echo }.write(&mut w);
        }
        if ping {
            path.last_ping = now;
            path.ping_now = false;
            Frame::Ping { sent: stamp }.write(&mut w);
            if let Some(address) = path.observed.due()
                && (Frame::ObservedAddress { address }).write(&mut w)
            {
                path.observed.told(now);
            }
        }
        // What came over a path that cannot send back is acknowledged over the best one.
        let carrier = if usable || pong { id } else { self.order(now).first().unwrap_or(id) };
        if carrier != id {
            // First: it would be due again at once if there were no room.
            self.write_ack(now, id, &mut w);
        }
        self.write_acks(now, carrier, &mut w);
        self.write_skips(&mut w);
        if asks {
            self.ask(now, carrier, Heard::Pong(stamp));
        }
        let len = w.len();
        self.finish(now, carrier, len, ping, NOTHING, Target::Current)
    }

    /// Writes what has arrived on a path, and lately on the others.
    pub(super) fn write_acks(&mut self, now: Time, id: PathId, w: &mut Writer<'_>) {
        if self.path(id).is_some_and(|p| p.received.is_pending()) {
            self.write_ack(now, id, w);
        }
        for index in 0..self.paths.len() {
            if let Some(other) = &mut self.paths[index]
                && index != id.index()
                && other.received.heard_within(now, ALSO_US)
                && let Some(ack) = other.received.ack(now, other.id)
                && Frame::Ack(ack).write(w)
            {
                other.received.tell();
            }
        }
    }

    fn write_ack(&mut self, now: Time, id: PathId, w: &mut Writer<'_>) {
        if let Some(path) = self.path_mut(id)
            && let Some(ack) = path.received.ack(now, id)
            && Frame::Ack(ack).write(w)
        {
            path.received.acked();
            path.received.tell();
        }
    }

    fn write_skips(&mut self, w: &mut Writer<'_>) {
        for _ in 0..SKIPS_MAX {
            if w.room() <= SKIP_ROOM {
                break;
            }
            let Some((flow, first, count)) = self.unacked.pop_skip() else { break };
            Frame::Skip { flow, first, count }.write(w);
        }
    }

    /// What the peer should know now and then: our measurements, the hold, the use of paths.
    pub(super) fn transmit_report(
        &mut self,
        now: Time,
        busy: bool,
        out: &mut [u8],
    ) -> Option<Transmit> {
        // Not for every datagram: it is a sum over all paths.
        if now.since(self.hold_at) >= HOLD_EVERY_US {
            (self.hold_now, self.hold_at) = (self.hold(now), now);
            self.watch_losses(now);
        }
        let hold = self.hold_now;
        let hold_changed = hold.abs_diff(self.hold_reported) > self.hold_reported / HOLD_CHANGE;
        let usable = self.paths().any(|p| p.health.is_usable());
        let due = busy && now.since(self.last_report) >= REPORT_US;
        let load = self.has_load_news(now);
        let news =
            due || load || self.report_status || self.unacked.has_skips() || (busy && hold_changed);
        if !usable || !news {
            return None;
        }
        let best = self.order(now).first()?;
        let mut w = control(out);
        if due || hold_changed {
            Frame::Hold { us: hold as u32 }.write(&mut w);
            self.hold_reported = hold;
        }
        if due || self.report_status {
            self.last_report = now;
            self.write_status(&mut w);
            self.report_status = false;
        }
        if load {
            self.write_load(now, &mut w);
        }
        self.write_skips(&mut w);
        let len = w.len();
        self.finish(now, best, len, true, NOTHING, Target::Current)
    }

    fn write_status(&self, w: &mut Writer<'_>) {
        for path in self.paths() {
            Frame::PathReport {
                path: path.id,
                loss_ppm: path.tx.loss_ppm as u32,
                rate_kbps: (path.tx.rate / 125) as u32,
                capacity_kbps: (path.rate.capacity().unwrap_or(0) / 125) as u32,
            }
            .write(w);
            if self.settings.side.opens() {
                Frame::PathStatus {
                    path: path.id,
                    mode: match path.settings.mode {
                        _ if !path.health.is_linked() => 3,
                        Mode::Active => 0,
                        Mode::Backup => 1,
                        Mode::Off => 2,
                    },
                    metered: path.settings.metered,
                    rate_max_kbps: (path.settings.receive_rate_max.unwrap_or(0) / 125) as u32,
                }
                .write(w);
            }
        }
    }

    /// How long the peer may keep a packet waiting: the spread of the delays of the paths in use,
    /// and two repairs: of a link that loses 2 %, one repair in fifty is lost as well, several each second.
    pub(super) fn hold(&self, now: Time) -> u64 {
        let order = self.order(now);
        (order.spread() + 2 * self.repair(&order) + HOLD_SLACK_US)
            .clamp(HOLD_MIN_US, self.settings.hold_max_us)
    }

    /// Whether the datagram that is to be written may be one of which we shall know that what it
    /// acknowledges has been heard. Another is out until it had time to be answered.
    pub(super) fn may_ask(&mut self, now: Time) -> bool {
        let may = self.asked.is_none_or(|(at, ..)| now.since(at) > ASKED_US);
        if may {
            self.paths.iter_mut().flatten().for_each(|path| path.received.begin_asking());
        }
        may
    }

    /// It is written.
    pub(super) fn ask(&mut self, now: Time, id: PathId, shows: Heard) {
        self.asked = Some((now, id, shows));
        self.paths.iter_mut().flatten().for_each(|path| path.received.ask());
    }

    /// It has arrived.
    pub(super) fn was_heard(&mut self) {
        self.asked = None;
        self.paths.iter_mut().flatten().for_each(|path| path.received.heard());
    }

    /// The next packet number of a path. Now and then one is left out that nobody can foresee: whoever
    /// acknowledges what has not arrived will acknowledge it (RFC 9000 §21.4).
    fn next_number(&mut self, now: Time, id: PathId) -> Option<PacketNumber> {
        let numbers = self.numbers.get_mut(id.index())?;
        let until = &mut self.until_skip[id.index()];
        match until.checked_sub(1) {
            Some(left) => *until = left,
            None => {
                let range = u64::from(LEFT_OUT_MAX - LEFT_OUT_MIN) + 1;
                *until = LEFT_OUT_MIN + (self.secrets.next_u64() % range) as u16 - 1;
                // None before the first one.
                if numbers.upcoming() > 0 {
                    let skipped = numbers.take()?;
                    if let Some(path) =
                        self.paths.get_mut(id.index()).and_then(|p| p.as_deref_mut())
                    {
                        path.sent.skip(now, skipped.value());
                    }
                }
            }
        }
        self.numbers.get_mut(id.index())?.take()
    }

    /// Accounts for a datagram whose frames have been written.
    pub(super) fn finish(
        &mut self,
        now: Time,
        id: PathId,
        len: usize,
        elicits_ack: bool,
        content: [u32; CONTENT_MAX],
        target: Target,
    ) -> Option<Transmit> {
        // After 2^60 packets there are none left: the path falls silent rather than use one twice.
        let number = self.next_number(now, id)?;
        if let Some(path) = self.path_mut(id) {
            let wire_len = (len + OVERHEAD) as u64 + u64::from(path.settings.ip_overhead);
            // Only a path in use keeps accounts: what is sent to prove a path is not data.
            let tracked = elicits_ack && path.health.is_usable();
            let has_data = content[0] != NONE;
            path.on_sent(now, number.value(), wire_len, tracked, content, has_data);
        }
        Some(Transmit { path: id, number, len, target })
    }
}

/// For a datagram that every path takes.
fn control(out: &mut [u8]) -> Writer<'_> {
    let len = out.len().min(CONTROL_MAX);
    Writer::new(&mut out[..len])
}

/// A datagram without inner packets.
pub(super) const NOTHING: [u32; CONTENT_MAX] = [NONE; CONTENT_MAX];
