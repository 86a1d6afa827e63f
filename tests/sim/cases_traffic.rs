//! Traffic as people make it: short flows, voice and streams beside bulk.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];

fn two() -> [Spec; 2] {
    [Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)]
}

/// Short flows, the bytes of each, and when the first begins and how far they lie apart.
const SHORT: u64 = 200;
const SHORT_BYTES: u64 = 50_000;
const SHORT_FROM_US: u64 = 3 * SEC;
const SHORT_EVERY_US: u64 = 50 * MS;

fn short_begin(i: u64) -> u64 {
    SHORT_FROM_US + i * SHORT_EVERY_US
}

fn short_flows(name: &'static str, way: Way) -> Scenario {
    let mut s = Scenario::new(name).links(two()).lasts(16 * SEC);
    for i in 0..SHORT {
        s = s.flow(format!("short {i}"), Flow::transfer(way, SHORT_BYTES).from(short_begin(i)));
    }
    s
}

/// A percentile of the times that short flows took, milliseconds.
fn took_ms(o: &Outcome, percent: u64) -> f64 {
    let mut took: Vec<f64> =
        (0..SHORT).map(|i| o.took_ms(&format!("short {i}"), short_begin(i))).collect();
    took.sort_by(f64::total_cmp);
    took[(SHORT * percent / 100) as usize]
}

#[test]
fn many_short_flows_hardly_notice_bulk() {
    let scenario = |way| {
        let idle = short_flows("short flows alone", way).play(Kind::Bare);
        let (median, p95) = (took_ms(&idle, 50), took_ms(&idle, 95));
        short_flows("short flows beside bulk", way)
            .flow("bulk", Flow::bulk(way))
            .at_most(format!("median, ms; alone {median:.0}"), 1.5 * median, |o| took_ms(o, 50))
            .at_most(format!("p95, ms; alone {p95:.0}"), 2.0 * p95, |o| took_ms(o, 95))
            .at_least("share of bulk", 0.6, move |o| o.share("bulk", way, 3.0, 13.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn voice_keeps_its_delay_beside_bulk() {
    // The best idle path has 20 ms one way.
    let scenario = |way| {
        Scenario::new("voice beside bulk on all paths")
            .links(two())
            .flow("bulk", Flow::bulk(way))
            .flow("voice", Flow::voice(way))
            .lasts(16 * SEC)
            .at_most("voice p99, ms", 40.0, |o| o.percentile_ms("voice", 3.0, 15.0, 99.0))
            .at_most("voice lost", 0.0, |o| o.lost("voice", 3.0, 15.0))
            .at_least("share of bulk", 0.8, move |o| o.share("bulk", way, 4.0, 16.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn voice_keeps_its_delay_in_the_begin_of_bulk() {
    let scenario = |way| {
        Scenario::new("voice while bulk searches for the rate")
            .links(two())
            .flow("voice", Flow::voice(way))
            .flow("bulk", Flow::bulk(way).from(3 * SEC))
            .lasts(8 * SEC)
            .at_most("voice p99, ms", 60.0, |o| o.percentile_ms("voice", 3.0, 6.0, 99.0))
            .at_most("voice lost", 0.0, |o| o.lost("voice", 1.0, 7.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

/// Names of the bursts of a paced stream.
const BURSTS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// Bursts of 2 Mbit/s, three seconds each, a second apart, from 6 s until 26 s, and then bulk.
fn limited(name: &'static str, way: Way, before: bool) -> Scenario {
    let mut s = Scenario::new(name).links(two()).lasts(31 * SEC);
    if before {
        s = s.flow("before", Flow::transfer(way, 30_000_000));
    }
    for (burst, at) in BURSTS.into_iter().zip((6..).step_by(4)) {
        s = s.flow(burst, Flow::constant(way, 2_000).from(at * SEC).for_us(3 * SEC));
    }
    s.flow("bulk", Flow::bulk(way).from(26 * SEC))
        .at_least("share from 2 s on", 0.8, move |o| o.share("bulk", way, 28.0, 31.0))
        .at_most("lost of the bursts", 0.0, |o| BURSTS.map(|b| o.lost(b, 0.0, 26.0)).iter().sum())
}

#[test]
fn a_slow_stream_does_not_wreck_what_was_known() {
    let name = "bulk, 20 s of 2 Mbit/s with pauses, bulk";
    run_all(Kind::Bare, WAYS.map(|way| limited(name, way, true)));
}

#[test]
fn a_slow_stream_does_not_spoil_the_search() {
    let name = "20 s of 2 Mbit/s with pauses, bulk";
    run_all(Kind::Bare, WAYS.map(|way| limited(name, way, false)));
}
