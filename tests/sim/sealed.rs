//! An end of the tunnel as it is: an [`Endpoint`] with the real handshake and cryptography.
//!
//! How: the client has a socket per link and one address of the server; the server has one
//! socket, and sees the client at an address per link with the port that the link's NAT shows; from port
//! [`ELSEWHERE`] on, at another address.
//! Datagrams are the real bytes, so that a flipped bit is the cryptography's to find.

use crate::bare::path_settings;
use crate::link::Datagram;
use crate::node::{LinkEvent, Node, Outgoing};
use crate::packet::{SIDES, Side};
use crate::rng::Rng;
use onebox::buffer::Pool;
use onebox::crypto::keys::{PresharedKey, PrivateKey};
use onebox::endpoint::{Endpoint, Event, PeerId, PeerSettings, Prefix, Settings, Udp, Via};
use onebox::endpoint::{SocketId, TransmitBatch};
use onebox::engine::{self, Memory, Mode, PathSettings, Reason, SpeedTestPlan};
use onebox::time::{SEC, Time};
use onebox::wire::PathId;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The wall clock at the begin of the world, microseconds since 1970.
const UNIX_US: u64 = 1_800_000_000_000_000;
/// Bytes of the IPv4 and UDP header.
const IP_OVERHEAD: usize = 28;

fn server() -> SocketAddr {
    (Ipv4Addr::new(203, 0, 113, 1), 51_830).into()
}

/// Ports from here on are those of another address.
pub const ELSEWHERE: u16 = 50_000;

/// Where the server sees the client.
pub fn client(link: usize, port: u16) -> SocketAddr {
    let [a, b, c] = if port < ELSEWHERE { [198, 51, 100] } else { [192, 0, 2] };
    (Ipv4Addr::new(a, b, c, link as u8 + 1), port).into()
}

fn link_of(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(v4) => usize::from(v4.octets()[3]).saturating_sub(1),
        IpAddr::V6(_) => usize::MAX,
    }
}

/// An endpoint between a host and links.
#[derive(Debug)]
pub struct Sealed {
    side: Side,
    endpoint: Endpoint,
    peer: PeerId,
    opened: u32,
    mtu: u16,
    pool: Pool,
    batch: TransmitBatch,
    out: VecDeque<Outgoing>,
}

impl Sealed {
    /// An end that has been started `session` times before.
    pub fn new(side: Side, session: u32, seed: u64, now: Time) -> Sealed {
        let key = |side: Side| PrivateKey::from_bytes([side as u8 + 1; 32]);
        let mut dice = Rng::of(seed, &format!("secrets {side:?} {session}"));
        let mut secret = [0; 32];
        secret.iter_mut().for_each(|b| *b = dice.next() as u8);
        let role = match side {
            Side::Client => engine::Side::Opening,
            Side::Server => engine::Side::Answering,
        };
        let engine = engine::Settings {
            seed: 0,
            hold_max_us: engine::HOLD_MAX_US,
            memory: engine::MEMORY,
            probe_interval_us: 15 * SEC,
            side: role,
            fec: true,
        };
        let settings =
            Settings { private_key: key(side), seed: secret, memory: 2 * engine::MEMORY, engine };
        let mut endpoint = Endpoint::new(settings, now);
        let prefix = Prefix::new(IpAddr::from(side.other().address()), 32).expect("is one");
        let settings = PeerSettings {
            side: role,
            public_key: key(side.other()).public(),
            preshared_key: PresharedKey::from_bytes([7; 32]),
            allowed_ips: vec![prefix],
        };
        let peer = endpoint.add_peer(now, settings).expect("is the only one");
        Sealed {
            side,
            endpoint,
            peer,
            opened: 0,
            mtu: 1280,
            pool: Pool::new(1024),
            batch: TransmitBatch::new(),
            out: VecDeque::new(),
        }
    }
}

impl Node for Sealed {
    fn push(&mut self, now: Time, packet: &[u8]) {
        let buf = self.pool.copy(packet);
        self.endpoint.push_packet(now, &mut self.pool, buf);
    }

