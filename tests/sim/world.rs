//! The virtual world: two hosts, two ends of a tunnel, links between them, and virtual time.
//!
//! How: one queue of events ordered by time and then by the order of their making, so that there
//! is one order for one seed. After each event the end and host that it touched are run until
//! they have nothing more to do, and the [`Oracle`] looks at them.
//!
//! Limits: packets of hosts reach the tunnel at once (a LAN without delay), and the ends compute
//! in no time; a timer may fire late by up to `slack_us`, as real ones do.

use crate::history::History;
use crate::host::Host;
use crate::link::{Datagram, Link, Spec};
use crate::node::{LinkEvent, Node};
use crate::oracle::Oracle;
use crate::outside::Outside;
use crate::packet::{SIDES, Side};
use crate::rng::Rng;
use crate::sealed::ELSEWHERE;
use onebox::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Rounds that an end may take at one point in time before it is called busy.
const ROUNDS_MAX: usize = 100_000;
/// Wake-ups in a row at one point in time that an end may ask for.
const AT_ONCE_MAX: usize = 4;

/// The port that the NAT of the first link shows at the begin.
pub const NAT_PORTS: u16 = 40_000;

/// Both directions of a link, and what the router knows of it.
#[derive(Debug)]
pub struct Wan {
    /// From the client to the server, and back.
    pub directions: [Link; 2],
    /// Whether the client's system sees it.
    pub carrier: bool,
    /// The client's port as the NAT shows it now.
    pub nat_port: u16,
}

/// What has arrived for an end that gets no processor time.
#[derive(Debug, Default)]
struct Waiting {
    /// With the number of the link.
    datagrams: Vec<(usize, Datagram)>,
    /// Room that is left in the socket's buffer, bytes.
    room: usize,
}

/// A change of the world.
pub type Change = Box<dyn Fn(&mut World)>;

enum Event {
    Serialised { link: usize, direction: usize },
    Arrives { link: usize, direction: usize, datagram: Datagram },
    Change(Change),
}

struct Queued {
    at: Time,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Makes the node of a side: at the begin, and again when it restarts; the number says how often
/// it has been made before.
pub type Factory = Box<dyn Fn(Side, u32, Time) -> Box<dyn Node>>;

/// The world.
pub struct World {
    /// Now.
    pub now: Time,
    /// The links.
    pub wans: Vec<Wan>,
    /// The hosts, by side.
    pub hosts: [Host; 2],
    /// The ends of the tunnel, by side.
    pub nodes: [Box<dyn Node>; 2],
    /// Hosts that use links beside the tunnel.
    pub outside: Outside,
    /// What must hold.
    pub oracle: Oracle,
    /// How it was.
    pub history: History,
    /// How late a timer of an end may fire, microseconds.
    pub slack_us: u64,
    /// What waits for an end that is stopped, by side.
    stopped: [Option<Waiting>; 2],
    factory: Factory,
    starts: [u32; 2],
    seed: u64,
    events: BinaryHeap<Reverse<Queued>>,
    made: u64,
    wakes: [Time; 2],
    timers: Rng,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, factory: Factory) -> World {
        World {
            now: Time::ZERO,
            wans: Vec::new(),
            hosts: SIDES.map(Host::new),
            nodes: SIDES.map(|side| factory(side, 0, Time::ZERO)),
            outside: Outside::default(),
            oracle: Oracle::default(),
            history: History::default(),
            slack_us: 0,
            stopped: [None, None],
            factory,
            starts: [0; 2],
            seed,
            events: BinaryHeap::new(),
            made: 0,
            wakes: [Time::FAR; 2],
            timers: Rng::of(seed, "timers"),
        }
    }

    /// Adds a link, which the client may use from now on.
    pub fn add_link(&mut self, up: Spec, down: Spec) {
        let id = self.wans.len();
        let link = |spec, way| Link::new(spec, self.seed, &format!("link {id} {way}"));
        let directions = [link(up, "up"), link(down, "down")];
        self.wans.push(Wan { directions, carrier: true, nat_port: NAT_PORTS + 100 * id as u16 });
        self.nodes[0].link_event(self.now, id, LinkEvent::Up);
    }

