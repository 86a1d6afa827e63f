//! Speed tests: what they find, and that nobody suffers from them.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::Side;
use crate::scenario::{Kind, Outcome, Scenario};
use crate::world::World;
use onebox::engine::{LOAD_BYTES_MAX, SpeedTestPlan, Way as Tested};
use onebox::time::{MS, SEC};
use onebox::wire::PathId;

/// Up and down of two lines, kbit/s.
const LINES: [[u64; 2]; 2] = [[10_000, 50_000], [5_000, 20_000]];

/// What a line counts beside IP packets, and acknowledgements and probes that go beside a test.
const FRAMING: f64 = 1.05;

fn plan(paths: u8, bytes: u64) -> SpeedTestPlan {
    SpeedTestPlan {
        id: 1,
        paths: (0..paths).map(|path| (PathId(path), bytes)).collect(),
        ways: vec![Tested::Down, Tested::Up],
        step_us: 5 * SEC,
        together: true,
    }
}

fn start(bytes: u64) -> impl Fn(&mut World) + 'static {
    move |w: &mut World| {
        let now = w.now;
        w.nodes[Side::Client as usize].speed_test(now, plan(2, bytes));
    }
}

/// Two lines that a test begins on at 2 s, for 35 s.
fn tested(name: &str) -> Scenario {
    let [a, b] = LINES.map(|line| line.map(|kbps| Spec::new(kbps, 15_000)));
    Scenario::new(name)
        .link(a[0].clone(), a[1].clone())
        .link(b[0].clone(), b[1].clone())
        .at(2 * SEC, "test of both, alone and together", start(u64::MAX))
        .lasts(38 * SEC)
}

/// What the test found of these paths, kbit/s; 0 for no result.
fn found(o: &Outcome, paths: u16, way: Tested) -> f64 {
    let test = o.ends[Side::Client as usize].as_ref().and_then(|end| end.speed_test.as_ref());
    let of = |r: &&onebox::engine::StepResult| r.paths == paths && r.way == way;
    let result = test.and_then(|test| test.results.iter().find(of));
    result.and_then(|r| r.rate.ok()).map_or(0.0, |rate| rate as f64 / 125.0)
}

/// Every result within a tenth of what the lines have.
fn exact(mut scenario: Scenario, percent: f64) -> Scenario {
    for (paths, lines) in [(1, &LINES[..1]), (2, &LINES[1..]), (3, &LINES[..])] {
        for (way, at) in [(Tested::Up, 0), (Tested::Down, 1)] {
            let kbps: u64 = lines.iter().map(|line| line[at]).sum();
            let share = move |o: &Outcome| found(o, paths, way) / kbps as f64 * 100.0;
            let name = format!("paths {paths:b} {way:?}, percent");
            scenario = scenario.at_least(name.clone(), 100.0 - percent, share).at_most(
                name,
                100.0 + percent,
                share,
            );
        }
    }
    scenario
}

#[test]
fn a_test_finds_each_rate_alone_and_together_and_pings_stay_good() {
    let scenario = tested("speed test beside pings")
        .flow("ping", Flow::ping(50 * MS))
        .flow("voice", Flow::constant(Way::Up, 100))
        .at_most("pings lost", 0.0, |o| o.lost("ping", 1.0, 37.0))
        .at_most("voice lost", 0.0, |o| o.lost("voice", 1.0, 37.0))
        .at_most("ping p95, ms", 70.0, |o| o.percentile_ms("ping", 2.0, 37.0, 95.0));
    exact(scenario, 10.0).run_both();
}

#[test]
fn user_traffic_is_not_slowed_by_a_test() {
    let [a, b] = LINES.map(|line| line.map(|kbps| Spec::new(kbps, 15_000)));
    for way in [Way::Up, Way::Down] {
        let alone = Scenario::new("a transfer without a test")
            .link(a[0].clone(), a[1].clone())
            .link(b[0].clone(), b[1].clone())
            .flow("tcp", Flow::bulk(way))
            .lasts(38 * SEC)
            .play(Kind::Bare)
            .mbps("tcp", 3.0, 37.0);
        tested("a transfer beside a test")
            .flow("tcp", Flow::bulk(way))
            .at_least("Mbit/s beside it", 0.95 * alone, |o| o.mbps("tcp", 3.0, 37.0))
            .run(Kind::Bare);
    }
}

#[test]
fn a_test_takes_no_more_than_it_may() {
    let [a, b] = LINES.map(|line| line.map(|kbps| Spec::new(kbps, 15_000)));
    const MAY: u64 = 8_000_000;
    let taken = |o: &Outcome, link| {
        let sent = |side| o.history.link_kb(link, side, 1.9, 40.0);
        sent(Side::Client) + sent(Side::Server)
    };
    Scenario::new("speed test with 8 MB for each link")
        .link(a[0].clone(), a[1].clone())
        .link(b[0].clone(), b[1].clone())
        .at(2 * SEC, "test", start(MAY))
        .lasts(40 * SEC)
        .at_most("kB over A", MAY as f64 / 1000.0 * FRAMING, move |o| taken(o, 0))
        .at_most("kB over B", MAY as f64 / 1000.0 * FRAMING, move |o| taken(o, 1))
        .at_least("A down, kbit/s", 45_000.0, |o| found(o, 1, Tested::Down))
        .at_most("together", 0.0, |o| found(o, 3, Tested::Up))
        .run_both();
}

#[test]
fn a_link_that_goes_away_ends_its_step_and_a_late_answer_does_no_harm() {
    tested("A dies in its test, B goes on")
        .flow("ping", Flow::ping(50 * MS))
        .at(4 * SEC, "A loses its carrier", |w| w.set_carrier(0, false))
        .at(20 * SEC, "A is back", |w| w.set_carrier(0, true))
        .at_least("B down, kbit/s", 18_000.0, |o| found(o, 2, Tested::Down))
        .at_least("B up, kbit/s", 4_500.0, |o| found(o, 2, Tested::Up))
        .at_most("A up", 0.0, |o| found(o, 1, Tested::Up))
        .run_both();
}

#[test]
fn what_is_asked_of_a_server_is_bounded() {
    let long = |w: &mut World| {
        let now = w.now;
        let ways = vec![Tested::Down];
        let plan = SpeedTestPlan { ways, step_us: 60 * SEC, ..plan(1, u64::MAX) };
        w.nodes[Side::Client as usize].speed_test(now, plan);
    };
    let sent = |o: &Outcome| o.history.link_kb(0, Side::Server, 0.0, 20.0) / 1000.0;
    Scenario::new("a minute is asked for over a very fast link")
        .links([Spec::new(2_000_000, 5_000)])
        .at(SEC, "test", long)
        .lasts(20 * SEC)
        .at_most("MB sent by the server", LOAD_BYTES_MAX as f64 / 1e6 * FRAMING, sent)
        .at_least("kbit/s", 0.8 * 2_000_000.0, |o| found(o, 1, Tested::Down))
        .run(Kind::Bare);
    Scenario::new("a minute is asked for")
        .links([Spec::new(100_000, 5_000)])
        .at(SEC, "test", long)
        .lasts(20 * SEC)
        .at_most("MB sent by the server", 10.1 * 100.0 / 8.0 * FRAMING, sent)
        .run(Kind::Bare);
}
