//! `selftest`: whether this program computes rightly on this processor, and how fast.
//!
//! The checks are those of [`crypto::selftest`](crate::crypto::selftest), which has no clock; what
//! depends on the system (clock, randomness, width of a time) is added here.

use super::{Exit, complain, fail, print};
use crate::crypto::selftest::{Speed, checks};
use crate::time::Time;
use onebox_linux::clock;
use std::fmt::Write;

/// Bytes of the packets that are measured: what a path of 1500 bytes carries.
const PACKET: usize = 1400;
/// How long each figure is measured, microseconds.
const MEASURE_US: u64 = 400_000;
/// Packets between two looks at the clock.
const BATCH: usize = 64;

pub(super) fn selftest() -> Exit {
    let mut seed = [0; 32];
    if let Err(error) = clock::random(&mut seed) {
        return fail(format_args!("no randomness from the system: {error}"));
    }
    let order = if cfg!(target_endian = "big") { "big" } else { "little" };
    let mut out = format!(
        "onebox {}: {}, {order}-endian, {} bits\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        usize::BITS
    );
    // A time of 32 bits ends in January 2038; with one of 64, seconds and nanoseconds are 16 bytes.
    let system = [
        ("times beyond 2038", size_of::<nix::libc::timespec>() == 16),
        ("the clock goes on", clock_moves()),
    ];
    let mut whole = true;
    for (name, passed) in system.into_iter().chain(checks(seed)) {
        let _ = writeln!(out, "{} {name}", if passed { "ok    " } else { "FAILED" });
        whole &= passed;
    }
    let figures = (megabytes_per_second(false), megabytes_per_second(true));
    if let (Some(seal), Some(both)) = figures {
        let _ = writeln!(
            out,
            "packets of {PACKET} bytes, one core: sealed at {seal} MB/s, sealed and opened at {both} MB/s"
        );
    } else {
        whole = false;
    }
    match (print(&out), whole) {
        (Exit::Done, false) => {
            complain("this program does not work on this machine");
            Exit::Failed
        }
        (exit, _) => exit,
    }
}

/// A clock that stands still would stop every timer.
fn clock_moves() -> bool {
    let start = clock::now();
    (0..10_000_000).any(|_| clock::now() > start)
}

/// Megabytes (10^6 bytes) of packets in a second.
fn megabytes_per_second(open: bool) -> Option<u64> {
    let mut speed = Speed::new(PACKET);
    let start = clock::now();
    let mut packets = 0;
    loop {
        for _ in 0..BATCH {
            speed.packet(open)?;
        }
        packets += BATCH as u64;
        let us = elapsed_us(start);
        if us >= MEASURE_US {
            // Bytes in a microsecond are megabytes in a second.
            return Some(packets * PACKET as u64 / us);
        }
    }
}

fn elapsed_us(start: Time) -> u64 {
    clock::now().0.saturating_sub(start.0)
}
