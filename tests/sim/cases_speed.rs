//! Speed: one TCP flow over several links, both ways, never worse than the best of them.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::Side;
use crate::report::TCP_SHARE;
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];

fn fast() -> Spec {
    Spec::new(50_000, 20_000)
}

#[test]
fn one_link_through_the_tunnel_costs_its_header_only() {
    for way in WAYS {
        Scenario::new("one link")
            .links([fast()])
            .flow("tcp", Flow::bulk(way))
            .at_least("E", 0.90, |o| o.efficiency("tcp", 2.0, 10.0))
            .run(Kind::Bare);
    }
}

#[test]
fn two_equal_links_give_their_sum() {
    for way in WAYS {
        Scenario::new("two links of 50 Mbit/s and 20 ms")
            .links([fast(), fast()])
            .flow("tcp", Flow::bulk(way))
            .at_least("E", 0.85, |o| o.efficiency("tcp", 2.0, 10.0))
            .run_both();
    }
}

#[test]
fn two_equal_links_with_late_timers_give_their_sum() {
    Scenario::new("two links, timers up to 1 ms late")
        .slack(MS)
        .links([fast(), fast()])
        .flow("tcp", Flow::bulk(Way::Down))
        .at_least("E", 0.85, |o| o.efficiency("tcp", 2.0, 10.0))
        .run(Kind::Bare);
}

#[test]
fn a_link_of_three_times_the_delay_helps() {
    for way in WAYS {
        Scenario::new("20 and 70 ms")
            .links([fast(), Spec::new(50_000, 70_000)])
            .flow("tcp", Flow::bulk(way))
            .lasts(15 * SEC)
            .at_least("Mbit/s", 50.0 * TCP_SHARE, |o| o.mbps("tcp", 3.0, 15.0))
            .run(Kind::Bare);
    }
}

#[test]
fn a_link_that_loses_one_percent_helps() {
    for way in WAYS {
        Scenario::new("clean and 1 % loss")
            .links([fast(), fast().loss(10_000)])
            .flow("tcp", Flow::bulk(way))
            .lasts(15 * SEC)
            .at_least("Mbit/s", 50.0 * TCP_SHARE, |o| o.mbps("tcp", 3.0, 15.0))
            .run(Kind::Bare);
    }
}

#[test]
fn a_slow_and_bad_link_does_no_harm() {
    for way in WAYS {
        Scenario::new("50 Mbit/s beside 2 Mbit/s with 400 ms and 5 % loss")
            .links([fast(), Spec::new(2_000, 400_000).loss(50_000)])
            .flow("tcp", Flow::bulk(way))
            .lasts(20 * SEC)
            .at_least("Mbit/s", 0.95 * 0.954 * 50.0 * TCP_SHARE, |o| o.mbps("tcp", 4.0, 20.0))
            .run(Kind::Bare);
    }
}

#[test]
fn several_flows_share_all_links() {
    let mut s = Scenario::new("four flows over three links")
        .links([fast(), Spec::new(30_000, 35_000), Spec::new(20_000, 10_000)])
        .lasts(12 * SEC);
    const NAMES: [&str; 4] = ["one", "two", "three", "four"];
    for name in NAMES {
        s = s.flow(name, Flow::bulk(Way::Down));
    }
    s.at_least("E of all", 0.85, |o| NAMES.iter().map(|n| o.efficiency(n, 3.0, 12.0)).sum())
        .at_least("E of the least", 0.10, |o| {
            NAMES.iter().map(|n| o.efficiency(n, 3.0, 12.0)).fold(f64::MAX, f64::min)
        })
        .run(Kind::Bare);
}

#[test]
fn both_ways_at_once() {
    Scenario::new("bulk up and down at once")
        .links([fast(), fast()])
        .flow("up", Flow::bulk(Way::Up))
        .flow("down", Flow::bulk(Way::Down))
        .lasts(12 * SEC)
        .at_least("E up", 0.80, |o| o.efficiency("up", 3.0, 12.0))
        .at_least("E down", 0.80, |o| o.efficiency("down", 3.0, 12.0))
        .run(Kind::Bare);
}

#[test]
fn pings_cost_nothing_while_idle() {
    Scenario::new("ping without load")
        .links([fast(), Spec::new(50_000, 30_000)])
        .flow("ping", Flow::ping(10 * MS))
        .at_most("median, ms", 42.0, |o| o.percentile_ms("ping", 1.0, 9.0, 50.0))
        .at_most("99th percentile, ms", 42.0, |o| o.percentile_ms("ping", 1.0, 9.0, 99.0))
        .at_most("lost", 0.0, |o| o.lost("ping", 0.6, 9.0))
        .run(Kind::Bare);
}

#[test]
fn pings_stay_short_under_load() {
    for way in WAYS {
        Scenario::new("ping beside bulk")
            .links([fast(), fast()])
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .at_most("95th percentile, ms", 70.0, |o| o.percentile_ms("ping", 3.0, 9.0, 95.0))
            .at_most("lost", 0.0, |o| o.lost("ping", 3.0, 9.0))
            .run(Kind::Bare);
    }
}

