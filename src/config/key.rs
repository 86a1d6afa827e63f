//! Keys as the configuration writes them: 32 bytes in base64 with padding, as WireGuard does.
//!
//! Secret keys tell nothing in `Debug` and have no `Display`: writing one down takes a call that
//! says so.

use core::fmt;
use core::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Characters of a key as text.
pub const KEY_TEXT_LEN: usize = 44;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key: 44 characters of base64 are one, as from 'onebox genkey'")]
pub struct KeyError;

/// A secret X25519 key.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

/// A public X25519 key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

/// A secret that two peers share in addition to their key pairs.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<[u8; KEY_LEN]>);

impl PrivateKey {
    /// The key of these bytes, clamped (RFC 7748 §5).
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> PrivateKey {
        bytes[0] &= 0b1111_1000;
        bytes[31] &= 0b0111_1111;
        bytes[31] |= 0b0100_0000;
        PrivateKey(Zeroizing::new(bytes))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(*self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }

    /// As text, for the key file and nothing else.
    pub fn to_base64(&self) -> Zeroizing<String> {
        encode(&self.0)
    }
}

impl PublicKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> PublicKey {
        PublicKey(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PresharedKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> PresharedKey {
        PresharedKey(Zeroizing::new(bytes))
    }

    /// As text, for the configuration of both sides and nothing else.
    pub fn to_base64(&self) -> Zeroizing<String> {
        encode(&self.0)
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PrivateKey, KeyError> {
        decode(text).map(|bytes| PrivateKey::from_bytes(*bytes))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        decode(text).map(|bytes| PublicKey(*bytes))
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PresharedKey, KeyError> {
        decode(text).map(PresharedKey)
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

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(secret)")
    }
}

fn encode(bytes: &[u8; KEY_LEN]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(KEY_TEXT_LEN));
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0u32, |bits, (i, b)| bits | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// White space around the text (the line end of a key file) does not count.
fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let text = text.trim().as_bytes();
    let Some((b'=', digits)) = text.split_last().filter(|_| text.len() == KEY_TEXT_LEN) else {
        return Err(KeyError);
    };
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    let (mut bits, mut held, mut at) = (0u32, 0, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(KeyError),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = (bits >> held & 0xff) as u8;
            }
            at += 1;
        }
    }
    // Two bits are left over: another text for the same key is not one.
    if bits & 0b11 == 0 { Ok(bytes) } else { Err(KeyError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_one_to_one() {
        let bytes: [u8; 32] = core::array::from_fn(|i| (i * 37 + 200) as u8);
        let text = PublicKey::from_bytes(bytes).to_string();
        assert_eq!(text.len(), KEY_TEXT_LEN);
        assert_eq!(text.parse::<PublicKey>().unwrap().as_bytes(), &bytes);
        assert_eq!(format!(" {text}\n").parse::<PublicKey>().unwrap().as_bytes(), &bytes);
        for wrong in ["", "=", &text[1..], &text.replace('=', "A"), &format!("{}-=", &text[..42])] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(KeyError), "{wrong}");
        }
        // Leftover bits that are not zero.
        assert_eq!(format!("{}B=", "A".repeat(42)).parse::<PublicKey>(), Err(KeyError));
    }

    /// RFC 7748 §6.1, Alice.
    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        let secret = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let key: PrivateKey = secret.parse().unwrap();
        assert_eq!(key.public().to_string(), public);
        assert!(!format!("{key:?}").contains(secret));
    }
}
