//! Ways that carry less than their links say, and ways that change: with ICMP filtered all of it.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::Side;
use crate::report::TCP_SHARE;
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use crate::world::World;
use onebox::engine::Reason;
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];
/// Outer IPv4 or IPv6, and UDP.
const FAMILIES: [u16; 2] = [28, 48];
const SEEDS: [u64; 3] = [1, 2, 3];
/// When the way changes, and when all has to be well again.
const CHANGE: f64 = 8.0;
const WELL: f64 = CHANGE + 3.0;

/// Of a stream's packets sent between two times in seconds, how many never came.
fn missing(o: &Outcome, flow: &str, from: f64, to: f64) -> f64 {
    let within = |at: f64| at >= from * SEC as f64 && at < to * SEC as f64;
    let sent = o.sender(flow).samples.iter().filter(|s| within(s.sent.0 as f64)).count();
    let came = o.flow(flow).samples.iter();
    let came = came.filter(|s| within(s.sent.0 as f64) && s.delay_us.is_some()).count();
    sent as f64 - came as f64
}

/// Seconds from the change until the last packet was sent that never came.
fn silent_for_s(o: &Outcome, flow: &str, to: f64) -> f64 {
    let steps = (0..).map(|i| CHANGE + f64::from(i) * 0.05).take_while(|&t| t < to);
    let bad = steps.filter(|&t| missing(o, flow, t, t + 0.05) > 0.0).last();
    bad.map_or(0.0, |t| t + 0.05 - CHANGE)
}

/// The largest outer packet that an end believes in at a time.
fn believed(o: &Outcome, side: Side, path: usize, at: f64) -> f64 {
    let mut seen = o.history.path(side, path, at, at + 0.1);
    seen.next().map_or(0.0, |(_, p)| f64::from(p.mtu))
}

/// Full-size packets both ways, none of which may be lost after three seconds; and small ones.
fn full_both_ways(name: String) -> Scenario {
    Scenario::new(name)
        .flow("up", Flow::full(Way::Up, 20 * MS))
        .flow("down", Flow::full(Way::Down, 20 * MS))
        .flow("ping", Flow::ping(50 * MS))
}

fn link(mtu: usize) -> Spec {
    Spec { mtu, ..Spec::new(20_000, 20_000) }
}

/// Nothing of a stream is lost between two times, but for what is on its way at the end.
fn none_missing(s: Scenario, from: f64, to: f64) -> Scenario {
    s.at_most("full-size packets lost upwards", 0.0, move |o| missing(o, "up", from, to)).at_most(
        "full-size packets lost downwards",
        0.0,
        move |o| missing(o, "down", from, to),
    )
}

#[test]
fn what_the_mtu_promises_passes() {
    for mtu in [1280, 1300, 1340, 1358, 1400, 1420, 1452, 1492, 1500] {
        let scenario = |overhead: u16, seed: u64| {
            let s = full_both_ways(format!("a way of {mtu} bytes, {overhead} of headers"));
            let s = s.seed(seed).links([link(mtu)]).outer([1500, 1492], overhead);
            none_missing(s, 3.0, 9.5)
        };
        let seeds = FAMILIES.iter().flat_map(|&f| SEEDS.map(|seed| scenario(f, seed)));
        run_all(Kind::Bare, seeds);
    }
    let sealed = |mtu| {
        let s = full_both_ways(format!("a way of {mtu} bytes, sealed")).links([link(mtu)]);
        none_missing(s, 3.0, 9.5)
    };
    run_all(Kind::Sealed, [1280, 1400, 1492].map(sealed));
}

#[test]
fn a_size_that_does_not_pass_is_never_proved() {
    for mtu in [1300, 1400, 1452] {
        let scenario = |seed| {
            full_both_ways(format!("a way of {mtu} bytes for long"))
                .seed(seed)
                .links([link(mtu)])
                .lasts(100 * SEC)
                .at_most("largest size that was believed", mtu as f64, |o| {
                    let of = |side| o.history.path(side, 0, 0.0, 100.0).map(|(_, p)| p.mtu);
                    f64::from(of(Side::Client).chain(of(Side::Server)).max().unwrap_or(0))
                })
        };
        run_all(Kind::Bare, SEEDS.map(scenario));
    }
}

