//! The public address: the router knows where each of its links is seen, whatever the NATs do.
//!
//! Only whole endpoints have addresses.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::packet::Side;
use crate::scenario::{Kind, Outcome, Scenario, run_all};
use crate::sealed::{ELSEWHERE, client};
use crate::world::NAT_PORTS;
use onebox::time::{MS, SEC};

/// Milliseconds from `from_s` seconds on until the router says that a link is seen at `port`.
fn known_ms(o: &Outcome, link: usize, port: u16, from_s: f64) -> f64 {
    let end = o.history.samples.len() as f64 * 0.01;
    let mut seen = o.history.path(Side::Client, link, from_s, end);
    let found = seen.find(|(_, path)| path.observed == Some(client(link, port)));
    found.map_or(f64::INFINITY, |(at, _)| at.0 as f64 / 1000.0 - from_s * 1000.0)
}

/// The first link has another port from 5 s on, and another address from 8 s on; each is known soon.
fn moving(name: &str) -> Scenario {
    Scenario::new(name)
        .at(5 * SEC, "A's NAT forgets", |w| w.rebind(0))
        .at(8 * SEC, "A has another address", |w| w.renumber(0))
        .lasts(12 * SEC)
        // Of the handshake, too, something may be lost.
        .at_most("known at the begin, ms", 3000.0, |o| known_ms(o, 0, NAT_PORTS, 0.0))
        .at_most("new port known, ms", 1000.0, |o| known_ms(o, 0, NAT_PORTS + 1, 5.0))
        .at_most("new address known, ms", 1000.0, |o| known_ms(o, 0, ELSEWHERE + 1, 8.0))
}

fn two() -> [Spec; 2] {
    [Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)]
}

#[test]
fn a_new_public_address_is_known_within_a_second_of_traffic() {
    let bulk = [Way::Up, Way::Down].map(|way| {
        let name = format!("NAT rebinding and renumbering of one of two links, bulk {way:?}");
        moving(&name).links(two()).flow("tcp", Flow::bulk(way)).at_most(
            "the other stays, ms",
            1000.0,
            |o| known_ms(o, 1, NAT_PORTS + 100, 0.0),
        )
    });
    run_all(Kind::Sealed, bulk);
    moving("the same of the only link, a ping each 200 ms")
        .links([Spec::new(5_000, 40_000)])
        .flow("ping", Flow::ping(200 * MS))
        .run(Kind::Sealed);
}

#[test]
fn a_new_public_address_is_known_though_packets_are_lost() {
    run_all(
        Kind::Sealed,
        (0..12).map(|n| {
            moving("the same of the only link, of which 10 % are lost")
                .seed_after(n)
                .links([Spec::new(5_000, 20_000).loss(100_000)])
                .flow("voice", Flow::voice(Way::Up))
        }),
    );
}

#[test]
fn while_nothing_is_sent_the_next_keepalive_tells() {
    // One goes out each 15 s.
    Scenario::new("NAT rebinding and renumbering while idle")
        .links(two())
        .at(20 * SEC, "A's NAT forgets", |w| w.rebind(0))
        .at(50 * SEC, "A has another address", |w| w.renumber(0))
        .lasts(80 * SEC)
        .at_most("new port known, s", 15.2, |o| known_ms(o, 0, NAT_PORTS + 1, 20.0) / 1000.0)
        .at_most("new address known, s", 15.2, |o| known_ms(o, 0, ELSEWHERE + 1, 50.0) / 1000.0)
        .run(Kind::Sealed);
}
