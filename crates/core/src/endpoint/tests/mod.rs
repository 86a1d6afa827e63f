//! Endpoints wired back to back in virtual time.

mod addresses;
mod connect;
mod flood;
mod hostile;
mod observer;
mod restart;
mod sides;

use core::net::{IpAddr, SocketAddr};

use super::*;
use crate::time::{MS, SEC};

/// One way through the test network, microseconds.
const DELAY_US: u64 = 10 * MS;
/// The wall clock at the start, microseconds.
const UNIX_US: u64 = 1_800_000_000_000_000;
/// The server's only socket.
const SERVER: &str = "203.0.113.1:51830";
/// The first client's only socket.
const HOME: &str = "198.51.100.1:1000";
const SERVER_V6: &str = "[2001:db8::1]:51830";

/// Bound of the packets of all peers, bytes.
const MEMORY: usize = 4 << 20;

/// A datagram under way.
#[derive(Clone, Debug)]
struct Parcel {
    due: Time,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// An endpoint, its sockets and what came out of it.
struct Node {
    endpoint: Endpoint,
    /// The public address of each socket, as the other side sees it.
    sockets: Vec<SocketAddr>,
    delivered: Vec<(PeerId, Vec<u8>)>,
    events: Vec<(PeerId, Event)>,
}

struct World {
    now: Time,
    pool: Pool,
    batch: TransmitBatch,
    nodes: Vec<Node>,
    air: Vec<Parcel>,
    /// Everything that was sent.
    log: Vec<Parcel>,
    /// What the server has got: from where, and how many bytes.
    received: Vec<(SocketAddr, usize)>,
    /// One way through the network, microseconds.
    delay_us: u64,
    /// Whether a datagram gets lost.
    lose: fn(&Parcel) -> bool,
    /// Who sees what is sent, and may add to it. Says whether the datagram goes on.
    observer: Option<Observer>,
}

/// Gets a datagram that was just sent, and what it adds to the network.
type Observer = Box<dyn FnMut(&Parcel, &mut Vec<Parcel>) -> bool>;

fn template() -> engine::Settings {
    engine::Settings {
        seed: 0,
        hold_max_us: SEC,
        memory: 1 << 20,
        probe_interval_us: SEC,
        side: Side::Answering,
        fec: true,
    }
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn endpoint(private: u8, seed: u8, now: Time) -> Endpoint {
    let private_key = key(private);
    Endpoint::new(
        Settings { private_key, seed: [seed; 32], memory: MEMORY, engine: template() },
        now,
    )
}

fn peer(side: Side, public: u8, psk: u8, allowed: &[&str]) -> PeerSettings {
    PeerSettings {
        side,
        public_key: key(public).public(),
        preshared_key: PresharedKey::from_bytes([psk; 32]),
        allowed_ips: allowed.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

fn path_settings() -> PathSettings {
    PathSettings {
        mode: Mode::Active,
        metered: false,
        send_rate_max: None,
        receive_rate_max: None,
        link_mtu: 1500,
        ip_overhead: 28,
    }
}

fn way(socket: u32, remote: &str) -> Via {
    Via::Udp(Udp { socket: SocketId(socket), remote: address(remote), local: None })
}

/// An IPv4 UDP packet with a number in it.
fn packet(source: [u8; 4], destination: [u8; 4], number: u32) -> Vec<u8> {
    let mut p = vec![0; 40];
    p[0] = 0x45;
    p[3] = 40;
    p[9] = ip::UDP;
    p[12..16].copy_from_slice(&source);
    p[16..20].copy_from_slice(&destination);
    p[36..].copy_from_slice(&number.to_le_bytes());
    p
}

fn number(packet: &[u8]) -> u32 {
    u32::from_le_bytes(*packet.last_chunk().unwrap())
}

/// Inner addresses: the server's, and those of the first and the second client.
const INSIDE: [[u8; 4]; 3] = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]];

impl World {
    /// Node 0 is a server that knows the keys 1 and 2 with the preshared keys 1 and 2.
    fn new() -> World {
        let mut world = World {
            now: Time(SEC),
            pool: Pool::new(64),
            batch: TransmitBatch::new(),
            nodes: Vec::new(),
            air: Vec::new(),
            log: Vec::new(),
            received: Vec::new(),
            delay_us: DELAY_US,
            lose: |_| false,
            observer: None,
        };
        let server = world.server(100);
        world.add(server, &[SERVER]);
        world
    }

    /// A server and one client with one path, not connected yet.
    fn pair() -> World {
        let mut world = World::new();
        world.add_client(1, 1, "198.51.100.1:1000");
        world
    }

    /// A server and one client, connected.
    fn connected() -> World {
        let mut world = World::pair();
        world.run(SEC);
        assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
        world
    }

    /// The client's program starts again, and its clock says less than the server has seen of it. The wall
    /// clock of this world is `UNIX_US` plus the time, so the server's memory is set ahead.
    fn boot_in_the_past(&mut self) {
        let mut later = crate::crypto::guard::InitGuard::new();
        later.answered(&crate::crypto::guard::Stamp {
            ephemeral: [9; 32],
            timestamp_us: u64::MAX,
            instance: 1,
        });
        self.endpoint(0).peers.get_mut(&PeerId(0)).unwrap().guard = later;
        self.nodes[1].endpoint = self.client(1, 1, 77);
    }

    fn server(&self, seed: u8) -> Endpoint {
        let mut server = endpoint(100, seed, self.now);
        server
            .add_peer(self.now, peer(Side::Answering, 1, 1, &["10.0.0.2/32", "fd00::2/128"]))
            .unwrap();
        server
            .add_peer(self.now, peer(Side::Answering, 2, 2, &["10.0.0.3/32", "10.7.0.0/16"]))
            .unwrap();
        server
    }

    fn client(&self, private: u8, psk: u8, seed: u8) -> Endpoint {
        let mut client = endpoint(private, seed, self.now);
        let id = client
            .add_peer(self.now, peer(Side::Opening, 100, psk, &["0.0.0.0/0", "::/0"]))
            .unwrap();
        client.open_path(self.now, id, PathId(0), path_settings());
        client.set_candidates(self.now, id, PathId(0), &[way(0, SERVER)]);
        client
    }

    fn add(&mut self, endpoint: Endpoint, sockets: &[&str]) {
        let sockets = sockets.iter().map(|s| address(s)).collect();
        self.nodes.push(Node { endpoint, sockets, delivered: Vec::new(), events: Vec::new() });
    }

    fn add_client(&mut self, private: u8, psk: u8, socket: &str) {
        let client = self.client(private, psk, private);
        self.add(client, &[socket]);
    }

    fn endpoint(&mut self, node: usize) -> &mut Endpoint {
        &mut self.nodes[node].endpoint
    }

    /// The first client's state of the server, and the server's of the first client.
    fn states(&self) -> (PeerState, PeerState) {
        let state = |n: usize| self.nodes[n].endpoint.snapshot(self.now).peers[0].state;
        (state(1), state(0))
    }

    fn drops(&self, node: usize, reason: Drop) -> u64 {
        self.nodes[node].endpoint.drops().get(reason)
    }

    /// Where the server sees the client, as it has told it.
    fn told_to_client(&self) -> Option<SocketAddr> {
        let snapshot = self.nodes[1].endpoint.snapshot(self.now);
        snapshot.peers[0].engine.paths[0].observed
    }

    /// Where the server sends the first client's first path.
    fn seen_by_server(&self) -> Option<SocketAddr> {
        let snapshot = self.nodes[0].endpoint.snapshot(self.now);
        snapshot.peers[0].paths.first().and_then(|p| p.via).map(|via| via.remote())
    }

    fn push(&mut self, node: usize, bytes: &[u8]) {
        let packet = self.pool.copy(bytes);
        self.nodes[node].endpoint.push_packet(self.now, &mut self.pool, packet);
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Parcel { from, to, mut bytes, .. } = parcel;
        if to == self.nodes[0].sockets[0] {
            self.received.push((from, bytes.len()));
        }
        for node in &mut self.nodes {
            let Some(socket) = node.sockets.iter().position(|s| *s == to) else { continue };
            let socket = SocketId(socket as u32);
            let via = Via::Udp(Udp { socket, remote: from, local: Some(to.ip()) });
            node.endpoint.handle_datagram(self.now, &mut self.pool, via, &mut bytes);
            return;
        }
    }

    /// Takes out of the endpoints what they have.
    fn drain(&mut self) {
        for node in &mut self.nodes {
            while node.endpoint.poll_transmit(self.now, &mut self.pool, &mut self.batch) {
                for datagram in self.batch.datagrams() {
                    let Via::Udp(udp) = datagram.via;
                    let parcel = Parcel {
                        due: self.now + self.delay_us,
                        from: node.sockets[udp.socket.0 as usize],
                        to: udp.remote,
                        bytes: self.batch.bytes()[datagram.range.clone()].to_vec(),
                    };
                    // A socket of one family reaches only that family.
                    assert_eq!(parcel.from.is_ipv4(), parcel.to.is_ipv4());
                    self.log.push(parcel.clone());
                    let seen = self.observer.as_mut();
                    let goes_on = seen.is_none_or(|seen| seen(&parcel, &mut self.air));
                    if goes_on && !(self.lose)(&parcel) {
                        self.air.push(parcel);
                    }
                }
            }
            while let Some((peer, packet)) = node.endpoint.poll_deliver(&mut self.pool) {
                node.delivered.push((peer, packet.bytes().to_vec()));
                self.pool.give(packet);
            }
            while let Some(event) = node.endpoint.poll_event() {
                node.events.push(event);
            }
        }
    }

    fn run(&mut self, us: u64) {
        let end = self.now + us;
        let mut spins = 0;
        loop {
            self.drain();
            let timers = self.nodes.iter_mut().map(|n| n.endpoint.poll_timeout()).min();
            let arrival = self.air.iter().map(|p| p.due).min();
            let next = timers.unwrap().min(arrival.unwrap_or(Time::FAR));
            if next > end {
                self.now = end;
                return;
            }
            spins = if next > self.now { 0 } else { spins + 1 };
            assert!(spins < 10_000, "no progress at {:?}", self.now);
            self.now = self.now.max(next);
            while let Some(place) = self.air.iter().position(|p| p.due <= self.now) {
                let parcel = self.air.remove(place);
                self.deliver(parcel);
            }
            for node in &mut self.nodes {
                let unix_us = UNIX_US + self.now.0;
                node.endpoint.handle_timeout(self.now, unix_us, &mut self.pool);
            }
        }
    }

    /// Sends `count` packets each way between the server and the first client, one each
    /// `gap_us`, and returns how many have arrived at the client and at the server.
    fn traffic(&mut self, count: u32, gap_us: u64) -> (usize, usize) {
        let before = [self.nodes[0].delivered.len(), self.nodes[1].delivered.len()];
        for n in 0..count {
            self.push(0, &packet(INSIDE[0], INSIDE[1], n));
            self.push(1, &packet(INSIDE[1], INSIDE[0], n));
            self.run(gap_us);
        }
        self.run(100 * MS);
        let arrived = |w: &World, n: usize| w.nodes[n].delivered.len() - before[n];
        (arrived(self, 1), arrived(self, 0))
    }

    /// The datagrams of a type that were sent to `to`.
    fn sent(&self, kind: u8, to: SocketAddr) -> Vec<Parcel> {
        let of_kind = |p: &&Parcel| p.to == to && p.bytes[0] == kind;
        self.log.iter().filter(of_kind).cloned().collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