    /// The carrier of a link goes or comes back, and the client's system says so.
    pub fn set_carrier(&mut self, link: usize, present: bool) {
        let wan = &mut self.wans[link];
        wan.carrier = present;
        for direction in &mut wan.directions {
            direction.spec.blackhole = !present;
            direction.flush();
        }
        let event = if present { LinkEvent::Up } else { LinkEvent::CarrierLost };
        self.nodes[0].link_event(self.now, link, event);
    }

    /// The NAT of a link forgets its binding: what goes up has a new source port, what comes down
    /// to the old one is lost.
    pub fn rebind(&mut self, link: usize) {
        self.wans[link].nat_port += 1;
    }

    /// The NAT of a link has another address, and another port with it.
    pub fn renumber(&mut self, link: usize) {
        self.wans[link].nat_port += ELSEWHERE - NAT_PORTS;
    }

    /// Changes what a link is like, in both directions.
    pub fn change_link(&mut self, link: usize, change: impl Fn(&mut Spec)) {
        self.wans[link].directions.iter_mut().for_each(|d| change(&mut d.spec));
    }

    /// An end is killed and starts again.
    pub fn restart(&mut self, side: Side) {
        self.starts[side as usize] += 1;
        self.nodes[side as usize] = (self.factory)(side, self.starts[side as usize], self.now);
        if side == Side::Client {
            for link in 0..self.wans.len() {
                if self.wans[link].carrier {
                    self.nodes[0].link_event(self.now, link, LinkEvent::Up);
                }
            }
        }
    }

    /// An end and its host get no processor time from now on: what arrives waits, up to `buffer` bytes,
    /// the rest is dropped.
    pub fn stop(&mut self, side: Side, buffer: usize) {
        self.stopped[side as usize] = Some(Waiting { room: buffer, ..Waiting::default() });
    }

    /// An end that was stopped goes on, with all that waits for it at once.
    pub fn go_on(&mut self, side: Side) {
        let Some(waiting) = self.stopped[side as usize].take() else { return };
        for (link, datagram) in waiting.datagrams {
            self.oracle.datagram(side);
            self.nodes[side as usize].receive(self.now, link, &datagram);
            self.settle(side);
        }
        self.settle(side);
    }

    /// When the host of a side wants to be asked.
    fn host_timeout(&self, side: Side) -> Time {
        match self.stopped[side as usize] {
            Some(_) => Time::FAR,
            None => self.hosts[side as usize].poll_timeout(),
        }
    }

    /// Makes a change later.
    pub fn at(&mut self, at: Time, change: Change) {
        self.queue(at, Event::Change(change));
    }

    fn queue(&mut self, at: Time, event: Event) {
        self.made += 1;
        self.events.push(Reverse(Queued { at, number: self.made, event }));
    }

    /// Lets the world go on until `end`.
    pub fn run_until(&mut self, end: Time) {
        SIDES.iter().for_each(|&side| self.settle(side));
        loop {
            let event = self.events.peek().map_or(Time::FAR, |Reverse(e)| e.at);
            let hosts = self.host_timeout(Side::Client).min(self.host_timeout(Side::Server));
            let outside = self.outside.poll_timeout();
            let next = event.min(hosts).min(outside).min(self.wakes[0]).min(self.wakes[1]);
            self.record(next.min(end));
            if next > end {
                break;
            }
            self.oracle.advanced(self.now, next);
            self.now = next;
            if event == next {
                self.step();
            }
            if outside <= next {
                self.drain_outside();
            }
            for side in SIDES {
                if self.wakes[side as usize] <= next || self.host_timeout(side) <= next {
                    self.settle(side);
                }
            }
        }
        self.now = end;
    }

    /// Nothing changes until `next`: that is how things are at the times between.
    fn record(&mut self, next: Time) {
        while self.history.due() <= next {
            let at = self.history.due();
            let ends = SIDES.map(|side| self.nodes[side as usize].snapshot(at));
            self.history.add(ends, &self.wans);
        }
    }

