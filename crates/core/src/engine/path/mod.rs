//! One path: everything that is known of sending to and receiving from one WAN.
//!
//! [`sent`] and [`received`] keep the accounts, [`rtt`] the delays, [`rate`] and [`pacing`] say
//! how fast, [`mtu`] how large, [`state`] whether at all. What concerns several paths is decided
//! one level up.

pub mod exclusion;
pub mod mtu;
pub mod pacing;
pub mod parity;
pub mod rate;
pub mod received;
pub mod rtt;
pub mod sent;
pub mod state;

use super::settings::{Mode, PathSettings};
use crate::time::{MS, SEC, Time};
use crate::wire::PathId;
use crate::wire::frame::Ack;
use exclusion::Exclusion;
use mtu::Mtu;
use pacing::Pacer;
use parity::{Protect, Rebuild};
use rate::Rate;
use received::{ACK_DELAY_US, Received};
use rtt::{Owd, Rtt};
use sent::{Outcome, Sent, SentLog};
use state::Health;
use std::collections::VecDeque;

/// Silence after which a path in full use is suspect, beyond its jitter.
const SILENCE_BUSY_US: u64 = 60 * MS;
/// Silence after which another path is suspect: at least twice this, at most twice
/// [`SILENCE_MAX_US`] or six round trips.
const SILENCE_MIN_US: u64 = 80 * MS;
const SILENCE_MAX_US: u64 = 250 * MS;
/// Datagrams without an answer that show a silence quickly; fewer may be a lost tail, for which
/// twice the time is allowed.
const SILENCE_EVIDENCE: u64 = 8;
/// Distance of pings while the connection is in use.
const PING_BUSY_US: u64 = 200 * MS;
/// What may have been sent lately for a delay to count as the link's own, and the time in which
/// it is forgotten by half.
const UNLOADED_BYTES: u64 = 6000;
const UNLOADED_HALF_LIFE_US: u64 = 50 * MS;
/// Time in which half of a wrong prediction is forgotten when nothing is measured.
const PREDICTION_HALF_LIFE_US: u64 = 250 * MS;
/// Rate that is believed of any link when waits are predicted, bytes per second.
const RATE_LEAST: u64 = 8000;
/// Time over which rates and losses are averaged for people.
const METER_US: u64 = SEC;

/// Challenges that are remembered: probes are sent more often than answers of a slow path come.
pub const CHALLENGES_MAX: usize = 8;

/// A challenge that is out.
#[derive(Clone, Copy, Debug)]
pub struct Challenge {
    /// What has to come back.
    pub data: u64,
    /// When it was first sent.
    pub sent: Time,
}

/// What the peer has reported of its own sending on the path.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerReport {
    /// Packets lost, millionths.
    pub loss_ppm: u32,
    /// What it believes the path to carry, kbit/s.
    pub capacity_kbps: u32,
}

/// Bytes and losses of the last second or so, for people.
#[derive(Debug, Default)]
pub struct Meter {
    since: Time,
    bytes: u64,
    sent0: u64,
    lost0: u64,
    /// Bytes per second.
    pub rate: u64,
    /// Millionths, averaged over some seconds.
    pub loss_ppm: u64,
}

impl Meter {
    /// Bytes per second; falls to zero when nothing comes any more.
    pub fn current(&self, now: Time) -> u64 {
        if now.since(self.since) > 2 * METER_US { 0 } else { self.rate }
    }

    /// Counts bytes; `sent` and `lost` are packets since the beginning.
    pub fn add(&mut self, now: Time, bytes: u64, sent: u64, lost: u64) {
        self.bytes += bytes;
        let span = now.since(self.since);
        if span < METER_US {
            return;
        }
        self.rate = self.bytes * SEC / span;
        let packets = sent - self.sent0;
        if packets >= 20 {
            let ppm = lost.saturating_sub(self.lost0) * 1_000_000 / packets;
            self.loss_ppm = (self.loss_ppm * 3 + ppm.min(1_000_000)) / 4;
            (self.sent0, self.lost0) = (sent, lost);
        }
        (self.since, self.bytes) = (now, 0);
    }
}

