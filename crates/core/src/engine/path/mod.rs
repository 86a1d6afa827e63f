//! One path: everything that is known of sending to and receiving from one WAN.
//!
//! [`sent`] and [`received`] keep the accounts, [`rtt`] the delays, [`rate`] and [`pacing`] say
//! how fast, [`mtu`] how large, [`state`] whether at all, for which `silence`, `brown_out` and
//! [`exclusion`] give the reasons; [`parity`] makes good what is lost, [`observed`] tells the other end
//! where it is seen. What concerns several paths is decided one level up.
//!
//! Of numbers without a source: "simulation" means chosen with the environments of
//! `tests/bench/bond --sim` and the scenarios of `tests/sim`; the range around them was not swept.

mod brown_out;
pub mod exclusion;
mod meter;
pub mod mtu;
pub mod observed;
pub mod pacing;
pub mod parity;
pub mod rate;
pub mod received;
pub mod rtt;
pub mod sent;
mod silence;
pub mod state;

use super::settings::{Mode, PathSettings};
use crate::time::{MS, SEC, Time};
use crate::wire::PathId;
use crate::wire::frame::Ack;
use brown_out::BrownOut;
use core::net::SocketAddr;
use exclusion::Exclusion;
pub use meter::Meter;
use mtu::Mtu;
use observed::Observed;
use pacing::Pacer;
use parity::{Protect, Rebuild};
use rate::Rate;
use received::Received;
use rtt::{Owd, PeerClock, Rtt};
use sent::{Outcome, Sent, SentLog};
use state::Health;
use std::collections::VecDeque;

/// Distance of pings while the connection is in use, microseconds, and until the first answer.
/// Simulation.
const PING_BUSY_US: u64 = 200 * MS;
const PING_FIRST_US: u64 = 20 * MS;
/// So many times rarer is an idle metered path probed.
const METERED_RARER: u64 = 4;
/// What may have been sent lately for a delay to count as the link's own, bytes, and the time in
/// which it is forgotten by half, microseconds. Simulation.
const UNLOADED_BYTES: u64 = 6000;
const UNLOADED_HALF_LIFE_US: u64 = 50 * MS;
/// Bound of what is remembered as sent lately: it has halved to nothing of note within four half-lives.
const RECENT_BYTES_MAX: u64 = 16 * UNLOADED_BYTES;
/// Time in which half of a wrong prediction is forgotten when nothing is measured, microseconds.
/// Simulation.
const PREDICTION_HALF_LIFE_US: u64 = 250 * MS;
/// Weight of a new prediction error among many and among few, in parts of the second. Simulation.
const PREDICTION_WEIGHT_MIN: u64 = 2;
const PREDICTION_WEIGHT_MAX: u64 = 16;
/// Time in which so much is lost that the path is of no use beside others, microseconds.
const USELESS_US: u64 = SEC;
/// Part of what was given up that shows, when it comes, that it was not lost, percent.
const FOUND_PERCENT: u64 = 70;
/// What must have been given up for that, bytes.
const FOUND_LEAST: u64 = 14_000;
/// So long it stays out all the same: it mixes, and its packets are late, microseconds.
const LATE_US: u64 = 500 * MS;
/// Loss from which on a path counts as slower by the repairs, percent.
const REPAIRS_PERCENT: u64 = 10;
/// Rate that is believed of any link when waits are predicted, bytes per second. Simulation.
const RATE_LEAST: u64 = 8000;

/// Challenges that are remembered: probes are sent more often than answers of a slow path come, and each
/// to a few addresses.
pub const CHALLENGES_MAX: usize = 32;
/// Challenges that wait to be answered: one to each address that the peer takes for ours.
pub const RESPONDS_MAX: usize = 8;

