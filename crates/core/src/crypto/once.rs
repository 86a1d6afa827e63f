//! Short messages that are sealed one by one, under a key that lasts.
//!
//! Why: a COOKIE and a RETRY have no packet numbers: whoever makes them keeps nothing of them.
//!
//! How: each has a random nonce of 24 bytes, and a key of its own: BLAKE3 of the nonce, keyed with the key
//! that lasts. Under that, ChaCha20-Poly1305 with a nonce of zeros. XChaCha20 does the same with another
//! hash, and would be a second cipher in a router's program.
//!
//! Limits: as often as 2^64 messages under one key, after which two nonces may be the same.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use zeroize::Zeroize;

use super::Error;
use super::packet::TAG_LEN;

/// Bytes of the nonce.
pub(super) const NONCE_LEN: usize = 24;

/// Seals `text` where it lies. Returns its tag.
pub(super) fn seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    with: &[u8],
    text: &mut [u8],
) -> [u8; TAG_LEN] {
    let sealed = cipher(key, nonce).encrypt_inout_detached(&Nonce::default(), with, text.into());
    match sealed {
        Ok(tag) => tag.into(),
        // Only beyond 256 GiB; no part of the text may leave.
        Err(_) => {
            text.fill(0);
            [0; TAG_LEN]
        }
    }
}

/// Opens `text` where it lies.
///
/// # Errors
/// [`Error::Decrypt`].
pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    with: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    cipher(key, nonce)
        .decrypt_inout_detached(&Nonce::default(), with, text.into(), &Tag::from(*tag))
        .map_err(|_| Error::Decrypt)
}

fn cipher(key: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> ChaCha20Poly1305 {
    let mut own = *blake3::keyed_hash(key, nonce).as_bytes();
    let cipher = ChaCha20Poly1305::new(&Key::from(own));
    own.zeroize();
    cipher
}
