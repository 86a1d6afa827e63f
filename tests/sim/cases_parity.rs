//! Forward error correction: what it saves where a repair comes too late, and that it is nowhere
//! else. Each gain is measured against the same run without it.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::SIDES;
use crate::report::seconds;
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use onebox::time::SEC;

const WAYS: [Way; 2] = [Way::Up, Way::Down];
/// Delay from where on a word of a call has come too late, milliseconds (ITU-T G.114: 400).
const TOO_LATE_MS: f64 = 400.0;

/// A link by a geostationary satellite.
fn satellite(loss_ppm: u32) -> Spec {
    Spec::new(10_000, 300_000).loss(loss_ppm)
}

/// Percent of a stream's packets that came too late or not at all.
fn late(o: &Outcome, flow: &str, from: f64, to: f64) -> f64 {
    let (delays, lost) = o.flow(flow).delays_ms(seconds(from), seconds(to));
    let late = delays.iter().filter(|&&ms| ms > TOO_LATE_MS).count() + lost;
    late as f64 * 100.0 / (delays.len() + lost).max(1) as f64
}

/// Datagrams that the receiver of a way has rebuilt.
fn rebuilt(o: &Outcome, way: Way) -> f64 {
    let end = o.history.samples.last().and_then(|s| s.ends[way.sender().other() as usize].as_ref());
    end.map_or(0, |s| s.repaired) as f64
}

fn call(way: Way) -> Scenario {
    Scenario::new("a call over a lone satellite link that loses 2 %")
        .links([satellite(20_000)])
        .flow("voice", Flow::voice(way))
        .lasts(62 * SEC)
}

#[test]
fn a_call_over_a_lone_satellite_link_hardly_loses_a_word() {
    let with = |way: Way| {
        call(way)
            .at_most("late or lost, %", 0.3, |o| late(o, "voice", 5.0, 60.0))
            .at_most("p99, ms", 360.0, |o| o.percentile_ms("voice", 5.0, 60.0, 99.0))
            .at_least("rebuilt", 20.0, move |o| rebuilt(o, way))
            .at_most("kB on the link", 2200.0, move |o| {
                o.history.link_kb(0, way.sender(), 0.0, 62.0)
            })
    };
    let without = |way| {
        call(way)
            .without_fec()
            .at_least("late or lost without, %", 1.5, |o| late(o, "voice", 5.0, 60.0))
            .at_least("p99 without, ms", 800.0, |o| o.percentile_ms("voice", 5.0, 60.0, 99.0))
    };
    run_all(Kind::Bare, WAYS.map(with).into_iter().chain(WAYS.map(without)));
}

/// The mean of a figure over six seeds, with and without: a transfer's rate differs by a tenth and
/// more from seed to seed.
fn compare(scenario: impl Fn() -> Scenario, figure: impl Fn(&Outcome) -> f64) -> (f64, f64) {
    let mean = |scenario: &dyn Fn() -> Scenario| {
        (1..=6).map(|seed| figure(&scenario().seed(seed).play(Kind::Bare))).sum::<f64>() / 6.0
    };
    (mean(&scenario), mean(&|| scenario().without_fec()))
}

#[test]
fn a_call_beside_a_transfer_is_protected_and_the_transfer_not_slower() {
    let scenario = || {
        Scenario::new("a call and a transfer over a lone satellite link that loses 2 %")
            .links([satellite(20_000)])
            .flow("voice", Flow::voice(Way::Down))
            .flow("tcp", Flow::bulk(Way::Down))
            .lasts(60 * SEC)
    };
    let (with, without) = compare(scenario, |o| late(o, "voice", 10.0, 57.0));
    assert!(with * 3.0 < without, "late or lost: {with} % with, {without} % without");
    let (with, without) = compare(scenario, |o| o.mbps("tcp", 15.0, 60.0));
    assert!(with > 0.9 * without, "transfer: {with} Mbit/s with, {without} without");
}

#[test]
fn a_short_path_is_never_protected() {
    let scenario = || {
        Scenario::new("20 ms and 2 % loss")
            .links([Spec::new(20_000, 20_000).loss(20_000)])
            .flow("voice", Flow::voice(Way::Down))
            .flow("tcp", Flow::bulk(Way::Up))
    };
    let (with, without) = (scenario().play(Kind::Bare), scenario().without_fec().play(Kind::Bare));
    assert_eq!((with.trace, with.links), (without.trace, without.links), "nothing has changed");
}

#[test]
fn a_satellite_beside_a_fast_path_needs_no_parity() {
    // We learn of a loss over the fast path and repair it there, 70 ms after the packet itself
    // would have come. Parity of all that goes over the satellite would cost a hundredth of the
    // sum, and gains more than that in some runs only. What is urgent does not go there.
    // When the fast path is suspect for a moment, it is a lone one.
    let protected = |o: &Outcome| {
        let percent = SIDES.map(|side| o.history.percent(side, 1, 2.0, 20.0, |p| p.protected));
        percent[0].max(percent[1])
    };
    Scenario::new("40 Mbit/s with 30 ms beside a satellite link that loses 1 %")
        .links([Spec::new(40_000, 30_000), satellite(10_000)])
        .flow("tcp", Flow::bulk(Way::Down))
        .flow("voice", Flow::voice(Way::Down))
        .lasts(20 * SEC)
        .at_most("satellite protected, % of the time", 5.0, protected)
        .at_most("rebuilt", 3.0, |o| rebuilt(o, Way::Up) + rebuilt(o, Way::Down))
        .at_most("voice late or lost, %", 0.5, |o| late(o, "voice", 2.0, 19.0))
        .run(Kind::Bare);
}

#[test]
fn parity_beside_reordered_repeated_and_damaged_packets_delivers_everything_once() {
    let rough = |l: Spec| Spec {
        reorder_ppm: 20_000,
        reorder_us: 60_000,
        duplicate_ppm: 20_000,
        corrupt_ppm: 5_000,
        ..l
    };
    Scenario::new("a satellite link that also mixes, repeats and damages")
        .links([rough(satellite(20_000))])
        .flow("checked", Flow::checked(Way::Down, 300_000))
        .flow("up", Flow::voice(Way::Up))
        .flow("down", Flow::voice(Way::Down))
        .lasts(40 * SEC)
        .at_least("finished", 1.0, |o| f64::from(u8::from(o.flow("checked").finished.is_some())))
        .at_least("rebuilt", 10.0, |o| rebuilt(o, Way::Up) + rebuilt(o, Way::Down))
        .at_most("late or lost, %", 1.5, |o| late(o, "down", 5.0, 38.0))
        .run_both();
}
