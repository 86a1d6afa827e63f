//! Whose a datagram or a packet is: by receiver index, by public key, by inner address.
//!
//! Why: these are all the ways by which a peer is found, so whoever adds or removes one has one place
//! to see to, and a server with thousands of peers has one place that must stay quick.
//!
//! How: a sorted map for each. Each look-up costs the logarithm of the peers, each change of a peer
//! only what that peer has.
//!
//! Limits: [`PEERS_MAX`] peers and [`PREFIXES_MAX`] prefixes.

use litemap::{Entry, LiteMap};

use super::allowed_ips::{AllowedIps, PREFIXES_MAX};
use super::{PEERS_MAX, PeerError, PeerId};
use crate::crypto::keys::PublicKey;
use crate::crypto::rng::SecretRng;
use crate::engine::Side;
use crate::prefix::Prefix;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub indices: Indices,
    pub allowed_ips: AllowedIps,
    by_key: LiteMap<PublicKey, PeerId>,
    /// Peers whose calls are answered.
    answered: usize,
}

impl Directory {
    /// Adds a peer.
    ///
    /// # Errors
    /// Its key is taken, or a bound is reached; nothing is changed then.
    pub fn add(
        &mut self,
        id: PeerId,
        key: PublicKey,
        side: Side,
        allowed_ips: &[Prefix],
    ) -> Result<(), PeerError> {
        if self.by_key.contains_key(&key) {
            return Err(PeerError::DuplicateKey);
        }
        if self.by_key.len() >= PEERS_MAX {
            return Err(PeerError::TooManyPeers);
        }
        self.set_allowed_ips(id, allowed_ips)?;
        self.by_key.insert(key, id);
        self.answered += usize::from(!side.opens());
        Ok(())
    }

    /// Gives a peer these prefixes instead of those that it has.
    ///
    /// # Errors
    /// There would be too many; nothing is changed then.
    pub fn set_allowed_ips(&mut self, id: PeerId, prefixes: &[Prefix]) -> Result<(), PeerError> {
        if self.allowed_ips.len() + prefixes.len() > PREFIXES_MAX {
            return Err(PeerError::TooManyPrefixes);
        }
        self.allowed_ips.remove(id);
        for prefix in prefixes {
            self.allowed_ips.insert(*prefix, id);
        }
        Ok(())
    }

    /// Forgets a peer. Its indices are given back by its sessions.
    pub fn remove(&mut self, id: PeerId, key: &PublicKey, side: Side) {
        self.by_key.remove(key);
        self.allowed_ips.remove(id);
        self.answered -= usize::from(!side.opens());
    }

    /// The peer with this key.
    pub fn by_key(&self, key: &PublicKey) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    /// Whether there is a peer whose calls are answered: without one, an initiation is not worth
    /// reading.
    pub fn answers(&self) -> bool {
        self.answered > 0
    }
}

/// The receiver indices in use: of sessions, and of handshakes under way.
#[derive(Debug, Default)]
pub(super) struct Indices(LiteMap<u32, PeerId>);

impl Indices {
    /// An index that nobody has, given to `peer`.
    pub fn draw(&mut self, rng: &mut SecretRng, peer: PeerId) -> u32 {
        loop {
            let index = rng.next_u32();
            if let Entry::Vacant(place) = self.0.entry(index) {
                place.insert(peer);
                return index;
            }
        }
    }

    /// Whose it is.
    pub fn get(&self, index: u32) -> Option<PeerId> {
        self.0.get(&index).copied()
    }

    /// Gives an index back.
    pub fn free(&mut self, index: u32) {
        self.0.remove(&index);
    }

    /// How many are in use.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
