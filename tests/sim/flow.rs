//! Flows as a scenario names them, and the applications that they are made of.

use crate::host::App;
use crate::packet::Side;
use crate::report::Record;
use crate::smol::{Role, Smol};
use crate::stream::{FULL, Shape, Sink, Source};
use crate::tcp::receiver::Receiver;
use crate::tcp::sender::Sender;
use crate::world::World;
use onebox::time::{MS, Time};

/// More than any flow sends in a scenario.
const ENDLESS: u64 = 1 << 50;
/// First port of the clients' ends of flows.
const FIRST_PORT: u16 = 20_000;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Way {
    /// The side that sends.
    pub fn sender(self) -> Side {
        match self {
            Way::Up => Side::Client,
            Way::Down => Side::Server,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The model TCP.
    Tcp(u64),
    /// smoltcp.
    Smol(u64),
    Stream(Shape),
}

/// A flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    kind: Kind,
    way: Way,
    starts_us: u64,
    service: u16,
    /// The link that it uses beside the tunnel.
    outside: Option<usize>,
}

impl Flow {
    fn new(kind: Kind, way: Way, service: u16) -> Flow {
        Flow { kind, way, starts_us: 500 * MS, service, outside: None }
    }

    /// A TCP flow (the model) without end.
    pub fn bulk(way: Way) -> Flow {
        Flow::new(Kind::Tcp(ENDLESS), way, 5001)
    }

    /// A TCP flow (the model) of so many bytes.
    pub fn transfer(way: Way, bytes: u64) -> Flow {
        Flow::new(Kind::Tcp(bytes), way, 80)
    }

    /// A TCP flow over smoltcp of so many bytes, each of which is checked.
    pub fn checked(way: Way, bytes: u64) -> Flow {
        Flow::new(Kind::Smol(bytes), way, 8080)
    }

    /// An ICMP echo of 84 bytes every `interval_us`, from the client.
    pub fn ping(interval_us: u64) -> Flow {
        let count = 100_000;
        Flow::stream(Way::Up, Shape { interval_us, len: 84, echo: true, service: 0, count })
    }

    /// Voice: 50 packets of 200 bytes per second.
    pub fn voice(way: Way) -> Flow {
        let (interval_us, count) = (20 * MS, 100_000);
        Flow::stream(way, Shape { interval_us, len: 200, echo: false, service: 4000, count })
    }

    /// Datagrams of 1200 bytes at a constant rate in kbit/s.
    pub fn constant(way: Way, kbps: u64) -> Flow {
        let interval_us = 1200 * 8 * 1000 / kbps;
        let (echo, service, count) = (false, 4500, usize::MAX);
        Flow::stream(way, Shape { interval_us, len: 1200, echo, service, count })
    }

    /// Datagrams as long as the tunnel's MTU at the time, one every `interval_us`.
    pub fn full(way: Way, interval_us: u64) -> Flow {
        let (echo, service, count) = (false, 4600, usize::MAX);
        Flow::stream(way, Shape { interval_us, len: FULL, echo, service, count })
    }

    fn stream(way: Way, shape: Shape) -> Flow {
        Flow::new(Kind::Stream(shape), way, shape.service)
    }

    /// Beginning at this time.
    pub fn from(self, starts_us: u64) -> Flow {
        Flow { starts_us, ..self }
    }

    /// Not through the tunnel, but beside it over this link.
    pub fn outside(self, link: usize) -> Flow {
        Flow { outside: Some(link), ..self }
    }

    /// Ending after this time (of a stream).
    pub fn for_us(mut self, us: u64) -> Flow {
        if let Kind::Stream(shape) = &mut self.kind {
            shape.count = (us / shape.interval_us) as usize;
        }
        self
    }

    /// Whether its goodput counts as bulk.
    pub fn is_tcp(&self) -> bool {
        !matches!(self.kind, Kind::Stream(_))
    }

    /// The side whose record tells what arrived; and the side that sends.
    pub fn sides(&self) -> (Side, Side) {
        let sender = self.way.sender();
        let echo = matches!(self.kind, Kind::Stream(shape) if shape.echo);
        (if echo { sender } else { sender.other() }, sender)
    }

    /// The client's port of the flow with this number.
    pub fn port(number: usize) -> u16 {
        FIRST_PORT + number as u16
    }

    /// Puts both ends into the world.
    pub fn install(&self, world: &mut World, number: usize) {
        let (port, service) = (Flow::port(number), self.service);
        let from = self.way.sender();
        let to = from.other();
        let (sending, receiving): (Box<dyn App>, Box<dyn App>) = match self.kind {
            Kind::Tcp(bytes) => (
                Box::new(Sender::new(from, port, service, bytes)),
                Box::new(Receiver::new(to, port, service)),
            ),
            Kind::Smol(bytes) => (
                Box::new(Smol::new(from, port, service, Role::Send(bytes))),
                Box::new(Smol::new(to, port, service, Role::Receive(bytes))),
            ),
            Kind::Stream(shape) => {
                (Box::new(Source::new(from, port, shape)), Box::new(Sink::new(to, port, shape)))
            }
        };
        let starts = Time(self.starts_us);
        for (side, app) in [(to, receiving), (from, sending)] {
            match self.outside {
                Some(link) => world.outside.add(link, side, port, starts, app),
                None => world.hosts[side as usize].add(port, starts, app),
            }
        }
    }

    /// What one end of the flow with this number has measured.
    pub fn record(&self, world: &World, number: usize, side: Side) -> Record {
        let port = Flow::port(number);
        match self.outside {
            Some(link) => world.outside.record(link, side, port),
            None => world.hosts[side as usize].record(port),
        }
    }
}
