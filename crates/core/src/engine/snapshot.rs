//! What the engine knows, for people and programs: plain data.

use super::path::Path;
use super::path::rate::Phase;
use super::{Engine, PathState, Reason, SpeedTestSnapshot};
use crate::time::Time;
use crate::wire::PathId;
use core::net::SocketAddr;

/// One path as seen from this end.
#[derive(Clone, Debug)]
pub struct PathSnapshot {
    /// Which path.
    pub id: PathId,
    /// Its state.
    pub state: PathState,
    /// Why.
    pub reason: Reason,
    /// Smoothed round trip, microseconds; 0 while unknown.
    pub rtt_us: u64,
    /// Least round trip of the last seconds, microseconds; 0 while unknown.
    pub rtt_min_us: u64,
    /// Mean deviation of the round trip, microseconds.
    pub jitter_us: u64,
    /// Packets that we send and that are lost, millionths.
    pub tx_loss_ppm: u64,
    /// Packets that the peer sends and that are lost, millionths.
    pub rx_loss_ppm: u64,
    /// Bytes per second sent.
    pub tx_rate: u64,
    /// Bytes per second received.
    pub rx_rate: u64,
    /// Bytes per second at which we believe to be able to send, however little that was tried; 0
    /// while unknown.
    pub bandwidth: u64,
    /// Bytes per second that the link takes from us; `None` until it was once full.
    pub tx_capacity: Option<u64>,
    /// The same of the peer.
    pub rx_capacity: Option<u64>,
    /// The largest IP packet that passes.
    pub mtu: u16,
    /// Bytes sent, with all headers.
    pub tx_bytes: u64,
    /// Bytes received, with all headers.
    pub rx_bytes: u64,
    /// Datagrams sent that ask for an acknowledgement.
    pub packets_sent: u64,
    /// Of these, found to be lost.
    pub packets_lost: u64,
    /// What the rate controller is doing.
    pub phase: Phase,
    /// Bytes per second at which datagrams leave.
    pub pacing: u64,
    /// Bytes sent and neither acknowledged nor lost.
    pub in_flight: u64,
    /// Bytes that may be.
    pub window: u64,
    /// Smoothed time until an acknowledgement comes, over whichever path, microseconds.
    pub feedback_us: u64,
    /// One-way delay that stands above the least of the last seconds, microseconds.
    pub standing_us: u64,
    /// The link's own jitter, one way, microseconds.
    pub spread_us: u64,
    /// Predicted one-way delay of a datagram sent now, above the least base delay of all paths,
    /// microseconds.
    pub delay_us: i64,
    /// Whether what sparse flows send on it can be rebuilt from parity.
    pub protected: bool,
    /// Where our datagrams come from, says the peer; `None` until it has said so.
    pub observed: Option<SocketAddr>,
}

/// What is kept in memory: bytes of buffers, each with the most that may be, and the sizes of
/// tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Buffers of packets that wait to be sent.
    pub queue: (usize, usize),
    /// Buffers of packets sent and not yet acknowledged.
    pub unacked: (usize, usize),
    /// Buffers of packets that wait for their predecessors.
    pub held: (usize, usize),
    /// Datagrams sent that are remembered, of the path with most.
    pub log_entries: usize,
    /// Buffers for rebuilding what is lost.
    pub parity: (usize, usize),
    /// Ranges of packet numbers received that are remembered, of the path with most.
    pub ranges: usize,
}

/// The connection as seen from this end.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The paths.
    pub paths: Vec<PathSnapshot>,
    /// Inner bytes taken in.
    pub tx_bytes: u64,
    /// Inner bytes received.
    pub rx_bytes: u64,
    /// Inner bytes taken in per second.
    pub tx_rate: u64,
    /// Inner bytes received per second.
    pub rx_rate: u64,
    /// Longest wait for a predecessor here, microseconds.
    pub hold_us: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Packets sent twice: as a precaution, or to find out the rate of a path.
    pub duplicated: u64,
    /// Gaps that were given up here.
    pub released_late: u64,
    /// Packets dropped to keep the queue short, and because memory ran out.
    pub dropped_aqm: u64,
    /// Packets dropped because the queue was full.
    pub dropped_full: u64,
    /// Packets longer than the tunnel takes.
    pub too_long: u64,
    /// Bytes of buffers that wait for a predecessor here.
    pub held_bytes: usize,
    /// Bytes that wait to be sent.
    pub queued_bytes: usize,
    /// Age of the oldest packet that waits to be sent, microseconds.
    pub queued_us: u64,
    /// Longest wait for a predecessor that we have asked the peer for, microseconds.
    pub hold_reported_us: u64,
    /// Packets that came again after they had been delivered.
    pub duplicates: u64,
    /// Packets that were not sent again because they were too old.
    pub abandoned: u64,
    /// Datagrams of the peer that were lost and have been rebuilt here.
    pub repaired: u64,
    /// What is kept.
    pub memory: Memory,
    /// How the last speed test goes, or went.
    pub speed_test: Option<SpeedTestSnapshot>,
}

