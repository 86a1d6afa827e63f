//! Padding that fills paths, for a speed test: what a link can carry shows only when it is full.
//!
//! Why: a stream of somebody's would do, but nobody may have one when he wants to know. Inside the
//! engine congestion control and pacing stay in charge, so that the test makes no queue that a
//! download would not make; and it can take exactly what user traffic leaves, which a stream beside
//! it cannot.
//!
//! How: where a path may send and nothing else is to be sent on it, a datagram of padding goes out.
//! In front stands a HOLD, which every version knows and acknowledges; so it counts like data, and
//! nothing is delivered. A path that is filled so is never short of something to send, hence its rate
//! is found as under any load. The router fills the way up by itself. For the way down it asks the
//! server with a LOAD frame, again and again until a LOAD_STATE answers: a request has a name, so that
//! hearing it twice does no harm, and names only rise.
//!
//! Limits: a peer with valid keys may be hostile, and the server pays for what it sends. It bounds a
//! request to [`LOAD_US_MAX`] and [`LOAD_BYTES_MAX`], all of a peer in an hour to [`HOUR_BYTES_MAX`],
//! whatever connections it has meanwhile, and does one at a time. A router ignores such requests: its
//! links may cost money.

use super::path::Path;
use super::transmit::NOTHING;
use super::{Engine, Target, Transmit};
use crate::time::{MS, SEC, Time};
use crate::wire::frame::{self, Frame};
use crate::wire::{OVERHEAD, PATHS_MAX, PathId, Writer};

/// Longest time of one request, microseconds.
pub const LOAD_US_MAX: u64 = 10 * SEC;
/// Most bytes of one request on all paths: 5 s at 0.8 Gbit/s.
pub const LOAD_BYTES_MAX: u64 = 512_000_000;
/// Most bytes of one peer's requests in an hour.
pub const HOUR_BYTES_MAX: u64 = 4_000_000_000;
const HOUR_US: u64 = 3600 * SEC;
/// Fewer bytes than this are not worth beginning.
const LEAST_BYTES: u64 = 100_000;
/// So often within a test the answer is repeated, in case it was lost, microseconds.
const ANSWER_EVERY_US: u64 = 250 * MS;

/// What has become of a request: the states of LOAD_STATE.
pub(super) const BEGUN: u8 = 0;
pub(super) const ENDED: u8 = 1;
pub(super) const BUSY: u8 = 2;
pub(super) const USED_UP: u8 = 3;
pub(super) const NO_PATH: u8 = 4;

/// The bits of paths in a mask.
pub(super) fn bit(id: PathId) -> u16 {
    1u16.checked_shl(u32::from(id.0)).unwrap_or(0)
}

/// What a peer may still ask for in this hour. It outlives the connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    since: Option<Time>,
    spent: u64,
}

impl Allowance {
    /// Takes up to `wanted` bytes; how many, or how many seconds to wait for some.
    pub(crate) fn take(&mut self, now: Time, wanted: u64) -> Result<u64, u16> {
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= HOUR_US {
            (self.since, self.spent) = (Some(now), 0);
        }
        let granted = wanted.min(HOUR_BYTES_MAX.saturating_sub(self.spent));
        if granted < LEAST_BYTES.min(wanted) {
            let left = HOUR_US.saturating_sub(now.since(since));
            return Err((left / SEC + 1) as u16);
        }
        self.spent += granted;
        Ok(granted)
    }

    fn give_back(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_sub(bytes);
    }
}

/// Paths that are being filled.
#[derive(Debug)]
pub(super) struct Load {
    until: Time,
    /// Bytes that may still be sent, on all paths and on each.
    total: u64,
    left: [u64; PATHS_MAX],
}

/// A request of the peer's, and what there is to answer.
#[derive(Debug, Default)]
pub(super) struct Requested {
    id: u32,
    state: u8,
    wait_s: u16,
    /// Whether the answer is to be sent, and when it last was.
    pending: bool,
    answered_at: Time,
}

