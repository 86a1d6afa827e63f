//! What the engine knows, for people and programs: plain data.

use super::{Engine, PathState, Reason};
use crate::time::Time;
use crate::wire::PathId;

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
    /// Bytes per second that we believe to be able to send; 0 while unknown.
    pub tx_capacity: u64,
    /// The same of the peer.
    pub rx_capacity: u64,
    /// The largest IP packet that passes.
    pub mtu: u16,
    /// Bytes sent, with all headers.
    pub tx_bytes: u64,
    /// Bytes received, with all headers.
    pub rx_bytes: u64,
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
    /// Packets dropped at the entrance to keep the queue short, and because memory ran out.
    pub dropped_aqm: u64,
    /// Packets dropped because the entrance was full.
    pub dropped_full: u64,
    /// Packets longer than the tunnel takes.
    pub too_long: u64,
    /// Bytes of buffers that wait for a predecessor here.
    pub held_bytes: usize,
    /// Bytes that wait to be sent.
    pub queued_bytes: usize,
}

impl Engine {
    /// DEBUG
    pub fn debug(&self, now: Time) -> String {
        let mut t = format!("aqm {} full {} q {}K/{}ms st {} held {} hold {}", self.entrance.dropped_aqm, self.entrance.dropped_full, self.entrance.bytes()/1000, self.entrance.oldest_us(now)/1000, self.store.wants_resend(), self.resequencer.held_bytes()/2048, self.hold(now)/1000);
        for p in self.paths() {
            t += &format!(" | {:?} bw {} l {} fl {} w {} rtt {} ld {} q {} n {} tol {} sp {} d {} lim {}", p.rate.phase(), p.rate.bandwidth()/1250, p.rate.latest()/1250, p.sent.in_flight()/1000, p.rate.window(&p.feedback,&p.owd)/1000, p.feedback.smoothed()/1000, p.feedback.loaded()/1000, p.owd.queue()/1000, p.owd.noise()/100, p.rate.tol()/1000, p.owd.spread()/1000, p.delay(now,0)/1000, p.rate.lim());
        }
        t
    }
    /// Everything there is to see, now.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let recent = |meter: &super::path::Meter| meter.current(now);
        Snapshot {
            paths: self
                .paths()
                .map(|p| PathSnapshot {
                    id: p.id,
                    state: p.health.state(),
                    reason: p.health.reason(),
                    rtt_us: if p.rtt.is_known() { p.rtt.smoothed() } else { 0 },
                    rtt_min_us: if p.rtt.is_known() { p.rtt.min() } else { 0 },
                    jitter_us: if p.rtt.is_known() { p.rtt.variation() } else { 0 },
                    tx_loss_ppm: p.tx.loss_ppm,
                    rx_loss_ppm: u64::from(p.peer.loss_ppm),
                    tx_rate: recent(&p.tx),
                    rx_rate: recent(&p.rx),
                    tx_capacity: p.rate.bandwidth(),
                    rx_capacity: u64::from(p.peer.capacity_kbps) * 125,
                    mtu: p.mtu.current(),
                    tx_bytes: p.tx_bytes,
                    rx_bytes: p.rx_bytes,
                })
                .collect(),
            tx_bytes: self.tx_bytes,
            rx_bytes: self.rx_bytes,
            tx_rate: recent(&self.tx),
            rx_rate: recent(&self.rx),
            hold_us: self.resequencer.hold_us(),
            retransmitted: self.store.retransmitted,
            duplicated: self.duplicated,
            released_late: self.resequencer.released_late,
            dropped_aqm: self.entrance.dropped_aqm,
            dropped_full: self.entrance.dropped_full,
            too_long: self.too_long,
            held_bytes: self.resequencer.held_bytes(),
            queued_bytes: self.entrance.bytes(),
        }
    }
}