#[test]
fn a_way_that_is_narrow_on_one_side() {
    let one_way = |way: usize, overhead: u16, believed: [u16; 2]| {
        let (mut up, mut down) = (link(1500), link(1500));
        if way == 0 {
            up.mtu = 1400
        } else {
            down.mtu = 1400
        }
        let s = full_both_ways(format!("1400 bytes in direction {way}, believed {believed:?}"));
        none_missing(s.link(up, down).outer(believed, overhead), 3.0, 9.5)
    };
    let beliefs = [[1400, 1492], [1500, 1492]];
    let all = beliefs
        .iter()
        .flat_map(|&b| FAMILIES.iter().flat_map(move |&f| [0, 1].map(|way| one_way(way, f, b))));
    run_all(Kind::Bare, all);
}

/// The way of the only link becomes narrower, in both directions.
fn lowered(name: &str, mtu: usize, delay_us: u64, seed: u64) -> Scenario {
    let wide = Spec { delay_us, ..link(1500) };
    Scenario::new(format!("{name}: the way shrinks to {mtu}, {delay_us} us"))
        .seed(seed)
        .links([wide])
        .flow("ping", Flow::ping(50 * MS))
        .at(8 * SEC, "it shrinks", move |w| w.change_link(0, move |l| l.mtu = mtu))
        .lasts(20 * SEC)
        .at_most("pings lost", 0.0, |o| missing(o, "ping", 2.0, 19.0))
}

#[test]
fn a_way_that_shrinks_in_use_is_noticed() {
    let scenario = |mtu: usize, seed: u64, overhead: u16| {
        let s = lowered("in use", mtu, 20_000, seed).outer([1500, 1492], overhead);
        let s = s
            .flow("up", Flow::full(Way::Up, 20 * MS))
            .flow("down", Flow::full(Way::Down, 20 * MS))
            .at_most("large packets pass again upwards after, s", 3.0, |o| {
                silent_for_s(o, "up", 19.0)
            })
            .at_most("large packets pass again downwards after, s", 3.0, |o| {
                silent_for_s(o, "down", 19.0)
            });
        none_missing(s, WELL, 19.0)
    };
    for mtu in [1280, 1400, 1452] {
        let all = FAMILIES.iter().flat_map(|&f| SEEDS.map(|seed| scenario(mtu, seed, f)));
        run_all(Kind::Bare, all);
    }
}

#[test]
fn a_way_that_shrinks_while_busy_is_noticed() {
    for way in WAYS {
        let scenario = |seed: u64, delay_us: u64| {
            // More than the link carries: its queue is full.
            lowered("busy", 1400, delay_us, seed).flow("bulk", Flow::full(way, 500)).at_least(
                "Mbit/s from 3 s after",
                12.0,
                move |o| o.mbps("bulk", WELL, 19.0),
            )
        };
        run_all(Kind::Bare, SEEDS.map(|seed| scenario(seed, 20_000)));
        run_all(Kind::Bare, [scenario(1, 2_000), scenario(1, 300_000)]);
    }
}

#[test]
fn a_way_that_shrinks_while_idle_is_noticed_at_the_first_use() {
    for way in WAYS {
        let name = if way == Way::Up { "up" } else { "down" };
        let scenario = |seed: u64| {
            lowered("idle", 1400, 20_000, seed)
                .flow(name, Flow::full(way, 50 * MS).from(12 * SEC))
                .at_most("large packets lost later than 3 s after the first", 0.0, move |o| {
                    missing(o, name, 15.0, 19.0)
                })
        };
        run_all(Kind::Bare, SEEDS.map(scenario));
    }
}

