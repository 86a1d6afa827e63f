//! A nonce for whose clock is wrong: an INIT that is authentic but old is not refused, it is asked for
//! again.
//!
//! Why: a recorded INIT is authentic for ever, and timestamps that must grow keep recordings out. But a
//! router without a battery-backed clock boots years in the past. To take old INITs whenever a peer has
//! been silent for a while would let recordings in just then.
//!
//! How: the server answers with a nonce, in a datagram RETRY that only the sender of that INIT can open:
//! its key follows from the chaining key after the first Noise message, for which one needs the private
//! key of either side. A new INIT that repeats the nonce in its sealed payload was made after it. The
//! nonce is a keyed hash over who the peer is and which INIT of it was accepted last ([`InitGuard`]):
//! nothing is stored for it, and once an INIT was accepted it is worth nothing.
//!
//! Limits: good for one to two [`SECRET_US`](super::cookie::SECRET_US), and for one handshake.
//!
//! [`InitGuard`]: super::guard::InitGuard

use zeroize::Zeroizing;

use super::Error;
use super::handshake::{TYPE_RETRY, array_at};
use super::once;
use super::rng::SecretRng;

/// Bytes of a RETRY; less than a third of an INIT.
pub const RETRY_LEN: usize = 56;

/// What shows that an INIT is fresh.
pub type Fresh = [u8; 8];

const NONCE: usize = 8;
const SEALED: usize = 32;
const TAG: usize = SEALED + size_of::<Fresh>();

/// Writes the answer to an old INIT.
pub(super) fn write(
    key: &Zeroizing<[u8; 32]>,
    receiver_index: u32,
    mut fresh: Fresh,
    rng: &mut SecretRng,
) -> [u8; RETRY_LEN] {
    let mut out = [0; RETRY_LEN];
    out[0] = TYPE_RETRY;
    out[4..NONCE].copy_from_slice(&receiver_index.to_le_bytes());
    // The same INIT may be answered with another nonce later on.
    rng.fill(&mut out[NONCE..SEALED]);
    let tag = once::seal(key, &array_at(&out, NONCE), &out[..NONCE], &mut fresh);
    out[SEALED..TAG].copy_from_slice(&fresh);
    out[TAG..].copy_from_slice(&tag);
    out
}

/// The receiver index of a RETRY; nothing for other datagrams.
pub fn receiver(datagram: &[u8]) -> Option<u32> {
    let datagram: &[u8; RETRY_LEN] = datagram.try_into().ok()?;
    (datagram[0] == TYPE_RETRY).then(|| u32::from_le_bytes(array_at(datagram, 4)))
}

/// Opens it.
pub(super) fn open(key: &Zeroizing<[u8; 32]>, datagram: &[u8]) -> Result<Fresh, Error> {
    let datagram: &[u8; RETRY_LEN] = datagram.try_into().map_err(|_| Error::Malformed)?;
    let (nonce, tag) = (array_at(datagram, NONCE), array_at(datagram, TAG));
    let mut fresh: Fresh = array_at(datagram, SEALED);
    once::open(key, &nonce, &datagram[..NONCE], &mut fresh, &tag)?;
    Ok(fresh)
}
