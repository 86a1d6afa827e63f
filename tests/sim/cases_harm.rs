//! Links that harm packets: jitter, reordering, duplication, corruption, bursts of loss, policers.

use crate::flow::{Flow, Way};
use crate::link::{Loss, Spec};
use crate::report::TCP_SHARE;
use crate::scenario::{Kind, Scenario, run_all};
use onebox::time::SEC;

const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// Two links with the same fault; one TCP flow has to get this share, and smoltcp every byte.
fn faulty(name: &'static str, spec: Spec, least: f64) {
    Scenario::new(name)
        .links([spec.clone(), Spec { delay_us: spec.delay_us + 10_000, ..spec.clone() }])
        .flow("up", Flow::checked(Way::Up, 5_000_000))
        .flow("down", Flow::checked(Way::Down, 5_000_000))
        .lasts(30 * SEC)
        .at_least("up finished", 1.0, |o| f64::from(u8::from(o.flow("up").finished.is_some())))
        .at_least("down finished", 1.0, |o| f64::from(u8::from(o.flow("down").finished.is_some())))
        .at_most("broken", 0.0, |o| (o.flow("up").resets + o.flow("down").resets) as f64)
        .run_both();
    let speed = |way| {
        Scenario::new(name)
            .links([spec.clone(), Spec { delay_us: spec.delay_us + 10_000, ..spec.clone() }])
            .flow("tcp", Flow::bulk(way))
            .lasts(15 * SEC)
            .at_least("E", least, |o| o.efficiency("tcp", 3.0, 15.0))
    };
    run_all(Kind::Bare, WAYS.map(speed));
}

fn fast() -> Spec {
    Spec::new(50_000, 20_000)
}

#[test]
fn jitter() {
    faulty("jitter of 20 ms", fast().jitter(20_000), 0.8);
}

#[test]
fn reordering() {
    let spec = Spec { reorder_ppm: 20_000, reorder_us: 4_000, ..fast() };
    faulty("2 % come 4 ms late", spec, 0.8);
}

#[test]
fn duplication() {
    faulty("5 % come twice", Spec { duplicate_ppm: 50_000, ..fast() }, 0.85);
}

#[test]
fn corruption() {
    faulty("0.5 % have a bit flipped", Spec { corrupt_ppm: 5_000, ..fast() }, 0.8);
}

#[test]
fn random_loss() {
    faulty("2 % loss", fast().loss(20_000), 0.8);
}

#[test]
fn bursts_of_loss() {
    let loss = Loss::Bursts { enter: 1_000, leave: 100_000, good: 0, bad: 500_000 };
    faulty("bursts of loss", Spec { loss, ..fast() }, 0.75);
}

#[test]
fn a_policer_is_found_out() {
    let scenario = |way| {
        Scenario::new("a link with a policer of 20 Mbit/s beside a clean one")
            .links([fast(), Spec { policer: Some((20_000, 60_000)), ..fast() }])
            .flow("tcp", Flow::bulk(way))
            .lasts(15 * SEC)
            .at_least("Mbit/s", 50.0 * TCP_SHARE, |o| o.mbps("tcp", 4.0, 15.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn a_shallow_queue_is_enough() {
    let scenario = |way| {
        Scenario::new("queues of 32 KiB")
            .links([Spec { queue: Some(32 * 1024), ..fast() }, fast()])
            .flow("tcp", Flow::bulk(way))
            .lasts(15 * SEC)
            .at_least("E", 0.8, |o| o.efficiency("tcp", 3.0, 15.0))
    };
    run_all(Kind::Bare, WAYS.map(scenario));
}

#[test]
fn a_narrow_link_narrows_the_tunnel() {
    Scenario::new("a link of 1420 bytes")
        .links([fast(), Spec { mtu: 1420, ..fast() }])
        .flow("tcp", Flow::bulk(Way::Down).from(3 * SEC))
        .lasts(12 * SEC)
        .at_least("E", 0.8, |o| o.efficiency("tcp", 5.0, 12.0))
        .run(Kind::Bare);
}
