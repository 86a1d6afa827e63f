//! The keys that people see and configure.
//!
//! Why: a device is its key pair, and a key is copied by hand, by QR code or by `uci set`. The
//! text form is the one of WireGuard (32 bytes, base64 of RFC 4648 §4 with padding, 44
//! characters), so that its tools and habits fit.
//!
//! How: three types, so that no key can be used as another one. The two secret ones are wiped
//! when dropped, compare in constant time, are coded in constant time, and have neither `Display`
//! nor a telling `Debug`: to write one down, the code must say so with `to_base64`.
//!
//! Limits: a public key is only checked for its form. One with which no secret can be agreed on
//! (a point of low order) is found by the handshake.

use core::fmt;
use core::str::FromStr;

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::rng::SecretRng;

/// Bytes of every key here (RFC 7748 §5; PROTOCOL.md, Identity).
pub const KEY_LEN: usize = 32;
/// Characters of a key as text: 32 bytes in base64 with padding.
pub const KEY_TEXT_LEN: usize = 44;

/// What keys of invited routers are derived for (BLAKE3, `derive_key`).
const INVITED_CONTEXT: &str = "onebox 2026-11-21 private key of an invited router";

/// Why a text is not a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The text has another length; the value is its length.
    #[error("a key has {KEY_TEXT_LEN} characters (32 bytes in base64), this text has {0}")]
    WrongLength(usize),
    /// The length is right, but the text is not base64 of 32 bytes.
    #[error("a key is base64 (A-Z, a-z, 0-9, +, / and one = at the end), this text is not")]
    NotBase64,
}

/// Reads the text form; white space around it (the newline of a key file) does not count.
fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let text = text.trim();
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyError::WrongLength(text.chars().count()));
    }
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    match Base64::decode(text, bytes.as_mut_slice()) {
        Ok(decoded) if decoded.len() == KEY_LEN => Ok(bytes),
        _ => Err(KeyError::NotBase64),
    }
}

/// Writes the text form.
fn encode(bytes: &[u8; KEY_LEN]) -> Zeroizing<String> {
    let mut buffer = Zeroizing::new([0; KEY_TEXT_LEN]);
    let text = Base64::encode(bytes, buffer.as_mut_slice()).unwrap_or_default();
    Zeroizing::new(text.to_owned())
}

/// A device's own X25519 key, with its public half.
#[derive(Clone)]
pub struct PrivateKey {
    secret: Zeroizing<[u8; KEY_LEN]>,
    // Kept because a responder needs it for every datagram, before it spends a multiplication.
    public: PublicKey,
}

impl PrivateKey {
    /// The key of these bytes, clamped (RFC 7748 §5) as `wg genkey` does.
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> PrivateKey {
        bytes[0] &= 0b1111_1000;
        bytes[31] &= 0b0111_1111;
        bytes[31] |= 0b0100_0000;
        let secret = Zeroizing::new(bytes);
        bytes.zeroize();
        let public = public_of(&secret);
        PrivateKey { secret, public }
    }

    /// A new key.
    pub fn generate(rng: &mut SecretRng) -> PrivateKey {
        PrivateKey::from_bytes(rng.seed())
    }

    /// The key that an invitation of this server gives to the router `name`, from the secret that
    /// the two will share: so that the same invitation can be written once more without the server
    /// keeping its routers' keys. Who has the server's private key and the shared secret can
    /// compute it; to be a server for that router, those two are enough anyway.
    pub fn invited(&self, name: &str, shared: &PresharedKey) -> PrivateKey {
        let mut hasher = blake3::Hasher::new_derive_key(INVITED_CONTEXT);
        hasher.update(self.bytes());
        hasher.update(shared.bytes());
        hasher.update(name.as_bytes());
        let mut hash = hasher.finalize();
        let key = PrivateKey::from_bytes(*hash.as_bytes());
        hash.zeroize();
        hasher.zeroize();
        key
    }

    /// The public half, which identifies this device.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The text form, for the key file and for nothing else.
    pub fn to_base64(&self) -> Zeroizing<String> {
        encode(&self.secret)
    }

    /// The secret's bytes; wipe what they are copied to.
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.secret
    }
}

/// The public key of these secret bytes, by one multiplication of the base point.
pub(super) fn public_of(secret: &[u8; KEY_LEN]) -> PublicKey {
    let secret = x25519_dalek::StaticSecret::from(*secret);
    PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &PrivateKey) -> bool {
        self.secret.as_slice().ct_eq(other.secret.as_slice()).into()
    }
}

