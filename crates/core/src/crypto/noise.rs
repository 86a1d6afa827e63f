//! `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`: the `snow` state machine over our crates.
//!
//! Why: the pattern and its proofs are the one of WireGuard, and `snow` implements it well, but
//! its default algorithms come from older versions of the crates that packet protection uses. Two
//! copies of the same cipher and curve are 100 KB that a router with 16 MB of flash can spend
//! better. Its default randomness comes from the system, and here randomness is an argument.
//!
//! How: a resolver of our own gives `snow` the crates that the rest of this module uses. Each
//! handshake has a generator of its own, from a seed that is handed in before its first message
//! is written; a responder reads first and is given the seed afterwards.
//!
//! A Diffie-Hellman result of all zeros is refused (RFC 7748 §6.1), as in WireGuard: otherwise a
//! low-order point would take a key out of the agreement.
//!
//! Limits: `snow` keeps its chaining key, from which the session keys follow, and the preshared key
//! in memory of its own, which it does not wipe when the handshake is dropped. Forward secrecy
//! thus holds against whoever takes the device later, but not against whoever can read freed
//! memory of the running process before it is used again.

use std::sync::{Arc, OnceLock};

use blake2::{Blake2s256, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use snow::HandshakeState;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::Error;
use super::keys::{PresharedKey, PrivateKey, PublicKey, public_of};
use super::packet::TAG_LEN;
use super::rng::SecretRng;

/// The pattern and its algorithms (Noise revision 34, §8).
const NAME: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Mixed into every handshake: another protocol agrees on nothing. The version is in the payloads, where
/// both sides can say which one they have.
const PROLOGUE: &[u8] = b"onebox";
/// BLAKE3 context of [`Noise::interim`].
const INTERIM_CONTEXT: &str = "onebox v2 retry key";
/// Where `IKpsk2` mixes the preshared key: at the end of the second message.
const PSK_LOCATION: u8 = 2;

/// The two keys that a finished handshake ends in, initiator to responder first.
pub(super) type Split = Zeroizing<[[u8; 32]; 2]>;

/// One handshake on one side.
#[derive(Debug)]
pub(super) struct Noise {
    state: HandshakeState,
    seed: Seed,
}

impl Noise {
    /// The side that writes the first message, and the ephemeral public key that it will write:
    /// the payload of that message depends on it, and `snow` draws it too late.
    pub(super) fn initiator(
        local: &PrivateKey,
        remote: &PublicKey,
        psk: &PresharedKey,
        seed: [u8; 32],
    ) -> Result<(Noise, [u8; 32]), Error> {
        let slot = Seed::default();
        slot.set(seed);
        let state = builder(local, &slot)?
            .remote_public_key(remote.as_bytes())
            .and_then(|builder| builder.psk(PSK_LOCATION, psk.bytes()))
            .and_then(|builder| builder.build_initiator())
            .map_err(refusal)?;
        let ephemeral = public_of(&Zeroizing::new(SecretRng::new(seed).seed()));
        Ok((Noise { state, seed: slot }, *ephemeral.as_bytes()))
    }

    /// The side that reads the first message, before it knows whose it is.
    pub(super) fn responder(local: &PrivateKey) -> Result<Noise, Error> {
        let seed = Seed::default();
        let state = builder(local, &seed)?.build_responder().map_err(refusal)?;
        Ok(Noise { state, seed })
    }

    /// What a responder needs for its answer.
    pub(super) fn prepare_answer(
        &mut self,
        psk: &PresharedKey,
        seed: [u8; 32],
    ) -> Result<(), Error> {
        self.seed.set(seed);
        self.state.set_psk(usize::from(PSK_LOCATION), psk.bytes()).map_err(refusal)
    }

    /// Writes a message, which must fill `message` exactly.
    pub(super) fn write(&mut self, payload: &[u8], message: &mut [u8]) -> Result<(), Error> {
        let written = self.state.write_message(payload, message).map_err(refusal)?;
        if written == message.len() { Ok(()) } else { Err(Error::Malformed) }
    }

    /// Reads a message whose payload fills `payload` exactly.
    ///
    /// After an error the same state takes another message: `snow` puts the hash and the chaining
    /// key back, and every other part (the remote ephemeral key, the cipher's key and counter) is
    /// set anew by the tokens `e, ee, se, psk` before the next payload is decrypted.
    pub(super) fn read(&mut self, message: &[u8], payload: &mut [u8]) -> Result<(), Error> {
        let read = self.state.read_message(message, payload).map_err(refusal)?;
        if read == payload.len() { Ok(()) } else { Err(Error::Malformed) }
    }

    /// The static key that the other side has shown.
    pub(super) fn remote(&self) -> Option<PublicKey> {
        let bytes = self.state.get_remote_static()?;
        bytes.first_chunk().copied().map(PublicKey::from_bytes)
    }

    /// A key that both sides have after the first message, and nobody else.
    pub(super) fn interim(&mut self) -> Zeroizing<[u8; 32]> {
        let mut keys = self.state.dangerously_get_raw_split();
        let mut hasher = blake3::Hasher::new_derive_key(INTERIM_CONTEXT);
        hasher.update(&keys.0);
        hasher.update(&keys.1);
        keys.0.zeroize();
        keys.1.zeroize();
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        key
    }

    /// The keys at the end of the handshake; none before.
    pub(super) fn split(&mut self) -> Option<Split> {
        if !self.state.is_handshake_finished() {
            return None;
        }
        let mut keys = self.state.dangerously_get_raw_split();
        let split = Zeroizing::new([keys.0, keys.1]);
        keys.0.zeroize();
        keys.1.zeroize();
        Some(split)
    }
}

fn builder<'a>(local: &'a PrivateKey, seed: &Seed) -> Result<snow::Builder<'a>, Error> {
    let params: NoiseParams = NAME.parse().map_err(refusal)?;
    let algorithms = Algorithms { local: local.clone(), seed: seed.clone() };
    snow::Builder::with_resolver(params, Box::new(algorithms))
        .local_private_key(local.bytes())
        .and_then(|builder| builder.prologue(PROLOGUE))
        .map_err(refusal)
}

