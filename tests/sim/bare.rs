//! An end of the tunnel without cryptography: an [`Engine`] alone.
//!
//! Why: the engine is where speed and order are decided, and a run without sealing is several
//! times faster and sees its payloads.
//!
//! How: a datagram is the engine's payload, and its number travels beside it; header, tag, UDP
//! and IPv4 header are counted, not written. The server opens a path when something comes on it,
//! keeps the address that was validated, and answers probes to the newest one seen, as the
//! endpoint does.
//!
//! Limits: no handshake, so that both ends have to restart together; a datagram of another
//! session or with a flipped bit is dropped, as it would not authenticate.

use crate::link::Datagram;
use crate::node::{LinkEvent, Node, Outgoing};
use crate::packet::Side;
use onebox::buffer::Pool;
use onebox::engine::{
    Engine, Event, HOLD_MAX_US, Memory, Mode, PathSettings, Reason, Settings, Snapshot,
    SpeedTestPlan, Target,
};
use onebox::time::{MS, SEC, Time};
use onebox::wire::{OVERHEAD, PATHS_MAX, PathId, ip};
use std::collections::VecDeque;

/// How a path is opened.
pub fn path_settings() -> PathSettings {
    PathSettings {
        mode: Mode::Active,
        metered: false,
        send_rate_max: None,
        receive_rate_max: None,
        link_mtu: 1500,
        ip_overhead: 28,
    }
}

/// An engine between a host and links.
#[derive(Debug)]
pub struct Bare {
    side: Side,
    session: u32,
    engine: Engine,
    /// How paths are opened.
    path: PathSettings,
    pool: Pool,
    /// The client's port on each path: as validated, and as last seen.
    ports: [(u16, u16); PATHS_MAX],
    out: VecDeque<Outgoing>,
    scratch: Vec<u8>,
}

impl Bare {
    /// An end that has been started `session` times before.
    pub fn new(
        side: Side,
        session: u32,
        seed: u64,
        memory: usize,
        fec: bool,
        path: PathSettings,
    ) -> Bare {
        let settings = Settings {
            seed: seed ^ (side as u64 + 1) ^ u64::from(session) << 8,
            hold_max_us: HOLD_MAX_US,
            memory,
            probe_interval_us: 15 * SEC,
            side: match side {
                Side::Client => onebox::engine::Side::Opening,
                Side::Server => onebox::engine::Side::Answering,
            },
            fec,
        };
        Bare {
            side,
            session,
            engine: Engine::new(settings, Time::ZERO),
            path,
            pool: Pool::new(1024),
            ports: [(0, 0); PATHS_MAX],
            out: VecDeque::new(),
            scratch: vec![0; 2048],
        }
    }

    fn send(&mut self, link: usize, port: u16, number: u64, len: usize) {
        let bytes = self.scratch[..len].to_vec();
        let ip_len = len + OVERHEAD + usize::from(self.path.ip_overhead);
        let session = self.session;
        let datagram =
            Datagram { bytes, number, ip_len, port, session, corrupted: false, outside: false };
        self.out.push_back(Outgoing { link, datagram });
    }

    fn read_events(&mut self, came_from: Option<u16>) {
        while let Some(event) = self.engine.poll_event() {
            assert!(event != Event::PeerLied, "{:?} takes the other for a liar", self.side);
            if let (Event::Answered(id, _), Some(port)) = (event, came_from) {
                self.ports[id.index()].0 = port;
            }
        }
    }
}

impl Node for Bare {
    fn push(&mut self, now: Time, packet: &[u8]) {
        if let Some(view) = ip::Packet::parse(packet) {
            let buf = self.pool.copy(packet);
            self.engine.push_packet(now, &mut self.pool, buf, &view);
        }
    }

