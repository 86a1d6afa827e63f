//! Sets of links as households have them: unequal up and down, three and four of them, shared
//! with traffic that is not ours, and after a time of loss.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::report::{TCP_SHARE, efficiency};
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// Two lines of 100 Mbit/s down and 10 up.
fn asymmetric(name: &'static str) -> Scenario {
    let line = |delay_us| (Spec::new(10_000, delay_us), Spec::new(100_000, delay_us));
    let (a, b) = (line(10_000), line(15_000));
    Scenario::new(name)
        .link(a.0, a.1)
        .link(b.0, b.1)
        .flow("ping", Flow::ping(10 * MS))
        .lasts(12 * SEC)
        .at_most("ping p95, ms", 50.0, |o| o.percentile_ms("ping", 3.0, 11.0, 95.0))
}

fn e_up(o: &Outcome) -> f64 {
    efficiency(o.mbps("up", 3.0, 12.0), 20_000)
}

#[test]
fn asymmetric_lines_give_their_sum_up() {
    asymmetric("two lines of 10 Mbit/s up, bulk up")
        .flow("up", Flow::bulk(Way::Up))
        .at_least("E up", 0.85, e_up)
        .run(Kind::Bare);
}

#[test]
fn asymmetric_lines_give_their_sum_down() {
    asymmetric("two lines of 100 Mbit/s down, 10 up, bulk down")
        .flow("down", Flow::bulk(Way::Down))
        .at_least("E down", 0.85, |o| o.efficiency("down", 3.0, 12.0))
        .run(Kind::Bare);
}

#[test]
fn asymmetric_lines_serve_both_ways_at_once() {
    // Acknowledgements of 200 Mbit/s take about a quarter of the 20 that go up.
    asymmetric("two lines of 100 Mbit/s down, 10 up, bulk both ways")
        .flow("up", Flow::bulk(Way::Up))
        .flow("down", Flow::bulk(Way::Down))
        .at_least("E down", 0.8, |o| o.efficiency("down", 3.0, 12.0))
        .at_least("E up", 0.5, e_up)
        .run(Kind::Bare);
}

#[test]
fn three_links_give_their_sum() {
    let scenario = |way| {
        Scenario::new("50, 30 and 20 Mbit/s with 20, 35 and 10 ms")
            .links([
                Spec::new(50_000, 20_000),
                Spec::new(30_000, 35_000),
                Spec::new(20_000, 10_000),
            ])
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(14 * SEC)
            .at_least("E", 0.9, |o| o.efficiency("tcp", 4.0, 14.0))
            .at_most("ping p95, ms", 50.0, |o| o.percentile_ms("ping", 4.0, 13.0, 95.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn four_links_give_their_sum() {
    let scenario = |way| {
        let links = [(60_000, 10_000), (40_000, 25_000), (20_000, 40_000), (10_000, 60_000)];
        Scenario::new("60, 40, 20 and 10 Mbit/s with 10, 25, 40 and 60 ms")
            .links(links.map(|(kbps, delay_us)| Spec::new(kbps, delay_us)))
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(14 * SEC)
            .at_least("E", 0.9, |o| o.efficiency("tcp", 4.0, 14.0))
            .at_most("ping p95, ms", 50.0, |o| o.percentile_ms("ping", 4.0, 13.0, 95.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

const LINK: f64 = 50.0 * TCP_SHARE;

/// In the long run: a link that another fills up to 150 ms late is of use only to a flow with a
/// window for that, and CUBIC takes its time to open it.
fn shared(way: Way, begin: u64) -> Scenario {
    Scenario::new(format!("a CUBIC flow beside the tunnel on A from {begin} us"))
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
        .flow("tcp", Flow::bulk(way))
        .flow("plain", Flow::bulk(way).outside(0).from(begin))
        .lasts(68 * SEC)
        .at_least("plain, Mbit/s", LINK / 3.0, |o| o.mbps("plain", 28.0, 68.0))
        .at_least("ours on A, Mbit/s", LINK / 3.0, move |o| {
            let ours = o.history.link_mbps(0, way.sender(), 28.0, 68.0) * TCP_SHARE;
            ours - o.mbps("plain", 28.0, 68.0)
        })
        .at_least("Mbit/s of the bond", LINK * 1.2, |o| o.mbps("tcp", 28.0, 68.0))
}

#[test]
fn a_link_shared_with_plain_traffic_is_shared_fairly() {
    let begins = [3_000 * MS, 3_411 * MS, 3_959 * MS];
    run_all(Kind::Bare, begins.into_iter().flat_map(|begin| WAYS.map(|way| shared(way, begin))));
}

#[test]
fn what_was_lost_before_costs_nothing_later() {
    let links = [(30, 5), (20, 10), (10, 20), (6, 30)];
    let links = links.map(|(mbit, ms)| Spec::new(mbit * 1000, ms * MS));
    for count in [2, 4] {
        let scenario = |seed: u64| {
            let name = format!("{count} links, half of everything is lost for four seconds");
            let mut s = Scenario::new(name).seed(seed).links(links[..count].iter().cloned());
            // What arrived then is acknowledged long after, in many ranges beside each packet.
            for (at, ppm) in [(2, 500_000), (6, 0)] {
                s = s.at(at * SEC, "loss changes", move |w| {
                    (0..count).for_each(|link| w.change_link(link, |l| *l = l.clone().loss(ppm)));
                });
            }
            s.flow("up", Flow::constant(Way::Up, 500))
                .flow("down", Flow::constant(Way::Down, 500))
                .flow("ping", Flow::ping(50 * MS))
                .lasts(14 * SEC)
                .at_most("packets lost upwards", 0.0, |o| o.lost("up", 9.0, 13.0))
                .at_most("packets lost downwards", 0.0, |o| o.lost("down", 9.0, 13.0))
        };
        run_all(Kind::Bare, [1, 2, 3].map(scenario));
    }
}
