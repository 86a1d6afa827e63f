//! The world itself: links carry what they say, and the comparisons show what they should.

use crate::flow::{Flow, Way};
use crate::link::{Loss, Spec};
use crate::scenario::{Kind, Scenario};
use onebox::time::{MS, SEC};

fn fast() -> Spec {
    Spec::new(50_000, 20_000)
}

#[test]
fn a_plain_link_carries_its_rate_and_shows_its_queue() {
    Scenario::new("plain link")
        .links([fast()])
        .flow("tcp", Flow::bulk(Way::Down))
        .flow("ping", Flow::ping(10 * MS))
        .lasts(30 * SEC)
        .at_least("E", 0.95, |o| o.efficiency("tcp", 2.0, 30.0))
        .at_most("E", 1.0, |o| o.efficiency("tcp", 2.0, 30.0))
        .at_least("median ping, ms", 100.0, |o| o.percentile_ms("ping", 15.0, 29.0, 50.0))
        .at_most("median ping, ms", 200.0, |o| o.percentile_ms("ping", 15.0, 29.0, 50.0))
        .run(Kind::Plain);
}

#[test]
fn a_lossy_plain_link_cripples_cubic() {
    Scenario::new("plain link with 2 % loss")
        .links([fast().loss(20_000)])
        .flow("tcp", Flow::bulk(Way::Down))
        .lasts(20 * SEC)
        .at_most("Mbit/s", 6.0, |o| o.mbps("tcp", 2.0, 20.0))
        .at_least("Mbit/s", 1.0, |o| o.mbps("tcp", 2.0, 20.0))
        .run(Kind::Plain);
}

#[test]
fn the_naive_splitter_is_worse_than_one_link() {
    Scenario::new("round robin over 50 and 5 Mbit/s")
        .links([fast(), Spec::new(5_000, 20_000)])
        .flow("tcp", Flow::bulk(Way::Down))
        .lasts(20 * SEC)
        .at_most("Mbit/s", 20.0, |o| o.mbps("tcp", 2.0, 20.0))
        .run(Kind::Plain);
}

#[test]
fn smoltcp_moves_bytes_over_a_plain_link() {
    // Nothing is dropped: see the limits of `smol`.
    Scenario::new("smoltcp on a plain link")
        .links([Spec { queue: Some(8 << 20), ..fast() }])
        .flow("up", Flow::checked(Way::Up, 5_000_000))
        .flow("down", Flow::checked(Way::Down, 5_000_000))
        .at_least("finished", 1.0, |o| f64::from(u8::from(o.flow("up").finished.is_some())))
        .at_least("finished", 1.0, |o| f64::from(u8::from(o.flow("down").finished.is_some())))
        .run(Kind::Plain);
}

#[test]
fn streams_see_delay_jitter_loss_and_order() {
    let spec = Spec { loss: Loss::Random(100_000), ..Spec::new(10_000, 30_000).jitter(20_000) };
    Scenario::new("voice over a bad link")
        .links([spec])
        .flow("voice", Flow::voice(Way::Up))
        .lasts(20 * SEC)
        .at_least("median delay, ms", 38.0, |o| o.percentile_ms("voice", 1.0, 19.0, 50.0))
        .at_most("greatest delay, ms", 51.0, |o| o.percentile_ms("voice", 1.0, 19.0, 100.0))
        .at_least("lost", 60.0, |o| o.lost("voice", 1.0, 19.0))
        .at_most("lost", 120.0, |o| o.lost("voice", 1.0, 19.0))
        .at_most("reordered", 0.0, |o| o.flow("voice").reordered as f64)
        .run(Kind::Plain);
}

#[test]
fn bursts_of_loss_are_bursts() {
    let bursts = Loss::Bursts { enter: 5_000, leave: 200_000, good: 0, bad: 800_000 };
    Scenario::new("Gilbert-Elliott")
        .links([Spec { loss: bursts, ..Spec::new(10_000, 10_000) }])
        .flow("voice", Flow::voice(Way::Down))
        .lasts(60 * SEC)
        .at_least("lost of 2950", 20.0, |o| o.lost("voice", 1.0, 59.0))
        .at_most("lost of 2950", 150.0, |o| o.lost("voice", 1.0, 59.0))
        .at_least("longest gap, ms", 60.0, |o| o.gap_ms("voice", 1.0, 59.0))
        .run(Kind::Plain);
}

#[test]
fn a_policer_has_no_queue() {
    let policer = Some((10_000, 30_000));
    Scenario::new("policer of 10 Mbit/s")
        .links([Spec { policer, ..Spec::new(100_000, 10_000) }])
        .flow("stream", Flow::constant(Way::Down, 20_000))
        .at_least("Mbit/s", 9.0, |o| o.mbps("stream", 1.0, 9.0))
        .at_most("Mbit/s", 10.5, |o| o.mbps("stream", 1.0, 9.0))
        .at_most("delay, ms", 12.0, |o| o.percentile_ms("stream", 1.0, 9.0, 100.0))
        .run(Kind::Plain);
}

#[test]
fn a_trace_changes_the_rate() {
    let trace = Some((vec![(0, 20_000), (2 * SEC, 5_000)], 4 * SEC));
    Scenario::new("rate trace")
        .links([Spec { trace, ..Spec::new(20_000, 10_000) }])
        .flow("stream", Flow::constant(Way::Down, 30_000))
        .at_least("Mbit/s while fast", 18.0, |o| o.mbps("stream", 4.5, 5.9))
        .at_most("Mbit/s while slow", 5.0, |o| o.mbps("stream", 6.2, 7.9))
        .run(Kind::Plain);
}

#[test]
fn adding_a_link_does_not_change_another() {
    let counters = |links: Vec<Spec>| {
        let lossy = Scenario::new("streams").links(links).flow("voice", Flow::voice(Way::Up));
        lossy.play(Kind::Plain).links[0][0].lost
    };
    // The splitter sends every second packet over the first link: compare the dice, not the flow.
    let alone = counters(vec![fast().loss(500_000)]);
    let (mut one, mut two) =
        (crate::rng::Rng::of(1, "link 0 up"), crate::rng::Rng::of(1, "link 0 up"));
    assert!(alone > 150);
    assert_eq!(one.next(), two.next());
    assert_ne!(one.next(), crate::rng::Rng::of(1, "link 1 up").next());
}