/// Datagrams acknowledged and lost since a short while ago.
#[derive(Debug, Default)]
struct BrownOut {
    since: Time,
    searching: bool,
    /// What was sent before this is not counted.
    from: Time,
    acked: u64,
    lost: u64,
}

/// Datagrams over which a brown-out is judged, the loss that is one, and the time in which they
/// must have been sent.
const BROWN_OUT_SAMPLE: u64 = 40;
const BROWN_OUT_PERCENT: u64 = 60;
const SEARCH_PERCENT: u64 = 80;
const SEARCH_GRACE_US: u64 = 500 * MS;
const BROWN_OUT_US: u64 = 2 * SEC;

/// One path.
#[derive(Debug)]
pub struct Path {
    /// Its name within the connection.
    pub id: PathId,
    /// What was said when it was opened, and changed since.
    pub settings: PathSettings,
    /// State and reason.
    pub health: Health,
    /// Whether it is worth its cost.
    pub exclusion: Exclusion,
    /// Accounts of what was sent.
    pub sent: SentLog,
    /// Accounts of what has arrived.
    pub received: Received,
    /// Round trip as acknowledgements show it, over whichever path they come.
    pub feedback: Rtt,
    /// Round trip over this path both ways, as pings show it.
    pub rtt: Rtt,
    /// One-way delay.
    pub owd: Owd,
    /// Congestion control.
    pub rate: Rate,
    /// Pacing.
    pub pacer: Pacer,
    /// Path MTU.
    pub mtu: Mtu,
    /// Protection of what is sent.
    pub protect: Protect,
    /// What is needed to rebuild what was lost on the way here.
    pub rebuild: Rebuild,
    /// The challenges that are out, the newest last.
    pub challenges: VecDeque<Challenge>,
    /// Challenge of the peer to be answered.
    pub respond: Option<u64>,
    /// Ping of the peer to be answered.
    pub pong: Option<u32>,
    /// When the last ping was sent.
    pub last_ping: Time,
    /// When anything was last sent.
    pub last_sent: Time,
    /// A ping has to go out now: the tail of what was sent is unanswered.
    pub ping_now: bool,
    /// What the peer reports.
    pub peer: PeerReport,
    /// What we send, for people.
    pub tx: Meter,
    /// What we receive, for people.
    pub rx: Meter,
    /// Bytes sent and received since the beginning.
    pub tx_bytes: u64,
    /// Bytes received since the beginning.
    pub rx_bytes: u64,
    /// Last time an acknowledgement brought something new.
    last_progress: Time,
    /// When the link has sent everything it was given, at the believed rate.
    free_at: Time,
    brown_out: BrownOut,
    /// Bytes sent lately.
    recent_bytes: u64,
    /// Measured delay less the predicted one, smoothed, microseconds.
    prediction_error: i64,
    prediction_error_at: Time,
    /// Tail-loss probes sent since the last progress.
    probes: u32,
}

impl Path {
    /// A path that has just been opened.
    pub fn new(now: Time, id: PathId, settings: PathSettings) -> Path {
        Path {
            id,
            settings,
            health: Health::new(now, settings.mode),
            exclusion: Exclusion::new(now),
            sent: SentLog::default(),
            received: Received::default(),
            feedback: Rtt::default(),
            rtt: Rtt::default(),
            owd: Owd::default(),
            rate: Rate::new(now, settings.send_rate_max),
            pacer: Pacer::default(),
            mtu: Mtu::new(now, settings.link_mtu),
            protect: Protect::default(),
            rebuild: Rebuild::default(),
            challenges: VecDeque::with_capacity(CHALLENGES_MAX),
            respond: None,
            pong: None,
            last_ping: now,
            last_sent: now,
            ping_now: false,
            peer: PeerReport::default(),
            tx: Meter::default(),
            rx: Meter::default(),
            tx_bytes: 0,
            rx_bytes: 0,
            last_progress: now,
            free_at: now,
            brown_out: BrownOut::default(),
            recent_bytes: 0,
            prediction_error: 0,
            prediction_error_at: now,
            probes: 0,
        }
    }

