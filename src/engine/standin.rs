//! Stand-in for the engine, to build and test `endpoint` with until the engine lands: one
//! datagram per packet on the first path that works, no repair, no rate. Not to be merged.

use std::collections::VecDeque;

use super::{Event, Mode, PathSettings, PathState, Settings, Target, Transmit};
use crate::buffer::{Buf, Pool};
use crate::crypto::packet::PacketNumbers;
use crate::time::{MS, Time};
use crate::wire::{Frame, Malformed, PATHS_MAX, PathId, Writer, frame::Frames, ip};

/// Why a path is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The link is down.
    LinkDown,
}

/// Nothing yet.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {}

#[derive(Debug)]
struct Path {
    settings: PathSettings,
    state: PathState,
    challenge: u64,
    challenge_at: Time,
    ping_at: Time,
    responses: Vec<u64>,
    pong: Option<u32>,
    open: bool,
    unanswered: Option<Time>,
}

/// The stand-in.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    seed: u64,
    numbers: Vec<PacketNumbers>,
    paths: [Option<Path>; PATHS_MAX],
    queue: VecDeque<Buf>,
    queued: usize,
    deliver: VecDeque<Buf>,
    events: VecDeque<Event>,
    silent: bool,
    close: bool,
    closed: bool,
    sequence: u32,
}

