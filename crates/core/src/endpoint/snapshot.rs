//! What there is to see of an endpoint, as plain data.

use super::drops::Drops;
use super::via::Via;
use super::{Endpoint, PeerId, PeerState};
use crate::crypto::keys::PublicKey;
use crate::engine;
use crate::time::Time;
use crate::wire::PathId;

/// All peers, and what was dropped.
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
    /// Bytes of authentic datagrams received, without IP and UDP headers.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent, likewise.
    pub tx_bytes: u64,
}

impl Endpoint {
    /// How things are.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let peers = self.peers.values().map(|peer| PeerSnapshot {
            id: peer.id,
            public_key: peer.key,
            state: peer.state(),
            handshake: peer.handshake,
            heard: peer.heard,
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            paths: peer
                .paths()
                .map(|(id, slot)| PathSnapshot {
                    id,
                    via: slot.addresses.current(),
                    rx_bytes: slot.rx_bytes,
                    tx_bytes: slot.tx_bytes,
                })
                .collect(),
            engine: peer.engine_snapshot(now),
        });
        Snapshot { peers: peers.collect(), drops: self.drops.clone() }
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