    /// Bytes that frames may take in a datagram.
    pub fn payload_max(&self) -> usize {
        usize::from(self.mtu.current().saturating_sub(self.settings.ip_overhead))
            .saturating_sub(crate::wire::OVERHEAD)
    }

    /// Whether window and pacer allow a datagram now.
    pub fn may_send(&self, now: Time) -> bool {
        self.pacer.next() <= now && self.has_room()
    }

    /// Whether the window allows a datagram.
    pub fn has_room(&self) -> bool {
        self.room() >= self.payload_max() as u64 || self.sent.in_flight() == 0
    }

    /// Whether it is to carry data only when the others do not suffice.
    pub fn is_reserve(&self) -> bool {
        self.settings.metered || self.health.mode() == Mode::Backup
    }

    /// Bytes that may still go out before the window is full.
    pub fn room(&self) -> u64 {
        self.rate.window(&self.feedback, &self.owd).saturating_sub(self.sent.in_flight())
    }

    /// Predicted one-way delay of a datagram sent now, microseconds on the relative scale that all
    /// paths share: the least that was seen, the wait behind what we have sent ourselves, and by
    /// how much such predictions have been too low lately (jitter, others' queues). Before the
    /// first sample, half the round trip above `zero`, the base of some path that has one.
    pub fn delay(&self, now: Time, zero: i64) -> i64 {
        match self.owd.base() {
            Some(base) => base + (self.queue_us(now) as i64 + self.prediction_error(now)).max(0),
            None => zero + self.rtt.smoothed() as i64 / 2,
        }
    }

    /// By how much predictions have been too low lately, negative for too high, forgotten by half each PREDICTION_HALF_LIFE_US.
    fn prediction_error(&self, now: Time) -> i64 {
        self.prediction_error
            >> (now.since(self.prediction_error_at) / PREDICTION_HALF_LIFE_US).min(62)
    }

    /// How long a datagram sent now waits behind those sent before, at the believed rate.
    fn queue_us(&self, now: Time) -> u64 {
        self.free_at.since(now)
    }

    /// Notes a datagram that was sent.
    #[allow(clippy::too_many_arguments)]
    pub fn on_sent(
        &mut self,
        now: Time,
        number: u64,
        wire_len: u64,
        elicits_ack: bool,
        content: [u32; sent::CONTENT_MAX],
        has_data: bool,
    ) {
        if elicits_ack && self.sent.outstanding() == 0 {
            // Silence is counted from here on.
            self.last_progress = now;
            self.probes = 0;
        }
        let queue_us = self.queue_us(now);
        // Halved for each UNLOADED_HALF_LIFE_US that pass.
        let passed = now.since(self.last_sent) / UNLOADED_HALF_LIFE_US;
        let recent = (self.recent_bytes >> passed.min(63)) + wire_len;
        self.recent_bytes = recent.min(16 * UNLOADED_BYTES);
        let unloaded = self.recent_bytes <= UNLOADED_BYTES;
        // Until the rate is found, it is taken for what the pacer allows.
        let rate = match self.rate.is_settled() {
            true => self.rate.bandwidth(),
            false => self.rate.pacing(&self.feedback, &self.owd),
        };
        if elicits_ack {
            self.free_at = self.free_at.max(now) + wire_len * SEC / rate.max(RATE_LEAST);
        }
        self.sent.on_sent(
            now,
            number,
            wire_len as u16,
            elicits_ack,
            content,
            queue_us as u32,
            unloaded,
        );
        if has_data {
            self.pacer.on_sent(now, wire_len, self.rate.pacing(&self.feedback, &self.owd));
        }
        self.last_sent = now;
        self.tx_bytes += wire_len;
        self.tx.add(now, wire_len, self.sent.packets_sent, self.sent.packets_lost);
    }

    /// Notes a datagram that carries no data of its own but is paced as if.
    pub fn on_paced(&mut self, now: Time, len: usize) {
        let wire_len = (len + crate::wire::OVERHEAD) as u64 + u64::from(self.settings.ip_overhead);
        self.pacer.on_sent(now, wire_len, self.rate.pacing(&self.feedback, &self.owd));
    }