impl Engine {
    /// Fills paths (a mask) until `until`, with at most so many bytes on all of them and on each.
    pub(super) fn begin_load(
        &mut self,
        until: Time,
        paths: u16,
        total: u64,
        each: [u64; PATHS_MAX],
    ) {
        for path in self.paths.iter_mut().flatten() {
            path.loaded = paths & bit(path.id) != 0;
        }
        self.load = Some(Box::new(Load { until, total, left: each }));
    }

    /// Ends the filling of paths; the bytes that were not sent.
    pub(super) fn end_load(&mut self) -> u64 {
        for path in self.paths.iter_mut().flatten() {
            path.loaded = false;
        }
        self.load.take().map_or(0, |load| load.total)
    }

    /// When the filling ends.
    pub(super) fn load_due(&self) -> Time {
        let Some(load) = &self.load else { return Time::FAR };
        let repeat = match &self.requested {
            Some(asked) if self.paths().any(|p| p.health.is_usable()) => {
                asked.answered_at + ANSWER_EVERY_US
            }
            _ => Time::FAR,
        };
        load.until.min(repeat)
    }

    /// A datagram of padding, where nothing else is to be sent.
    #[cold]
    pub(super) fn transmit_load(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        let load = self.load.as_deref()?;
        let fits = |p: &Path| load.left[p.id.index()].min(load.total) >= u64::from(p.mtu.current());
        // A path that is in doubt for a moment may come back.
        if now >= load.until || !self.paths().any(|p| p.loaded && fits(p)) {
            self.finish_load(now);
            return self.transmit_report(now, true, out);
        }
        let takes = |p: &&Path| p.loaded && p.health.is_usable() && fits(p) && p.may_send(now);
        let id = self.paths().find(takes)?.id;
        let capacity = self.path(id)?.payload_max().min(out.len());
        let mut w = Writer::new(&mut out[..capacity]);
        Frame::Hold { us: self.hold_now as u32 }.write(&mut w);
        self.hold_reported = self.hold_now;
        let room = w.room();
        frame::pad(&mut w, room);
        let len = w.len();
        let transmit = self.finish(now, id, len, true, NOTHING, Target::Current);
        // Reports go to the peer while there is something to report.
        self.last_used = Some(now);
        let path = self.path_mut(id)?;
        path.on_paced(now, len);
        let sent = (len + OVERHEAD) as u64 + u64::from(path.settings.ip_overhead);
        if let Some(load) = &mut self.load {
            load.total = load.total.saturating_sub(sent);
            let left = &mut load.left[id.index()];
            *left = left.saturating_sub(sent);
        }
        transmit
    }

    /// The time or the bytes are used up.
    pub(super) fn finish_load(&mut self, now: Time) {
        let rest = self.end_load();
        if let Some(asked) = &mut self.requested {
            (asked.state, asked.pending) = (ENDED, true);
            self.allowance.give_back(rest);
            // The router is told what has been found.
            self.report_status = true;
        }
        if let Some(test) = &mut self.speed_test {
            test.on_load_end();
        }
        self.drive_speed_test(now);
    }

    /// The router asks for a load.
    #[cold]
    pub(super) fn handle_load(&mut self, now: Time, id: u32, paths: u16, ms: u16, kbytes: u32) {
        if self.settings.side.opens() {
            return;
        }
        if let Some(asked) = self.requested.as_mut().filter(|asked| asked.id == id) {
            asked.pending = true;
            if ms == 0 && self.load.is_some() {
                self.finish_load(now);
            }
            return;
        }
        // What comes late, after its successor, is no new request.
        let known = self.requested.as_ref().map_or(0, |asked| asked.id);
        if ms == 0 || (id.wrapping_sub(known) as i32) < 0 {
            return;
        }
        let (state, wait_s) = match self.grant_load(now, paths, ms, kbytes) {
            Ok(()) => (BEGUN, 0),
            // What is under way keeps its answer, so that it can be ended by its name.
            Err((BUSY, _)) => {
                self.refused = Some(id);
                return;
            }
            Err(refusal) => refusal,
        };
        self.requested = Some(Requested { id, state, wait_s, pending: true, answered_at: now });
    }

