//! Frames from the peer.

use super::path::exclusion::Exclusion;
use super::path::sent::Sent;
use super::path::{PONGS_MAX, PeerReport, RESPONDS_MAX};
use super::{CLOSE_LIE, Engine, Event, Heard, Mode, Reason};
use crate::buffer::Pool;
use crate::time::{MS, Time};
use crate::wire::frame::{Ack, Frame, Frames};
use crate::wire::{Malformed, PathId, header};

/// Round trips above this are not believed.
const RTT_MAX_US: u32 = 30_000_000;

impl Engine {
    /// Takes the decrypted payload of datagram `number` of a path. `wire_len` is the length of the
    /// whole IP packet. The frames in front of a malformed one count; of acknowledgements the first of
    /// each path, and of parity the first: an honest peer has nothing to add to it in the same
    /// datagram, and both cost more than their length says.
    ///
    /// # Errors
    /// The peer has sent something that is no frame.
    pub fn handle_payload(
        &mut self,
        now: Time,
        pool: &mut Pool,
        path: PathId,
        number: u64,
        payload: &[u8],
        wire_len: usize,
    ) -> Result<(), Malformed> {
        if self.lied_to {
            return Ok(());
        }
        let Some(rebuilt) = self.path(path).map(|p| p.rebuild.has(number)) else { return Ok(()) };
        let mut elicits_ack = false;
        let mut result = Ok(());
        // Paths of which an acknowledgement has been read, and whether parity has.
        let (mut acked, mut repaired) = (0u16, false);
        self.work.begin();
        for frame in Frames::new(payload) {
            match frame {
                _ if !self.work.may_read(now) => {
                    result = Err(Malformed);
                    break;
                }
                Ok(frame) => {
                    elicits_ack |= frame.elicits_ack();
                    match frame {
                        Frame::Repair(_) if repaired => {}
                        Frame::Repair(repair) => {
                            repaired = true;
                            self.handle_repair(now, pool, path, number, &repair);
                        }
                        Frame::ObservedAddress { address } => {
                            if let Some(path) = self.path_mut(path) {
                                path.observed.heard(number, address);
                            }
                        }
                        Frame::Ack(ack) => {
                            let bit = 1u16.checked_shl(ack.path.0.into()).unwrap_or(0);
                            if acked & bit == 0 {
                                acked |= bit;
                                self.handle_ack(now, pool, &ack);
                            }
                        }
                        // Overtaken by its parity: they have been delivered.
                        Frame::Packet { .. } if rebuilt => {}
                        frame => self.handle_frame(now, pool, path, frame),
                    }
                }
                Err(malformed) => result = Err(malformed),
            }
        }
        if let Some(path) = self.path_mut(path) {
            path.rebuild.keep(now, pool, number, payload);
            path.on_received(now, number, wire_len as u64, elicits_ack);
        }
        result
    }

    pub(super) fn handle_frame(
        &mut self,
        now: Time,
        pool: &mut Pool,
        id: PathId,
        frame: Frame<'_>,
    ) {
        match frame {
            Frame::Packet { flow, sequence, ordered, packet } => {
                self.last_used = Some(now);
                self.rx_bytes += packet.len() as u64;
                self.rx.add(now, packet.len() as u64, 0, 0);
                self.resequencer.set_limit(self.held_max());
                self.resequencer.push(now, pool, flow, sequence, ordered, packet);
            }
            Frame::Ping { sent } => {
                if let Some(path) = self.path_mut(id)
                    && path.pongs.len() < PONGS_MAX
                {
                    path.pongs.push_back(sent);
                }
            }
            Frame::Pong { echo } => self.handle_pong(now, id, echo),
            Frame::Challenge { data } => {
                if let Some(path) = self.path_mut(id)
                    && path.respond.len() < RESPONDS_MAX
                    && !path.respond.contains(&data)
                {
                    path.respond.push_back(data);
                    self.events.push_back(Event::Challenged(id, data));
                }
            }
            Frame::Response { data } => self.handle_response(now, id, data),
            Frame::PathStatus { path, mode, metered, rate_max_kbps } => {
                self.handle_status(now, path, mode, metered, rate_max_kbps);
            }
            Frame::PathReport { path, loss_ppm, capacity_kbps, .. } => {
                if let Some(path) = self.path_mut(path) {
                    path.peer = PeerReport { loss_ppm, capacity_kbps };
                }
            }
            Frame::Hold { us } => {
                let hold = u64::from(us).clamp(MS, self.settings.hold_max_us);
                self.resequencer.set_hold(hold);
            }
            Frame::Skip { flow, first, count } => {
                self.resequencer.set_limit(self.held_max());
                self.resequencer.skip(flow, first, count);
            }
            Frame::Close { reason } => self.handle_close(now, reason),
            Frame::Load { id, paths, ms, kbytes } => self.handle_load(now, id, paths, ms, kbytes),
            Frame::LoadState { id, state, wait_s } => {
                if let Some(test) = &mut self.speed_test {
                    test.on_state(now, id, state, wait_s);
                    self.drive_speed_test(now);
                }
            }
            // What depends on the rest of its datagram, or needs its number.
            Frame::Ack(_) | Frame::Repair(_) | Frame::ObservedAddress { .. } => {}
        }
    }