/// `snow`'s errors as ours. What can only be a mistake of this module (a message out of turn, a
/// missing key) counts as malformed: it fails closed, and the tests would show it.
fn refusal(error: snow::Error) -> Error {
    match error {
        snow::Error::Decrypt => Error::Decrypt,
        snow::Error::Dh => Error::WeakKey,
        _ => Error::Malformed,
    }
}

/// The seed of a handshake's generator, set once, at the latest when a message is written.
#[derive(Clone, Debug, Default)]
struct Seed(Arc<OnceLock<Zeroizing<[u8; 32]>>>);

impl Seed {
    fn set(&self, seed: [u8; 32]) {
        // A second seed is ignored: the first one may already be in use.
        let _ = self.0.set(Zeroizing::new(seed));
    }
}

/// Gives `snow` its algorithms.
struct Algorithms {
    local: PrivateKey,
    seed: Seed,
}

impl CryptoResolver for Algorithms {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom { seed: self.seed.clone(), rng: None }))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::new(self.local.clone()))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Blake2s256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly(Zeroizing::new([0; 32])))),
            _ => None,
        }
    }
}

struct SeededRandom {
    seed: Seed,
    rng: Option<SecretRng>,
}

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        if self.rng.is_none() {
            self.rng = self.seed.0.get().map(|seed| SecretRng::new(**seed));
        }
        self.rng.as_mut().ok_or(snow::Error::Rng)?.fill(dest);
        Ok(())
    }
}

struct X25519 {
    /// The device's own pair, whose public half need not be computed once more: that halves what
    /// a forged first message costs.
    local: PrivateKey,
    private: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl X25519 {
    fn new(local: PrivateKey) -> X25519 {
        let public = local.public();
        X25519 { local, private: Zeroizing::new([0; 32]), public }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.private.copy_from_slice(privkey);
        self.public = if self.private.as_slice().ct_eq(self.local.bytes()).into() {
            self.local.public()
        } else {
            public_of(&self.private)
        };
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(self.private.as_mut_slice())?;
        self.public = public_of(&self.private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_slice()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let remote: [u8; 32] = *pubkey.first_chunk().ok_or(snow::Error::Dh)?;
        let private = x25519_dalek::StaticSecret::from(*self.private);
        let shared = private.diffie_hellman(&x25519_dalek::PublicKey::from(remote));
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        *out.first_chunk_mut().ok_or(snow::Error::Dh)? = *shared.as_bytes();
        Ok(())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest = core::mem::replace(&mut self.0, Blake2s256::new()).finalize();
        out[..32].copy_from_slice(&digest);
    }
}

struct ChaChaPoly(Zeroizing<[u8; 32]>);

impl ChaChaPoly {
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(*self.0))
    }
}

/// Four zero bytes, then the counter little-endian (Noise §12.3).
fn counter_nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::from(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self.0 = *key;
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let out = &mut out[..plaintext.len() + TAG_LEN];
        let (text, room) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let sealed =
            self.cipher().encrypt_inout_detached(&counter_nonce(nonce), authtext, text.into());
        match sealed {
            Ok(tag) => room.copy_from_slice(&tag),
            // Only beyond 256 GiB; no part of the plaintext may leave.
            Err(_) => out.fill(0),
        }
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(text);
        self.cipher()
            .decrypt_inout_detached(&counter_nonce(nonce), authtext, out.into(), &Tag::from(*tag))
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::unhex;

    #[test]
    fn rfc_7748_6_1() {
        let array = |hex: &str| -> [u8; 32] { unhex(hex).try_into().unwrap() };
        let alice = array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let alice_public =
            array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let bob_public = array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = array("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        for (secret, own, other) in
            [(alice, alice_public, bob_public), (bob, bob_public, alice_public)]
        {
            let mut dh = X25519::new(PrivateKey::from_bytes([1; 32]));
            dh.set(&secret);
            let mut out = [0; 32];
            dh.dh(&other, &mut out).unwrap();
            assert_eq!((dh.pubkey(), out), (own.as_slice(), shared));
        }
    }

    #[test]
    fn a_result_of_zeros_is_refused() {
        let dh = X25519::new(PrivateKey::from_bytes([1; 32]));
        let mut one = [0; 32];
        one[0] = 1;
        for low_order in [[0; 32], one] {
            assert!(dh.dh(&low_order, &mut [0; 32]).is_err());
        }
    }

    #[test]
    fn rfc_7693_appendix_b() {
        let mut hash = Blake2s(Blake2s256::new());
        hash.input(b"ab");
        hash.input(b"c");
        let mut out = [0; 32];
        hash.result(&mut out);
        let abc = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
        assert_eq!(out.as_slice(), unhex(abc));
    }
}
