//! Two engines back to back over two ideal links, in virtual time; only the engines' time counts.
//!
//! Why: what a packet costs in the engine decides whether a router keeps up, and it drowns in
//! sealing and system calls when it is measured with them.
//!
//! How: bulk flows go from end 0 to end 1, each with a window as TCP has it, and every second
//! packet is answered by an inner acknowledgement. The links have a rate, a delay and no limit of
//! their queue. Virtual time goes on in steps of [`STEP_US`], as a shell that reads sockets in
//! batches; in a step, what an end has to take in and the buffers that it will fill are laid out
//! first, then the clock runs while the engine works through them all, then what it gave is put
//! on the links. Reading the clock itself is measured once and taken off.
//!
//! Limits: caches are as warm as they are with nothing else on the processor; no loss.

use onebox::buffer::{Buf, Pool};
use onebox::engine::{Engine, Mode, PathSettings, Settings, Side, Transmit};
use onebox::time::{MS, SEC, Time};
use onebox::wire::{OVERHEAD, PathId, ip};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::allocator;

/// Least distance of two steps, microseconds.
const STEP_US: u64 = 250;
/// Datagrams that an end may send in one step at most; the rest goes in the next.
const BURST: usize = 256;
/// Length of an inner packet and of an inner acknowledgement, bytes.
const PACKET: usize = 1400;
const ACKNOWLEDGEMENT: usize = 52;
/// Packets that one inner acknowledgement answers.
const ACK_EVERY: u32 = 2;
/// Bits of a packet, as a user counts them.
pub const PACKET_BITS: f64 = PACKET as f64 * 8.0;
/// Bytes of the outer IPv4 and UDP header.
const IP_OVERHEAD: u16 = 28;
/// Ethernet header, preamble, frame check sequence and gap, bytes.
const FRAMING: usize = 38;
/// One-way delay of both links, microseconds.
const DELAY_US: u64 = 10 * MS;
/// Windows of all flows together, of what fits into the links: enough to fill them, with a queue
/// that AQM leaves alone.
const WINDOW_PERCENT: u64 = 130;
/// Bytes of packets that an engine may keep.
const MEMORY: usize = 32 << 20;

/// What is driven.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Bulk flows.
    pub flows: u16,
    /// Rate of each of the two links, Mbit/s.
    pub link_mbit: u64,
}

/// What the engines have cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time in each end's engine: the sender's, the receiver's.
    pub time: [Duration; 2],
    /// Allocations in them.
    pub allocations: [u64; 2],
    /// Bulk packets delivered.
    pub packets: u64,
}

impl Cost {
    /// Nanoseconds per packet at an end.
    pub fn ns(&self, end: usize) -> f64 {
        self.time[end].as_nanos() as f64 / self.packets.max(1) as f64
    }

    /// Allocations per packet at an end.
    pub fn allocations_per_packet(&self, end: usize) -> f64 {
        self.allocations[end] as f64 / self.packets.max(1) as f64
    }
}

/// Memory of one datagram, in a place of its own: it moves between queues.
type Memory = Box<[u8; 2048]>;

struct Datagram {
    arrives: Time,
    path: PathId,
    number: u64,
    len: usize,
    bytes: Memory,
}

/// One direction of a link.
#[derive(Default)]
struct Line {
    free_ns: u64,
    under_way: VecDeque<Datagram>,
}

struct End {
    engine: Engine,
    pool: Pool,
    wakes: Time,
    lines: [Line; 2],
    inbox: Vec<Datagram>,
    pushes: Vec<Buf>,
    delivered: Vec<Buf>,
    /// What was sent in a step, and memory for what will be.
    sent: Vec<(Transmit, Memory)>,
    spare: Vec<Memory>,
    /// Per flow: packets sent, and the highest number that is known to have arrived; at the
    /// receiver, what has arrived and what was acknowledged of it.
    flows: Vec<(u32, u32)>,
    /// Bytes that the engine has allocated and not given back.
    heap: i64,
}

/// Both ends and the links between them.
pub struct Drive {
    now: Time,
    link_mbit: u64,
    window: u32,
    ends: [End; 2],
    /// Memory of datagrams that have been read.
    spare: Vec<Memory>,
    cost: Cost,
    clock_cost: Duration,
    trace: bool,
}

impl Drive {
    /// Ends that have just opened their paths.
    pub fn new(setup: Setup) -> Drive {
        let round_trip_bytes = setup.link_mbit * 2 / 8 * 2 * DELAY_US;
        let window = round_trip_bytes * WINDOW_PERCENT / 100 / PACKET as u64;
        let sides = [Side::Opening, Side::Answering];
        let mut ends = sides.map(|side| End::new(side, setup.flows));
        for path in 0..2 {
            ends[0].open_path(Time::ZERO, PathId(path));
        }
        Drive {
            now: Time::ZERO,
            link_mbit: setup.link_mbit,
            window: (window / u64::from(setup.flows.max(1))).max(4) as u32,
            ends,
            spare: Vec::new(),
            cost: Cost::default(),
            clock_cost: clock_cost(),
            trace: false,
        }
    }