    /// Notes a datagram that has arrived.
    pub fn on_received(&mut self, now: Time, number: u64, wire_len: u64, elicits_ack: bool) {
        self.received.record(now, number, elicits_ack);
        self.rx_bytes += wire_len;
        self.rx.add(now, wire_len, 0, 0);
    }

    /// Applies an acknowledgement of this path, of which the newest datagram had arrived at
    /// `arrived` on the peer's clock.
    pub fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack,
        arrived: u64,
        mut each: impl FnMut(&Sent),
    ) -> Outcome {
        let near = self.sent.newest();
        let largest = crate::wire::header::expand(ack.largest_low, near);
        let count = &mut self.brown_out;
        let outcome = self.sent.on_ack(ack.ranges.descending(largest), |sent| {
            count.acked += u64::from(sent.time >= count.from);
            each(sent);
        });
        if outcome.acked == 0 {
            return outcome;
        }
        self.last_progress = now;
        self.probes = 0;
        let mut delay = self.owd.smoothed().unwrap_or(0);
        if let Some((sent, queue_us, unloaded)) = outcome.newest_sent {
            let sample = now.since(sent).saturating_sub(u64::from(ack.delay_us)).max(1);
            self.feedback.add(now, sample);
            delay = arrived as i64 - sent.0 as i64;
            self.owd.add(now, delay, unloaded);
            let base = self.owd.base().unwrap_or(delay);
            self.exclusion.on_delay((delay - base).max(0) as u64);
            let prediction_error = self.prediction_error(now);
            // One of few samples says more than one of many.
            let weight = (2 + 16 * now.since(self.prediction_error_at) / PREDICTION_HALF_LIFE_US)
                .min(16) as i64;
            let error = delay - base - i64::from(queue_us) - prediction_error;
            self.prediction_error = prediction_error + error * weight / 16;
            self.prediction_error_at = now;
        }
        let in_flight = self.sent.in_flight();
        let bytes = outcome.acked_bytes;
        self.rate.on_ack(now, bytes, arrived, delay, in_flight, &self.feedback, &self.owd);
        outcome
    }

    /// Finds what is lost. `each` sees every datagram.
    pub fn detect_lost(&mut self, now: Time, mut each: impl FnMut(&Sent)) {
        let rtt = self.feedback.smoothed().max(self.feedback.min() + self.owd.spread());
        let count = &mut self.brown_out;
        let lost = self.sent.detect_lost(now, rtt, |sent| {
            count.lost += u64::from(sent.time >= count.from);
            each(sent);
        });
        self.rate.on_lost(now, lost);
    }

    /// The share of datagrams that is lost, percent, when it is so large that the path is of no
    /// use. Asked after each acknowledgement.
    pub fn brown_out(&mut self, now: Time) -> Option<u64> {
        let searching = self.rate.is_searching();
        let count = &mut self.brown_out;
        let anew = BrownOut { since: now, searching, from: count.from, acked: 0, lost: 0 };
        let total = count.acked + count.lost;
        if count.searching != searching {
            // The search's losses, known a round trip later, say nothing about what comes after it.
            *count = BrownOut { from: now, ..anew };
            return None;
        }
        if total < BROWN_OUT_SAMPLE {
            return None;
        }
        let percent = count.lost * 100 / total;
        let age = now.since(count.since);
        // In the search for its rate a path is flooded for a moment.
        if searching && age < SEARCH_GRACE_US && percent >= BROWN_OUT_PERCENT {
            return None;
        }
        let most = if searching { SEARCH_PERCENT } else { BROWN_OUT_PERCENT };
        let brown_out = percent >= most && age <= BROWN_OUT_US;
        *count = anew;
        brown_out.then_some(percent)
    }

    /// Another path has just failed, and with it the acknowledgements of this one that came over it:
    /// silence is counted from now on.
    pub fn reset_silence(&mut self, now: Time) {
        self.last_progress = now;
    }

    /// Since when nothing has been acknowledged although something is out.
    fn silent_since(&self) -> Option<Time> {
        (self.sent.outstanding() > 0).then_some(self.last_progress)
    }

    /// When [`silence`](Path::silence) will find the path suspect: of a path in full use
    /// eight datagrams are overdue (one may be lost, and what came behind it in the
    /// next burst is not due yet) and nothing at all has come for a while; of another one time is
    /// given for a lost tail to be repeated.
    ///
    /// `last_reported` is when the newest acknowledgement of any path was written, on the peer's clock.
    pub fn silence_due(&self, last_reported: u64) -> Time {
        let (true, Some(since)) = (self.health.is_usable(), self.silent_since()) else {
            return Time::FAR;
        };
        let expected = self.feedback.timeout(ACK_DELAY_US) + self.owd.spread() / 2;
        let most = SILENCE_MAX_US.max(3 * self.feedback.smoothed());
        if self.sent.outstanding() >= SILENCE_EVIDENCE {
            let nth = self.sent.oldest(SILENCE_EVIDENCE as usize - 1);
            let overdue = nth.map_or(since, |t| t + expected);
            let quiet = since + SILENCE_BUSY_US + self.owd.spread() / 2 + 3 * self.owd.noise();
            let due = overdue.max(quiet).min(since + most);
            match nth {
                Some(nth) if !self.is_missed(nth, last_reported) => {
                    due.max(nth + self.rtt.timeout(ACK_DELAY_US))
                }
                _ => due,
            }
        } else {
            let quick = (expected + 30 * MS).clamp(SILENCE_MIN_US, most);
            since + (2 * quick).min(2 * most)
        }
    }

    /// Whether the peer has told us anything since a datagram of that time should have reached it.
    /// Acknowledgements come over any path: theirs may be the one that is silent.
    fn is_missed(&self, sent: Time, last_reported: u64) -> bool {
        let margin = (self.owd.spread() / 2 + 3 * self.owd.noise() + ACK_DELAY_US) as i64;
        self.owd.smoothed().is_none_or(|owd| last_reported as i64 >= sent.0 as i64 + owd + margin)
    }

    /// For how long nothing has been acknowledged, if that is too long.
    pub fn silence(&self, now: Time, last_reported: u64) -> Option<u64> {
        self.silence_due(last_reported).le(&now).then(|| now.since(self.last_progress))
    }

    /// How much longer than expected the path has been silent: added to its delay when paths are
    /// compared, so that traffic leaves a stalling path before it is called suspect.
    pub fn stall_us(&self, now: Time) -> u64 {
        let Some(since) = self.silent_since() else { return 0 };
        let expected = self.feedback.timeout(2 * ACK_DELAY_US) + self.owd.spread();
        now.since(since).saturating_sub(expected)
    }

    /// When a tail-loss probe is due (RFC 9002 §6.2).
    pub fn probe_timeout(&self) -> Time {
        if !self.health.is_usable() {
            return Time::FAR;
        }
        let backoff = 1 << self.probes.min(6);
        self.silent_since()
            .map_or(Time::FAR, |t| t + self.feedback.timeout(2 * ACK_DELAY_US) * backoff)
    }

    /// A tail-loss probe is being sent.
    pub fn on_probe_timeout(&mut self) {
        self.probes += 1;
    }

    /// When the next ping is due: at once for a silent tail, often while the connection is in use, else to keep the NAT
    /// binding.
    pub fn ping_due(&self, busy: bool, idle_us: u64) -> Time {
        if !self.health.is_usable() {
            return Time::FAR;
        }
        if self.ping_now {
            return Time::ZERO;
        }
        let idle_us = if self.settings.metered { 4 * idle_us } else { idle_us };
        let idle = self.last_sent + idle_us;
        if busy && !self.settings.metered {
            let often = if self.rtt.is_known() { PING_BUSY_US } else { 20 * MS };
            idle.min(self.last_ping + often)
        } else {
            idle
        }
    }

    /// When parity wants to be sent and may be, as far as time decides it.
    pub fn repair_due(&self) -> Time {
        match self.protect.due() {
            Time::FAR => Time::FAR,
            due if self.has_room() => due.max(self.pacer.next()),
            _ => Time::FAR,
        }
    }
}
