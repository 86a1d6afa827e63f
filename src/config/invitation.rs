//! The code that an invitation is: everything that a router needs to join, in one line.
//!
//! Why: keys, addresses and endpoints copied by hand into two files are where set-ups fail. The
//! server knows all of them, so it writes them down once; a router takes them over as they are.
//!
//! How: `onebox1-` and then base64url without padding (RFC 4648 §5) of these bytes, numbers big
//! endian:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | length of everything behind it |
//! | 32 | the router's private key |
//! | 32 | preshared key |
//! | 32 | the server's public key |
//! | 1, n | length of the router's name at the server; the name |
//! | 1 | number of tunnel addresses of the router, 1 to [`ADDRESSES_MAX`], each: |
//! | 1, 1, 4 or 16 | 4 or 6; length of the network's prefix; the address |
//! | 1 | number of endpoints of the server, 1 to [`ENDPOINTS_MAX`], each: |
//! | 2, 1 | port; 4 or 6 and an address follows, 0 and a name follows |
//! | 4, 16, or 1 and n | the address, or the name's length and the name |
//! | 8 | checksum: BLAKE3 (`derive_key`) of all before it |
//!
//! The number in `onebox1-` is the version: another layout gets another one. White space and quotation
//! marks anywhere do not count, since mail and terminals break lines and quote them. The length tells a code whose end is
//! missing from a damaged one; the checksum finds every mistake but one in 2^64.
//!
//! Limits: whoever reads the code can be that router, and it stays good until the peer is removed
//! or renewed at the server. The checksum is no signature: a code is to be trusted as far as the
//! way it came.

use super::address::{Endpoint, Host};
use crate::crypto::keys::{KEY_LEN, PresharedKey, PrivateKey, PublicKey};
use crate::prefix::InterfaceAddress;
use base64ct::{Base64UrlUnpadded, Encoding};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zeroize::Zeroizing;

/// Most tunnel addresses in a code.
pub const ADDRESSES_MAX: usize = 4;
/// Most endpoints in a code.
pub const ENDPOINTS_MAX: usize = 4;
/// Longest name of a router in bytes.
pub const NAME_MAX: usize = 32;
/// Longest code that is read, in bytes with white space.
pub const CODE_MAX: usize = 4096;

/// What every code begins with, before the number of its version.
const PREFIX: &str = "onebox";
/// The version that is written here.
const VERSION: u32 = 1;
/// Bytes of the length, and of the checksum.
const LENGTH_LEN: usize = 2;
const CHECKSUM_LEN: usize = 8;
/// What the checksum is derived for.
const CHECKSUM_CONTEXT: &str = "onebox 2026-11-21 checksum of an invitation 1";
/// Tags of addresses and names.
const TAG_NAME: u8 = 0;
const TAG_V4: u8 = 4;
const TAG_V6: u8 = 6;

/// What a router needs to join.
#[derive(Clone, Debug, PartialEq)]
pub struct Invitation {
    /// The router's name at the server.
    pub name: String,
    /// The router's private key.
    pub private_key: PrivateKey,
    /// The secret that both have.
    pub preshared_key: PresharedKey,
    /// The server's public key.
    pub server: PublicKey,
    /// The router's addresses in the tunnel.
    pub addresses: Vec<InterfaceAddress>,
    /// Where the server is reached, in order of preference.
    pub endpoints: Vec<Endpoint>,
}

/// Why a text is no invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Something else altogether.
    #[error("this is no code of 'onebox invite', which begins with {PREFIX}{VERSION}-")]
    Foreign,
    /// Of another version of the program.
    #[error(
        "the code is of version {0}, this program reads version {VERSION}: \
         use the same version of onebox on both ends"
    )]
    OtherVersion(u32),
    /// Characters are missing.
    #[error("the code is not complete: {0} characters, {1} are expected; copy it once more")]
    Truncated(usize, usize),
    /// The checksum does not match, or it cannot be read at all.
    #[error("the code is damaged: copy it once more")]
    Damaged,
    /// The checksum is right, and the contents make no sense: the server is at fault.
    #[error("the code is whole, and its contents are wrong: {0}")]
    Contents(&'static str),
}

