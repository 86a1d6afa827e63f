//! When the engine wants to be called, and what it does then.

use super::transmit::REPORT_US;
use super::{Engine, PathId};
use crate::buffer::Pool;
use crate::time::Time;
use crate::wire::PATHS_MAX;

impl Engine {
    /// When [`handle_timeout`](Engine::handle_timeout) and then
    /// [`poll_transmit`](Engine::poll_transmit) should be called if nothing happens before;
    /// [`Time::FAR`] for never. Valid after `poll_transmit` has returned `None`.
    pub fn poll_timeout(&self) -> Time {
        let now = self.drained_at;
        let busy = self.is_busy(now);
        let mut due = self.resequencer.due();
        if busy && self.paths().any(|p| p.health.is_usable()) {
            due = due.min(self.last_report + REPORT_US);
        }
        let sending = self.wants_to_send();
        for path in self.paths() {
            due = due
                .min(path.health.probe_due())
                .min(path.received.due())
                .min(path.sent.loss_time())
                .min(path.silence_due(self.last_reported))
                .min(path.probe_timeout())
                .min(path.ping_due(busy, self.settings.probe_interval_us));
            if path.health.is_usable() {
                due = due.min(path.mtu.due()).min(path.repair_due());
                // A path whose turn has come and that took nothing waits for something else.
                if sending && path.room() > 0 && path.pacer.next() > now {
                    due = due.min(path.pacer.next());
                }
            }
        }
        due
    }

    /// Does what is due: gives up gaps, finds losses, suspects silent paths.
    pub fn handle_timeout(&mut self, now: Time, _pool: &mut Pool) {
        self.resequencer.handle_timeout(now);
        for index in 0..PATHS_MAX {
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
