//! Bounded memory where it is short: little of it, more traffic than fits, paths dead for long.
//!
//! That nothing exceeds its bound is what the oracle looks at in every step of every scenario;
//! these come near the bounds, and must go on working there.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::{SIDES, Side};
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use onebox::engine::Memory;
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// Percent of a bound that was made use of at most, on either side.
fn used(o: &Outcome, of: impl Fn(&Memory) -> (usize, usize)) -> f64 {
    let percent = |m: &Memory| of(m).0 as f64 * 100.0 / of(m).1.max(1) as f64;
    o.peaks.iter().map(percent).fold(0.0, f64::max)
}

#[test]
fn a_flood_is_shed_from_the_queue() {
    let scenario = |way| {
        Scenario::new("150 Mbit/s of datagrams into 20 and 10 Mbit/s")
            .memory(4 << 20)
            .links([Spec::new(20_000, 20_000), Spec::new(10_000, 60_000)])
            .flow("flood", Flow::constant(way, 150_000).from(2 * SEC))
            .flow("ping", Flow::ping(20 * MS))
            .lasts(8 * SEC)
            .at_least("queue, % of its bound", 50.0, |o| used(o, |m| m.queue))
            .at_least("Mbit/s of the flood", 24.0, |o| o.mbps("flood", 3.0, 8.0))
            .at_most("ping p95, ms", 100.0, |o| o.percentile_ms("ping", 3.0, 7.0, 95.0))
            .at_most("pings lost", 0.0, |o| o.lost("ping", 2.0, 7.5))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn little_memory_is_enough_to_work() {
    let finished = |o: &Outcome, name: &str| f64::from(u8::from(o.flow(name).finished.is_some()));
    Scenario::new("1 MiB for packets, 50 Mbit/s with 20 and with 70 ms, 1 % loss")
        .memory(1 << 20)
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 70_000)].map(|l| l.loss(10_000)))
        .flow("up", Flow::checked(Way::Up, 5_000_000))
        .flow("down", Flow::checked(Way::Down, 5_000_000))
        .flow("tcp", Flow::bulk(Way::Down))
        .lasts(15 * SEC)
        .at_least("unacknowledged, % of its bound", 90.0, |o| used(o, |m| m.unacked))
        .at_least("held, % of its bound", 50.0, |o| used(o, |m| m.held))
        .at_least("up finished", 1.0, move |o| finished(o, "up"))
        .at_least("down finished", 1.0, move |o| finished(o, "down"))
        .at_least("tcp, Mbit/s", 10.0, |o| o.mbps("tcp", 4.0, 15.0))
        .run(Kind::Bare);
}

/// Repairs that take 0.3 s at 117 Mbit/s need more than a quarter of the memory at the receiver, which
/// sends next to nothing itself.
#[test]
fn one_direction_may_use_what_the_other_leaves() {
    let scenario = |way| {
        let links = [Spec::new(100_000, 80_000), Spec::new(20_000, 150_000)];
        Scenario::new("100 Mbit/s and 80 ms beside 20 Mbit/s and 150 ms, 0.5 % loss")
            .links(links.map(|l| l.jitter(5_000).loss(5_000)))
            .flow("tcp", Flow::bulk(way).from(SEC))
            .lasts(30 * SEC)
            .at_least("E", 0.85, |o| o.efficiency("tcp", 12.0, 30.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn tables_of_a_dead_path_do_not_grow() {
    let entries = |o: &Outcome, side: Side, at: f64| {
        let ends = o.history.between(at, at + 0.1).iter();
        let found = ends.filter_map(|s| s.ends[side as usize].as_ref()).next();
        found.map_or(0, |s| s.memory.log_entries) as f64
    };
    let mut s = Scenario::new("A dies under load and stays dead for two minutes")
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
        .flow("up", Flow::transfer(Way::Up, 10_000_000))
        .flow("down", Flow::transfer(Way::Down, 10_000_000))
        .flow("ping", Flow::ping(SEC))
        .at(SEC, "A goes silent", |w| w.change_link(0, |l| l.blackhole = true))
        .lasts(125 * SEC);
    for side in SIDES {
        s = s.at_most(format!("more datagrams remembered by {side:?}"), 10.0, move |o| {
            entries(o, side, 124.0) - entries(o, side, 20.0)
        });
    }
    s.run(Kind::Bare);
}