    /// Let virtual time go on, and give what the engines cost in it.
    pub fn run(&mut self, us: u64) -> Cost {
        self.cost = Cost::default();
        let end = self.now + us;
        while self.now < end {
            for side in 0..2 {
                self.step(side);
            }
            let due = self.ends.iter().map(End::due).min().unwrap_or(Time::FAR);
            self.now = due.max(self.now + STEP_US).min(end);
        }
        self.cost
    }

    /// The same, remembering from where the engines allocate.
    pub fn trace(&mut self, us: u64) {
        self.trace = true;
        self.run(us);
        self.trace = false;
    }

    /// Packets that the sender's engine has sent again, and dropped.
    pub fn repairs(&self) -> (u64, u64) {
        let snapshot = self.ends[0].engine.snapshot(self.now);
        (snapshot.retransmitted, snapshot.dropped_aqm + snapshot.dropped_full)
    }

    /// Bytes on the heap that an end's engine has.
    pub fn heap(&self, side: usize) -> i64 {
        self.ends[side].heap
    }

    /// Lets both pools have buffers for all that will be on its way, so that none count as the heap
    /// of an engine.
    pub fn fill_pools(&mut self) {
        for pool in self.ends.iter_mut().map(|end| &mut end.pool) {
            (0..4096).for_each(|_| pool.give(Buf::new()));
        }
    }

    /// The hosts send nothing from now on.
    pub fn fall_silent(&mut self) {
        self.window = 0;
    }

    fn step(&mut self, side: usize) {
        let now = self.now;
        self.arrive(side);
        self.offer(side);
        let fresh = || Box::new([0; 2048]);
        let Drive { ends, spare, .. } = self;
        ends[side].spare.resize_with(BURST, || spare.pop().unwrap_or_else(fresh));
        let end = &mut self.ends[side];
        let (allocated, kept) = (allocator::calls(), allocator::live());
        let start = clock();
        if self.trace {
            allocator::traced(|| end.work(now));
        } else {
            end.work(now);
        }
        self.cost.time[side] += start.elapsed().saturating_sub(self.clock_cost);
        self.cost.allocations[side] += allocator::calls() - allocated;
        self.ends[side].heap += allocator::live() - kept;
        while self.ends[side].engine.poll_event().is_some() {}
        let read = self.ends[side].inbox.drain(..).map(|datagram| datagram.bytes);
        self.spare.extend(read);
        self.take_delivered(side);
        self.take_sent(side);
    }

    /// Lays out the datagrams that have arrived at an end.
    fn arrive(&mut self, side: usize) {
        let (now, other) = (self.now, 1 - side);
        let [a, b] = &mut self.ends;
        let (end, from) = if side == 0 { (a, b) } else { (b, a) };
        for line in &mut from.lines {
            while line.under_way.front().is_some_and(|d| d.arrives <= now) {
                end.inbox.extend(line.under_way.pop_front());
            }
        }
        end.inbox.sort_by_key(|datagram| datagram.arrives);
        for at in 0..end.inbox.len() {
            let path = end.inbox[at].path;
            if other == 0 && !end.engine.has_path(path) {
                end.open_path(now, path);
            }
        }
    }

    /// Lays out the inner packets that an end's hosts send now.
    fn offer(&mut self, side: usize) {
        let window = self.window;
        let End { flows, pool, pushes, .. } = &mut self.ends[side];
        for (flow, counts) in flows.iter_mut().enumerate() {
            if side == 0 {
                while counts.0.wrapping_sub(counts.1) < window && pushes.len() < 4 * BURST {
                    counts.0 = counts.0.wrapping_add(1);
                    pushes.push(inner(pool, side, flow as u16, counts.0, PACKET));
                }
            } else if counts.0.wrapping_sub(counts.1) >= ACK_EVERY {
                counts.1 = counts.0;
                pushes.push(inner(pool, side, flow as u16, counts.0, ACKNOWLEDGEMENT));
            }
        }
    }

    /// The hosts take what was delivered.
    fn take_delivered(&mut self, side: usize) {
        let End { delivered, flows, pool, .. } = &mut self.ends[side];
        for packet in delivered.drain(..) {
            let (flow, count) = read_inner(packet.bytes());
            let counts = &mut flows[usize::from(flow)];
            // At the sender the acknowledged number, at the receiver the arrived one.
            let mark = if side == 0 { &mut counts.1 } else { &mut counts.0 };
            *mark = (*mark).max(count);
            self.cost.packets += side as u64;
            pool.give(packet);
        }
    }

