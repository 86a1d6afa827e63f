//! What each connected peer keeps of a server's memory while nothing is sent: a server has thousands.

use crate::allocator::live;
use crate::drive::path_settings;
use onebox::buffer::Pool;
use onebox::crypto::keys::{PresharedKey, PrivateKey};
use onebox::endpoint::{
    Endpoint, PeerSettings, PeerState, Settings, SocketId, TransmitBatch, Udp, Via,
};
use onebox::engine::{self, Side};
use onebox::time::{SEC, Time};
use onebox::wire::PathId;
use std::net::SocketAddr;

/// Peers with two paths each.
const PEERS: u16 = 64;
/// Bytes that a connected, quiet peer may keep.
const PEER_MAX: i64 = 40_000;
/// The wall clock at the start, microseconds.
const UNIX_US: u64 = 1_800_000_000_000_000;

fn endpoint(number: u16, now: Time) -> Endpoint {
    let engine = engine::Settings {
        seed: u64::from(number),
        hold_max_us: SEC,
        memory: 16 << 20,
        probe_interval_us: 15 * SEC,
        side: Side::Answering,
        fec: true,
    };
    let seed = [number as u8; 32];
    Endpoint::new(Settings { private_key: key(number), seed, memory: 64 << 20, engine }, now)
}

fn key(number: u16) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    PrivateKey::from_bytes(bytes)
}

fn peer(side: Side, number: u16, allowed: &str) -> PeerSettings {
    PeerSettings {
        side,
        public_key: key(number).public(),
        preshared_key: PresharedKey::from_bytes([1; 32]),
        allowed_ips: vec![allowed.parse().unwrap()],
    }
}

/// The address of an endpoint's socket.
fn address(number: u16, path: u8) -> SocketAddr {
    SocketAddr::from(([10, path, (number >> 8) as u8, number as u8], 51830))
}

/// An endpoint, and what it was given and has not given back.
struct Node {
    endpoint: Endpoint,
    pool: Pool,
    batch: TransmitBatch,
    heap: i64,
}

impl Node {
    fn new(number: u16, now: Time) -> Node {
        let (pool, batch) = (Pool::new(64), TransmitBatch::new());
        Node { endpoint: endpoint(number, now), pool, batch, heap: 0 }
    }

    /// A call, with what it takes and gives back counted.
    fn counted<T>(&mut self, call: impl FnOnce(&mut Node) -> T) -> T {
        let before = live();
        let result = call(self);
        self.heap += live() - before;
        result
    }
}

#[test]
fn a_quiet_peer_keeps_little_memory() {
    let mut now = Time(SEC);
    let mut nodes: Vec<Node> = (0..=PEERS).map(|number| Node::new(number, now)).collect();
    for number in 1..=PEERS {
        let inside = format!("10.99.{}.{}/32", number >> 8, number & 0xff);
        let settings = peer(Side::Answering, number, &inside);
        nodes[0].counted(|server| server.endpoint.add_peer(now, settings)).unwrap();
        let client = &mut nodes[usize::from(number)].endpoint;
        let id = client.add_peer(now, peer(Side::Opening, 0, "0.0.0.0/0")).unwrap();
        for path in 0..2 {
            let remote = address(0, path);
            let via = Via::Udp(Udp { socket: SocketId(path.into()), remote, local: None });
            client.open_path(now, id, PathId(path), path_settings());
            client.set_candidates(now, id, PathId(path), &[via]);
        }
    }
    let configured = nodes[0].heap;
    // Datagrams arrive 10 ms after they were sent: (when, from whom, over which socket, to whom).
    let mut air = std::collections::VecDeque::new();
    let end = now + 120 * SEC;
    while now < end {
        for number in 0..=PEERS {
            let mut sent = Vec::new();
            let node = &mut nodes[usize::from(number)];
            let mut due = true;
            while due {
                due = node.counted(|node| {
                    node.endpoint.poll_transmit(now, &mut node.pool, &mut node.batch)
                });
                for datagram in node.batch.datagrams() {
                    let Via::Udp(udp) = datagram.via;
                    let bytes = node.batch.bytes()[datagram.range.clone()].to_vec();
                    sent.push((now + 10_000, number, udp, bytes));
                }
            }
            while node.counted(|node| node.endpoint.poll_event()).is_some() {}
            air.extend(sent);
        }
        let timers = nodes.iter_mut().map(|node| node.endpoint.poll_timeout()).min().unwrap();
        let arrival = air.front().map_or(Time::FAR, |(due, ..)| *due);
        now = now.max(timers.min(arrival));
        while air.front().is_some_and(|(due, ..)| *due <= now) {
            let (_, from, udp, mut bytes) = air.pop_front().unwrap();
            let [_, path, high, low] = match udp.remote.ip() {
                std::net::IpAddr::V4(ip) => ip.octets(),
                std::net::IpAddr::V6(_) => unreachable!("all are IPv4"),
            };
            let remote = address(from, path);
            let via = Via::Udp(Udp { socket: SocketId(path.into()), remote, local: None });
            let node = &mut nodes[usize::from(u16::from_be_bytes([high, low]))];
            node.counted(|node| {
                node.endpoint.handle_datagram(now, &mut node.pool, via, &mut bytes)
            });
        }
        for node in &mut nodes {
            node.counted(|node| {
                node.endpoint.handle_timeout(now, UNIX_US + now.0, &mut node.pool);
            });
        }
    }
    let server = &nodes[0];
    let shown = server.endpoint.snapshot(now);
    assert!(shown.peers.iter().all(|p| p.state == PeerState::Up && p.paths.len() == 2));
    let (idle, all) = (configured / i64::from(PEERS), server.heap / i64::from(PEERS));
    println!("a configured peer keeps {idle} bytes, a connected and quiet one {all}");
    assert!((1..5_000).contains(&idle) && (1..PEER_MAX).contains(&all));
}
