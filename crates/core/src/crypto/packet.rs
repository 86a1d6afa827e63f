//! Protection of data packets: ChaCha20-Poly1305 (RFC 8439) in place.
//!
//! Why: two packets sealed with one key and one nonce give away the XOR of their contents and the
//! key of the authenticator. This must not depend on every caller counting right.
//!
//! How: the nonce is made of the path id and the packet number, and both come in a
//! [`PacketNumber`], which can be neither copied nor, outside tests of known answers, made except
//! by [`PacketNumbers::take`], and which [`SealKey::seal`] consumes. So no number is ever sealed
//! twice with any key, because
//!
//! 1. a counter only goes up, and ends before it could wrap ([`PACKET_NUMBER_END`]);
//! 2. the number carries its path, so that a number of one path cannot be sealed on another;
//! 3. a connection has one counter per path id for as long as it lives: over a change of keys,
//!    and when a path goes away and its id is used again;
//! 4. a new connection (a restarted program, on either side) begins with a new handshake, hence
//!    new keys, and the two directions of a session have different keys.
//!
//! The types enforce 1, 2 and the single use; 3 is up to the owner of the counters, which makes
//! them once, with the connection; 4 follows from the handshake.
//!
//! Limits: the cipher is fixed today. It stands behind two small types, so that AES-256-GCM can
//! join when both ends have it in hardware; no caller sees a key or a nonce.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use core::fmt;

use super::Error;

/// Bytes of the authentication tag behind each sealed packet (RFC 8439 §2.8).
pub const TAG_LEN: usize = 16;

/// The first packet number that is never used. 2^60 is the message limit of a WireGuard session
/// (whitepaper §6.1), taken here for the whole life of a connection: 3,600 years of one path at
/// ten million packets a second.
pub const PACKET_NUMBER_END: u64 = 1 << 60;

/// The right to seal one packet: a number that no other packet of this path has.
///
/// Neither `Clone` nor `Copy`; sealing consumes it:
///
/// ```compile_fail
/// use onebox_core::crypto::packet::PacketNumbers;
/// let number = PacketNumbers::new(0).take().unwrap();
/// let twice = number.clone();
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a number that is not used is lost"]
pub struct PacketNumber {
    path: u8,
    value: u64,
}

impl PacketNumber {
    /// Any number, for tests and the self-test alone: elsewhere it could be one that was used.
    pub(super) fn known(path: u8, value: u64) -> PacketNumber {
        PacketNumber { path, value }
    }

    /// The path that the packet belongs to.
    pub fn path(&self) -> u8 {
        self.path
    }

    /// The number, for the header and for the record of what was sent.
    pub fn value(&self) -> u64 {
        self.value
    }
}

/// The packet numbers of one path, from zero up, for the whole life of a connection.
///
/// A connection makes one for each path id and keeps it over every change of keys; not `Clone`,
/// because a copied counter would hand out the same numbers again.
#[derive(Debug)]
pub struct PacketNumbers {
    path: u8,
    next: u64,
}

impl PacketNumbers {
    /// The counter of this path, before its first packet.
    pub fn new(path: u8) -> PacketNumbers {
        PacketNumbers { path, next: 0 }
    }

    /// The next number; none once [`PACKET_NUMBER_END`] is reached.
    pub fn take(&mut self) -> Option<PacketNumber> {
        if self.next >= PACKET_NUMBER_END {
            return None;
        }
        let number = PacketNumber { path: self.path, value: self.next };
        self.next += 1;
        Some(number)
    }

    /// The number that [`take`](Self::take) gives next, which no packet has had yet.
    pub fn upcoming(&self) -> u64 {
        self.next
    }
}

/// Path id as four bytes, then the packet number as eight, both little-endian.
fn nonce(path: u8, number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[0] = path;
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::from(bytes)
}

/// The key of one direction of one session, at its sender.
pub struct SealKey(ChaCha20Poly1305);

impl SealKey {
    pub(super) fn new(key: &[u8; 32]) -> SealKey {
        SealKey(ChaCha20Poly1305::new(&Key::from(*key)))
    }

    /// Seals a packet in place. `buf` is the plaintext and, behind it, [`TAG_LEN`] bytes of room
    /// whose contents do not matter; afterwards it is ciphertext and tag. `header` is
    /// authenticated as it stands.
    ///
    /// # Errors
    /// [`Error::Malformed`] when `buf` has no room for the tag or is longer than the cipher takes
    /// (256 GiB); then `buf` must not be sent.
    pub fn seal(&self, number: PacketNumber, header: &[u8], buf: &mut [u8]) -> Result<(), Error> {
        let (plaintext, room) = buf.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Malformed)?;
        let tag = self
            .0
            .encrypt_inout_detached(&nonce(number.path, number.value), header, plaintext.into())
            .map_err(|_| Error::Malformed)?;
        *room = tag.into();
        Ok(())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

/// The key of one direction of one session, at its receiver.
pub struct OpenKey(ChaCha20Poly1305);

impl OpenKey {
    pub(super) fn new(key: &[u8; 32]) -> OpenKey {
        OpenKey(ChaCha20Poly1305::new(&Key::from(*key)))
    }

