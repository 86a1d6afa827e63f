//! Links that pass what is little and fail under load: policers, and media that lose what is long or
//! what is much.
//!
//! The clean link gives a flow 17.8 of its 20 Mbit/s through the tunnel. The other one may add to that;
//! what it must not do is take away from it.

use crate::flow::{Flow, Way};
use crate::link::{Loss, Spec};
use crate::packet::SIDES;
use crate::scenario::{Kind, Scenario, run_all, variable};
use crate::world::World;
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];
/// What the clean link alone gives, Mbit/s.
const CLEAN_MBPS: f64 = 17.8;

fn policed(kbps: u64, burst: usize, delay_us: u64) -> Spec {
    Spec { policer: Some((kbps, burst)), ..Spec::new(20_000, delay_us) }
}

fn losing(loss: Loss) -> Spec {
    Spec { loss, ..Spec::new(20_000, 20_000) }
}

/// A bad link beside a clean one: the flow has this part of what the clean one alone gives.
fn beside(name: &str, bad: &Spec, way: Way, least: f64) -> Scenario {
    Scenario::new(format!("{name}, beside a clean link"))
        .links([Spec::new(20_000, 20_000), bad.clone()])
        .flow("tcp", Flow::bulk(way))
        .flow("ping", Flow::ping(10 * MS))
        .lasts(60 * SEC)
        .at_least("of the clean link", least, |o| o.mbps("tcp", 10.0, 60.0) / CLEAN_MBPS)
        .at_most("pings lost", 0.0, |o| o.lost("ping", 10.0, 59.0))
        .at_most("changes of state in 30 s", 8.0, |o| {
            SIDES.iter().map(|&side| o.history.changes(side, 1, 30.0, 60.0)).sum()
        })
}

#[test]
fn a_policed_link_beside_a_clean_one_helps() {
    let cases = [
        ("5 Mbit/s, 10 kB", policed(5_000, 10_000, 20_000), 1.15),
        ("5 Mbit/s, 60 kB", policed(5_000, 60_000, 20_000), 1.15),
        ("5 Mbit/s, 1 s", policed(5_000, 625_000, 20_000), 1.15),
        ("2 Mbit/s, 60 kB", policed(2_000, 60_000, 20_000), 1.03),
        ("2 Mbit/s, 1 s", policed(2_000, 250_000, 20_000), 1.03),
    ];
    run_all(
        Kind::Bare,
        cases.iter().flat_map(|(name, bad, least)| {
            WAYS.map(|way| {
                beside(name, bad, way, *least)
                    .at_most("longest stall, ms", 300.0, |o| o.stall_ms("tcp", 10.0, 60.0))
            })
        }),
    );
}

#[test]
fn a_policed_link_alone_carries_what_it_may() {
    let scenario = |burst: usize, delay_us: u64, way| {
        Scenario::new(format!("5 Mbit/s, {burst} bytes, {delay_us} us, alone"))
            .links([policed(5_000, burst, delay_us)])
            .flow("tcp", Flow::bulk(way))
            .lasts(60 * SEC)
            // Headers take 7.5 %.
            .at_least("of its rate", 0.84, |o| o.mbps("tcp", 10.0, 60.0) / 5.0)
            .at_most("changes of state", 0.0, |o| {
                SIDES.iter().map(|&side| o.history.changes(side, 0, 1.0, 60.0)).sum()
            })
    };
    for burst in [10_000, 60_000, 625_000] {
        let far = [10_000, 50_000];
        run_all(Kind::Bare, far.iter().flat_map(|&us| WAYS.map(|way| scenario(burst, us, way))));
    }
}

#[test]
fn a_link_that_loses_under_load_does_no_harm() {
    let cases = [
        ("half of what is long", losing(Loss::Long(600, 500_000))),
        ("four of five that are long", losing(Loss::Long(600, 800_000))),
        ("all that is long", losing(Loss::Long(600, 1_000_000))),
        ("half above 1 Mbit/s", losing(Loss::Overload(1_000, 500_000))),
        ("half above 5 Mbit/s", losing(Loss::Overload(5_000, 500_000))),
    ];
    let all = cases.iter().flat_map(|(name, bad)| WAYS.map(|way| beside(name, bad, way, 0.95)));
    run_all(Kind::Bare, all);
}