impl Engine {
    /// Everything there is to see, now.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let recent = |meter: &super::path::Meter| meter.current(now);
        let zero = self.paths().filter_map(|p| p.owd.base()).min().unwrap_or(0);
        Snapshot {
            paths: self.paths().map(|p| snapshot_path(p, now, zero)).collect(),
            tx_bytes: self.tx_bytes,
            rx_bytes: self.rx_bytes,
            tx_rate: recent(&self.tx),
            rx_rate: recent(&self.rx),
            hold_us: self.resequencer.hold_us(),
            retransmitted: self.unacked.retransmitted,
            duplicated: self.duplicated,
            released_late: self.resequencer.released_late,
            dropped_aqm: self.queue.dropped_aqm,
            dropped_full: self.queue.dropped_full,
            too_long: self.too_long + self.queue.too_long,
            held_bytes: self.resequencer.held_bytes(),
            queued_bytes: self.queue.bytes(),
            queued_us: self.queue.oldest_us(now),
            hold_reported_us: self.hold_reported,
            duplicates: self.resequencer.seen_before,
            abandoned: self.unacked.abandoned,
            repaired: self.repaired,
            memory: self.memory(),
            speed_test: self.speed_test(now),
        }
    }

    /// Inner bytes per second, taken in and received.
    pub fn rates(&self, now: Time) -> (u64, u64) {
        (self.tx.current(now), self.rx.current(now))
    }

    /// Round trip of the quickest path in use, microseconds; `None` without one.
    pub fn quickest_rtt_us(&self) -> Option<u64> {
        let used = self.paths().filter(|p| p.health.state() == PathState::Active);
        used.filter(|p| p.rtt.is_known()).map(|p| p.rtt.smoothed()).min()
    }

    /// What is kept, without the rest of what there is to see.
    pub fn memory(&self) -> Memory {
        Memory {
            queue: (self.queue.buffers(), self.queue_max()),
            unacked: self.unacked.buffers(),
            held: (self.resequencer.held_bytes(), self.held_max()),
            parity: (
                self.paths().map(|p| p.protect.buffers() + p.rebuild.buffers()).sum(),
                self.paths().count() * super::path::parity::BUFFERS_MAX,
            ),
            log_entries: self.paths().map(|p| p.sent.entries()).max().unwrap_or(0),
            ranges: self.paths().map(|p| p.received.ranges()).max().unwrap_or(0),
        }
    }
}

/// One path; `zero` is the least base delay of all.
fn snapshot_path(p: &Path, now: Time, zero: i64) -> PathSnapshot {
    let known = |us: u64| if p.rtt.is_known() { us } else { 0 };
    PathSnapshot {
        id: p.id,
        state: p.health.state(),
        reason: p.health.reason(),
        rtt_us: known(p.rtt.smoothed()),
        rtt_min_us: known(p.rtt.min()),
        jitter_us: known(p.rtt.variation()),
        tx_loss_ppm: p.tx.loss_ppm,
        rx_loss_ppm: u64::from(p.peer.loss_ppm),
        tx_rate: p.tx.current(now),
        rx_rate: p.rx.current(now),
        bandwidth: p.rate.bandwidth(),
        tx_capacity: p.rate.capacity(),
        rx_capacity: Some(u64::from(p.peer.capacity_kbps) * 125)
            .filter(|&rate| rate > 0)
            .or(p.settings.receive_rate_max),
        mtu: p.mtu.current(),
        tx_bytes: p.tx_bytes,
        rx_bytes: p.rx_bytes,
        packets_sent: p.sent.packets_sent,
        packets_lost: p.sent.packets_lost,
        phase: p.rate.phase(),
        pacing: p.rate.pacing(&p.feedback, &p.owd),
        in_flight: p.sent.in_flight(),
        window: p.rate.window(&p.feedback, &p.owd),
        feedback_us: p.feedback.smoothed(),
        standing_us: p.owd.queue(),
        spread_us: p.owd.spread(),
        delay_us: p.delay(now, zero) - zero,
        protected: p.protect.is_on(),
        observed: p.observed.own(),
    }
}
