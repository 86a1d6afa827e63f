//! One of two links fails under one bulk flow, silently or with its carrier, and comes back.
//!
//! Two links of 50 Mbit/s, 20 and 30 ms; the first one fails. A ping every 10 ms runs beside the
//! flow: how many are lost, and the longest time without an answer. Of TCP: the longest time at
//! zero, and when it is at 80 % of what the link that remains can carry. Of the link that comes
//! back: when it carries 80 % of what it carried before.

use super::figures::record::Record;
use super::figures::statistics::{TCP_SHARE, longest_zero_ms, recovered_ms};
use super::figures::table::OUTAGES;
use super::load::{Figures, PING};
use crate::lab::clock;
use crate::lab::onebox::Pair;
use crate::lab::pinger::Pinger;
use crate::lab::programs::interface_bytes;
use crate::lab::topology::{INTERNET, Lab, Wan};
use crate::lab::traffic::{Flow, Sends};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Rate of each link, Mbit/s, and their delays one way, milliseconds.
const RATE_MBIT: u64 = 50;
const DELAYS_MS: [u64; 2] = [20, 30];
/// Which link fails.
const FAILS: usize = 0;
/// Share of the remaining link, and of the failed link's former rate, that counts as recovered.
const RECOVERED: f64 = 0.8;

/// Time for the flow to find its rate; of it, the part over which its rate is measured.
const WARM_UP: Duration = Duration::from_secs(4);
const BEFORE: Duration = Duration::from_secs(2);
/// How long the outage is watched, and how long the return at most.
const OUTAGE: Duration = Duration::from_secs(4);
const RETURN: Duration = Duration::from_secs(10);
/// Pings from so long before the failure count: they are on their way when it happens.
const UNDER_WAY_MS: f64 = 200.0;
/// Pings from so short a time before its end do not.
const TAIL_MS: f64 = 1000.0;
/// Steps in which a returning link's rate is looked at.
const STEP: Duration = Duration::from_millis(200);

/// Every outage, each way; what fails is a record with a note.
pub fn measure(ways: &[String], run: u64) -> Vec<Record> {
    let mut records = Vec::new();
    for outage in OUTAGES {
        for way in ways {
            let sends = if way == "up" { Sends::Up } else { Sends::Down };
            let result = catch_unwind(AssertUnwindSafe(|| fail(outage, sends)));
            let (figures, note) = match result {
                Ok((figures, note)) => (figures, note.unwrap_or_default()),
                Err(panic) => (Vec::new(), panic_text(panic.as_ref())),
            };
            let shown = figures.iter().map(|(name, value)| format!("{name} {value:.0}"));
            println!("  {outage:9} {way:4}: {} {note}", shown.collect::<Vec<_>>().join(", "));
            records.push(Record {
                bench: "net".to_string(),
                environment: outage.to_string(),
                network: "bond".to_string(),
                way: way.clone(),
                cc: "cubic".to_string(),
                flows: 1,
                run,
                figures,
                note,
            });
        }
    }
    records
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("failed");
    // The first line says what; the rest is the state of everything.
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn fail(outage: &str, sends: Sends) -> (Figures, Option<String>) {
    let lab = Lab::new(&DELAYS_MS.map(|delay_ms| Wan::mbit_ms(RATE_MBIT, delay_ms)));
    let _pair = Pair::up(&lab);
    let site = lab.site();
    let flow = Flow::start(&site.lan, &lab.internet, INTERNET, sends, None);
    clock::pass(WARM_UP - BEFORE);
    let ping = Pinger::start(&site.lan, INTERNET, PING, None);
    let share = carried(&lab, sends, BEFORE);

    let (cut, cure) = match outage {
        "blackhole" => ("blackhole on", "blackhole off"),
        _ => ("carrier off", "carrier on"),
    };
    lab.link(FAILS).set(cut);
    let (cut_ms, cut_at) = (flow.age_ms(), ping.age_ms());
    clock::pass(OUTAGE);
    let bins = flow.between(cut_ms, cut_ms + OUTAGE.as_millis() as u64);

    lab.link(FAILS).set(cure);
    let start = clock::now();
    let mut back = f64::INFINITY;
    while start.elapsed() < RETURN && back.is_infinite() {
        if carried(&lab, sends, STEP) >= RECOVERED * share {
            back = start.elapsed().as_secs_f64() * 1000.0;
        }
    }

    let requests = ping.finish(Duration::ZERO);
    let watched_ms = OUTAGE.as_secs_f64() * 1000.0;
    // Those sent at the very end may be answered when the link is back: they say nothing.
    let (from_ms, to_ms) = (cut_at - UNDER_WAY_MS, cut_at + watched_ms - TAIL_MS);
    let level = RECOVERED * TCP_SHARE * RATE_MBIT as f64;
    let recovered = recovered_ms(&bins, level).map_or(f64::INFINITY, |ms| ms as f64);
    let figures = vec![
        ("ping_sent", requests.between(from_ms, to_ms).count() as f64),
        ("ping_lost", requests.lost(from_ms, to_ms) as f64),
        ("ping_gap_ms", requests.longest_gap_ms(cut_at, cut_at + watched_ms)),
        ("stall_ms", longest_zero_ms(&bins) as f64),
        ("recovery_ms", recovered),
        ("return_ms", back),
    ];
    (figures, flow.failure())
}

/// What the link that fails carries, bytes per second, over some time from now.
fn carried(lab: &Lab, sends: Sends, time: Duration) -> f64 {
    let device = lab.site().device(FAILS);
    let bytes = || {
        let (down, up) = interface_bytes(&lab.site().router, &device);
        if sends == Sends::Up { up } else { down }
    };
    let (start, before) = (clock::now(), bytes());
    clock::pass(time);
    (bytes() - before) as f64 / start.elapsed().as_secs_f64()
}