#[test]
fn a_way_that_grows_again_is_used() {
    lowered("back", 1400, 20_000, 1)
        .flow("up", Flow::full(Way::Up, 20 * MS))
        .at(15 * SEC, "it is wide again", |w| w.change_link(0, |l| l.mtu = 1500))
        .lasts(60 * SEC)
        .at_most("what is believed meanwhile", 1400.0, |o| believed(o, Side::Client, 0, 13.0))
        .at_least("what is believed later", 1500.0, |o| believed(o, Side::Client, 0, 55.0))
        .run(Kind::Bare);
}

#[test]
fn a_narrow_path_does_not_harm_a_wide_one() {
    for way in WAYS {
        let scenario = |mtu: usize, overhead: u16| {
            Scenario::new(format!("{mtu} bytes beside 1500, {overhead} of headers"))
                .links([link(1500), Spec { mtu, ..Spec::new(10_000, 30_000) }])
                .outer([1500, 1492], overhead)
                .flow("tcp", Flow::bulk(way).from(3 * SEC))
                .flow("large", Flow::full(way, 50 * MS))
                .flow("ping", Flow::ping(20 * MS))
                .lasts(20 * SEC)
                .at_most("large packets lost", 0.0, |o| missing(o, "large", 3.0, 19.0))
                .at_least("Mbit/s", 0.85 * 20.0 * TCP_SHARE, |o| o.mbps("tcp", 8.0, 20.0))
        };
        let all = [1280, 1400].iter().flat_map(|&mtu| FAMILIES.map(|f| scenario(mtu, f)));
        run_all(Kind::Bare, all);
    }
}

/// A wide path and one that takes too little, and at 10 s the wide one dies.
fn narrow_alone(name: &str, dies: impl Fn(&mut World) + 'static, well: f64) -> Scenario {
    full_both_ways(format!("a way of 1280 bytes, and the wide one {name}"))
        .links([link(1500), link(1280)])
        .at(10 * SEC, "the wide one dies", dies)
        .lasts(30 * SEC)
        .at_least("it says so, % of the time", 95.0, |o| {
            let narrow = |r| matches!(r, Reason::TooNarrow(_));
            let says = |side| o.history.percent(side, 1, 4.0, 10.0, |p| narrow(p.reason));
            says(Side::Client).min(says(Side::Server))
        })
        .at_most("large packets lost with both", 0.0, |o| {
            missing(o, "up", 3.0, 9.5) + missing(o, "down", 3.0, 9.5)
        })
        .at_most("large packets lost when it is called down", 0.0, move |o| {
            missing(o, "up", well, 29.5) + missing(o, "down", well, 29.5)
        })
        .at_most("pings lost", 10.0, |o| missing(o, "ping", 3.0, 29.5))
}

/// One that is too narrow falls silent, for longer than it takes to be called down: what the others carry
/// is what counts.
#[test]
fn a_narrow_path_that_falls_silent_does_not_narrow_the_tunnel() {
    let scenario = |name: &'static str, then: fn(&mut World)| {
        full_both_ways(format!("a way of 1280 bytes beside a wide one {name}"))
            .links([link(1500), link(1280)])
            .at(10 * SEC, name, then)
            .at(15 * SEC, "asked", |w| {
                for side in [Side::Client, Side::Server] {
                    let mtu = w.nodes[side as usize].mtu();
                    assert!(mtu >= 1280, "{side:?}: {mtu}");
                }
            })
            .lasts(25 * SEC)
            .at_most("large packets lost", 0.0, |o| {
                missing(o, "up", 11.0, 24.5) + missing(o, "down", 11.0, 24.5)
            })
    };
    let silent = scenario("falls silent", |w| w.change_link(1, |l| l.blackhole = true));
    let moved = scenario("falls silent with a new address", |w| {
        w.change_link(1, |l| l.blackhole = true);
        w.renumber(1);
    });
    run_all(Kind::Bare, [silent, moved]);
}

#[test]
fn a_path_that_is_too_narrow_says_so_and_steps_in_alone() {
    let carrier = narrow_alone("loses its carrier", |w| w.set_carrier(0, false), 11.0);
    // Suspect for ten seconds.
    let hole = |w: &mut World| w.change_link(0, |l| l.blackhole = true);
    run_all(Kind::Bare, [carrier, narrow_alone("goes silent", hole, 22.0)]);
}
