//! Cookies: who asks for a handshake shows first that it receives what is sent to its address.
//!
//! Why: an INIT costs its receiver two multiplications on the curve. How many are computed is bounded, and
//! who fills that bound from forged addresses would keep everybody else out.
//!
//! How: as WireGuard does it (whitepaper §5.4.7). When the bound is reached, an INIT that was made for our
//! public key is answered with a cookie: a keyed hash of its source address and port under a secret that
//! changes each [`SECRET_US`]. The cookie is sealed under a key that follows from our public key, with the
//! INIT's `mac1` as additional data: only who has seen the INIT can make one up.
//! The INIT that comes again with `mac2`, a keyed hash under the cookie, is counted to its address.
//!
//! Limits: a cookie is good for one to two [`SECRET_US`]. Who sees the INITs of others and knows the
//! server's public key can send wrong cookies, which are as good as none.

use core::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Error;
use super::handshake::{INIT_LEN, MAC_LEN, TYPE_COOKIE, array_at};
use super::keys::PublicKey;
use super::once;
use super::rng::SecretRng;
use crate::time::{SEC, Time};

/// Bytes of a cookie reply; a third of an INIT.
pub const COOKIE_REPLY_LEN: usize = 64;
/// How long a secret is used for new cookies, microseconds; it is known as long again.
pub const SECRET_US: u64 = 120 * SEC;

const COOKIE_KEY_CONTEXT: &str = "onebox v2 cookie key";
const MAC2_CONTEXT: &str = "onebox v2 mac2";
/// Where the parts of a reply are.
const NONCE: usize = 8;
const SEALED: usize = 32;
const TAG: usize = 48;
const MAC1: usize = INIT_LEN - 2 * MAC_LEN;
const MAC2: usize = INIT_LEN - MAC_LEN;

/// What an address is given, and shows again.
pub type Cookie = [u8; MAC_LEN];

/// Secrets that change with time, and are accepted a while longer.
pub struct Secrets {
    now: Zeroizing<[u8; 32]>,
    before: Zeroizing<[u8; 32]>,
    drawn: Time,
}

impl Secrets {
    /// Secrets from now on.
    pub fn new(now: Time, rng: &mut SecretRng) -> Secrets {
        let fresh = || Zeroizing::new([0; 32]);
        let mut secrets = Secrets { now: fresh(), before: fresh(), drawn: now };
        rng.fill(secrets.now.as_mut_slice());
        rng.fill(secrets.before.as_mut_slice());
        secrets
    }

    /// Draws a new one if it is time; the last one is known until the next time.
    pub fn renew(&mut self, now: Time, rng: &mut SecretRng) {
        let age = now.since(self.drawn);
        if age < SECRET_US {
            return;
        }
        self.before = core::mem::replace(&mut self.now, Zeroizing::new([0; 32]));
        rng.fill(self.now.as_mut_slice());
        if age >= 2 * SECRET_US {
            rng.fill(self.before.as_mut_slice());
        }
        self.drawn = now;
    }

    /// The hash of `data` that counts from now on.
    pub fn hash(&self, data: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.now, data).as_bytes()
    }

    /// The hashes of `data` that are known.
    pub fn hashes(&self, data: &[u8]) -> [[u8; 32]; 2] {
        [self.hash(data), *blake3::keyed_hash(&self.before, data).as_bytes()]
    }
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets")
    }
}

/// An address and port as bytes; an IPv4 address in IPv6 clothes is that IPv4 address.
fn source_bytes(source: &SocketAddr) -> [u8; 18] {
    let ip = match source.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&source.port().to_le_bytes());
    bytes
}

/// The key that cookies of the holder of this public key are sealed with.
pub fn cookie_key(responder: &PublicKey) -> [u8; 32] {
    blake3::derive_key(COOKIE_KEY_CONTEXT, responder.as_bytes())
}

/// The answer to an INIT from `source` for which there is no room.
pub fn reply(
    key: &[u8; 32],
    secrets: &Secrets,
    init: &[u8; INIT_LEN],
    source: &SocketAddr,
    rng: &mut SecretRng,
) -> [u8; COOKIE_REPLY_LEN] {
    let mut out = [0; COOKIE_REPLY_LEN];
    out[0] = TYPE_COOKIE;
    out[4..NONCE].copy_from_slice(&init[4..8]);
    rng.fill(&mut out[NONCE..SEALED]);
    let mut cookie: Cookie = array_at(&secrets.hash(&source_bytes(source)), 0);
    let tag = once::seal(key, &array_at(&out, NONCE), &init[MAC1..MAC2], &mut cookie);
    out[SEALED..TAG].copy_from_slice(&cookie);
    out[TAG..].copy_from_slice(&tag);
    out
}