    /// The links take what was sent.
    fn take_sent(&mut self, side: usize) {
        let link_mbit = self.link_mbit;
        let now_ns = self.now.0 * 1000;
        let End { sent, lines, .. } = &mut self.ends[side];
        for (transmit, bytes) in sent.drain(..) {
            let line = &mut lines[transmit.path.index()];
            let size = transmit.len + OVERHEAD + usize::from(IP_OVERHEAD) + FRAMING;
            line.free_ns = line.free_ns.max(now_ns) + size as u64 * 8000 / link_mbit;
            line.under_way.push_back(Datagram {
                arrives: Time(line.free_ns / 1000 + DELAY_US),
                path: transmit.path,
                number: transmit.number.value(),
                len: transmit.len,
                bytes,
            });
        }
    }
}

impl End {
    fn new(side: Side, flows: u16) -> End {
        let settings = Settings {
            seed: 1 + u64::from(side.opens()),
            hold_max_us: 2 * SEC,
            memory: MEMORY,
            probe_interval_us: 15 * SEC,
            side,
            fec: true,
        };
        let kept = allocator::live();
        let engine = Engine::new(settings, Time::ZERO);
        End {
            heap: allocator::live() - kept,
            engine,
            pool: Pool::new(MEMORY / 2048),
            wakes: Time::ZERO,
            lines: Default::default(),
            inbox: Vec::with_capacity(8 * BURST),
            pushes: Vec::with_capacity(8 * BURST),
            delivered: Vec::with_capacity(1 << 16),
            sent: Vec::with_capacity(BURST),
            spare: Vec::with_capacity(BURST),
            flows: vec![(0, 0); usize::from(flows)],
        }
    }

    fn open_path(&mut self, now: Time, path: PathId) {
        let kept = allocator::live();
        self.engine.open_path(now, path, path_settings());
        self.heap += allocator::live() - kept;
    }

    /// Everything that the engine does in a step: this is what is measured.
    fn work(&mut self, now: Time) {
        let End { engine, pool, inbox, pushes, delivered, sent, spare, .. } = self;
        for datagram in inbox.iter() {
            let ip_len = datagram.len + OVERHEAD + usize::from(IP_OVERHEAD);
            let payload = &datagram.bytes[..datagram.len];
            let handled =
                engine.handle_payload(now, pool, datagram.path, datagram.number, payload, ip_len);
            assert!(handled.is_ok(), "the peer's payload is malformed");
        }
        while let Some(packet) = engine.poll_deliver() {
            delivered.push(packet);
        }
        for packet in pushes.drain(..) {
            if let Some(view) = ip::Packet::parse(packet.bytes()) {
                engine.push_packet(now, pool, packet, &view);
            }
        }
        if self.wakes <= now {
            engine.handle_timeout(now, pool);
        }
        while let Some(mut out) = spare.pop() {
            match engine.poll_transmit(now, pool, &mut out[..]) {
                Some(transmit) => sent.push((transmit, out)),
                None => {
                    spare.push(out);
                    break;
                }
            }
        }
        self.wakes = engine.poll_timeout();
    }

    /// When something happens at this end, or arrives from it.
    fn due(&self) -> Time {
        let arrivals = self.lines.iter().filter_map(|line| line.under_way.front());
        arrivals.map(|datagram| datagram.arrives).fold(self.wakes, Time::min)
    }
}

pub fn path_settings() -> PathSettings {
    PathSettings {
        mode: Mode::Active,
        metered: false,
        send_rate_max: None,
        receive_rate_max: None,
        link_mtu: 1500,
        ip_overhead: IP_OVERHEAD,
    }
}

/// A packet of TCP in IPv4 that tells its flow and a number.
fn inner(pool: &mut Pool, side: usize, flow: u16, number: u32, len: usize) -> Buf {
    let mut packet = pool.take();
    packet.set_len(len);
    let bytes = packet.bytes_mut();
    bytes[..40].fill(0);
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = 6;
    bytes[15] = 1 + side as u8;
    bytes[19] = 2 - side as u8;
    bytes[20..22].copy_from_slice(&flow.to_be_bytes());
    bytes[22..24].copy_from_slice(&443u16.to_be_bytes());
    bytes[24..28].copy_from_slice(&number.to_be_bytes());
    packet
}

fn read_inner(packet: &[u8]) -> (u16, u32) {
    let number = u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]);
    (u16::from_be_bytes([packet[20], packet[21]]), number)
}

#[allow(clippy::disallowed_methods, reason = "the cost of real work is measured in real time")]
fn clock() -> Instant {
    Instant::now()
}

/// What looking at the clock before and after costs.
fn clock_cost() -> Duration {
    const LOOKS: u32 = 10_000;
    (0..LOOKS).map(|_| clock().elapsed()).sum::<Duration>() / LOOKS
}