impl Eq for PrivateKey {}

impl FromStr for PrivateKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PrivateKey, KeyError> {
        decode(text).map(|bytes| PrivateKey::from_bytes(*bytes))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public)
    }
}

/// A device's public key: its name in the configuration and on the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        decode(text).map(|bytes| PublicKey(*bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A secret that both sides may share in addition to their key pairs.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; KEY_LEN]>);

impl PresharedKey {
    /// What stands in when two devices share none: all bytes zero, as in WireGuard.
    pub fn none() -> PresharedKey {
        PresharedKey::from_bytes([0; KEY_LEN])
    }

    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> PresharedKey {
        PresharedKey(Zeroizing::new(bytes))
    }

    /// A new key.
    pub fn generate(rng: &mut SecretRng) -> PresharedKey {
        PresharedKey::from_bytes(rng.seed())
    }

    /// The text form, for the configuration of the two sides and for nothing else.
    pub fn to_base64(&self) -> Zeroizing<String> {
        encode(&self.0)
    }

    /// The secret's bytes; wipe what they are copied to.
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &PresharedKey) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for PresharedKey {}

impl FromStr for PresharedKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PresharedKey, KeyError> {
        decode(text).map(|bytes| PresharedKey::from_bytes(*bytes))
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 §6.1, Alice, as `wg` writes her keys.
    const ALICE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const ALICE_CLAMPED: &str = "cAdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LGo=";
    const ALICE_PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn keys_read_and_write_as_wireguard_does() {
        let key: PrivateKey = ALICE.parse().unwrap();
        assert_eq!(*key.to_base64(), ALICE_CLAMPED);
        assert_eq!(key.public().to_string(), ALICE_PUBLIC);
        assert_eq!(key.public(), ALICE_PUBLIC.parse().unwrap());
        assert_eq!(key, format!("{ALICE_CLAMPED}\n").parse().unwrap());

        let psk: PresharedKey = ALICE.parse().unwrap();
        assert_eq!(*psk.to_base64(), ALICE);
        assert_ne!(psk, PresharedKey::none());
        assert_eq!(PresharedKey::none(), PresharedKey::from_bytes([0; 32]));
    }

    #[test]
    fn generated_keys_survive_their_text_form() {
        let mut rng = SecretRng::new([3; 32]);
        for _ in 0..20 {
            let key = PrivateKey::generate(&mut rng);
            assert_eq!(key.to_base64().len(), KEY_TEXT_LEN);
            assert_eq!(key.to_base64().parse(), Ok(key.clone()));
            assert_eq!(key.public().to_string().parse(), Ok(key.public()));
            let psk = PresharedKey::generate(&mut rng);
            assert_eq!(psk.to_base64().parse(), Ok(psk));
        }
    }

    #[test]
    fn wrong_texts_are_told_apart() {
        let parse = |text: &str| text.parse::<PublicKey>().unwrap_err();
        assert_eq!(parse(""), KeyError::WrongLength(0));
        assert_eq!(parse(&ALICE[1..]), KeyError::WrongLength(43));
        assert_eq!(parse(&format!("{ALICE}A")), KeyError::WrongLength(45));
        assert_eq!(parse(&ALICE.replace('=', "A")), KeyError::NotBase64);
        assert_eq!(parse(&ALICE.replace('p', "-")), KeyError::NotBase64);
        assert_eq!(parse(&ALICE.replace('p', " ")), KeyError::NotBase64);
        // Bits beyond the 32 bytes, which WireGuard refuses too: two texts for one key.
        assert_eq!(parse(&ALICE.replace("o=", "p=")), KeyError::NotBase64);
        assert_eq!(parse(&"=".repeat(44)), KeyError::NotBase64);
        assert_eq!(parse(&"ä".repeat(22)), KeyError::NotBase64);
        assert!(parse("short").to_string().contains("44 characters"));
    }

    #[test]
    fn debug_tells_no_secret() {
        let key: PrivateKey = ALICE.parse().unwrap();
        let psk: PresharedKey = ALICE.parse().unwrap();
        let text = format!("{key:?} {psk:?}");
        assert_eq!(text, format!("PrivateKey(of {ALICE_PUBLIC}) PresharedKey(secret)"));
    }

    #[test]
    fn public_keys_have_an_order() {
        let low = PublicKey::from_bytes([0; 32]);
        let high = PublicKey::from_bytes([1; 32]);
        assert!(low < high);
        assert_eq!(format!("{low:>46}").len(), 46);
    }
}
