//! Whether a peer's traffic goes into the tunnel.
//!
//! Why: a server that is gone must not take the internet with it, unless the user wants exactly
//! that; and one that is only started anew must not cost every flow its address.
//!
//! How: a [`Fallback`] per peer. With `fallback direct` it opens with the first connection, closes when
//! the peer has not answered for as long as the configuration says, and opens with the next
//! connection. With `fallback closed`, and on a server, it is open from the start. Pure: the
//! owner tells states and times, and makes routes of what it says.
//!
//! Limits: that a peer does not answer is found out by traffic within about a second, without any
//! by the next probe (`probe_interval`); the time of the configuration counts from then on.

use crate::config::Outage;
use crate::time::{SEC, Time};

/// See the module.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// On a router; a server's are always open.
    outage: Option<Outage>,
    open: bool,
    /// Since when the peer does not answer.
    silent: Option<Time>,
}

impl Fallback {
    /// One for a peer that has not answered yet.
    pub fn new(outage: Option<Outage>, now: Time) -> Fallback {
        let open = !matches!(outage, Some(Outage::Direct { .. }));
        Fallback { outage, open, silent: Some(now) }
    }

    /// Whether traffic goes into the tunnel.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Another configuration.
    pub fn configure(&mut self, outage: Option<Outage>) {
        self.outage = outage;
        self.open |= !matches!(outage, Some(Outage::Direct { .. }));
    }

    /// The peer answers, or not any more; whether it has opened.
    pub fn on_message(&mut self, up: bool, now: Time) -> bool {
        let opens = up && !self.open;
        self.open |= up;
        self.silent = if up { None } else { self.silent.or(Some(now)) };
        opens
    }

    /// When it will close if the peer stays silent.
    pub fn due(&self) -> Option<Time> {
        match (self.outage, self.silent) {
            (Some(Outage::Direct { after_s }), Some(since)) if self.open => {
                Some(since + u64::from(after_s) * SEC)
            }
            _ => None,
        }
    }

    /// It is `now`; whether it has closed.
    pub fn on_tick(&mut self, now: Time) -> bool {
        let closes = self.due().is_some_and(|due| due <= now);
        self.open &= !closes;
        closes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECT: Option<Outage> = Some(Outage::Direct { after_s: 10 });
    const CLOSED: Option<Outage> = Some(Outage::Closed { kill_switch: false });

    fn at(second: u64) -> Time {
        Time(second * SEC)
    }

    #[test]
    fn it_closes_after_a_while_and_opens_at_once() {
        let mut fallback = Fallback::new(DIRECT, at(0));
        assert!(!fallback.is_open());
        assert_eq!((fallback.due(), fallback.on_tick(at(60))), (None, false));
        assert!(fallback.on_message(true, at(61)));
        assert!(!fallback.on_message(true, at(62)));
        assert_eq!(fallback.due(), None);
        // Silence that ends in time, and silence that does not; told twice, it counts once.
        fallback.on_message(false, at(70));
        assert_eq!(fallback.due(), Some(at(80)));
        fallback.on_message(true, at(79));
        fallback.on_message(false, at(90));
        fallback.on_message(false, at(95));
        assert!(!fallback.on_tick(at(99)) && fallback.is_open());
        assert!(fallback.on_tick(at(100)) && !fallback.is_open());
        assert_eq!((fallback.due(), fallback.on_tick(at(101))), (None, false));
        assert!(fallback.on_message(true, at(102)));
    }

    #[test]
    fn closed_and_on_a_server_it_never_moves() {
        for outage in [CLOSED, None] {
            let mut fallback = Fallback::new(outage, at(0));
            assert!(!fallback.on_message(true, at(1)) && fallback.is_open());
            fallback.on_message(false, at(2));
            assert!(!fallback.on_tick(at(9999)) && fallback.is_open());
        }
    }

    #[test]
    fn another_configuration_counts_from_the_same_silence() {
        let mut fallback = Fallback::new(DIRECT, at(0));
        fallback.configure(CLOSED);
        assert!(fallback.is_open());
        fallback.configure(DIRECT);
        assert_eq!(fallback.due(), Some(at(10)));
        assert!(fallback.on_tick(at(10)));
    }
}