    fn grant_load(&mut self, now: Time, paths: u16, ms: u16, kbytes: u32) -> Result<(), (u8, u16)> {
        if self.load.is_some() {
            return Err((BUSY, 0));
        }
        let usable = |p: &&Path| p.health.is_usable() && paths & bit(p.id) != 0;
        let usable: Vec<PathId> = self.paths().filter(usable).map(|p| p.id).collect();
        if usable.is_empty() {
            return Err((NO_PATH, 0));
        }
        let each = u64::from(kbytes) * 1000;
        let wanted = (each * usable.len() as u64).min(LOAD_BYTES_MAX);
        let granted = self.allowance.take(now, wanted).map_err(|wait_s| (USED_UP, wait_s))?;
        let mask = usable.iter().fold(0, |mask, &id| mask | bit(id));
        let until = now + (u64::from(ms) * MS).min(LOAD_US_MAX);
        self.begin_load(until, mask, granted, [each; PATHS_MAX]);
        Ok(())
    }

    /// Writes what there is to say about loads.
    #[cold]
    pub(super) fn write_load(&mut self, now: Time, w: &mut Writer<'_>) {
        if let Some(id) = self.refused.take() {
            Frame::LoadState { id, state: BUSY, wait_s: 0 }.write(w);
        }
        if let Some(asked) = &mut self.requested
            && (asked.pending
                || (self.load.is_some() && now.since(asked.answered_at) >= ANSWER_EVERY_US))
        {
            let &mut Requested { id, state, wait_s, .. } = asked;
            (asked.pending, asked.answered_at) = (false, now);
            Frame::LoadState { id, state, wait_s }.write(w);
        }
        if let Some(test) = &mut self.speed_test {
            test.write_request(now, w);
        }
    }

    /// Whether there is something to say about loads. Asked for each datagram.
    pub(super) fn has_load_news(&self, now: Time) -> bool {
        (self.requested.is_some() || self.refused.is_some() || self.speed_test.is_some())
            && self.finds_load_news(now)
    }

    #[cold]
    fn finds_load_news(&self, now: Time) -> bool {
        let answer = self.requested.as_ref().is_some_and(|asked| {
            asked.pending
                || (self.load.is_some() && now.since(asked.answered_at) >= ANSWER_EVERY_US)
        });
        answer || self.refused.is_some() || self.speed_test.as_ref().is_some_and(|t| t.asks(now))
    }

    /// What the peer may still ask for, to be kept beyond the connection.
    pub fn allowance(&self) -> Allowance {
        self.allowance
    }

    /// What is left of it from a connection before.
    pub fn set_allowance(&mut self, allowance: Allowance) {
        self.allowance = allowance;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_so_many_bytes_and_what_is_not_used_comes_back() {
        let mut allowance = Allowance::default();
        let now = Time(5 * SEC);
        let mut taken = 0;
        while let Ok(granted) = allowance.take(now, LOAD_BYTES_MAX) {
            taken += granted;
        }
        assert_eq!(taken, HOUR_BYTES_MAX);
        assert_eq!(allowance.take(now + 1000 * SEC, LOAD_BYTES_MAX), Err(2601));
        allowance.give_back(LEAST_BYTES);
        assert_eq!(allowance.take(now, LOAD_BYTES_MAX), Ok(LEAST_BYTES));
        assert_eq!(allowance.take(now + HOUR_US, LOAD_BYTES_MAX), Ok(LOAD_BYTES_MAX));
        assert_eq!(allowance.take(now + HOUR_US, 5), Ok(5));
    }
}
