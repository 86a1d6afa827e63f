//! Radio links: rates that fall and rise, jitter that comes and goes, queues that are seconds deep.
//!
//! Each has a steady link beside it that shows what the bond can always fall back to. A flow's
//! share is its goodput over what plain TCP would have got of all links as they were at the time.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::Side;
use crate::report::TCP_SHARE;
use crate::rng::Rng;
use crate::scenario::{Kind, Scenario, run_all};
use onebox::engine::PathState::Active;
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// A rate takes effect at a time, and must be made use of from so long after on, seconds.
const FOLLOWED_AFTER: f64 = 1.5;
/// Pings may suffer for so long after a change, seconds.
const PINGS_SUFFER: f64 = 1.0;
/// Round trip of the steady link, milliseconds.
const BASE_MS: f64 = 40.0;

fn steady() -> Spec {
    Spec::new(30_000, 20_000)
}

fn lte() -> Spec {
    Spec::new(40_000, 30_000)
}

/// A steady link, an LTE link whose rate changes to the given ones every `phase` seconds, bulk
/// and a ping.
fn stepwise(name: &'static str, way: Way, phase: u64, mbps: &[u64]) -> Scenario {
    let mut s = Scenario::new(name)
        .links([steady(), lte()])
        .flow("tcp", Flow::bulk(way))
        .flow("ping", Flow::ping(10 * MS))
        .lasts((mbps.len() as u64 * phase + 1) * SEC);
    for (i, &rate) in mbps.iter().enumerate() {
        let begin = 1 + phase * i as u64;
        if i > 0 {
            s = s.at(begin * SEC, "LTE has another rate", move |w| {
                w.change_link(1, |l| l.kbps = rate * 1000);
            });
        }
        // The first phase is a search for the rate, which other scenarios bound.
        let settles = if i == 0 { 2.0 * FOLLOWED_AFTER } else { FOLLOWED_AFTER };
        let (begin, end) = (begin as f64, (begin + phase) as f64);
        s = s
            .at_least(format!("share at {rate} Mbit/s"), 0.8, move |o| {
                o.share("tcp", way, begin + settles, end)
            })
            .at_most(format!("ping p95 at {rate} Mbit/s, ms"), BASE_MS + 60.0, move |o| {
                o.percentile_ms("ping", begin + PINGS_SUFFER, end - 0.5, 95.0)
            });
    }
    let end = (mbps.len() as u64 * phase + 1) as f64;
    s.at_most("longest stall, ms", 300.0, move |o| o.stall_ms("tcp", 2.0, end))
}

#[test]
fn a_rate_that_collapses_and_recovers_is_followed() {
    let name = "LTE from 40 to 5 Mbit/s and back at once, beside 30 Mbit/s";
    run_all(Kind::Bare, WAYS.map(|way| stepwise(name, way, 5, &[40, 5, 40])));
}

#[test]
fn a_rate_that_falls_and_rises_in_steps_is_followed() {
    let name = "LTE from 40 to 5 Mbit/s and back in steps, beside 30 Mbit/s";
    run_all(Kind::Bare, WAYS.map(|way| stepwise(name, way, 4, &[40, 20, 10, 5, 10, 20, 40])));
}

/// A walk of the rate as a cell under changing load and signal shows it: every 100 to 500 ms it
/// is multiplied by 0.6 to 1.6, between 3 and 60 Mbit/s, for 20 s.
fn walk(seed: u64) -> (Vec<(u64, u64)>, u64) {
    let mut dice = Rng::of(seed, "walk");
    let (mut at, mut kbps, mut steps) = (0, 30_000, Vec::new());
    while at < 20 * SEC {
        steps.push((at, kbps));
        at += 100 * MS + dice.below(400 * MS);
        kbps = (kbps * (600 + dice.below(1000)) / 1000).clamp(3_000, 60_000);
    }
    (steps, 20 * SEC)
}

