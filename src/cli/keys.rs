//! `genkey`, `pubkey` and `genpsk`: keys in the text form of WireGuard, so that its tools and
//! these can stand in for each other.

use super::{Exit, fail, print};
use crate::config::{PresharedKey, PrivateKey};
use onebox_linux::clock;
use std::io::Read;
use zeroize::Zeroizing;

/// Bytes that are read in search of a key.
const INPUT_MAX: u64 = 256;

pub(super) fn genkey() -> Exit {
    match random() {
        Ok(bytes) => print(&line(&PrivateKey::from_bytes(*bytes).to_base64())),
        Err(exit) => exit,
    }
}

pub(super) fn genpsk() -> Exit {
    match random() {
        Ok(bytes) => print(&line(&PresharedKey::from_bytes(*bytes).to_base64())),
        Err(exit) => exit,
    }
}

pub(super) fn pubkey() -> Exit {
    let mut text = Zeroizing::new(String::new());
    if let Err(error) = std::io::stdin().take(INPUT_MAX).read_to_string(&mut text) {
        return fail(format_args!("standard input: {error}"));
    }
    match text.parse::<PrivateKey>() {
        Ok(key) => print(&format!("{}\n", key.public())),
        Err(error) => fail(format_args!("standard input: {error}")),
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, Exit> {
    let mut bytes = Zeroizing::new([0; 32]);
    clock::random(bytes.as_mut_slice())
        .map(|()| bytes)
        .map_err(|error| fail(format_args!("no randomness from the system: {error}")))
}

fn line(key: &Zeroizing<String>) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", key.as_str()))
}