    /// Opens a packet in place: `buf` is ciphertext and tag, afterwards the plaintext, whose
    /// length is returned, and the tag.
    ///
    /// # Errors
    /// [`Error::Malformed`] when `buf` is shorter than a tag; [`Error::Decrypt`] when path,
    /// number, header, ciphertext or tag are not what was sealed. The plaintext of such a packet
    /// is never produced.
    pub fn open(
        &self,
        path: u8,
        number: u64,
        header: &[u8],
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let (ciphertext, tag) = buf.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Malformed)?;
        let len = ciphertext.len();
        self.0
            .decrypt_inout_detached(
                &nonce(path, number),
                header,
                ciphertext.into(),
                &Tag::from(*tag),
            )
            .map_err(|_| Error::Decrypt)?;
        Ok(len)
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenKey")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::crypto::vectors::unhex;

    fn number(path: u8, value: u64) -> PacketNumber {
        PacketNumber { path, value }
    }

    fn pair() -> (SealKey, OpenKey) {
        (SealKey::new(&[9; 32]), OpenKey::new(&[9; 32]))
    }

    #[test]
    fn rfc_8439_2_8_2() {
        let key: [u8; 32] = core::array::from_fn(|i| 0x80 + i as u8);
        let header = unhex("50515253c0c1c2c3c4c5c6c7");
        let plaintext: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you \
only one tip for the future, sunscreen would be it.";
        let sealed = unhex(
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
        );
        // The nonce of the RFC has the constant 07 00 00 00 where ours has the path id.
        let value = u64::from_le_bytes([0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47]);
        let mut buf = plaintext.to_vec();
        buf.resize(plaintext.len() + TAG_LEN, 0);
        SealKey::new(&key).seal(number(7, value), &header, &mut buf).unwrap();
        assert_eq!(buf, sealed);
        assert_eq!(OpenKey::new(&key).open(7, value, &header, &mut buf), Ok(plaintext.len()));
        assert_eq!(&buf[..plaintext.len()], plaintext);
    }

    #[test]
    fn only_what_was_sealed_opens() {
        let (seal, open) = pair();
        let mut sealed = *b"a packet                ";
        seal.seal(number(3, 77), b"header", &mut sealed).unwrap();
        for position in 0..sealed.len() {
            let mut buf = sealed;
            buf[position] ^= 1;
            let flipped = buf;
            assert_eq!(open.open(3, 77, b"header", &mut buf), Err(Error::Decrypt));
            assert_eq!(buf, flipped, "nothing is decrypted before it is verified");
        }
        for len in 0..sealed.len() {
            let error = if len < TAG_LEN { Error::Malformed } else { Error::Decrypt };
            let mut buf = sealed;
            assert_eq!(open.open(3, 77, b"header", &mut buf[..len]), Err(error));
        }
        assert_eq!(open.open(2, 77, b"header", &mut { sealed }), Err(Error::Decrypt));
        assert_eq!(open.open(3, 78, b"header", &mut { sealed }), Err(Error::Decrypt));
        assert_eq!(open.open(3, 77 + (1 << 32), b"header", &mut { sealed }), Err(Error::Decrypt));
        assert_eq!(open.open(3, 77, b"Header", &mut { sealed }), Err(Error::Decrypt));
        assert_eq!(open.open(3, 77, b"header", &mut sealed), Ok(8));
        assert_eq!(&sealed[..8], b"a packet");
    }

    #[test]
    fn empty_packets_and_missing_room() {
        let (seal, open) = pair();
        let mut buf = [0; TAG_LEN];
        seal.seal(number(0, 0), b"", &mut buf).unwrap();
        assert_eq!(open.open(0, 0, b"", &mut buf), Ok(0));
        assert_eq!(seal.seal(number(0, 1), b"", &mut buf[1..]), Err(Error::Malformed));
    }

    #[test]
    fn numbers_end_and_stay_ended() {
        let mut numbers = PacketNumbers { path: 1, next: PACKET_NUMBER_END - 1 };
        assert_eq!(numbers.take(), Some(number(1, PACKET_NUMBER_END - 1)));
        assert_eq!(numbers.take(), None);
        assert_eq!(numbers.take(), None);
    }

    #[test]
    fn nonces_never_repeat_over_paths_and_rekeys() {
        // Paths take numbers in any order, keys change under way, a path goes and comes back:
        // the nonces of all sessions together are distinct, not only those of each key.
        let mut dice = crate::crypto::rng::Dice::new(1);
        let mut counters: Vec<PacketNumbers> = (0..=255).map(PacketNumbers::new).collect();
        let mut used = BTreeSet::new();
        for _session in 0..20 {
            for _ in 0..2_000 {
                let path = dice.below(256) as usize;
                let number = counters[path].take().unwrap();
                assert!(used.insert(nonce(number.path(), number.value())));
            }
        }
        assert_eq!(used.len(), 40_000);
    }

    #[test]
    fn keys_cross_threads_and_tell_nothing() {
        fn shared<T: Send + Sync>(_: &T) {}
        let (seal, open) = pair();
        shared(&seal);
        shared(&open);
        shared(&PacketNumbers::new(0));
        assert_eq!(format!("{seal:?} {open:?}"), "SealKey OpenKey");
    }
}
