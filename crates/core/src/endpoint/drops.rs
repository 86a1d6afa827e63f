//! Why something was not taken: one counter per reason.
//!
//! Why: whoever can send to an open port can send anything. An answer would serve as a reflector
//! or an oracle, and a line of log for each would fill the disk. A number per reason is what
//! remains, and it tells a wrong key from a wrong preshared key and both from noise.

use crate::crypto::Error;

/// Why a datagram or an inner packet was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Drop {
    /// No message of this protocol, or one that is cut short or contradicts itself.
    Malformed,
    /// No session has this receiver index (any more).
    UnknownSession,
    /// The packet number was accepted before, or is too old to tell.
    Replayed,
    /// The authentication tag does not match.
    Undecryptable,
    /// A handshake message that was not made for our public key.
    BadMac,
    /// A handshake with a public key that is no peer's.
    UnknownKey,
    /// A peer without our preshared key.
    WrongPresharedKey,
    /// A handshake of another version of the protocol.
    WrongVersion,
    /// An initiation that is older than one that was answered, or was answered often enough.
    StaleInitiation,
    /// More initiations per second than are computed.
    InitiationRate,
    /// A message that this side does not take: an initiation of a peer that is ours to call, a path
    /// that we have not opened.
    Unexpected,
    /// A peer's public key with which nothing can be agreed on: the configuration is wrong.
    WeakKey,
    /// An inner packet that is no whole IP packet.
    NotIp,
    /// An inner packet to an address that is no peer's.
    UnknownDestination,
    /// An inner packet to a peer that calls, and has not been there lately.
    NotConnected,
    /// An inner packet from an address that is not the sending peer's.
    SpoofedSource,
    /// A datagram that would have exceeded three times what its unproven address has sent.
    Unproven,
    /// A datagram for a path whose address is not known.
    NoAddress,
}

impl Drop {
    /// Every reason, in the order of the counters.
    pub const ALL: [Drop; 18] = [
        Drop::Malformed,
        Drop::UnknownSession,
        Drop::Replayed,
        Drop::Undecryptable,
        Drop::BadMac,
        Drop::UnknownKey,
        Drop::WrongPresharedKey,
        Drop::WrongVersion,
        Drop::StaleInitiation,
        Drop::InitiationRate,
        Drop::Unexpected,
        Drop::WeakKey,
        Drop::NotIp,
        Drop::UnknownDestination,
        Drop::NotConnected,
        Drop::SpoofedSource,
        Drop::Unproven,
        Drop::NoAddress,
    ];

    /// Its stable name, for the status, metrics and translations.
    pub fn code(self) -> &'static str {
        match self {
            Drop::Malformed => "malformed",
            Drop::UnknownSession => "unknown_session",
            Drop::Replayed => "replayed",
            Drop::Undecryptable => "undecryptable",
            Drop::BadMac => "bad_mac",
            Drop::UnknownKey => "unknown_key",
            Drop::WrongPresharedKey => "wrong_preshared_key",
            Drop::WrongVersion => "wrong_version",
            Drop::StaleInitiation => "stale_initiation",
            Drop::InitiationRate => "initiation_rate",
            Drop::Unexpected => "unexpected",
            Drop::WeakKey => "weak_key",
            Drop::NotIp => "not_ip",
            Drop::UnknownDestination => "unknown_destination",
            Drop::NotConnected => "not_connected",
            Drop::SpoofedSource => "spoofed_source",
            Drop::Unproven => "unproven_address",
            Drop::NoAddress => "no_address",
        }
    }
}

impl From<Error> for Drop {
    fn from(error: Error) -> Drop {
        match error {
            // An index that was changed on the way is damage; a handshake that is spent has no
            // use for a second answer.
            Error::Malformed | Error::WrongIndex => Drop::Malformed,
            Error::Spent => Drop::UnknownSession,
            Error::WrongMac => Drop::BadMac,
            Error::Decrypt => Drop::Undecryptable,
            Error::WrongVersion(_) => Drop::WrongVersion,
            Error::WrongPsk => Drop::WrongPresharedKey,
            Error::WeakKey => Drop::WeakKey,
        }
    }
}

/// The counters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drops([u64; Drop::ALL.len()]);

impl Drops {
    /// Counts one.
    pub(super) fn count(&mut self, reason: Drop) {
        self.0[reason as usize] += 1;
    }

    /// How many were dropped for `reason`.
    pub fn get(&self, reason: Drop) -> u64 {
        self.0[reason as usize]
    }

    /// How many were dropped.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that have occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Drop, u64)> + '_ {
        Drop::ALL.into_iter().zip(self.0).filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_own_counter_and_code() {
        for (place, reason) in Drop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        let codes: BTreeSet<_> = Drop::ALL.map(Drop::code).into_iter().collect();
        assert_eq!(codes.len(), Drop::ALL.len());
        let is_code = |code: &&str| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(codes.iter().all(is_code), "{codes:?}");
    }

    #[test]
    fn counts() {
        let mut drops = Drops::default();
        drops.count(Drop::Replayed);
        drops.count(Drop::Replayed);
        drops.count(Drop::NoAddress);
        assert_eq!(drops.get(Drop::Replayed), 2);
        assert_eq!(drops.total(), 3);
        let seen: Vec<_> = drops.iter().collect();
        assert_eq!(seen, [(Drop::Replayed, 2), (Drop::NoAddress, 1)]);
    }
}
