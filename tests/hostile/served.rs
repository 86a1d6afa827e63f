//! A server's endpoint in virtual time, alone with whoever sends to it.

use crate::villain::{Knock, Villain};
use onebox::buffer::Pool;
use onebox::crypto::keys::{PresharedKey, PrivateKey};
use onebox::endpoint::{
    Endpoint, Event, PeerSettings, Settings, Snapshot, SocketId, TransmitBatch, Udp, Via,
};
use onebox::engine::{self, Side};
use onebox::time::{SEC, Time};
use std::time::{Duration, Instant};

/// Bound of one peer's packets, bytes: what the program has by default.
pub const PEER_MEMORY: usize = 16 << 20;
/// Free buffers that are kept.
pub const POOL: usize = 64;
/// The wall clock at the start, microseconds.
const UNIX_US: u64 = 1_800_000_000_000_000;

pub fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

/// Where a peer sends from.
pub fn from(number: u8) -> Via {
    let remote = ([198, 51, 100, number], 51830).into();
    Via::Udp(Udp { socket: SocketId(0), remote, local: None })
}

#[allow(clippy::disallowed_methods, reason = "the cost of real work is measured in real time")]
pub fn stopwatch(what: impl FnOnce()) -> Duration {
    let began = Instant::now();
    what();
    began.elapsed()
}

/// A server that knows the peers 1 to 9.
pub struct Server {
    pub now: Time,
    pub endpoint: Endpoint,
    pub pool: Pool,
    batch: TransmitBatch,
    /// Inner packets that were delivered.
    pub delivered: u64,
    /// Words for the owner.
    pub events: Vec<Event>,
    /// Datagrams that were sent, and to whom.
    pub sent: Vec<(Via, Vec<u8>)>,
    knocks: u64,
}

impl Server {
    pub fn new() -> Server {
        let now = Time(SEC);
        let engine = engine::Settings {
            seed: 1,
            hold_max_us: SEC,
            memory: PEER_MEMORY,
            probe_interval_us: 15 * SEC,
            side: Side::Answering,
            fec: true,
        };
        let settings =
            Settings { private_key: key(100), seed: [7; 32], memory: 4 * PEER_MEMORY, engine };
        let mut endpoint = Endpoint::new(settings, now);
        for number in 1..10 {
            let peer = PeerSettings {
                side: Side::Answering,
                public_key: key(number).public(),
                preshared_key: PresharedKey::none(),
                allowed_ips: vec![format!("10.0.0.{number}/32").parse().unwrap()],
            };
            endpoint.add_peer(now, peer).unwrap();
        }
        let (pool, batch) = (Pool::new(POOL), TransmitBatch::new());
        Server {
            now,
            endpoint,
            pool,
            batch,
            delivered: 0,
            events: Vec::new(),
            sent: Vec::new(),
            knocks: 0,
        }
    }

    /// A peer with these keys.
    pub fn admit(&mut self, number: u8) -> Villain {
        self.knocks += 1;
        let psk = PresharedKey::none();
        let knock = Knock::new(&key(number), &key(100).public(), &psk, self.knocks);
        self.sent.clear();
        self.take(number, knock.init.to_vec());
        self.settle();
        let response = self.sent.iter().find(|(_, bytes)| bytes[0] == 2).unwrap();
        knock.finish(&response.1).unwrap()
    }

    /// A packet of UDP for a peer comes from the server's device.
    pub fn push(&mut self, number: u8, len: usize) {
        let mut packet = self.pool.take();
        packet.set_len(len);
        let bytes = packet.bytes_mut();
        bytes.fill(0);
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        (bytes[8], bytes[9]) = (64, 17);
        bytes[12..16].copy_from_slice(&[192, 0, 2, 1]);
        bytes[16..20].copy_from_slice(&[10, 0, 0, number]);
        self.endpoint.push_packet(self.now, &mut self.pool, packet);
    }

    /// A datagram arrives.
    pub fn take(&mut self, number: u8, mut datagram: Vec<u8>) {
        self.endpoint.handle_datagram(self.now, &mut self.pool, from(number), &mut datagram);
    }

    /// Everything that is to be done now.
    pub fn settle(&mut self) {
        let Server { now, endpoint, pool, batch, delivered, events, sent, .. } = self;
        while endpoint.poll_transmit(*now, pool, batch) {
            for datagram in batch.datagrams() {
                sent.push((datagram.via, batch.bytes()[datagram.range.clone()].to_vec()));
            }
        }
        while let Some((_, packet)) = endpoint.poll_deliver(pool) {
            *delivered += 1;
            pool.give(packet);
        }
        events.extend(std::iter::from_fn(|| endpoint.poll_event()).map(|(_, event)| event));
    }

    /// Time passes.
    pub fn pass(&mut self, us: u64) {
        let end = self.now + us;
        while self.now < end {
            self.now = self.endpoint.poll_timeout().clamp(self.now + 1, end);
            self.endpoint.handle_timeout(self.now, UNIX_US + self.now.0, &mut self.pool);
            self.settle();
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.endpoint.snapshot(self.now)
    }
}
