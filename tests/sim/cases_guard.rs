//! Links that cost the bond more than they give: they are held out.

use crate::flow::{Flow, Way};
use crate::link::{Loss, Spec};
use crate::scenario::{Kind, Scenario, run_all};
use onebox::time::{MS, SEC};

const WAYS: [Way; 2] = [Way::Up, Way::Down];

fn beside(name: &'static str, bad: Spec) {
    let scenario = |way| {
        Scenario::new(name)
            .links([Spec::new(50_000, 20_000), bad.clone()])
            .flow("tcp", Flow::bulk(way))
            .flow("ping", Flow::ping(10 * MS))
            .lasts(40 * SEC)
            .at_least("Mbit/s of 47 alone", 44.0, |o| o.mbps("tcp", 10.0, 40.0))
            .at_most("ping, ms", 75.0, |o| o.percentile_ms("ping", 10.0, 38.0, 95.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn a_poor_link() {
    let bursts = Loss::Bursts { enter: 20_000, leave: 50_000, good: 0, bad: 900_000 };
    beside("a: bursts", Spec { loss: bursts, ..Spec::new(2_000, 20_000) });
}
#[test]
fn b_poor_link() {
    beside(
        "b: mixing jitter",
        Spec { jitter_mixes: true, ..Spec::new(5_000, 200_000).jitter(300_000).loss(100_000) },
    );
}
#[test]
fn c_poor_link() {
    beside(
        "c: slow, far",
        Spec { queue: Some(500_000), ..Spec::new(1_000, 600_000).loss(100_000) },
    );
}
#[test]
fn d_poor_link() {
    let trace = Some((vec![(0, 20_000), (500_000, 200)], 1_000_000));
    beside("d: on and off", Spec { trace, queue: Some(1_000_000), ..Spec::new(20_000, 30_000) });
}
#[test]
fn e_poor_link() {
    beside("e: 30 % loss", Spec::new(10_000, 50_000).loss(300_000));
}
#[test]
fn f_poor_link() {
    beside("f: jitter in order", Spec::new(10_000, 50_000).jitter(400_000).loss(20_000));
}
#[test]
fn g_poor_link() {
    let trace = Some((vec![(0, 20_000), (3_000_000, 200)], 6_000_000));
    beside(
        "g: on and off slowly",
        Spec { trace, queue: Some(2_000_000), ..Spec::new(20_000, 30_000) },
    );
}
#[test]
fn zz_long() {
    let scenario = |way| {
        let mut s = Scenario::new("long")
            .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
            .flow("ping", Flow::ping(10 * MS))
            .lasts(150 * SEC);
        for i in 0..6 {
            s = s.flow(["a", "b", "c", "d", "e", "f"][i], Flow::bulk(way));
        }
        s.at_most("ping 20, ms", 1.0, |o| o.percentile_ms("ping", 20.0, 30.0, 95.0))
            .at_most("ping 60, ms", 1.0, |o| o.percentile_ms("ping", 60.0, 70.0, 95.0))
            .at_most("ping 100, ms", 1.0, |o| o.percentile_ms("ping", 100.0, 110.0, 95.0))
            .at_most("ping 140, ms", 1.0, |o| o.percentile_ms("ping", 130.0, 148.0, 95.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn zz_sweep() {
    use crate::rng::Rng;
    let from: u64 = std::env::var("FROM").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for seed in from..from + 24 {
        let mut r = Rng::of(seed, "sweep");
        let mut pick = |v: &[u64]| v[(r.next() % v.len() as u64) as usize];
        let kbps = pick(&[500, 1_000, 2_000, 5_000, 10_000, 30_000]);
        let delay = pick(&[5_000, 20_000, 60_000, 150_000, 300_000]);
        let mut bad = Spec::new(kbps, delay).jitter(pick(&[0, 0, 10_000, 50_000, 150_000])).loss(pick(&[0, 0, 5_000, 30_000, 150_000]) as u32);
        bad.jitter_mixes = pick(&[0, 1]) == 1;
        if pick(&[0, 1, 2]) == 0 { bad.loss = Loss::Bursts { enter: pick(&[1000, 10_000]) as u32, leave: pick(&[5_000, 50_000]) as u32, good: 0, bad: 800_000 }; }
        let on = pick(&[0, 0, 200_000, 1_000_000, 4_000_000]);
        if on > 0 { bad.trace = Some((vec![(0, kbps), (on, kbps / pick(&[2, 10, 50]))], on + pick(&[100_000, 1_000_000, 3_000_000]))); }
        if pick(&[0, 1]) == 1 { bad.queue = Some(pick(&[10_000, 200_000, 1_000_000]) as usize); }
        for way in WAYS {
            let o = Scenario::new("sweep").links([Spec::new(50_000, 20_000), bad.clone()])
                .flow("tcp", Flow::bulk(way)).flow("ping", Flow::ping(10 * MS)).lasts(40 * SEC).play(Kind::Bare);
            println!("{:.1} ping {:.0} {} {way:?} {seed} {bad:?}", o.mbps("tcp", 10.0, 40.0), o.percentile_ms("ping", 10.0, 38.0, 95.0), if o.mbps("tcp", 10.0, 40.0) < 43.0 { "LOW" } else { "" });
        }
    }
}

#[test]
fn zy_23() {
    let trace = Some((vec![(0, 1_000), (1_000_000, 500)], 2_000_000));
    beside("x23", Spec { trace, queue: None, ..Spec::new(1_000, 5_000) });
}
#[test]
fn zy_5() {
    let trace = Some((vec![(0, 10_000), (1_000_000, 1_000)], 4_000_000));
    beside("x5", Spec { trace, ..Spec::new(10_000, 5_000).loss(30_000) });
}
