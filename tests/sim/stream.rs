//! Streams that do not adapt: pings, voice, and datagrams at a constant rate.

use crate::host::App;
use crate::packet::{self, ICMP, IP_HEADER, Side, UDP_HEADER};
use crate::report::{Record, Sample};
use onebox::time::Time;
use onebox::wire::ip::UDP;
use std::collections::VecDeque;

/// Packets are as long as the tunnel's MTU says.
pub const FULL: usize = 0;

/// What a stream is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Time between packets, microseconds.
    pub interval_us: u64,
    /// Length of the IP packets; [`FULL`]: the tunnel's MTU at the time.
    pub len: usize,
    /// Whether it is an ICMP echo, answered by the other end.
    pub echo: bool,
    /// The service's port at the server.
    pub service: u16,
    /// How many packets.
    pub count: usize,
}

/// Sends a stream and, of a ping, measures what comes back.
#[derive(Debug)]
pub struct Source {
    side: Side,
    port: u16,
    shape: Shape,
    mtu: u16,
    next_at: Time,
    record: Record,
}

/// Receives a stream and measures its delays (the world has one clock), or answers a ping.
#[derive(Debug)]
pub struct Sink {
    side: Side,
    port: u16,
    shape: Shape,
    answers: VecDeque<Vec<u8>>,
    highest: u64,
    record: Record,
}

fn build(side: Side, port: u16, shape: &Shape, number: u64, sent: Time, answer: bool) -> Vec<u8> {
    let protocol = if shape.echo { ICMP } else { UDP };
    let mut p = packet::ipv4(side, protocol, number as u16, shape.len);
    if shape.echo {
        p[20] = if answer { 0 } else { 8 };
        p[24..26].copy_from_slice(&port.to_be_bytes());
        p[26..28].copy_from_slice(&(number as u16).to_be_bytes());
    } else {
        packet::set_ports(&mut p, side, port, shape.service);
        p[24..26].copy_from_slice(&((shape.len - IP_HEADER) as u16).to_be_bytes());
    }
    let payload = &mut p[IP_HEADER + UDP_HEADER..];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload[8..16].copy_from_slice(&sent.0.to_le_bytes());
    packet::fill(&mut payload[16..], number);
    p
}

fn read(packet: &[u8]) -> Option<(u64, Time)> {
    let payload = packet.get(IP_HEADER + UDP_HEADER..)?;
    let word = |at: usize| payload.get(at..at + 8)?.first_chunk().map(|b| u64::from_le_bytes(*b));
    Some((word(0)?, Time(word(8)?)))
}

impl Source {
    /// The sending end.
    pub fn new(side: Side, port: u16, shape: Shape) -> Source {
        Source { side, port, shape, mtu: 0, next_at: Time::ZERO, record: Record::default() }
    }
}

impl App for Source {
    fn start(&mut self, now: Time, _mtu: u16) {
        self.next_at = now;
    }

    fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu;
    }

    fn receive(&mut self, now: Time, packet: &[u8]) {
        let Some((number, sent)) = read(packet) else { return };
        if let Some(sample) = self.record.samples.get_mut(number as usize) {
            sample.delay_us.get_or_insert(now.since(sent));
        }
    }

    fn poll(&mut self, now: Time) -> Option<Vec<u8>> {
        if now < self.next_at {
            return None;
        }
        let number = self.record.samples.len() as u64;
        let done = number + 1 >= self.shape.count as u64;
        self.next_at = if done { Time::FAR } else { self.next_at + self.shape.interval_us };
        self.record.samples.push(Sample { sent: now, delay_us: None });
        let len = if self.shape.len == FULL { self.mtu.into() } else { self.shape.len };
        Some(build(self.side, self.port, &Shape { len, ..self.shape }, number, now, false))
    }

    fn poll_timeout(&self) -> Time {
        self.next_at
    }

    fn record(&self) -> &Record {
        &self.record
    }
}

impl Sink {
    /// The receiving end.
    pub fn new(side: Side, port: u16, shape: Shape) -> Sink {
        let answers = VecDeque::new();
        Sink { side, port, shape, answers, highest: 0, record: Record::default() }
    }
}

impl App for Sink {
    fn start(&mut self, _now: Time, _mtu: u16) {}

    fn receive(&mut self, now: Time, packet: &[u8]) {
        let Some((number, sent)) = read(packet) else { return };
        if self.shape.echo {
            let answer = build(self.side, self.port, &self.shape, number, sent, true);
            self.answers.push_back(answer);
            return;
        }
        self.record.reordered += u64::from(number < self.highest);
        self.highest = self.highest.max(number);
        self.record.received(now, packet.len() as u64);
        let samples = &mut self.record.samples;
        for missing in samples.len() as u64..=number {
            let behind = (number - missing) * self.shape.interval_us;
            samples.push(Sample { sent: sent - behind, delay_us: None });
        }
        samples[number as usize].delay_us.get_or_insert(now.since(sent));
    }

    fn poll(&mut self, _now: Time) -> Option<Vec<u8>> {
        self.answers.pop_front()
    }

    fn poll_timeout(&self) -> Time {
        Time::FAR
    }

    fn record(&self) -> &Record {
        &self.record
    }
}
