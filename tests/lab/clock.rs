//! The lab's clock: one monotonic time base for emulator, load and tests.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Nanoseconds on the monotonic clock.
pub fn now_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Processor time that the calling thread has used, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("the clock exists");
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// A point in time for deadlines and durations.
pub fn now() -> Instant {
    Instant::now()
}

/// Let time pass: for measurements that last a given time, never to wait for an event
/// (`programs::poll_until` does that).
pub fn pass(duration: Duration) {
    std::thread::sleep(duration);
}
