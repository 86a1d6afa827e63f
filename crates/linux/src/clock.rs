//! The clocks and the randomness of the system: the one place that asks for them.
//!
//! Everything else is given time and randomness as arguments; `clippy.toml` forbids the calls
//! elsewhere.

use onebox_core::time::Time;
use std::io;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// When the process asked for the time first.
static START: OnceLock<Instant> = OnceLock::new();

/// The monotonic clock, microseconds since the process asked first.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now() -> Time {
    let now = Instant::now();
    let start = *START.get_or_init(|| now);
    let us = now.saturating_duration_since(start).as_micros();
    Time(u64::try_from(us).unwrap_or(u64::MAX))
}

/// The clock of tokio's timers: for a deadline that is handed to `sleep_until`.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the clock of timers")]
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The wall clock, microseconds since 1970-01-01 UTC; 0 if it stands before that. A router
/// without a battery starts with a wrong one.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Fills a buffer with randomness that is fit for keys.
///
/// # Errors
///
/// The system refused. The buffer is not to be used then.
#[allow(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
pub fn random(buf: &mut [u8]) -> io::Result<()> {
    getrandom::fill(buf).map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_move_on_and_randomness_differs() {
        let first = now();
        assert!(now() >= first);
        assert!(unix_us() > 0);
        let (mut a, mut b) = ([0; 32], [0; 32]);
        random(&mut a).unwrap();
        random(&mut b).unwrap();
        assert_ne!(a, b);
    }
}