/// Characters of base64 for so many bytes.
fn characters(bytes: usize) -> usize {
    bytes.saturating_mul(4).div_ceil(3)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECKSUM_CONTEXT);
    hasher.update(bytes);
    let mut sum = [0; CHECKSUM_LEN];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

impl Invitation {
    /// The code.
    ///
    /// # Errors
    ///
    /// A part is empty, too long or too numerous for a code.
    pub fn encode(&self) -> Result<Zeroizing<String>, CodeError> {
        // Never grown: growing would leave copies of the keys behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(CODE_MAX));
        bytes.extend([0; LENGTH_LEN]);
        bytes.extend(self.private_key.bytes());
        bytes.extend(self.preshared_key.bytes());
        bytes.extend(self.server.as_bytes());
        put_text(&mut bytes, &self.name, NAME_MAX)?;
        put_count(&mut bytes, self.addresses.len(), ADDRESSES_MAX, "tunnel addresses")?;
        for InterfaceAddress { address, length } in &self.addresses {
            bytes.push(tag(*address));
            bytes.push(*length);
            put_address(&mut bytes, *address);
        }
        put_count(&mut bytes, self.endpoints.len(), ENDPOINTS_MAX, "endpoints")?;
        for Endpoint { host, port } in &self.endpoints {
            bytes.extend(port.to_be_bytes());
            match host {
                Host::Address(address) => {
                    bytes.push(tag(*address));
                    put_address(&mut bytes, *address);
                }
                Host::Name(name) => {
                    bytes.push(TAG_NAME);
                    put_text(&mut bytes, name, u8::MAX.into())?;
                }
            }
        }
        let length = bytes.len() - LENGTH_LEN + CHECKSUM_LEN;
        let length = u16::try_from(length).map_err(|_| CodeError::Contents("too long"))?;
        bytes[..LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
        let sum = checksum(&bytes);
        bytes.extend(sum);
        let mut buffer = Zeroizing::new(vec![0; characters(bytes.len())]);
        let text = Base64UrlUnpadded::encode(&bytes, &mut buffer)
            .map_err(|_| CodeError::Contents("too long"))?;
        Ok(Zeroizing::new(format!("{PREFIX}{VERSION}-{text}")))
    }

    /// Reads a code.
    ///
    /// # Errors
    ///
    /// It is not one, not complete, damaged, or of another version.
    pub fn decode(code: &str) -> Result<Invitation, CodeError> {
        if code.len() > CODE_MAX {
            return Err(CodeError::Foreign);
        }
        let mut plain = Zeroizing::new(String::with_capacity(CODE_MAX));
        plain.extend(code.chars().filter(|c| !is_around(*c)));
        let rest = plain.strip_prefix(PREFIX).ok_or(CodeError::Foreign)?;
        let (version, text) = rest.split_once('-').ok_or(CodeError::Foreign)?;
        match super::fields::decimal(version) {
            Some(VERSION) if version.len() == 1 => {}
            Some(other) if other != VERSION => return Err(CodeError::OtherVersion(other)),
            _ => return Err(CodeError::Foreign),
        }
        let mut buffer = Zeroizing::new(vec![0; text.len()]);
        // As much as is needed for the length first: of a code without its end, the last
        // character may stand for less than a byte.
        let head = text.get(..4).ok_or(CodeError::Truncated(text.len(), 4))?;
        let head = Base64UrlUnpadded::decode(head, &mut buffer).map_err(|_| CodeError::Damaged)?;
        let [high, low, _] = *head else { return Err(CodeError::Damaged) };
        let expected = LENGTH_LEN + usize::from(u16::from_be_bytes([high, low]));
        if text.len() < characters(expected) {
            return Err(CodeError::Truncated(text.len(), characters(expected)));
        }
        let bytes = Base64UrlUnpadded::decode(text, &mut buffer).map_err(|_| CodeError::Damaged)?;
        let (bytes, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(CodeError::Damaged)?;
        if bytes.len() + CHECKSUM_LEN != expected || checksum(bytes) != *sum {
            return Err(CodeError::Damaged);
        }
        Contents(bytes.get(LENGTH_LEN..).unwrap_or_default()).read()
    }
}

/// Whether mail, chats and shells put this character around or into what is not theirs: white space,
/// marks of a quotation, the `=` of a broken line (RFC 2045 §6.7).
fn is_around(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`>|=\u{ad}\u{200b}\u{feff}“”„‘’‚«»".contains(c)
}

fn tag(address: IpAddr) -> u8 {
    if address.is_ipv4() { TAG_V4 } else { TAG_V6 }
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str, max: usize) -> Result<(), CodeError> {
    let length = u8::try_from(text.len()).ok().filter(|_| (1..=max).contains(&text.len()));
    out.push(length.ok_or(CodeError::Contents("a name is empty or too long"))?);
    out.extend(text.as_bytes());
    Ok(())
}

fn put_count(
    out: &mut Vec<u8>,
    count: usize,
    max: usize,
    what: &'static str,
) -> Result<(), CodeError> {
    let number = u8::try_from(count).ok().filter(|_| (1..=max).contains(&count));
    out.push(number.ok_or(CodeError::Contents(what))?);
    Ok(())
}

/// What is still to be read of a code whose checksum is right.
struct Contents<'a>(&'a [u8]);

impl Contents<'_> {
    fn read(mut self) -> Result<Invitation, CodeError> {
        let private_key = PrivateKey::from_bytes(*self.key()?);
        let preshared_key = PresharedKey::from_bytes(*self.key()?);
        let server = PublicKey::from_bytes(*self.key()?);
        let name = self.text()?;
        if !is_name(&name) {
            return Err(CodeError::Contents("the router's name"));
        }
        let addresses = self.list(ADDRESSES_MAX, "tunnel addresses", Contents::interface)?;
        let endpoints = self.list(ENDPOINTS_MAX, "endpoints", Contents::endpoint)?;
        if !self.0.is_empty() {
            return Err(CodeError::Contents("more than there should be"));
        }
        Ok(Invitation { name, private_key, preshared_key, server, addresses, endpoints })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CodeError> {
        let short = CodeError::Contents("less than there should be");
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn key(&mut self) -> Result<Zeroizing<[u8; KEY_LEN]>, CodeError> {
        self.take().map(Zeroizing::new)
    }

    fn byte(&mut self) -> Result<u8, CodeError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn text(&mut self) -> Result<String, CodeError> {
        let length = usize::from(self.byte()?);
        let short = CodeError::Contents("less than there should be");
        let (taken, rest) = self.0.split_at_checked(length).ok_or(short)?;
        self.0 = rest;
        let text = core::str::from_utf8(taken).map_err(|_| CodeError::Contents("a name"))?;
        Ok(text.to_owned())
    }

    fn list<T>(
        &mut self,
        max: usize,
        what: &'static str,
        read: impl Fn(&mut Self) -> Result<T, CodeError>,
    ) -> Result<Vec<T>, CodeError> {
        let count = usize::from(self.byte()?);
        if !(1..=max).contains(&count) {
            return Err(CodeError::Contents(what));
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn address(&mut self, tag: u8) -> Result<IpAddr, CodeError> {
        match tag {
            TAG_V4 => self.take::<4>().map(|octets| Ipv4Addr::from(octets).into()),
            TAG_V6 => self.take::<16>().map(|octets| Ipv6Addr::from(octets).into()),
            _ => Err(CodeError::Contents("an address of an unknown kind")),
        }
    }

    fn interface(&mut self) -> Result<InterfaceAddress, CodeError> {
        let [tag, length] = self.take()?;
        let address = self.address(tag)?;
        // By its text form, which knows what an address of a device may be.
        format!("{address}/{length}").parse().map_err(|_| CodeError::Contents("a tunnel address"))
    }

    fn endpoint(&mut self) -> Result<Endpoint, CodeError> {
        let port = u16::from_be_bytes(self.take()?);
        let host = match self.byte()? {
            TAG_NAME => Host::Name(self.text()?),
            tag => Host::Address(self.address(tag)?),
        };
        let endpoint = Endpoint { host, port };
        match endpoint.to_string().parse() {
            Ok(same) if endpoint == same => Ok(endpoint),
            _ => Err(CodeError::Contents("an endpoint")),
        }
    }
}

/// Whether a router can have this name: that of a section in UCI, at most [`NAME_MAX`] long.
pub fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(legal)
}

#[cfg(test)]
#[path = "invitation_tests.rs"]
mod tests;
