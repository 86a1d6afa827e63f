//! The sender of the model TCP: scoreboard, loss detection, timers.

use super::cubic::Cubic;
use super::segment::{HEADERS, Names, Range, SACKS_MAX, Segment};
use crate::host::App;
use crate::packet::Side;
use crate::report::Record;
use onebox::time::{MS, SEC, Time};
use std::collections::VecDeque;

/// Shortest retransmission timeout (Linux `TCP_RTO_MIN`), microseconds.
const RTO_MIN_US: u64 = 200 * MS;
/// Longest retransmission timeout, microseconds.
const RTO_MAX_US: u64 = 120 * SEC;
/// Duplicate acknowledgements that prove loss while no reordering was seen (RFC 5681 §3.2).
const DUPLICATES: u64 = 3;
/// Recoveries without a D-SACK after which RACK's window is narrow again (Linux
/// `TCP_RACK_RECOVERY_THRESH`).
const STEPS_PERSIST: u32 = 16;
/// The receiver's window, bytes.
const WINDOW: u64 = 16 << 20;

/// A segment in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    at: Time,
    sacked: bool,
    lost: bool,
    resent: bool,
    ever_resent: bool,
}

/// Whether losses are being repaired.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    /// Until all below this is acknowledged; the window and threshold before, and the clock at
    /// the first retransmission, in milliseconds.
    Recovery {
        until: u64,
        before: (f64, f64),
        first_resend: Option<u32>,
        after_timeout: bool,
    },
}

/// Sends a flow.
#[derive(Debug)]
pub struct Sender {
    names: Names,
    /// Segments to send in all.
    total: u64,
    una: u64,
    next: u64,
    board: VecDeque<Sent>,
    sacked: u64,
    lost: u64,
    resent: u64,
    /// Before this nothing is sacked any more beyond.
    highest_sacked: u64,
    blocks: [Range; SACKS_MAX],
    cubic: Cubic,
    state: State,
    srtt_us: u64,
    rttvar_us: u64,
    min_rtt_us: u64,
    backoff: u32,
    /// Proportional rate reduction: delivered and sent since recovery began, window at its
    /// begin.
    prr: (u64, u64, u64),
    /// What was sent last of what has arrived: when, and its number.
    rack: (Time, u64),
    rack_rtt_us: u64,
    reordering_seen: bool,
    reordering_steps: u64,
    steps_round: u64,
    /// Recoveries after which the steps are forgotten.
    steps_persist: u32,
    undo_left: i64,
    timeout_at: Time,
    reorder_at: Time,
    probe: bool,
    probe_sent: bool,
    /// The last segment is to be sent once more.
    probe_due: bool,
    echo: u32,
    limited: bool,
    id: u16,
    bytes: u64,
    record: Record,
}

impl Sender {
    /// A sender on side `at` of `bytes`, rounded up to whole segments.
    pub fn new(at: Side, port: u16, service: u16, bytes: u64) -> Sender {
        Sender {
            names: Names { from: at, port, service, mss: 0 },
            total: 0,
            una: 0,
            next: 0,
            board: VecDeque::new(),
            sacked: 0,
            lost: 0,
            resent: 0,
            highest_sacked: 0,
            blocks: [(0, 0); SACKS_MAX],
            cubic: Cubic::new(),
            state: State::Open,
            srtt_us: 0,
            rttvar_us: 0,
            min_rtt_us: u64::MAX,
            backoff: 0,
            prr: (0, 0, 0),
            rack: (Time::ZERO, 0),
            rack_rtt_us: 0,
            reordering_seen: false,
            reordering_steps: 1,
            steps_round: 0,
            steps_persist: 0,
            undo_left: 0,
            timeout_at: Time::FAR,
            reorder_at: Time::FAR,
            probe: false,
            probe_sent: false,
            probe_due: false,
            echo: 0,
            limited: false,
            id: 0,
            bytes,
            record: Record::default(),
        }
    }

    fn in_flight(&self) -> u64 {
        (self.next - self.una + self.resent).saturating_sub(self.sacked + self.lost)
    }

    fn rto_us(&self) -> u64 {
        let rto = if self.srtt_us == 0 {
            SEC
        } else {
            self.srtt_us + (4 * self.rttvar_us).max(RTO_MIN_US)
        };
        (rto << self.backoff.min(10)).min(RTO_MAX_US)
    }

