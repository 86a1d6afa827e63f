//! Keys, handshake and packet protection.
//!
//! Why: two devices that know each other's public keys, and nobody else, can agree on session
//! keys over an open network and protect packets with them. PROTOCOL.md has the bytes; the
//! modules here are its implementation:
//!
//! * [`keys`]: the keys that people see and configure.
//! * [`rng`]: the two generators, one for statistics, one for secrets.
//! * [`handshake`]: one round trip to session keys; [`guard`]: which first message is answered;
//!   [`cookie`]: by whom, when there are too many; [`retry`]: how whose clock is wrong is not shut out.
//! * [`selftest`]: whether this build computes what every other one does.
//! * [`packet`]: sealing and opening of data packets; [`replay`]: each packet only once.
//!
//! How: everything is a function of its arguments. Time, randomness and indices come from the
//! caller, so that the same inputs give the same bytes, in the simulation and in the vectors of
//! `crates/core/vectors/protocol.txt`. The algorithms come from kept crates; `noise` joins them to the
//! `snow` state machine without a second copy of any of them.
//!
//! Limits: secrets that this module stores are wiped when they are dropped. Copies that the
//! compiler makes when a value moves, and the chaining key inside `snow`, are not.

pub mod cookie;
pub mod guard;
pub mod handshake;
pub mod keys;
mod noise;
mod once;
pub mod packet;
pub mod replay;
pub mod retry;
pub mod rng;
pub mod selftest;

#[cfg(test)]
mod vectors;

/// Why a datagram or a packet was refused.
///
/// All but [`WeakKey`](Error::WeakKey) and [`Spent`](Error::Spent) are the sender's doing: count
/// them, do not log a line for each, and answer nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Not the length or type that was expected.
    #[error("malformed datagram")]
    Malformed,
    /// The sender does not know the receiver's public key, or the datagram was damaged.
    #[error("mac1 does not match: not meant for this key, or damaged")]
    WrongMac,
    /// The authentication tag does not match: another key, or altered bytes.
    #[error("decryption failed: another key, or altered bytes")]
    Decrypt,
    /// The peer speaks another version of the protocol; the value is the peer's.
    #[error("protocol version {0} of the peer is not supported")]
    WrongVersion(u8),
    /// The preshared keys of the two sides differ.
    #[error("the preshared keys of the two sides differ")]
    WrongPsk,
    /// The answer belongs to another handshake.
    #[error("the answer belongs to another handshake")]
    WrongIndex,
    /// A public key with which no secret can be agreed on (a point of low order): when
    /// initiating, the configured key is wrong; when answering, the peer misbehaves.
    #[error("the public key of the peer cannot be used (low-order point)")]
    WeakKey,
    /// The handshake has already been finished; a second answer is of no use.
    #[error("the handshake has already been finished")]
    Spent,
}
