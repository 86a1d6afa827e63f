//! The state of a path, and why it is in it. Transitions are possible in this file only.
//!
//! ```text
//!             validated                    silence
//!  Probing ------------> Active/Backup <------------> Suspect --(10 s)--> Down
//!     ^                      |            proofs         ^                 |
//!     |                      | link lost, switched off   |    proofs       |
//!     +---- link back -------+----------------------> Down <--------------+
//! ```
//!
//! A path in use that costs more than it gives is Held until it is worth it again (`exclusion.rs`). If
//! that is for its losses, answers to probes bring it back from silence to Held only.
//! A suspect or down path that still has an address goes on being probed, with backoff, and comes
//! back on proof: several answers in a row, more of them when it has been flapping.

use crate::engine::settings::Mode;
use crate::time::{MS, SEC, Time};
use core::fmt;

/// First and longest distance of the probes of a path that does not answer.
const PROBE_FIRST_US: u64 = 50 * MS;
const PROBE_LAST_US: u64 = SEC;
/// A suspect path that stays silent is called down after this.
const DOWN_AFTER_US: u64 = 10 * SEC;
/// Answers in a row that bring a path back, and the most that flapping can ask for.
const PROOFS: u32 = 2;
const PROOFS_MAX: u32 = 8;
/// Challenges sent to prove a new address of a path in use.
const PROVE_TRIES: u8 = 10;
/// A path that has held for this long has stopped flapping.
const STEADY_US: u64 = 30 * SEC;

/// The states of a path, as the status shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum PathState {
    /// Its address is being proved, or it is coming back.
    Probing,
    /// In use.
    Active,
    /// Ready, not needed now.
    Backup,
    /// Data went unanswered: nothing new is sent on it, it is being probed.
    Suspect,
    /// It would cost the bond more than it gives.
    Held,
    /// Gone, or switched off.
    Down,
}

/// Why a path is in its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its address is being proved.
    Opening,
    /// It carries traffic.
    InUse,
    /// Configured as a backup.
    BackupConfigured,
    /// Nothing was acknowledged for so many milliseconds.
    Silent(u64),
    /// So many percent of what was sent were lost.
    Lossy(u64),
    /// Its packets arrive so many milliseconds later than those of the other paths, and its rate
    /// is not worth the wait.
    Late(u64),
    /// It takes inner packets of so many bytes at most, fewer than the tunnel's least MTU.
    TooNarrow(u64),
    /// It answers again, and has to do so a few times more.
    Returning,
    /// The link lost its carrier or was taken down.
    LinkDown,
    /// The link has no address.
    NoAddress,
    /// The link has no default route.
    NoDefaultRoute,
    /// Switched off in the configuration, or by command.
    SwitchedOff,
    /// The peer has closed it.
    PeerClosed,
}

impl Reason {
    /// Its stable name, for metrics and translations.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Opening => "opening",
            Reason::InUse => "in_use",
            Reason::BackupConfigured => "backup_configured",
            Reason::Silent(_) => "silent",
            Reason::Lossy(_) => "lossy",
            Reason::Late(_) => "late",
            Reason::TooNarrow(_) => "too_narrow",
            Reason::Returning => "returning",
            Reason::LinkDown => "link_down",
            Reason::NoAddress => "no_address",
            Reason::NoDefaultRoute => "no_default_route",
            Reason::SwitchedOff => "switched_off",
            Reason::PeerClosed => "peer_closed",
        }
    }

    /// The number in it, if there is one: milliseconds, percent or bytes.
    pub fn value(self) -> Option<u64> {
        match self {
            Reason::Silent(value)
            | Reason::Lossy(value)
            | Reason::Late(value)
            | Reason::TooNarrow(value) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Opening => f.write_str("waiting for the first answer"),
            Reason::InUse => f.write_str("in use"),
            Reason::BackupConfigured => f.write_str("not needed now"),
            Reason::Silent(ms) => write!(f, "nothing acknowledged for {ms} ms"),
            Reason::Lossy(percent) => write!(f, "{percent} % of the packets are lost"),
            Reason::Late(ms) => write!(f, "adds {ms} ms and would slow the bond"),
            Reason::TooNarrow(mtu) => {
                write!(f, "takes packets of {mtu} bytes only, the tunnel needs 1280")
            }
            Reason::Returning => f.write_str("answers again, being confirmed"),
            Reason::LinkDown => f.write_str("link is down"),
            Reason::NoAddress => f.write_str("link has no address"),
            Reason::NoDefaultRoute => f.write_str("no default route"),
            Reason::SwitchedOff => f.write_str("switched off"),
            Reason::PeerClosed => f.write_str("closed by the peer"),
        }
    }
}

/// State, reason, and the probing that leads back.
#[derive(Debug)]
pub struct Health {
    state: PathState,
    reason: Reason,
    since: Time,
    mode: Mode,
    /// Whether the link has an address, so that probing makes sense.
    linked: bool,
    next_probe: Time,
    backoff: u64,
    proofs: u32,
    needed: u32,
    /// Probes sent before this do not count as proof.
    proof_from: Time,
    /// It has to show under load that it loses less than this, percent, before it is used again.
    lossy: Option<u64>,
    /// Challenges still to be sent while in use, to prove a new address.
    proving: u8,
}

