//! What there is to see of an endpoint, as plain data.

use super::drops::{Drop, Drops};
use super::peer::Peer;
use super::via::Via;
use super::{Breach, Endpoint, PeerId, PeerState};
use crate::crypto::keys::PublicKey;
use crate::engine;
use crate::time::Time;
use crate::wire::PathId;

/// Peers, and what was dropped.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// In the order in which they were added.
    pub peers: Vec<PeerSnapshot>,
    /// Datagrams and inner packets that were dropped.
    pub drops: Drops,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    /// Its number.
    pub id: PeerId,
    /// Its key.
    pub public_key: PublicKey,
    /// Its state.
    pub state: PeerState,
    /// When the last handshake ended in a session.
    pub handshake: Option<Time>,
    /// When the last authentic datagram came.
    pub heard: Option<Time>,
    /// When and why a handshake of the peer's was refused last, since there was a session.
    pub refused: Option<(Time, Drop)>,
    /// When a connection ended last for false acknowledgements, and whose.
    pub breach: Option<(Time, Breach)>,
    /// Bytes of inner packets from it.
    pub rx_bytes: u64,
    /// Bytes of inner packets to it.
    pub tx_bytes: u64,
    /// Its paths.
    pub paths: Vec<PathSnapshot>,
    /// What its engine sees.
    pub engine: engine::Snapshot,
}

/// One path.
#[derive(Clone, Debug)]
pub struct PathSnapshot {
    /// Its number.
    pub id: PathId,
    /// Where its data goes.
    pub via: Option<Via>,
    /// Where it is tried first, while there is nowhere.
    pub tried: Option<Via>,
    /// The last authentic datagram, or the opening.
    pub quiet_since: Time,
    /// Bytes of authentic datagrams received, without IP and UDP headers.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent, likewise.
    pub tx_bytes: u64,
}

/// What all peers carry together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    /// Inner bytes taken in per second.
    pub tx_rate: u64,
    /// Inner bytes received per second.
    pub rx_rate: u64,
    /// Round trip of the quickest path in use, microseconds; 0 while there is none.
    pub rtt_us: u64,
}

impl Endpoint {
    /// How things are.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        self.snapshot_from(now, PeerId(0), usize::MAX)
    }

    /// How things are with `max` peers from `first` on, so that who owns many peers need not stop
    /// everything to look at all of them.
    pub fn snapshot_from(&self, now: Time, first: PeerId, max: usize) -> Snapshot {
        let (Ok(before) | Err(before)) = self.peers.find_index(&first);
        let peers = self.peers.iter().skip(before).take(max);
        let peers = peers.map(|(_, peer)| peer.snapshot(now));
        Snapshot { peers: peers.collect(), drops: self.drops.clone() }
    }

    /// What all carry together, and the first `max` of the peers that have been there. Peers that
    /// have not cost next to nothing here.
    pub fn sample(&self, now: Time, max: usize) -> (Total, Vec<PeerSnapshot>) {
        let mut total = Total::default();
        let mut peers = Vec::new();
        for (peer, engine) in self.peers.values().filter_map(|p| Some((p, p.engine.as_ref()?))) {
            let (tx_rate, rx_rate) = engine.rates(now);
            total.tx_rate += tx_rate;
            total.rx_rate += rx_rate;
            let quickest = engine.quickest_rtt_us().filter(|rtt| *rtt > 0);
            total.rtt_us = match (quickest, total.rtt_us) {
                (Some(rtt), 0) => rtt,
                (Some(rtt), least) => rtt.min(least),
                (None, least) => least,
            };
            if peers.len() < max {
                peers.push(peer.snapshot(now));
            }
        }
        (total, peers)
    }

    /// Why a path is in this state, while it is.
    pub fn path_reason(
        &self,
        now: Time,
        peer: PeerId,
        path: PathId,
        state: engine::PathState,
    ) -> Option<engine::Reason> {
        let snapshot = self.peers.get(&peer)?.engine_snapshot(now);
        let found = snapshot.paths.into_iter().find(|p| p.id == path && p.state == state);
        found.map(|path| path.reason)
    }

    /// What was dropped.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }
}

impl Peer {
    fn snapshot(&self, now: Time) -> PeerSnapshot {
        let paths = self.paths().map(|(id, slot)| PathSnapshot {
            id,
            via: slot.addresses.current(),
            tried: slot.addresses.known().next(),
            quiet_since: slot.quiet_since,
            rx_bytes: slot.rx_bytes,
            tx_bytes: slot.tx_bytes,
        });
        PeerSnapshot {
            id: self.id,
            public_key: self.key,
            state: self.state(),
            handshake: self.handshake,
            heard: self.heard,
            refused: self.refused,
            breach: self.breach,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            paths: paths.collect(),
            engine: self.engine_snapshot(now),
        }
    }
}