/// A table of more links and figures than the tests bound.
#[test]
#[ignore = "prints a table"]
fn explore() {
    let only: String = variable("ONLY", String::new());
    let lasts: u64 = variable("LASTS", 60);
    let from: f64 = variable("FROM", 10.0);
    let d = 20_000;
    let bad = [
        ("pol5 10k", policed(5_000, 10_000, d)),
        ("pol5 60k", policed(5_000, 60_000, d)),
        ("pol5 1s", policed(5_000, 625_000, d)),
        ("pol2 10k", policed(2_000, 10_000, d)),
        ("pol2 60k", policed(2_000, 60_000, d)),
        ("pol2 1s", policed(2_000, 250_000, d)),
        ("pol5 far", policed(5_000, 60_000, 50_000)),
        ("pol2 far", policed(2_000, 60_000, 50_000)),
        ("pol.5", policed(500, 20_000, d)),
        ("long 30%", Spec { loss: Loss::Long(600, 300_000), ..Spec::new(20_000, d) }),
        ("long 50%", Spec { loss: Loss::Long(600, 500_000), ..Spec::new(20_000, d) }),
        ("long 80%", Spec { loss: Loss::Long(600, 800_000), ..Spec::new(20_000, d) }),
        ("long 100%", Spec { loss: Loss::Long(600, 1_000_000), ..Spec::new(20_000, d) }),
        ("long 50% far", Spec { loss: Loss::Long(600, 500_000), ..Spec::new(20_000, 50_000) }),
        ("over1 50%", Spec { loss: Loss::Overload(1_000, 500_000), ..Spec::new(20_000, d) }),
        ("over1 90%", Spec { loss: Loss::Overload(1_000, 900_000), ..Spec::new(20_000, d) }),
        ("over5 50%", Spec { loss: Loss::Overload(5_000, 500_000), ..Spec::new(20_000, d) }),
        (
            "over1 50% far",
            Spec { loss: Loss::Overload(1_000, 500_000), ..Spec::new(20_000, 50_000) },
        ),
        ("rand 30%", Spec { loss: Loss::Random(300_000), ..Spec::new(20_000, d) }),
        ("rand 50%", Spec { loss: Loss::Random(500_000), ..Spec::new(20_000, d) }),
    ];
    let clean = Spec::new(20_000, 20_000);
    let far = Spec::new(20_000, 50_000);
    let alone = |link: &Spec, way| {
        let s = Scenario::new("alone").links([link.clone()]).flow("tcp", Flow::bulk(way));
        s.lasts(lasts * SEC).play(Kind::Bare)
    };
    let reference = alone(&clean, Way::Down).mbps("tcp", from, lasts as f64);
    let reference_far = alone(&far, Way::Down).mbps("tcp", from, lasts as f64);
    println!("clean alone {reference:.2} far {reference_far:.2}");
    for (name, spec) in &bad {
        if !format!("{name} beside").contains(&only) {
            continue;
        }
        for way in WAYS {
            let clean = if name.contains("far") { &far } else { &clean };
            let reference = if name.contains("far") { reference_far } else { reference };
            let o = Scenario::new(*name)
                .links([clean.clone(), spec.clone()])
                .flow("tcp", Flow::bulk(way))
                .flow("ping", Flow::ping(10 * MS))
                .lasts(lasts * SEC)
                .play(Kind::Bare);
            let mut worst = f64::INFINITY;
            let mut at = from;
            while at + 5.0 <= lasts as f64 {
                worst = worst.min(o.mbps("tcp", at, at + 5.0));
                at += 5.0;
            }
            println!(
                "{name:14} beside {way:?}: {:.2} (worst 5 s {:.2}, first {:.2}) stall {:.0} (first {:.0}) changes {:?} late {:?} pingp95 {:.0} lost {} cuts {} to {}",
                o.mbps("tcp", from, lasts as f64) / reference,
                worst / reference,
                o.mbps("tcp", 2.0, from) / reference,
                o.stall_ms("tcp", from, lasts as f64),
                o.stall_ms("tcp", 1.0, from),
                SIDES.map(|s| o.history.changes(s, 1, 1.0, lasts as f64)),
                SIDES.map(|s| o.history.changes(s, 1, lasts as f64 / 2.0, lasts as f64)),
                o.percentile_ms("ping", from, lasts as f64, 95.0),
                o.lost("ping", from, lasts as f64 - 1.0),
                o.sender("tcp").cuts,
                o.sender("tcp").timeouts,
            );
        }
    }
    let lone = [
        ("pol5 10k", policed(5_000, 10_000, 10_000), 5.0),
        ("pol5 60k", policed(5_000, 60_000, 10_000), 5.0),
        ("pol5 1s", policed(5_000, 625_000, 10_000), 5.0),
        ("pol2 60k", policed(2_000, 60_000, 10_000), 2.0),
        ("pol5 10k far", policed(5_000, 10_000, 50_000), 5.0),
        ("pol5 60k far", policed(5_000, 60_000, 50_000), 5.0),
        ("pol5 1s far", policed(5_000, 625_000, 50_000), 5.0),
        ("pol2 60k far", policed(2_000, 60_000, 50_000), 2.0),
        ("pol2 1s far", policed(2_000, 250_000, 50_000), 2.0),
        ("over5 50%", Spec { loss: Loss::Overload(5_000, 500_000), ..Spec::new(20_000, d) }, 5.0),
    ];
    for (name, spec, rate) in &lone {
        if !format!("{name} alone").contains(&only) {
            continue;
        }
        for way in WAYS {
            let o = Scenario::new(*name)
                .links([spec.clone()])
                .flow("tcp", Flow::bulk(way))
                .flow("ping", Flow::ping(10 * MS))
                .lasts(lasts * SEC)
                .play(Kind::Bare);
            println!(
                "{name:14} alone {way:?}: {:.2} first {:.2} stall {:.0} changes {:?} late {:?} ping p95 {:.0} lost {} cuts {} to {}",
                o.mbps("tcp", from, lasts as f64) / rate,
                o.mbps("tcp", 2.0, from) / rate,
                o.stall_ms("tcp", from, lasts as f64),
                SIDES.map(|s| o.history.changes(s, 0, 1.0, lasts as f64)),
                SIDES.map(|s| o.history.changes(s, 0, lasts as f64 / 2.0, lasts as f64)),
                o.percentile_ms("ping", from, lasts as f64, 95.0),
                o.lost("ping", from, lasts as f64 - 1.0),
                o.sender("tcp").cuts,
                o.sender("tcp").timeouts,
            );
        }
    }
}