    /// Restarts the timer: a tail loss probe (RFC 8985 §7) where one is due, or the timeout.
    fn arm(&mut self, now: Time) {
        self.probe = false;
        if self.una == self.next {
            self.timeout_at = Time::FAR;
            return;
        }
        self.timeout_at = now + self.rto_us();
        let calm = self.state == State::Open && self.lost == 0 && self.backoff == 0;
        if calm && self.srtt_us > 0 && !self.probe_sent {
            let delayed = if self.next - self.una == 1 { RTO_MIN_US } else { 2 * MS };
            let at = now + 2 * self.srtt_us + delayed;
            if at < self.timeout_at {
                (self.timeout_at, self.probe) = (at, true);
            }
        }
    }

    fn measure(&mut self, now: Time, rtt_us: u64) {
        self.min_rtt_us = self.min_rtt_us.min(rtt_us);
        if self.srtt_us == 0 {
            (self.srtt_us, self.rttvar_us) = (rtt_us, rtt_us / 2);
        } else {
            self.rttvar_us = (3 * self.rttvar_us + self.srtt_us.abs_diff(rtt_us)) / 4;
            self.srtt_us = (7 * self.srtt_us + rtt_us) / 8;
        }
        self.cubic.sample(now, rtt_us, self.una, self.next);
        self.record.slow_start_end = self.cubic.ended;
    }

    /// Books a segment that has arrived; returns its round trip when that is unambiguous.
    fn delivered(&mut self, now: Time, number: u64, sent: Sent) -> Option<u64> {
        let rtt = now.since(sent.at);
        if sent.ever_resent && rtt < self.min_rtt_us {
            return None;
        }
        if (sent.at, number) >= self.rack {
            (self.rack, self.rack_rtt_us) = ((sent.at, number), rtt);
        }
        if !sent.ever_resent && number < self.highest_sacked {
            self.reordering_seen = true;
        }
        (!sent.ever_resent).then_some(rtt)
    }

    /// Returns how much has newly arrived, its round trip, and whether some of it was sent before the
    /// first segment that is missing.
    fn acknowledge(&mut self, now: Time, s: &Segment) -> (u64, Option<u64>, bool) {
        let (mut count, mut rtt) = (0, None);
        while self.una < s.ack.min(self.next) {
            let Some(sent) = self.board.pop_front() else { break };
            let number = self.una;
            self.una += 1;
            self.lost -= u64::from(sent.lost);
            self.resent -= u64::from(sent.resent);
            if sent.sacked {
                self.sacked -= 1;
                continue;
            }
            count += 1;
            rtt = self.delivered(now, number, sent).or(rtt);
        }
        let head_at = self.board.front().map_or(now, |head| head.at);
        let mut older = false;
        let old = std::mem::replace(&mut self.blocks, s.sacks);
        for &(from, to) in &s.sacks[..s.sack_count] {
            if to <= self.una {
                continue;
            }
            let known = old.iter().find(|o| o.0 == from && o.1 <= to).map_or(from, |o| o.1);
            for number in known.max(self.una)..to.min(self.next) {
                let entry = &mut self.board[(number - self.una) as usize];
                if std::mem::replace(&mut entry.sacked, true) {
                    continue;
                }
                let sent = *entry;
                (entry.lost, entry.resent) = (false, false);
                self.lost -= u64::from(sent.lost);
                self.resent -= u64::from(sent.resent);
                self.sacked += 1;
                count += 1;
                older |= sent.at < head_at;
                rtt = self.delivered(now, number, sent).or(rtt);
                self.highest_sacked = self.highest_sacked.max(number + 1);
            }
        }
        (count, rtt, older)
    }

    /// A D-SACK: something was sent again for nothing (RFC 2883, 3708).
    fn duplicate(&mut self, s: &Segment) {
        if s.sack_count == 0 || s.sacks[0].1 > s.ack {
            return;
        }
        self.undo_left -= 1;
        if self.una > self.steps_round {
            self.steps_round = self.next;
            self.steps_persist = STEPS_PERSIST;
            self.reordering_steps = (self.reordering_steps + 1).min(255);
            self.reordering_seen = true;
        }
    }

