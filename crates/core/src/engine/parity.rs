//! Forward error correction: what a long path loses is rebuilt, where a repair would come too late.
//!
//! Why: a repair takes until we learn of the loss, and the way of the packet again. Beside a fast
//! path that is little more than the slow one takes anyway. Over a lone satellite link it is
//! three one-way delays in place of one: a word of a call comes a sentence later.
//!
//! How: exclusive or, the simplest of RFC 6363's schemes (after RFC 5109). Datagrams of a path
//! form a group; when it is complete, or 40 ms old, its parity follows as a `Repair` frame:
//! a missing member is the parity plus all others. The receiver keeps copies of a path's last
//! 64 payloads from the first such frame on, until some seconds after the last. A path is
//! protected while a repair comes 200 ms late or more, and its loss is neither rare nor more than
//! parity can make good; how large groups are follows from the loss. Of a payload that was rebuilt
//! only the packets count: it is not acknowledged, its loss stays a loss, and a repair of it that
//! is under way is a duplicate there.
//!
//! Only packets that leave nothing of their flow waiting are protected: of calls, games, requests,
//! and of transfers that do not fill the path. A transfer that does fill it would pay for the
//! parity with its rate, and wait as before for groups that have lost two: of 10 Mbit/s that lose
//! 1 to 2 %, several in a second.
//!
//! Limits: one loss in a group. No datagrams that are full to the last bytes, since parity needs
//! [`REPAIR_HEAD`] more. Members lie within 48 packet numbers: among much other traffic groups are
//! small, down to plain copies. Not on metered paths.

use super::path::Path;
use super::path::sent::{CONTENT_MAX, NONE};
use super::{Engine, Target, Transmit};
use crate::buffer::Pool;
use crate::time::Time;
use crate::wire::frame::{Frame, Frames, REPAIR_HEAD, Repair};
use crate::wire::{PathId, Writer};

impl Engine {
    /// Decides which paths are protected.
    pub(super) fn watch_losses(&mut self, now: Time) {
        let in_use = self.paths().filter(|p| p.health.is_usable() && !p.is_reserve());
        let fastest = in_use.filter_map(|p| p.owd.base()).min();
        let fec = self.settings.fec;
        for path in self.paths.iter_mut().flatten() {
            let (sent, lost) = (path.sent.packets_sent, path.sent.packets_lost);
            let usable = path.health.is_usable();
            let flooded = !usable || path.rate.is_flooding();
            path.protect.measure(now, sent, lost, flooded, path.feedback.smoothed());
            let own = path.owd.base().unwrap_or(0);
            let late = path.feedback.min() as i64 + fastest.unwrap_or(own) - own;
            path.protect.decide(late, fec && usable && !path.settings.metered);
        }
    }

    /// A datagram with packets of sparse flows has been written.
    pub(super) fn protect(&mut self, now: Time, pool: &mut Pool, sent: &Transmit, payload: &[u8]) {
        if let Some(path) = self.path_mut(sent.path) {
            let len_max = path.payload_max().saturating_sub(REPAIR_HEAD);
            path.protect.on_sent(now, pool, sent.number.value(), payload, len_max);
        }
    }

    /// Sends the parity of a group. It is paced and counted in flight as any data, and goes before
    /// them.
    pub(super) fn transmit_repair(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        let due = |p: &&Path| p.protect.due() <= now && p.health.is_usable() && p.may_send(now);
        let id = self.paths().find(due)?.id;
        let path = self.path_mut(id)?;
        let capacity = path.payload_max().min(out.len());
        let mut w = Writer::new(&mut out[..capacity]);
        if !path.protect.write(&mut w) {
            return None;
        }
        let len = w.len();
        let transmit = self.finish(now, id, len, true, [NONE; CONTENT_MAX], Target::Current);
        if let Some(path) = self.path_mut(id) {
            path.on_paced(now, len);
        }
        transmit
    }

    /// Parity has come in datagram `number` of a path: delivers the packets that follow from it.
    pub(super) fn handle_repair(
        &mut self,
        now: Time,
        pool: &mut Pool,
        id: PathId,
        number: u64,
        repair: &Repair<'_>,
    ) {
        let Some(path) = self.path_mut(id) else { return };
        let rebuilt = path.rebuild.on_repair(now, pool, number, repair, &path.received);
        let Some((number, payload)) = rebuilt else { return };
        self.repaired += 1;
        for frame in Frames::new(payload.bytes()).flatten() {
            // All others tell of a time that has passed, and the peer repeats them.
            if matches!(frame, Frame::Packet { .. }) {
                self.handle_frame(now, pool, id, frame);
            }
        }
        if let Some(path) = self.path_mut(id) {
            path.rebuild.keep(now, pool, number, payload.bytes());
        }
        pool.give(payload);
    }
}