    fn step(&mut self) {
        let Some(Reverse(Queued { event, .. })) = self.events.pop() else { return };
        match event {
            Event::Serialised { link, direction } => {
                let (arriving, next) = self.wans[link].directions[direction].done(self.now);
                for (at, datagram) in arriving.into_iter().flatten() {
                    self.queue(at, Event::Arrives { link, direction, datagram });
                }
                if let Some(at) = next {
                    self.queue(at, Event::Serialised { link, direction });
                }
            }
            Event::Arrives { link, direction, datagram } => {
                let port = self.wans[link].nat_port;
                // Port zero: no NAT between (ends without a tunnel).
                if direction == 1 && datagram.port != 0 && datagram.port != port {
                    return;
                }
                let side = SIDES[1 - direction];
                if datagram.outside {
                    self.outside.receive(self.now, link, side, &datagram.bytes);
                    self.drain_outside();
                    return;
                }
                if let Some(waiting) = &mut self.stopped[side as usize] {
                    if let Some(room) = waiting.room.checked_sub(datagram.ip_len) {
                        waiting.room = room;
                        waiting.datagrams.push((link, datagram));
                    }
                    return;
                }
                self.oracle.datagram(side);
                self.nodes[side as usize].receive(self.now, link, &datagram);
                self.settle(side);
            }
            Event::Change(change) => {
                change(self);
                SIDES.iter().for_each(|&side| self.settle(side));
            }
        }
    }

    /// Runs one side until it has nothing more to do at this time.
    fn settle(&mut self, side: Side) {
        let i = side as usize;
        let now = self.now;
        if self.stopped[i].is_some() {
            self.wakes[i] = Time::FAR;
            return;
        }
        if self.wakes[i] <= now {
            self.oracle.woken(now, side);
            self.nodes[i].timeout(now);
        }
        self.drain(side);
        // What has just happened may be due to be looked at at once, but not for ever.
        for _ in 0..AT_ONCE_MAX {
            if self.nodes[i].poll_timeout() > now {
                break;
            }
            self.oracle.woken(now, side);
            self.nodes[i].timeout(now);
            self.drain(side);
        }
        let wakes = self.nodes[i].poll_timeout();
        self.oracle.drained(now, side, wakes, &self.nodes[i].memory(now));
        let late = self.timers.below(self.slack_us + 1);
        self.wakes[i] = if wakes == Time::FAR { wakes } else { wakes.max(now + 1) + late };
    }

    /// Moves packets until there are none.
    fn drain(&mut self, side: Side) {
        let (i, now) = (side as usize, self.now);
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "{side:?} never has enough at {now:?}");
            let mut idle = true;
            while let Some(packet) = self.nodes[i].poll_deliver() {
                self.oracle.delivered(now, side, &packet);
                self.hosts[i].receive(now, &packet);
                idle = false;
            }
            let mtu = self.nodes[i].mtu();
            while let Some(packet) = self.hosts[i].poll(now, mtu) {
                self.oracle.sent(side, &packet);
                self.nodes[i].push(now, &packet);
                idle = false;
            }
            while let Some(outgoing) = self.nodes[i].poll_transmit(now) {
                self.transmit(side, outgoing.link, outgoing.datagram);
                idle = false;
            }
            if idle {
                break;
            }
        }
    }

    /// What hosts beside the tunnel have to send goes over their links as it is.
    fn drain_outside(&mut self) {
        while let Some((link, side, datagram)) = self.outside.poll(self.now) {
            self.offer(side, link, datagram);
        }
    }

    fn transmit(&mut self, side: Side, link: usize, mut datagram: Datagram) {
        self.oracle.datagram(side);
        let wan = &mut self.wans[link];
        if side == Side::Client {
            datagram.port = wan.nat_port;
            if !wan.carrier {
                self.oracle.sent_on_dead_link(self.now, side, link);
            }
        }
        self.offer(side, link, datagram);
    }

    fn offer(&mut self, side: Side, link: usize, datagram: Datagram) {
        let direction = side as usize;
        if let Some(at) = self.wans[link].directions[direction].offer(self.now, datagram) {
            self.queue(at, Event::Serialised { link, direction });
        }
    }
}