    /// RACK (RFC 8985 §6.2): what was sent well before something that has arrived is lost.
    fn detect(&mut self, now: Time) {
        let recovering = self.state != State::Open;
        let window = match self.reordering_seen {
            false if recovering || self.sacked >= DUPLICATES => 0,
            _ => (self.min_rtt_us.min(SEC) / 4 * self.reordering_steps).min(self.srtt_us.max(MS)),
        };
        self.reorder_at = Time::FAR;
        // After a timeout everything is sent again, and may be lost again.
        let end = match self.state {
            State::Recovery { after_timeout: true, .. } => self.next,
            _ => self.highest_sacked.max(self.una),
        };
        for (number, entry) in (self.una..end).zip(self.board.iter_mut()) {
            let later = (entry.at, number) >= self.rack;
            if entry.sacked || later || (entry.lost && !entry.resent) {
                continue;
            }
            let due = entry.at + self.rack_rtt_us + window;
            if due > now {
                self.reorder_at = self.reorder_at.min(due);
            } else {
                if entry.resent {
                    entry.resent = false;
                    self.resent -= 1;
                }
                if !entry.lost {
                    entry.lost = true;
                    self.lost += 1;
                }
            }
        }
        if self.lost > 0 && self.state == State::Open {
            self.enter(false);
        }
    }

    fn enter(&mut self, after_timeout: bool) {
        let before = (self.cubic.cwnd, self.cubic.ssthresh);
        self.cubic.lost();
        self.prr = (0, 0, (before.0 as u64).max(1));
        self.undo_left = 0;
        self.steps_persist = self.steps_persist.saturating_sub(1);
        if self.steps_persist == 0 {
            self.reordering_steps = 1;
        }
        self.record.cuts += 1;
        let until = self.next;
        self.state = State::Recovery { until, before, first_resend: None, after_timeout };
    }

    /// Leaves recovery when it is done, or when it was for nothing (RFC 3522).
    fn leave(&mut self, advanced: bool, echo: u32) {
        let State::Recovery { until, before, first_resend, after_timeout } = self.state else {
            return;
        };
        let spurious = advanced && first_resend.is_some_and(|t| echo < t);
        if spurious || (first_resend.is_some() && self.undo_left == 0) {
            self.cubic.undo(before.0, before.1);
            self.reordering_seen = true;
            self.record.undone += 1;
            for entry in &mut self.board {
                self.lost -= u64::from(entry.lost);
                self.resent -= u64::from(entry.resent);
                (entry.lost, entry.resent) = (false, false);
            }
            self.state = State::Open;
        } else if self.una >= until {
            if !after_timeout {
                self.cubic.cwnd = self.cubic.ssthresh;
            }
            self.state = State::Open;
        }
    }

    fn timed_out(&mut self, now: Time) {
        if self.probe {
            self.probe_sent = true;
            self.arm(now);
            self.limited = true;
            if self.next < self.total {
                self.cubic.cwnd = self.cubic.cwnd.max(self.in_flight() as f64 + 1.0);
            } else {
                self.probe_due = true;
            }
            return;
        }
        self.record.timeouts += 1;
        if self.state == State::Open {
            self.enter(true);
        }
        if let State::Recovery { after_timeout, .. } = &mut self.state {
            *after_timeout = true;
        }
        for entry in self.board.iter_mut().filter(|e| !e.sacked) {
            self.lost += u64::from(!entry.lost);
            self.resent -= u64::from(entry.resent);
            (entry.lost, entry.resent) = (true, false);
        }
        self.cubic.cwnd = 1.0;
        self.backoff += 1;
        self.probe_sent = false;
        self.arm(now);
    }

    fn may_send(&self) -> bool {
        (self.in_flight() as f64) < self.cubic.cwnd.floor().max(1.0)
    }