/// Four links, of which all lose for a while, and small transfers as a household has them. What was lost
/// then says nothing about what the links carry: soon after, a transfer is as quick as before.
#[test]
fn what_a_bad_moment_has_taught_is_soon_forgotten() {
    let links =
        || [(30, 5), (20, 10), (10, 20), (6, 30)].map(|(m, ms)| Spec::new(m * 1000, ms * MS));
    const BEGIN: u64 = 8 * SEC;
    let every = |n: u64| 5 * SEC + n * 500 * MS;
    let all_links = |world: &mut World, change: fn(&mut Spec)| {
        (0..4).for_each(|link| world.change_link(link, change));
    };
    let scenario = |name: &str, lasts_us: u64, way: Way, seed: u64, bad: fn(&mut Spec)| {
        let mut s = Scenario::new(format!("{name} for {} ms, {way:?}", lasts_us / MS))
            .seed(seed)
            .links(links())
            .flow("ping", Flow::ping(50 * MS))
            .lasts(40 * SEC);
        for n in 0..60 {
            s = s.flow(format!("t{n}"), Flow::transfer(way, 65_536).from(every(n)));
        }
        let end = BEGIN + lasts_us;
        s.at(BEGIN, "bad", move |world| all_links(world, bad))
            .at(end, "good", move |world| {
                all_links(world, |spec| {
                    spec.mtu = 1500;
                    spec.loss = Loss::None;
                });
            })
            .at_most("slowest transfer from 5 s after it, ms", 1500.0, move |o| {
                let later = (0..60).filter(|&n| every(n) >= end + 5 * SEC);
                later.map(|n| o.took_ms(&format!("t{n}"), every(n))).fold(0.0, f64::max)
            })
    };
    type Bad = fn(&mut Spec);
    let lossy: [(&str, Bad); 3] = [
        ("1433 bytes", |spec| spec.mtu = 1433),
        ("1340 bytes", |spec| spec.mtu = 1340),
        ("half lost", |spec| spec.loss = Loss::Random(550_000)),
    ];
    let all = lossy.iter().flat_map(|(name, bad)| {
        [500, 1500, 4600].into_iter().flat_map(move |lasts| {
            WAYS.into_iter().flat_map(move |way| {
                [1, 2, 3].map(|seed| scenario(name, lasts * MS, way, seed, *bad))
            })
        })
    });
    run_all(Kind::Bare, all);
}