    fn receive(&mut self, now: Time, link: usize, datagram: &Datagram) {
        let (socket, remote) = match self.side {
            Side::Client => (link as u32, server()),
            Side::Server => (0, client(link, datagram.port)),
        };
        let from = Via::Udp(Udp { socket: SocketId(socket), remote, local: None });
        let mut bytes = datagram.bytes.clone();
        self.endpoint.handle_datagram(now, &mut self.pool, from, &mut bytes);
    }

    fn link_event(&mut self, now: Time, link: usize, event: LinkEvent) {
        assert_eq!(self.side, SIDES[0], "links are the client's");
        let (id, peer) = (PathId(link as u8), self.peer);
        let bit = 1 << link;
        match event {
            LinkEvent::Up if self.opened & bit != 0 => self.endpoint.revalidate(now, peer, id),
            LinkEvent::Up => {
                self.opened |= bit;
                self.endpoint.open_path(now, peer, id, path_settings());
                let socket = SocketId(link as u32);
                let via = Via::Udp(Udp { socket, remote: server(), local: None });
                self.endpoint.set_candidates(now, peer, id, &[via]);
            }
            LinkEvent::CarrierLost => self.endpoint.path_lost(now, peer, id, Reason::LinkDown),
            LinkEvent::Remove => {
                self.opened &= !bit;
                self.endpoint.close_path(now, peer, id);
            }
            LinkEvent::Backup => self.endpoint.set_mode(now, peer, id, Mode::Backup),
            LinkEvent::Active => self.endpoint.set_mode(now, peer, id, Mode::Active),
            LinkEvent::Metered => {
                let settings = PathSettings { metered: true, ..path_settings() };
                self.endpoint.open_path(now, peer, id, settings);
            }
        }
    }

    fn timeout(&mut self, now: Time) {
        self.endpoint.handle_timeout(now, UNIX_US + now.0, &mut self.pool);
    }

    fn poll_transmit(&mut self, now: Time) -> Option<Outgoing> {
        if self.out.is_empty() {
            self.endpoint.poll_transmit(now, &mut self.pool, &mut self.batch);
            for d in self.batch.datagrams() {
                let bytes = self.batch.bytes()[d.range.clone()].to_vec();
                let Via::Udp(udp) = d.via;
                let (link, port) = match self.side {
                    Side::Client => (udp.socket.0 as usize, 0),
                    Side::Server => (link_of(udp.remote.ip()), udp.remote.port()),
                };
                let ip_len = bytes.len() + IP_OVERHEAD;
                let datagram = Datagram {
                    bytes,
                    number: 0,
                    ip_len,
                    port,
                    session: 0,
                    corrupted: false,
                    outside: false,
                };
                self.out.push_back(Outgoing { link, datagram });
            }
        }
        while let Some((_, event)) = self.endpoint.poll_event() {
            assert!(!matches!(event, Event::Broken(_)), "one end takes the other for a liar");
            if let Event::Mtu(mtu) = event {
                self.mtu = mtu;
            }
        }
        self.out.pop_front()
    }

    fn poll_deliver(&mut self) -> Option<Vec<u8>> {
        let (_, buf) = self.endpoint.poll_deliver(&mut self.pool)?;
        let packet = buf.bytes().to_vec();
        self.pool.give(buf);
        Some(packet)
    }

    fn poll_timeout(&mut self) -> Time {
        self.endpoint.poll_timeout()
    }

    fn speed_test(&mut self, now: Time, plan: SpeedTestPlan) {
        assert!(self.endpoint.start_speed_test(now, self.peer, plan), "not connected");
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn memory(&self, now: Time) -> Memory {
        self.snapshot(now).map_or(Memory::default(), |s| s.memory)
    }

    fn snapshot(&self, now: Time) -> Option<engine::Snapshot> {
        self.endpoint.snapshot(now).peers.pop().map(|peer| peer.engine)
    }

    fn describe(&self, now: Time) -> String {
        let snapshot = self.endpoint.snapshot(now);
        let describe = |p: &onebox::endpoint::PeerSnapshot| crate::bare::describe(&p.engine);
        let drops = snapshot.drops.iter().filter(|d| d.1 > 0);
        let drops: Vec<_> = drops.map(|(drop, n)| format!("{} {n}", drop.code())).collect();
        let peers: String = snapshot.peers.iter().map(describe).collect();
        format!("{peers} dropped: {}", drops.join(", "))
    }
}