/// Pings that wait to be answered: a round of MTU probes may arrive at once.
pub const PONGS_MAX: usize = 16;
/// Pings of one path within a microsecond at most.
const STAMPS_AHEAD: u32 = 1000;

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
    /// Where each end's datagrams are seen to come from.
    pub observed: Observed,
    /// Protection of what is sent.
    pub protect: Protect,
    /// What is needed to rebuild what was lost on the way here.
    pub rebuild: Rebuild,
    /// The challenges that are out, the newest last.
    pub challenges: VecDeque<Challenge>,
    /// Challenges of the peer to be answered, [`RESPONDS_MAX`] at most.
    pub respond: VecDeque<u64>,
    /// Pings of the peer to be answered, [`PONGS_MAX`] at most.
    pub pongs: VecDeque<u32>,
    /// When the last ping was sent.
    pub last_ping: Time,
    /// What the newest ping says.
    last_stamp: u32,
    /// When anything was last sent.
    pub last_sent: Time,
    /// A ping has to go out now: the tail of what was sent is unanswered.
    pub ping_now: bool,
    /// Padding fills what is left of it: there is always something to send.
    pub loaded: bool,
    /// What the peer reports.
    pub peer: PeerReport,
    /// What we send.
    pub tx: Meter,
    /// What we receive.
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
    /// When the path was excluded for its losses, what was under way then, bytes, and what of it has
    /// come after all.
    given_up: (Time, u64, u64),
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
            observed: Observed::default(),
            protect: Protect::default(),
            rebuild: Rebuild::default(),
            challenges: VecDeque::new(),
            respond: VecDeque::new(),
            pongs: VecDeque::with_capacity(PONGS_MAX),
            last_ping: now,
            last_stamp: (now.0 as u32).wrapping_sub(1),
            last_sent: now,
            ping_now: false,
            loaded: false,
            peer: PeerReport::default(),
            tx: Meter::default(),
            rx: Meter::default(),
            tx_bytes: 0,
            rx_bytes: 0,
            last_progress: now,
            free_at: now,
            brown_out: BrownOut::default(),
            given_up: (now, 0, 0),
            recent_bytes: 0,
            prediction_error: 0,
            prediction_error_at: now,
            probes: 0,
        }
    }

    /// Begins to measure anew.
    pub fn forget_measures(&mut self, now: Time) {
        self.feedback = Rtt::default();
        self.rtt = Rtt::default();
        self.owd = Owd::default();
        self.rate = Rate::new(now, self.settings.send_rate_max);
        self.pacer = Pacer::default();
        self.exclusion = Exclusion::new(now);
        self.free_at = now;
        self.mtu.restart(now);
    }

    /// Bytes that frames may take in a datagram.
    pub fn payload_max(&self) -> usize {
        usize::from(self.mtu.current().saturating_sub(self.settings.ip_overhead))
            .saturating_sub(crate::wire::OVERHEAD)
    }

    /// Whether it makes sense to look for its MTU: where nearly all is lost, no size passes.
    pub fn probes_mtu(&self) -> bool {
        self.health.is_usable() && (!self.health.is_lossy() || self.exclusion.is_proving())
    }

    /// The time for a ping to say: no two pings of a path say the same, so that an answer belongs to
    /// one of them. The second of one microsecond says the next.
    pub fn stamp(&mut self, now: Time) -> u32 {
        let now = now.0 as u32;
        let ahead = self.last_stamp.wrapping_sub(now);
        self.last_stamp = if ahead < STAMPS_AHEAD { self.last_stamp.wrapping_add(1) } else { now };
        self.last_stamp
    }

    /// The longest inner packet that a datagram of `size` bytes takes.
    pub fn inner(&self, size: u16) -> u16 {
        let head = (crate::wire::OVERHEAD + crate::wire::frame::PACKET_HEAD) as u16;
        size.saturating_sub(self.settings.ip_overhead + head)
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
            Some(base) => {
                base + (self.queue_us(now) as i64 + self.prediction_error(now)).max(0)
                    + self.repairs_us() as i64
            }
            None => zero + self.rtt.smoothed() as i64 / 2,
        }
    }

    /// How much later a packet arrives in the mean since some have to be sent again.
    fn repairs_us(&self) -> u64 {
        match self.rate.loss().0 {
            percent if percent < REPAIRS_PERCENT => 0,
            percent => percent * self.feedback.smoothed() / 100,
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
        self.recent_bytes = recent.min(RECENT_BYTES_MAX);
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

    /// Applies an acknowledgement of this path, of which the newest datagram, `largest`, had arrived
    /// at `arrived` on the peer's clock.
    pub fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack,
        largest: u64,
        clock: &mut PeerClock,
        mut arrived: u64,
        mut each: impl FnMut(&Sent),
    ) -> Outcome {
        let (count, mtu) = (&mut self.brown_out, &mut self.mtu);
        let outcome = self.sent.on_ack(ack.ranges.descending(largest), |sent| {
            count.acked(sent.time);
            mtu.on_arrived(now, sent.time, sent.size);
            each(sent);
        });
        if outcome.acked == 0 {
            return outcome;
        }
        self.last_progress = now;
        self.probes = 0;
        let mut delay = self.owd.smoothed().unwrap_or(0);
        if let Some((sent, queue_us, unloaded)) = outcome.newest_sent {
            arrived = clock.believe(now, sent, arrived);
            let sample = now.since(sent).saturating_sub(u64::from(ack.delay_us)).max(1);
            self.feedback.add(now, sample);
            delay = arrived as i64 - sent.0 as i64;
            self.owd.add(now, delay, unloaded);
            let base = self.owd.base().unwrap_or(delay);
            self.exclusion.on_delay((delay - base).max(0) as u64);
            let prediction_error = self.prediction_error(now);
            // One of few samples says more than one of many.
            let age = now.since(self.prediction_error_at);
            let more = PREDICTION_WEIGHT_MAX * age / PREDICTION_HALF_LIFE_US;
            let weight = (PREDICTION_WEIGHT_MIN + more).min(PREDICTION_WEIGHT_MAX) as i64;
            let error = delay - base - i64::from(queue_us) - prediction_error;
            self.prediction_error =
                prediction_error + error * weight / PREDICTION_WEIGHT_MAX as i64;
            self.prediction_error_at = now;
        }
        let in_flight = self.sent.in_flight();
        let bytes = outcome.acked_bytes;
        self.rate.on_found(outcome.found_bytes);
        if now.since(self.given_up.0) < LATE_US {
            self.given_up.2 += outcome.found_bytes;
        }
        if self.mtu.is_in_doubt() && self.probes_mtu() {
            self.rate.excuse_losses(now, self.feedback.smoothed());
        }
        self.rate.on_ack(now, bytes, arrived, delay, in_flight, &self.feedback, &self.owd);
        outcome
    }

    /// The share of datagrams that is lost, percent, when it is so large that the path is of no
    /// use. Asked after each acknowledgement.
    pub fn brown_out(&mut self, now: Time) -> Option<u64> {
        let useless = self.rate.useless_us(now) >= USELESS_US;
        self.brown_out
            .judge(now, self.rate.is_searching() || self.rate.is_raising(now))
            .or_else(|| useless.then_some(self.rate.loss().0))
    }

    /// It is excluded for its losses: gives up what is on its way.
    pub fn give_up(&mut self, now: Time, each: impl FnMut(&Sent)) {
        self.given_up = (now, self.sent.in_flight(), 0);
        self.rate.interrupt(now, self.feedback.smoothed());
        self.abandon(now, each);
    }

    /// Whether it was excluded in error: what was given up has come, only later.
    pub fn was_late(&mut self, now: Time) -> bool {
        let (at, given_up, found) = self.given_up;
        if given_up < FOUND_LEAST || now.since(at) < LATE_US {
            return false;
        }
        self.given_up.1 = 0;
        self.health.is_lossy() && found * 100 > given_up * FOUND_PERCENT
    }

    /// Finds what is lost. `each` sees every datagram.
    pub fn detect_lost(&mut self, now: Time, mut each: impl FnMut(&Sent)) {
        let rtt = self.feedback.smoothed().max(self.feedback.min() + self.owd.spread());
        let Path { brown_out, mtu, observed, ping_now, .. } = self;
        let lost = self.sent.detect_lost(now, rtt, |sent| {
            brown_out.lost(sent.time);
            mtu.on_lost(now, sent.time, sent.size);
            *ping_now |= observed.on_lost(sent.time);
            each(sent);
        });
        self.rate.on_lost(now, lost);
    }

    /// The peer's datagrams come from `address`: it is told so at once.
    pub fn see(&mut self, address: SocketAddr) {
        self.ping_now |= self.observed.see(address);
    }

    /// Gives up what is on its way: the path is suspect or gone.
    pub fn abandon(&mut self, now: Time, mut each: impl FnMut(&Sent)) {
        let Path { mtu, observed, ping_now, .. } = self;
        self.sent.abandon(|sent| {
            mtu.on_lost(now, sent.time, sent.size);
            *ping_now |= observed.on_lost(sent.time);
            each(sent);
        });
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
        let idle_us = if self.settings.metered { METERED_RARER * idle_us } else { idle_us };
        let idle = self.last_sent + idle_us;
        if busy && !self.settings.metered {
            let often = if self.rtt.is_known() { PING_BUSY_US } else { PING_FIRST_US };
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