    fn handle_ack(&mut self, now: Time, pool: &mut Pool, ack: &Ack) {
        let Some(path) = self.path(ack.path) else { return };
        let newest = self.numbers[ack.path.index()].upcoming().checked_sub(1);
        let largest = newest.map(|newest| header::expand(ack.largest_low, newest));
        let (Some(newest), Some(largest)) = (newest, largest) else { return self.end_lie() };
        if !path.sent.were_sent(newest, ack.ranges.descending(largest)) {
            return self.end_lie();
        }
        if let Some((_, by, Heard::Acked(number))) = self.asked
            && by == ack.path
            && ack.ranges.descending(largest).any(|(low, high)| (low..=high).contains(&number))
        {
            self.was_heard();
        }
        let Engine { paths, unacked, clock, last_reported, .. } = self;
        let place = paths.get_mut(ack.path.index());
        let Some(path) = place.and_then(|p| p.as_deref_mut()) else { return };
        let arrived = clock.expand(now, ack.arrived);
        *last_reported = (*last_reported).max(arrived + u64::from(ack.delay_us));
        let each = |sent: &Sent| unacked.on_acked(sent, pool);
        let outcome = path.on_ack(now, ack, largest, clock, arrived, each);
        if outcome.acked == 0 {
            return;
        }
        path.detect_lost(now, |sent| unacked.on_lost(sent));
        if path.was_late(now) {
            path.exclusion = Exclusion::new(now);
            self.readmit(now, ack.path);
        } else if let Some(percent) = path.brown_out(now) {
            self.exclude_lossy(now, ack.path, percent);
        }
    }

    /// The peer has acknowledged what was never sent, to be sent more than it can take or to have
    /// others' lines filled (RFC 9000 §21.4): tells it, and ends.
    fn end_lie(&mut self) {
        self.lied_to = true;
        self.closing = Some(CLOSE_LIE);
    }

    fn handle_pong(&mut self, now: Time, id: PathId, echo: u32) {
        if self.asked.is_some_and(|(_, by, shows)| (by, shows) == (id, Heard::Pong(echo))) {
            self.was_heard();
        }
        let Some(path) = self.path_mut(id) else { return };
        let sample = (now.0 as u32).wrapping_sub(echo);
        if sample <= RTT_MAX_US {
            path.rtt.add(now, u64::from(sample).max(1));
        }
        if path.mtu.confirm(now, echo) {
            self.update_mtu(now);
        }
    }

    fn handle_response(&mut self, now: Time, id: PathId, data: u64) {
        let Some(path) = self.path_mut(id) else { return };
        // Each is answered once.
        let Some(place) = path.challenges.iter().position(|c| c.data == data) else { return };
        let Some(found) = path.challenges.remove(place) else { return };
        let sample = now.since(found.sent).max(1);
        path.rtt.add(now, sample);
        if !path.feedback.is_known() {
            path.feedback.add(now, sample);
        }
        path.health.proved();
        path.mtu.on_arrived(now, found.sent, 0);
        self.events.push_back(Event::Answered(id, data));
        self.report_status = true;
        self.change(now, id, |path| {
            path.health.on_proof(now, found.sent);
        });
    }

    fn handle_status(&mut self, now: Time, id: PathId, mode: u8, metered: bool, rate_max: u32) {
        // The router decides how its links are used; the server follows.
        if self.settings.side.opens() {
            return;
        }
        let mode = match mode {
            0 => Mode::Active,
            1 => Mode::Backup,
            2 => Mode::Off,
            _ => return self.path_lost(now, id, Reason::LinkDown),
        };
        self.change(now, id, |path| {
            path.settings.metered = metered;
            path.settings.mode = mode;
            path.rate.set_max((rate_max > 0).then_some(u64::from(rate_max) * 125));
            path.health.set_mode(now, mode);
            if !path.health.is_linked() {
                path.health.on_link(now);
            }
        });
    }

    fn handle_close(&mut self, now: Time, reason: u8) {
        for id in self.paths().map(|p| p.id).collect::<Vec<_>>() {
            self.path_lost(now, id, Reason::PeerClosed);
        }
        self.events.push_back(Event::PeerClosed(reason));
    }
}
