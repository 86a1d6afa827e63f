//! When the engine wants to be called, and what it does then.

use super::path::Path;
use super::transmit::REPORT_US;
use super::{Engine, PathId};
use crate::buffer::Pool;
use crate::time::{SEC, Time};

/// Time without inner packets after which memory is given back, microseconds.
const SHRINK_AFTER_US: u64 = 10 * SEC;
/// The same for the flows of a connection that is always in use, microseconds.
const SHRINK_FLOWS_US: u64 = 60 * SEC;

/// What a connection waits for as a whole.
#[derive(Clone, Copy, Debug)]
enum ConnTimer {
    /// A packet has waited for its predecessors for the whole hold: their gap is given up.
    Hold,
    /// While the connection is in use, the peer hears of our measurements and of the hold.
    Report,
    /// The filling of paths ends.
    Load,
    /// A speed test wants to be looked at.
    SpeedTest,
}

/// What each path waits for.
#[derive(Clone, Copy, Debug)]
enum PathTimer {
    /// A challenge goes out, to prove an address or to bring the path back.
    Challenge,
    /// What has arrived is acknowledged (RFC 9000 §13.2).
    Ack,
    /// A datagram is lost by the time threshold (RFC 9002 §6.1.2).
    Loss,
    /// Nothing has been acknowledged for so long that the path becomes suspect.
    Silence,
    /// The oldest unacknowledged packets are repeated (probe timeout, RFC 9002 §6.2).
    TailProbe,
    /// A ping keeps the NAT binding, or the round trip known.
    Ping,
    /// A larger datagram is tried (RFC 8899).
    MtuProbe,
    /// The parity of a group goes out.
    Parity,
    /// The pacer lets the next datagram go, while some wait.
    Pacing,
}

impl ConnTimer {
    const ALL: [ConnTimer; 4] =
        [ConnTimer::Hold, ConnTimer::Report, ConnTimer::Load, ConnTimer::SpeedTest];
}

impl PathTimer {
    const ALL: [PathTimer; 9] = [
        PathTimer::Challenge,
        PathTimer::Ack,
        PathTimer::Loss,
        PathTimer::Silence,
        PathTimer::TailProbe,
        PathTimer::Ping,
        PathTimer::MtuProbe,
        PathTimer::Parity,
        PathTimer::Pacing,
    ];
}

/// What timers depend on beside their own subject, computed once for all of them.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Time,
    /// Whether the connection is in use.
    busy: bool,
    /// Whether packets wait to be sent.
    sending: bool,
}

impl Engine {
    /// When [`handle_timeout`](Engine::handle_timeout) and then
    /// [`poll_transmit`](Engine::poll_transmit) should be called if nothing happens before;
    /// [`Time::FAR`] for never. Valid after `poll_transmit` has returned `None`.
    pub fn poll_timeout(&self) -> Time {
        let now = self.drained_at;
        let at = Moment { now, busy: self.is_busy(now), sending: self.wants_to_send() };
        let mut due = Time::FAR;
        for timer in ConnTimer::ALL {
            due = due.min(self.due(timer, at));
        }
        for path in self.paths() {
            for timer in PathTimer::ALL {
                due = due.min(self.path_due(path, timer, at));
            }
        }
        due
    }

    /// When a timer of the connection expires; [`Time::FAR`] when it does not run.
    fn due(&self, timer: ConnTimer, at: Moment) -> Time {
        match timer {
            ConnTimer::Hold => self.resequencer.due(),
            ConnTimer::Report if at.busy && self.paths().any(|p| p.health.is_usable()) => {
                self.last_report + REPORT_US
            }
            ConnTimer::Report => Time::FAR,
            ConnTimer::Load => self.load_due(),
            ConnTimer::SpeedTest => self.speed_test_due(),
        }
    }

    /// When a timer of a path expires; [`Time::FAR`] when it does not run.
    fn path_due(&self, path: &Path, timer: PathTimer, at: Moment) -> Time {
        match timer {
            PathTimer::Challenge => path.health.probe_due(),
            PathTimer::Ack => path.received.due(),
            PathTimer::Loss => path.sent.loss_time(),
            PathTimer::Silence => path.silence_due(self.last_reported),
            PathTimer::TailProbe => path.probe_timeout(),
            PathTimer::Ping => path.ping_due(at.busy, self.settings.probe_interval_us),
            // All below are of a path in use only.
            _ if !path.health.is_usable() => Time::FAR,
            PathTimer::MtuProbe if !path.probes_mtu() => Time::FAR,
            PathTimer::MtuProbe => path.mtu.due(),
            PathTimer::Parity => path.repair_due(),
            // A path whose turn has come and that took nothing waits for something else.
            PathTimer::Pacing
                if (at.sending || path.loaded) && path.room() > 0 && path.pacer.next() > at.now =>
            {
                path.pacer.next()
            }
            PathTimer::Pacing => Time::FAR,
        }
    }

    /// Gives back what queues and logs have grown by, once after each time of use.
    fn shrink(&mut self, now: Time) {
        self.shrunk_for = self.last_used;
        self.shrink_flows(now);
        self.unacked.shrink();
        for path in self.paths.iter_mut().flatten() {
            path.sent.shrink();
            path.rate.shrink();
        }
    }

    /// The same of the flows alone: each keeps what its longest burst took.
    fn shrink_flows(&mut self, now: Time) {
        self.shrunk_at = now;
        self.queue.shrink();
        self.resequencer.shrink();
    }

    /// Does what is due: gives up gaps, finds losses, suspects silent paths.
    pub fn handle_timeout(&mut self, now: Time, _pool: &mut Pool) {
        self.resequencer.handle_timeout(now);
        self.drive_speed_test(now);
        if self.last_used != self.shrunk_for && !self.is_used_within(now, SHRINK_AFTER_US) {
            self.shrink(now);
        } else if now.since(self.shrunk_at) >= SHRINK_FLOWS_US {
            self.shrink_flows(now);
        }
        for index in 0..self.paths.len() {
            let id = PathId(index as u8);
            let Engine { paths, unacked, last_reported, .. } = self;
            let Some(path) = paths[index].as_deref_mut() else { continue };
            if path.sent.loss_time() <= now {
                path.detect_lost(now, |sent| unacked.on_lost(sent));
            }
            if path.probe_timeout() <= now {
                path.sent.oldest_content(2, |sent| unacked.hurry(sent));
                path.on_probe_timeout();
                path.ping_now = true;
            }
            if let Some(silence) = path.silence(now, *last_reported) {
                self.change(now, id, |path| path.health.on_silence(now, silence));
            }
        }
    }
}