#[test]
fn voice_and_constant_datagrams_pass_whole() {
    Scenario::new("voice and 60 Mbit/s of datagrams over two links")
        .links([fast(), fast()])
        .flow("voice", Flow::voice(Way::Up))
        .flow("stream", Flow::constant(Way::Up, 60_000))
        .at_most("voice lost", 0.0, |o| o.lost("voice", 2.0, 9.0))
        .at_most("voice, 99th percentile, ms", 40.0, |o| o.percentile_ms("voice", 2.0, 9.0, 99.0))
        .at_least("stream, Mbit/s", 59.0, |o| o.mbps("stream", 3.0, 9.0))
        .run(Kind::Bare);
}

#[test]
fn short_flows_finish_beside_bulk() {
    let mut s = Scenario::new("short flows beside bulk")
        .links([fast(), fast()])
        .flow("tcp", Flow::bulk(Way::Down));
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    for (name, at) in NAMES.into_iter().zip(2u64..) {
        s = s.flow(name, Flow::transfer(Way::Down, 100_000).from(at * SEC));
    }
    for (name, at) in NAMES.into_iter().zip(2u64..) {
        s = s.at_most(format!("{name}, ms"), 600.0, move |o| {
            let finished = o.sender(name).finished.map_or(f64::INFINITY, |t| t.0 as f64);
            (finished - (at * SEC) as f64) / 1000.0
        });
    }
    s.run(Kind::Bare);
}

#[test]
fn smoltcp_gets_every_byte() {
    Scenario::new("smoltcp over two unequal links")
        .links([fast(), Spec::new(30_000, 60_000)])
        .flow("up", Flow::checked(Way::Up, 20_000_000))
        .flow("down", Flow::checked(Way::Down, 20_000_000))
        .lasts(15 * SEC)
        .at_least("up finished", 1.0, |o| f64::from(u8::from(o.flow("up").finished.is_some())))
        .at_least("down finished", 1.0, |o| f64::from(u8::from(o.flow("down").finished.is_some())))
        .run_both();
}

/// The rate of a satellite's link is searched for while the flow already fills the other one. What the
/// search loses in that link's short queue, and is known a round trip later, is no brown-out.
#[test]
fn a_very_slow_link_is_not_lost_in_the_search_for_its_rate() {
    let scenario = |queue_ms: usize| {
        let queue = Some(50 * queue_ms * 125);
        Scenario::new(format!("20 and 320 ms, {queue_ms} ms of queue"))
            .links([fast(), Spec { queue, ..Spec::new(50_000, 320_000) }])
            .flow("tcp", Flow::bulk(Way::Up).from(SEC))
            .lasts(30 * SEC)
            .at_least("Mbit/s", 60.0, |o| o.mbps("tcp", 12.0, 30.0))
    };
    run_all(Kind::Bare, [40, 80, 120, 150].map(scenario));
}

/// What the slow near link carries until a packet comes over the fast far one is a small part of what
/// that takes in the meantime: the places that it leaves empty must not count.
#[test]
fn a_fast_link_behind_a_slow_one_is_used() {
    let scenario = |way| {
        Scenario::new("20 Mbit/s and 5 ms beside 100 Mbit/s and 80 ms")
            .links([Spec::new(20_000, 5_000), Spec::new(100_000, 80_000)])
            .flow("tcp", Flow::bulk(way))
            .lasts(25 * SEC)
            .at_least("E", 0.85, |o| o.efficiency("tcp", 12.0, 25.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

/// Bytes of small requests and answers fill nothing; a download fills the way down, and no other.
#[test]
fn a_capacity_is_told_when_a_link_was_full() {
    let known = |o: &Outcome, side| o.capacity(side, 0).or(o.capacity(side, 1)).unwrap_or(0.0);
    let links = [Spec::new(50_000, 20_000), Spec::new(20_000, 30_000)];
    Scenario::new("pings and two calls over two links")
        .links(links.clone())
        .flow("ping", Flow::ping(50 * MS))
        .flow("call up", Flow::constant(Way::Up, 100))
        .flow("call down", Flow::constant(Way::Down, 100))
        .lasts(20 * SEC)
        .at_most("capacity up, kbit/s", 0.0, move |o| known(o, Side::Client))
        .at_most("capacity down, kbit/s", 0.0, move |o| known(o, Side::Server))
        .run_both();
    let down = |o: &Outcome, link| o.capacity(Side::Server, link).unwrap_or(0.0);
    Scenario::new("a download over two links, then peace")
        .links(links)
        .flow("tcp", Flow::bulk(Way::Down).for_us(8 * SEC))
        .flow("ping", Flow::ping(50 * MS))
        .lasts(14 * SEC)
        .at_least("first, kbit/s", 0.93 * 50_000.0, move |o| down(o, 0))
        .at_most("first, kbit/s", 1.05 * 50_000.0, move |o| down(o, 0))
        .at_least("second, kbit/s", 0.93 * 20_000.0, move |o| down(o, 1))
        .at_most("second, kbit/s", 1.05 * 20_000.0, move |o| down(o, 1))
        .at_most("capacity up, kbit/s", 0.0, move |o| known(o, Side::Client))
        .run_both();
}
