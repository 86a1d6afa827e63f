//! Bytes on the network: the header of a data datagram, the frames inside it, and what the
//! engine needs to know of an inner IP packet.
//!
//! Why: everything that arrives here was written by someone else. Nothing in this layer trusts a
//! length, allocates by one, or panics on one.
//!
//! How: [`Reader`] and [`Writer`] are the only code that touches offsets; both are bounded by the
//! slice they were given. [`header`] is what travels in the clear (and is authenticated),
//! [`frame`] what is inside the ciphertext, [`ip`] a view of the inner packet.
//!
//! Limits: control frames carry their length, so an unknown one is skipped. PROTOCOL.md is the
//! authority; the tests here check its vectors.

mod codec;
pub mod frame;
pub mod header;
pub mod ip;

pub use codec::{Malformed, Reader, Writer};
pub use frame::{AckRanges, Frame};
pub use header::DataHeader;

/// Identifies a path within a connection: chosen by the client, at most [`PATHS_MAX`] of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathId(pub u8);

impl PathId {
    /// The path's place in a table.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Paths of one connection at most.
pub const PATHS_MAX: usize = 16;

/// Bytes of the authentication tag behind the ciphertext (RFC 8439 §2.8).
pub const TAG_LEN: usize = 16;

/// What the tunnel adds to the frames of a datagram: header and tag.
pub const OVERHEAD: usize = header::LEN + TAG_LEN;