impl Health {
    /// A path that has just been opened.
    pub fn new(now: Time, mode: Mode) -> Health {
        let mut health = Health {
            state: PathState::Probing,
            reason: Reason::Opening,
            since: now,
            mode,
            linked: true,
            next_probe: now,
            backoff: PROBE_FIRST_US,
            proofs: 0,
            needed: 1,
            proof_from: now,
            lossy: None,
            proving: 0,
        };
        if mode == Mode::Off {
            health.enter(now, PathState::Down, Reason::SwitchedOff);
        }
        health
    }

    /// The state.
    pub fn state(&self) -> PathState {
        self.state
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// How the path may be used.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether its link is there, as far as is known.
    pub fn is_linked(&self) -> bool {
        self.linked
    }

    /// Whether it has to show under load what it loses.
    pub fn is_lossy(&self) -> bool {
        self.lossy.is_some()
    }

    /// Whether the path works, so that data may be sent on it.
    pub fn is_usable(&self) -> bool {
        matches!(self.state, PathState::Active | PathState::Backup | PathState::Held)
    }

    /// Whether it works but is better not used.
    pub fn is_held(&self) -> bool {
        self.state == PathState::Held
    }

    /// When a probe (challenge) is due; [`Time::FAR`] when none is.
    pub fn probe_due(&self) -> Time {
        let probing = match self.state {
            PathState::Probing | PathState::Suspect => true,
            PathState::Down => self.linked && self.mode != Mode::Off,
            PathState::Active | PathState::Backup | PathState::Held => self.proving > 0,
        };
        if probing { self.next_probe } else { Time::FAR }
    }

    /// A probe has been sent.
    pub fn on_probe(&mut self, now: Time) {
        self.next_probe = now + self.backoff;
        self.proving = self.proving.saturating_sub(1);
        // While answers come, keep the pace; otherwise slow down.
        if self.proofs == 0 {
            self.backoff = (self.backoff * 3 / 2).min(PROBE_LAST_US);
        }
        if self.state == PathState::Suspect && now.since(self.since) > DOWN_AFTER_US {
            self.enter(now, PathState::Down, self.reason);
        }
    }

    fn enter(&mut self, now: Time, state: PathState, reason: Reason) {
        if self.state != state {
            self.since = now;
        }
        self.state = state;
        self.reason = reason;
    }

    fn enter_use(&mut self, now: Time) {
        self.proofs = 0;
        match self.mode {
            Mode::Active if self.lossy.is_some() => {
                let reason = Reason::Lossy(self.lossy.unwrap_or(0));
                self.enter(now, PathState::Held, reason);
            }
            Mode::Active => self.enter(now, PathState::Active, Reason::InUse),
            Mode::Backup => self.enter(now, PathState::Backup, Reason::BackupConfigured),
            Mode::Off => self.enter(now, PathState::Down, Reason::SwitchedOff),
        }
    }

    /// A challenge sent at `sent` was answered. Whether the path has come into use by it.
    pub fn on_proof(&mut self, now: Time, sent: Time) -> bool {
        if self.is_usable() || !self.linked || self.mode == Mode::Off || sent < self.proof_from {
            return false;
        }
        // Challenges of one moment to several addresses are one proof.
        self.proof_from = sent + 1;
        self.proofs += 1;
        if self.proofs >= self.needed {
            self.enter_use(now);
            return true;
        }
        self.backoff = PROBE_FIRST_US;
        self.next_probe = now + PROBE_FIRST_US / 2;
        self.enter(now, PathState::Probing, Reason::Returning);
        false
    }

    /// Data has gone unanswered for `silence_us`.
    pub fn on_silence(&mut self, now: Time, silence_us: u64) {
        self.suspect(now, Reason::Silent(silence_us / MS));
    }

    /// Most of what is sent is lost: worse than nothing.
    pub fn on_brown_out(&mut self, now: Time, percent: u64) {
        self.suspect(now, Reason::Lossy(percent));
    }

    /// It costs more than it gives.
    pub fn exclude(&mut self, now: Time, reason: Reason) {
        if self.state == PathState::Active {
            if let Reason::Lossy(percent) = reason {
                self.lossy = Some(percent);
            }
            self.enter(now, PathState::Held, reason);
        }
    }

    /// It has proved to be worth its cost.
    pub fn readmit(&mut self, now: Time) {
        if self.is_held() && !self.is_narrow() {
            self.lossy = None;
            self.enter_use(now);
        }
    }

    /// Whether it is held for what it cannot carry.
    pub fn is_narrow(&self) -> bool {
        self.is_held() && matches!(self.reason, Reason::TooNarrow(_))
    }

    /// It takes inner packets of `mtu` bytes only, while another path takes all; or is wanted again.
    pub fn set_narrow(&mut self, now: Time, mtu: Option<u16>) {
        match mtu {
            // How long packets may be is not known where most are lost.
            Some(mtu) if self.is_usable() && !self.is_lossy() => {
                self.enter(now, PathState::Held, Reason::TooNarrow(mtu.into()));
            }
            None if self.is_narrow() => self.enter_use(now),
            _ => {}
        }
    }

    fn suspect(&mut self, now: Time, reason: Reason) {
        if !self.is_usable() {
            return;
        }
        let steady = now.since(self.since) > STEADY_US;
        self.needed = if steady { PROOFS } else { (self.needed + 1).clamp(PROOFS, PROOFS_MAX) };
        self.enter(now, PathState::Suspect, reason);
        self.start_probing(now);
    }

    fn start_probing(&mut self, now: Time) {
        self.proofs = 0;
        self.proof_from = now;
        self.backoff = PROBE_FIRST_US;
        self.next_probe = now;
    }

    /// The link is gone.
    pub fn on_link_lost(&mut self, now: Time, reason: Reason) {
        self.linked = false;
        self.lossy = None;
        self.proofs = 0;
        self.enter(now, PathState::Down, reason);
    }

    /// The link has an address (again): prove it.
    pub fn on_link(&mut self, now: Time) {
        let was_linked = core::mem::replace(&mut self.linked, true);
        if self.mode == Mode::Off || (was_linked && self.is_usable()) {
            return;
        }
        self.needed = 1;
        self.enter(now, PathState::Probing, Reason::Opening);
        self.start_probing(now);
    }

    /// The address may have changed while the path is in use: prove it without leaving it.
    pub fn prove(&mut self, now: Time) {
        self.backoff = PROBE_FIRST_US;
        self.next_probe = now;
        self.proving = PROVE_TRIES;
    }

    /// A challenge was answered: whatever was to be proved is.
    pub fn proved(&mut self) {
        self.proving = 0;
    }

    /// The mode has changed.
    pub fn set_mode(&mut self, now: Time, mode: Mode) {
        if core::mem::replace(&mut self.mode, mode) == mode {
            return;
        }
        self.lossy = None;
        if mode == Mode::Off {
            self.enter(now, PathState::Down, Reason::SwitchedOff);
        } else if self.is_usable() {
            self.enter_use(now);
        } else if self.linked {
            self.on_link(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active() -> Health {
        let mut h = Health::new(Time(0), Mode::Active);
        assert!(h.on_proof(Time(40_000), Time(0)));
        h
    }

    #[test]
    fn one_answer_opens_and_two_bring_back() {
        let mut h = active();
        assert_eq!(h.state(), PathState::Active);
        h.on_silence(Time(SEC), 250_000);
        assert_eq!((h.state(), h.reason()), (PathState::Suspect, Reason::Silent(250)));
        assert!(!h.on_proof(Time(2 * SEC), Time(SEC - 1)), "sent before the silence");
        assert!(!h.on_proof(Time(2 * SEC), Time(SEC)));
        assert_eq!(h.state(), PathState::Probing);
        assert!(!h.on_proof(Time(2 * SEC), Time(SEC)), "sent at the same moment");
        assert!(h.on_proof(Time(2 * SEC), Time(SEC + 1)));
        assert_eq!(h.state(), PathState::Active);
    }

    #[test]
    fn flapping_asks_for_more() {
        let mut h = active();
        let mut now = SEC;
        let mut proofs = Vec::new();
        for _ in 0..4 {
            h.on_silence(Time(now), 1);
            let mut n = 1;
            while !h.on_proof(Time(now + n), Time(now + n)) {
                n += 1;
            }
            proofs.push(n);
            now += SEC;
        }
        assert_eq!(proofs, [2, 3, 4, 5]);
    }

    #[test]
    fn probes_back_off_and_the_path_is_called_down() {
        let mut h = active();
        h.on_silence(Time(SEC), 1);
        let mut sent = 0;
        while h.probe_due() < Time(21 * SEC) {
            h.on_probe(h.probe_due());
            sent += 1;
        }
        assert!((20..40).contains(&sent), "{sent}");
        assert_eq!(h.state(), PathState::Down);
        assert_ne!(h.probe_due(), Time::FAR, "it still may come back");
    }

    #[test]
    fn a_lost_link_is_not_probed_until_it_is_back() {
        let mut h = active();
        h.on_link_lost(Time(SEC), Reason::LinkDown);
        assert_eq!((h.state(), h.probe_due()), (PathState::Down, Time::FAR));
        assert!(!h.on_proof(Time(SEC), Time(SEC)));
        h.on_link(Time(2 * SEC));
        assert_eq!(h.state(), PathState::Probing);
        assert!(h.on_proof(Time(2 * SEC), Time(2 * SEC)));
    }

    #[test]
    fn modes() {
        let mut h = active();
        h.set_mode(Time(1), Mode::Backup);
        assert_eq!(h.state(), PathState::Backup);
        h.set_mode(Time(2), Mode::Off);
        assert_eq!((h.state(), h.probe_due()), (PathState::Down, Time::FAR));
        h.set_mode(Time(3), Mode::Active);
        assert_eq!(h.state(), PathState::Probing);
    }
}
