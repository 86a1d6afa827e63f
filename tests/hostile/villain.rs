//! A peer that knows its keys and says what it likes.

use onebox::crypto::handshake::{Established, Hello, INIT_LEN, Initiator};
use onebox::crypto::keys::{PresharedKey, PrivateKey, PublicKey};
use onebox::crypto::packet::PacketNumbers;
use onebox::wire::frame::PacketHead;
use onebox::wire::header::{self, DataHeader};
use onebox::wire::{PATHS_MAX, PathId, TAG_LEN, Writer};

/// Bytes of frames that a datagram of 1500 bytes takes.
pub const PAYLOAD_MAX: usize = 1500 - 28 - header::LEN - TAG_LEN;

/// A handshake under way.
pub struct Knock {
    initiator: Initiator,
    /// What to send to the server.
    pub init: [u8; INIT_LEN],
}

impl Knock {
    /// Begins a handshake. `number` tells those of one run from each other.
    pub fn new(private: &PrivateKey, server: &PublicKey, psk: &PresharedKey, number: u64) -> Knock {
        let mut seed = [0x66; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let timestamp_us = 1_900_000_000_000_000 + number;
        let hello = Hello { index: number as u32, instance: number, capabilities: 0 };
        let (initiator, init) =
            Initiator::new(private, server, psk, hello, (timestamp_us, None), seed).unwrap();
        Knock { initiator, init }
    }

    /// The server has answered.
    pub fn finish(mut self, response: &[u8]) -> Option<Villain> {
        let keys = self.initiator.finish(response).ok()?;
        let numbers = core::array::from_fn(|path| PacketNumbers::new(path as u8));
        Some(Villain { keys, numbers })
    }
}

/// A session, and nothing of what an honest program does with it.
pub struct Villain {
    keys: Established,
    numbers: [PacketNumbers; PATHS_MAX],
}

impl Villain {
    /// A datagram with these frames.
    pub fn datagram(&mut self, path: u8, frames: &[u8]) -> Vec<u8> {
        let number = self.numbers[usize::from(path)].take().unwrap();
        let head = DataHeader::bytes(PathId(path), self.keys.remote_index, number.value());
        let mut sealed = vec![0; frames.len() + TAG_LEN];
        sealed[..frames.len()].copy_from_slice(frames);
        self.keys.seal.seal(number, &head, &mut sealed).unwrap();
        [&head[..], &sealed].concat()
    }

    /// Opens a datagram of the server's: its path, its number (low half) and its frames.
    pub fn open(&self, datagram: &[u8]) -> Option<(PathId, u32, Vec<u8>)> {
        let head = DataHeader::read(datagram).ok()?;
        let (header, sealed) = datagram.split_at(header::LEN);
        let mut frames = sealed.to_vec();
        let number = u64::from(head.number_low);
        let len = self.keys.open.open(head.path.0, number, header, &mut frames).ok()?;
        frames.truncate(len);
        Some((head.path, head.number_low, frames))
    }
}

/// As many frames as fit into a datagram, from `next` until it has no more.
pub fn frames(mut next: impl FnMut(&mut Writer<'_>) -> bool) -> Vec<u8> {
    let mut out = vec![0; PAYLOAD_MAX];
    let mut writer = Writer::new(&mut out);
    while next(&mut writer) {}
    let len = writer.len();
    out.truncate(len);
    out
}

/// A packet of few bytes that goes on to nobody.
pub fn packet(w: &mut Writer<'_>, flow: u16, sequence: u32, ordered: bool) -> bool {
    PacketHead { flow, sequence, ordered }.write_sized(w, &[0x45])
}
