//! Real inner TCP: smoltcp, byte for byte.
//!
//! Why: the model TCP is written by the same hands as the engine; smoltcp is not. What it
//! receives is checked byte for byte, and a connection that breaks is counted.
//!
//! How: each end of a flow is an interface of its own with one socket, CUBIC, and buffers of
//! 4 MiB with window scaling. The client connects; the sender writes a stream whose bytes follow
//! from their offset.
//!
//! Limits: smoltcp has no selective acknowledgements, and its reassembly list is short: how fast
//! it recovers from losses says nothing about the tunnel.

use crate::host::App;
use crate::packet::Side;
use crate::report::Record;
use onebox::time::Time;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::VecDeque;

/// Bytes of a socket's buffers.
const BUFFER: usize = 4 << 20;

#[derive(Debug, Default)]
struct Queues {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.rx.pop_front()?;
        Some((Received(packet), Sending(&mut self.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

/// What one end of the flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends this many bytes.
    Send(u64),
    /// Receives and checks this many.
    Receive(u64),
}

/// One end of a flow over smoltcp.
pub struct Smol {
    side: Side,
    port: u16,
    service: u16,
    role: Role,
    queues: Queues,
    parts: Option<(Interface, SocketSet<'static>, SocketHandle)>,
    offset: u64,
    wakes: Time,
    broken: bool,
    record: Record,
}

fn instant(now: Time) -> Instant {
    Instant::from_micros(now.0 as i64)
}

/// The byte of the stream at this offset.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Smol {
    /// An end on this side.
    pub fn new(side: Side, port: u16, service: u16, role: Role) -> Smol {
        Smol {
            side,
            port,
            service,
            role,
            queues: Queues::default(),
            parts: None,
            offset: 0,
            wakes: Time::FAR,
            broken: false,
            record: Record::default(),
        }
    }

    fn address(side: Side) -> IpAddress {
        let [a, b, c, d] = side.address();
        IpAddress::Ipv4(Ipv4Address::new(a, b, c, d))
    }

    /// Moves bytes between the application and the socket.
    fn exchange(&mut self, now: Time) {
        let Some((_, sockets, handle)) = &mut self.parts else { return };
        let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
        let Smol { offset, role, record, .. } = self;
        match *role {
            Role::Send(total) => {
                while *offset < total && socket.can_send() {
                    let sent = socket.send(|room| {
                        let n = room.len().min((total - *offset) as usize);
                        for (b, at) in room[..n].iter_mut().zip(*offset..) {
                            *b = byte(at);
                        }
                        (n, n)
                    });
                    *offset += sent.unwrap_or(0) as u64;
                }
                if *offset == total && socket.send_queue() == 0 {
                    record.finished.get_or_insert(now);
                }
            }
            Role::Receive(total) => {
                while socket.can_recv() {
                    let got = socket.recv(|data| {
                        let wrong = data.iter().zip(*offset..).filter(|(b, at)| **b != byte(*at));
                        record.corrupt += wrong.count() as u64;
                        (data.len(), data.len())
                    });
                    let got = got.unwrap_or(0) as u64;
                    record.received(now, got);
                    *offset += got;
                }
                if *offset == total {
                    record.finished.get_or_insert(now);
                }
            }
        }
        if socket.state() == tcp::State::Closed && !self.broken {
            self.broken = true;
            record.resets += 1;
        }
    }
}

impl App for Smol {
    fn start(&mut self, now: Time, mtu: u16) {
        self.queues.mtu = usize::from(mtu);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(self.port) << 1 | self.side as u64;
        let mut interface = Interface::new(config, &mut self.queues, instant(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(Self::address(self.side), 24)).expect("room for one");
        });
        let [a, b, c, _] = self.side.address();
        let gateway = Ipv4Address::new(a, b, c, 254);
        interface.routes_mut().add_default_ipv4_route(gateway).expect("room for one");
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        socket.set_nagle_enabled(false);
        match self.side {
            Side::Client => {
                let remote = (Self::address(Side::Server), self.service);
                socket.connect(interface.context(), remote, self.port).expect("is unused");
            }
            Side::Server => socket.listen(self.service).expect("is unused"),
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        self.parts = Some((interface, sockets, handle));
        self.wakes = now;
    }

    fn receive(&mut self, now: Time, packet: &[u8]) {
        self.queues.rx.push_back(packet.to_vec());
        self.wakes = now;
    }

    fn poll(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.wakes <= now {
            for _ in 0..2 {
                if let Some((interface, sockets, _)) = &mut self.parts {
                    interface.poll(instant(now), &mut self.queues, sockets);
                }
                self.exchange(now);
            }
            if let Some((interface, sockets, _)) = &mut self.parts {
                interface.poll(instant(now), &mut self.queues, sockets);
                let due = interface.poll_at(instant(now), sockets);
                self.wakes = due.map_or(Time::FAR, |t| Time(t.total_micros() as u64).max(now + 1));
            }
        }
        self.queues.tx.pop_front()
    }

    fn poll_timeout(&self) -> Time {
        self.wakes
    }

    fn record(&self) -> &Record {
        &self.record
    }
}