#[test]
fn a_rate_that_walks_is_followed() {
    let scenario = |way| {
        Scenario::new("LTE whose rate walks between 3 and 60 Mbit/s, beside 30 Mbit/s")
            .links([steady(), Spec { trace: Some(walk(7)), ..lte() }])
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(20 * SEC)
            .at_least("share", 0.8, move |o| o.share("tcp", way, 4.0, 20.0))
            .at_most("ping p95, ms", BASE_MS + 60.0, |o| o.percentile_ms("ping", 4.0, 19.0, 95.0))
            .at_most("longest stall, ms", 300.0, |o| o.stall_ms("tcp", 2.0, 20.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

/// The second of two links has three seconds of 50 ms of jitter, twice.
fn storms(name: &'static str, way: Way, mixes: bool) -> Scenario {
    let mut s = Scenario::new(name)
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
        .flow("tcp", Flow::bulk(way))
        .flow("ping", Flow::ping(10 * MS))
        .lasts(20 * SEC);
    for begin in [5, 13] {
        let set = move |us| move |l: &mut Spec| (l.jitter_us, l.jitter_mixes) = (us, mixes);
        let (from, to) = (begin as f64, (begin + 3) as f64);
        s = s
            .at(begin * SEC, "B jitters", move |w| w.change_link(1, set(50_000)))
            .at((begin + 3) * SEC, "B is calm", move |w| w.change_link(1, set(0)))
            .at_least(format!("Mbit/s in the storm of {begin} s"), 45.0 * TCP_SHARE, move |o| {
                o.mbps("tcp", from + 1.0, to)
            })
            .at_least(format!("E after the storm of {begin} s"), 0.8, move |o| {
                o.efficiency("tcp", to + 1.5, to + 4.0)
            })
            .at_most(format!("ping p95 in the storm of {begin} s, ms"), BASE_MS + 30.0, move |o| {
                o.percentile_ms("ping", from + 1.0, to, 95.0)
            });
    }
    s.at_most("longest stall, ms", 300.0, |o| o.stall_ms("tcp", 3.0, 20.0))
}

#[test]
fn storms_of_jitter_do_no_harm() {
    run_all(Kind::Bare, WAYS.map(|way| storms("jitter of 50 ms for 3 s", way, false)));
}

#[test]
fn storms_of_reordering_do_no_harm() {
    run_all(Kind::Bare, WAYS.map(|way| storms("reordering by 50 ms for 3 s", way, true)));
}

/// 20 Mbit/s with two seconds of queue.
fn bloated() -> Spec {
    Spec { queue: Some(5_000_000), ..Spec::new(20_000, 20_000) }
}

#[test]
fn a_deep_queue_stays_empty() {
    let scenario = |way: Way| {
        Scenario::new("20 Mbit/s with 2 s of queue")
            .links([bloated()])
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(15 * SEC)
            .at_least("E", 0.85, |o| o.efficiency("tcp", 4.0, 15.0))
            .at_most("ping p95, ms", BASE_MS + 40.0, |o| o.percentile_ms("ping", 3.0, 14.0, 95.0))
            .at_most("queue p95, ms", 40.0, move |o| {
                o.history.queue_ms(0, way.sender(), 3.0, 15.0, 95.0)
            })
            .at_most("longest queue, ms", 300.0, move |o| {
                o.history.queue_ms(0, way.sender(), 0.0, 15.0, 100.0)
            })
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn a_deep_queue_beside_another_link_stays_empty() {
    let scenario = |way: Way| {
        Scenario::new("20 Mbit/s with 2 s of queue beside 50 Mbit/s")
            .links([Spec::new(50_000, 20_000), bloated()])
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(15 * SEC)
            .at_least("E", 0.85, |o| o.efficiency("tcp", 4.0, 15.0))
            .at_most("ping p95, ms", BASE_MS + 40.0, |o| o.percentile_ms("ping", 3.0, 14.0, 95.0))
            .at_most("queue p95, ms", 40.0, move |o| {
                o.history.queue_ms(1, way.sender(), 3.0, 15.0, 95.0)
            })
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn a_satellite_link_that_loses_packets_is_not_taken_for_dead() {
    let scenario = |way: Way| {
        Scenario::new("a lone satellite link that loses 1 %, bulk")
            .links([Spec::new(10_000, 300_000).loss(10_000)])
            .flow("tcp", Flow::bulk(way))
            .lasts(40 * SEC)
            .at_least("% of the time in use", 95.0, move |o| {
                let active = |side| o.history.percent(side, 0, 2.0, 40.0, |p| p.state == Active);
                active(Side::Client).min(active(Side::Server))
            })
            .at_least("E", 0.6, |o| o.efficiency("tcp", 15.0, 40.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

/// The search for the rate of a link that jitters may end early. What its jitter adds to dense packets
/// stands like a small queue, and used to keep the rate from being looked for again: 30 of 100 Mbit/s.
#[test]
fn a_rate_that_was_found_too_low_is_corrected() {
    let scenario = |seed| {
        Scenario::new("LTE beside a satellite constellation")
            .seed(seed)
            .links([
                Spec::new(40_000, 27_000).jitter(16_000),
                Spec::new(100_000, 25_000).jitter(50_000).loss(10_000),
            ])
            .flow("tcp", Flow::bulk(Way::Up))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(25 * SEC)
            .at_least("E", 0.88, |o| o.efficiency("tcp", 10.0, 25.0))
    };
    run_all(Kind::Bare, [5, 6].map(scenario));
}