/// The receiver index of a cookie reply; nothing for other datagrams.
pub fn reply_receiver(datagram: &[u8]) -> Option<u32> {
    let datagram: &[u8; COOKIE_REPLY_LEN] = datagram.try_into().ok()?;
    (datagram[0] == TYPE_COOKIE).then(|| u32::from_le_bytes(array_at(datagram, 4)))
}

/// Reads a cookie that was sent for this INIT by the holder of `responder`.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Decrypt`].
pub fn open_reply(
    responder: &PublicKey,
    init: &[u8; INIT_LEN],
    datagram: &[u8],
) -> Result<Cookie, Error> {
    let datagram: &[u8; COOKIE_REPLY_LEN] = datagram.try_into().map_err(|_| Error::Malformed)?;
    let (key, nonce, tag) =
        (cookie_key(responder), array_at(datagram, NONCE), array_at(datagram, TAG));
    let mut cookie: Cookie = array_at(datagram, SEALED);
    once::open(&key, &nonce, &init[MAC1..MAC2], &mut cookie, &tag)?;
    Ok(cookie)
}

/// The same INIT, for an address that has got this cookie.
pub fn with_cookie(init: &[u8; INIT_LEN], cookie: &Cookie) -> [u8; INIT_LEN] {
    let mut init = *init;
    let mac = mac2(cookie, &init);
    init[MAC2..].copy_from_slice(&mac);
    init
}

/// Whether an INIT shows a cookie that its source was given.
pub fn shows_cookie(secrets: &Secrets, init: &[u8; INIT_LEN], source: &SocketAddr) -> bool {
    if init[MAC2..] == [0; MAC_LEN] {
        return false;
    }
    secrets.hashes(&source_bytes(source)).iter().any(|hash| {
        let cookie: Cookie = array_at(hash, 0);
        mac2(&cookie, init).ct_eq(&init[MAC2..]).into()
    })
}

fn mac2(cookie: &Cookie, init: &[u8; INIT_LEN]) -> [u8; MAC_LEN] {
    let key = blake3::derive_key(MAC2_CONTEXT, cookie);
    array_at(blake3::keyed_hash(&key, &init[..MAC2]).as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::PrivateKey;

    fn source(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_address_and_a_while() {
        let mut rng = SecretRng::new([1; 32]);
        let mut secrets = Secrets::new(Time(0), &mut rng);
        let server = PrivateKey::from_bytes([2; 32]).public();
        let (here, mapped) = (source("192.0.2.1:5"), source("[::ffff:192.0.2.1]:5"));
        let mut init = [7; INIT_LEN];
        init[MAC2..].fill(0);
        let reply = reply(&cookie_key(&server), &secrets, &init, &here, &mut rng);
        assert_eq!(reply_receiver(&reply), Some(0x0707_0707));
        let cookie = open_reply(&server, &init, &reply).unwrap();
        let again = with_cookie(&init, &cookie);
        assert_eq!(again[..MAC2], init[..MAC2]);
        for (now, good) in [(0, true), (SECRET_US, true), (2 * SECRET_US, false)] {
            secrets.renew(Time(now), &mut rng);
            assert_eq!(shows_cookie(&secrets, &again, &here), good, "{now}");
            assert_eq!(shows_cookie(&secrets, &again, &mapped), good, "{now}");
            assert!(!shows_cookie(&secrets, &again, &source("192.0.2.1:6")));
            assert!(!shows_cookie(&secrets, &again, &source("192.0.2.2:5")));
            assert!(!shows_cookie(&secrets, &init, &here), "none");
        }
    }

    #[test]
    fn a_cookie_for_another_init_or_of_another_server_is_refused() {
        let mut rng = SecretRng::new([1; 32]);
        let secrets = Secrets::new(Time(0), &mut rng);
        let server = PrivateKey::from_bytes([2; 32]).public();
        let other = PrivateKey::from_bytes([3; 32]).public();
        let init = [7; INIT_LEN];
        let reply = reply(&cookie_key(&server), &secrets, &init, &source("[::1]:5"), &mut rng);
        let mut another = init;
        another[MAC1] ^= 1;
        assert_eq!(open_reply(&server, &another, &reply), Err(Error::Decrypt));
        assert_eq!(open_reply(&other, &init, &reply), Err(Error::Decrypt));
        assert_eq!(open_reply(&server, &init, &reply[1..]), Err(Error::Malformed));
        for place in NONCE..COOKIE_REPLY_LEN {
            let mut damaged = reply;
            damaged[place] ^= 1;
            assert_eq!(open_reply(&server, &init, &damaged), Err(Error::Decrypt), "{place}");
        }
    }
}