    /// Proportional rate reduction (RFC 6937, as Linux `tcp_cwnd_reduction`): the window while
    /// losses are repaired.
    fn reduce(&mut self, newly: u64, advanced: bool) {
        if !matches!(self.state, State::Recovery { after_timeout: false, .. }) {
            return;
        }
        self.prr.0 += newly;
        let (delivered, sent, start) = self.prr;
        let (flight, ssthresh) = (self.in_flight(), self.cubic.ssthresh as u64);
        let more = if flight > ssthresh {
            (delivered * ssthresh).div_ceil(start).saturating_sub(sent)
        } else {
            let grown = delivered.saturating_sub(sent).max(newly) + u64::from(advanced);
            grown.min(ssthresh - flight)
        };
        self.cubic.cwnd = (flight + more.max(u64::from(sent == 0))) as f64;
    }

    fn resend(&mut self, now: Time) -> Option<u64> {
        let i = self.board.iter().position(|e| e.lost && !e.resent)?;
        let entry = &mut self.board[i];
        (entry.at, entry.resent, entry.ever_resent) = (now, true, true);
        self.resent += 1;
        self.undo_left += 1;
        self.record.resent += 1;
        if let State::Recovery { first_resend, .. } = &mut self.state {
            first_resend.get_or_insert((now.0 / MS) as u32);
        }
        if i == 0 {
            self.arm(now);
        }
        Some(self.una + i as u64)
    }

    fn write(&mut self, now: Time, number: u64) -> Vec<u8> {
        self.id = self.id.wrapping_add(1);
        let (tsval, tsecr) = ((now.0 / MS) as u32, self.echo);
        let s = Segment { seq: number, tsval, tsecr, ..Segment::default() };
        s.write(&self.names, self.id, self.names.mss)
    }

    fn pick(&mut self, now: Time) -> Option<u64> {
        if self.lost > self.resent
            && let Some(number) = self.resend(now)
        {
            return Some(number);
        }
        let window = WINDOW / self.names.mss.max(1) as u64;
        if self.next >= self.total || self.next - self.una >= window {
            return None;
        }
        self.board.push_back(Sent { at: now, ..Sent::default() });
        self.next += 1;
        Some(self.next - 1)
    }
}

impl App for Sender {
    fn start(&mut self, _now: Time, mtu: u16) {
        self.names.mss = usize::from(mtu) - HEADERS;
        self.total = self.bytes.div_ceil(self.names.mss as u64);
    }

    fn receive(&mut self, now: Time, packet: &[u8]) {
        let Some((s, _)) = Segment::read(packet, self.una, self.names.mss) else { return };
        self.echo = s.tsval;
        self.duplicate(&s);
        let before = self.una;
        let (count, rtt, older) = self.acknowledge(now, &s);
        if let Some(rtt) = rtt {
            self.measure(now, rtt);
        }
        let advanced = self.una > before;
        self.leave(advanced, s.tsecr);
        let lost = self.lost;
        self.detect(now);
        self.reduce(count, advanced && self.lost <= lost);
        let growing = match self.state {
            State::Open => true,
            State::Recovery { after_timeout, .. } => after_timeout,
        };
        if growing && self.limited && count > 0 {
            self.cubic.acked(now, count as f64, self.srtt_us);
        }
        if advanced {
            self.backoff = 0;
            self.probe_sent = false;
            self.arm(now);
            if self.una == self.total && self.record.finished.is_none() {
                self.record.finished = Some(now);
            }
        } else if older {
            // As Linux does: what arrives now was sent before what is missing was sent again.
            self.arm(now);
        }
    }

    fn poll(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.timeout_at <= now {
            self.timed_out(now);
        }
        if self.reorder_at <= now {
            self.detect(now);
        }
        if std::mem::take(&mut self.probe_due)
            && let Some(last) = self.board.back_mut()
        {
            (last.at, last.ever_resent) = (now, true);
            return Some(self.write(now, self.next - 1));
        }
        if !self.may_send() {
            self.limited = true;
            return None;
        }
        let number = self.pick(now)?;
        if self.state != State::Open {
            self.prr.1 += 1;
        }
        if self.timeout_at == Time::FAR || self.next - self.una == 1 {
            self.arm(now);
        }
        if self.cubic.slow_start() && self.cubic.cwnd < 2.0 * self.in_flight() as f64 {
            self.limited = true;
        } else {
            self.limited = !self.may_send();
        }
        Some(self.write(now, number))
    }

    fn poll_timeout(&self) -> Time {
        self.timeout_at.min(self.reorder_at)
    }

    fn record(&self) -> &Record {
        &self.record
    }
}