#[allow(missing_docs)]
impl Engine {
    pub fn new(settings: Settings, _now: Time) -> Engine {
        Engine {
            seed: settings.seed,
            settings,
            numbers: (0..PATHS_MAX as u8).map(PacketNumbers::new).collect(),
            paths: [const { None }; PATHS_MAX],
            queue: VecDeque::new(),
            queued: 0,
            deliver: VecDeque::new(),
            events: VecDeque::new(),
            silent: false,
            close: false,
            closed: false,
            sequence: 0,
        }
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5677);
        self.seed ^ self.seed >> 31
    }

    pub fn open_path(&mut self, now: Time, id: PathId, settings: PathSettings) {
        let challenge = self.random();
        self.paths[id.index()] = Some(Path {
            settings,
            state: PathState::Probing,
            challenge,
            challenge_at: now,
            ping_at: now,
            responses: Vec::new(),
            pong: None,
            open: true,
            unanswered: None,
        });
    }

    pub fn path_lost(&mut self, _now: Time, id: PathId, _reason: Reason) {
        if let Some(path) = &mut self.paths[id.index()] {
            path.state = PathState::Down;
            path.open = false;
            self.events.push_back(Event::PathChanged(id, PathState::Down));
        }
    }

    pub fn close_path(&mut self, _now: Time, id: PathId) {
        self.paths[id.index()] = None;
    }

    pub fn revalidate(&mut self, now: Time, id: PathId) {
        let challenge = self.random();
        if let Some(path) = &mut self.paths[id.index()] {
            path.challenge = challenge;
            path.challenge_at = now;
            path.open = true;
        }
    }

    pub fn set_mode(&mut self, _now: Time, id: PathId, mode: Mode) {
        if let Some(path) = &mut self.paths[id.index()] {
            path.settings.mode = mode;
        }
    }

    pub fn push_packet(&mut self, _now: Time, pool: &mut Pool, packet: Buf, _view: &ip::Packet) {
        self.queued += packet.len();
        self.queue.push_back(packet);
        while self.queued > self.settings.memory / 4 {
            let Some(old) = self.queue.pop_front() else { break };
            self.queued -= old.len();
            pool.give(old);
        }
    }

    pub fn handle_payload(
        &mut self,
        now: Time,
        pool: &mut Pool,
        id: PathId,
        _number: u64,
        payload: &[u8],
        _wire_len: usize,
    ) -> Result<(), Malformed> {
        let Some(path) = &mut self.paths[id.index()] else { return Ok(()) };
        path.unanswered = None;
        for frame in Frames::new(payload) {
            match frame? {
                Frame::Ping { sent } => path.pong = Some(sent),
                Frame::Challenge { data } => path.responses = vec![data],
                Frame::Response { data } if data == path.challenge => {
                    path.challenge_at = Time::FAR;
                    self.events.push_back(Event::Validated(id));
                    self.silent = false;
                    if path.state != PathState::Active {
                        path.state = PathState::Active;
                        path.ping_at = now + self.settings.probe_interval_us;
                        self.events.push_back(Event::PathChanged(id, PathState::Active));
                    }
                }
                Frame::Close { .. } => self.events.push_back(Event::PeerClosed),
                Frame::Packet { packet, .. } => self.deliver.push_back(pool.copy(packet)),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn handle_timeout(&mut self, now: Time, _pool: &mut Pool) {
        for (id, path) in self.paths.iter_mut().enumerate() {
            let Some(path) = path else { continue };
            if path.unanswered.is_some_and(|at| now.since(at) >= 700 * MS) {
                path.unanswered = None;
                if path.state == PathState::Active {
                    path.state = PathState::Suspect;
                    path.challenge_at = now;
                    let changed = Event::PathChanged(PathId(id as u8), PathState::Suspect);
                    self.events.push_back(changed);
                }
            }
        }
        let up = self.paths.iter().flatten().any(|p| p.state == PathState::Active);
        let any = self.paths.iter().flatten().any(|p| p.state == PathState::Suspect);
        if !up && any && !self.silent {
            self.silent = true;
            self.events.push_back(Event::PeerSilent);
        }
    }

    pub fn poll_transmit(
        &mut self,
        now: Time,
        pool: &mut Pool,
        out: &mut [u8],
    ) -> Option<Transmit> {
        if self.closed {
            return None;
        }
        let mut w = Writer::new(out);
        for id in 0..PATHS_MAX {
            let Some(path) = self.paths[id].as_mut().filter(|p| p.open) else { continue };
            let mut target = Target::Current;
            if let Some(data) = path.responses.pop() {
                Frame::Response { data }.write(&mut w);
                target = Target::Probe;
            } else if path.challenge_at <= now {
                Frame::Challenge { data: path.challenge }.write(&mut w);
                path.challenge_at = now + 200 * MS;
                target = Target::Probe;
            } else if let Some(echo) = path.pong.take() {
                Frame::Pong { echo }.write(&mut w);
            } else if path.state != PathState::Active {
                continue;
            } else if self.close {
                Frame::Close { reason: 0 }.write(&mut w);
                self.closed = true;
            } else if path.ping_at <= now {
                Frame::Ping { sent: now.0 as u32 }.write(&mut w);
                path.ping_at = now + self.settings.probe_interval_us;
                path.unanswered.get_or_insert(now);
            } else if let Some(packet) = self.queue.pop_front() {
                self.queued -= packet.len();
                self.sequence += 1;
                let sequence = self.sequence & 0xff_ffff;
                let frame =
                    Frame::Packet { flow: 0, sequence, ordered: false, packet: packet.bytes() };
                frame.write(&mut w);
                pool.give(packet);
            } else {
                continue;
            }
            let number = self.numbers[id].take()?;
            return Some(Transmit { path: PathId(id as u8), number, len: w.len(), target });
        }
        None
    }

    pub fn poll_deliver(&mut self) -> Option<Buf> {
        self.deliver.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Time {
        if self.closed {
            return Time::FAR;
        }
        let mut next = Time::FAR;
        for path in self.paths.iter().flatten().filter(|p| p.open) {
            next = next.min(path.challenge_at);
            if path.state == PathState::Active {
                next = next.min(path.ping_at);
            }
            if let Some(at) = path.unanswered {
                next = next.min(at + 700 * MS);
            }
        }
        next
    }

    pub fn close(&mut self, _reason: u8) {
        self.close = true;
    }

    pub fn snapshot(&self, _now: Time) -> Snapshot {
        Snapshot {}
    }
}