    fn receive(&mut self, now: Time, link: usize, datagram: &Datagram) {
        if datagram.corrupted || datagram.session != self.session {
            return;
        }
        let id = PathId(link as u8);
        if self.side == Side::Server && !self.engine.has_path(id) {
            self.engine.open_path(now, id, self.path);
        }
        let moved = self.side == Side::Server && self.ports[link].1 != datagram.port;
        self.ports[link].1 = datagram.port;
        if moved && self.ports[link].0 != 0 {
            self.engine.revalidate(now, id);
        }
        let pool = &mut self.pool;
        let number = datagram.number;
        let result =
            self.engine.handle_payload(now, pool, id, number, &datagram.bytes, datagram.ip_len);
        assert!(result.is_ok(), "{:?} finds the peer's payload malformed", self.side);
        self.read_events(Some(datagram.port));
    }

    fn link_event(&mut self, now: Time, link: usize, event: LinkEvent) {
        let id = PathId(link as u8);
        match event {
            LinkEvent::Up if self.engine.has_path(id) => self.engine.revalidate(now, id),
            LinkEvent::Up => self.engine.open_path(now, id, self.path),
            LinkEvent::CarrierLost => self.engine.path_lost(now, id, Reason::LinkDown),
            LinkEvent::Remove => self.engine.close_path(now, id),
            LinkEvent::Backup => self.engine.set_mode(now, id, Mode::Backup),
            LinkEvent::Active => self.engine.set_mode(now, id, Mode::Active),
            LinkEvent::Metered => {
                self.engine.open_path(now, id, PathSettings { metered: true, ..self.path });
            }
        }
    }

    fn timeout(&mut self, now: Time) {
        self.engine.handle_timeout(now, &mut self.pool);
    }

    fn poll_transmit(&mut self, now: Time) -> Option<Outgoing> {
        if self.out.is_empty() {
            let transmit = self.engine.poll_transmit(now, &mut self.pool, &mut self.scratch)?;
            let link = transmit.path.index();
            let number = transmit.number.value();
            let (valid, seen) = self.ports[link];
            let current = if valid == 0 { seen } else { valid };
            self.send(link, current, number, transmit.len);
            if let Target::Proof { challenge: Some(_), .. } = transmit.target
                && self.side == Side::Server
                && seen != current
                && let Some(further) =
                    self.engine.challenge(now, transmit.path, 0, &mut self.scratch)
            {
                self.send(link, seen, further.number.value(), further.len);
            }
        }
        self.read_events(None);
        self.out.pop_front()
    }

    fn poll_deliver(&mut self) -> Option<Vec<u8>> {
        let buf = self.engine.poll_deliver()?;
        let packet = buf.bytes().to_vec();
        self.pool.give(buf);
        Some(packet)
    }

    fn poll_timeout(&mut self) -> Time {
        self.engine.poll_timeout()
    }

    fn speed_test(&mut self, now: Time, plan: SpeedTestPlan) {
        self.engine.start_speed_test(now, plan);
    }

    fn mtu(&self) -> u16 {
        self.engine.mtu()
    }

    fn memory(&self, _now: Time) -> Memory {
        self.engine.memory()
    }

    fn snapshot(&self, now: Time) -> Option<Snapshot> {
        Some(self.engine.snapshot(now))
    }

    fn describe(&self, now: Time) -> String {
        describe(&self.engine.snapshot(now))
    }
}

/// What an engine believes, in a line.
pub fn describe(s: &Snapshot) -> String {
    let mut text = format!(
        "hold {} ms, resent {}, rebuilt {}, late {}, aqm {}, full {}, too long {};",
        s.hold_us / MS,
        s.retransmitted,
        s.repaired,
        s.released_late,
        s.dropped_aqm,
        s.dropped_full,
        s.too_long
    );
    for p in &s.paths {
        text += &format!(
            " [{} {:?}/{:?} rtt {} min {} ms, loss {:.1} %, {:.1} of {:.1} Mbit/s{}]",
            p.id.0,
            p.state,
            p.reason,
            p.rtt_us / MS,
            p.rtt_min_us / MS,
            p.tx_loss_ppm as f64 / 1e4,
            p.tx_rate as f64 / 125e3,
            p.bandwidth as f64 / 125e3,
            if p.protected { ", protected" } else { "" },
        );
    }
    text
}
