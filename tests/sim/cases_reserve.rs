//! Links in reserve: backups, and those whose bytes cost money.
//!
//! A link in reserve is probed, so that it is known to work, and otherwise left alone: what it
//! carries without need is what the bounds are about.

use crate::flow::{Flow, Way};
use crate::link::Spec;
use crate::node::LinkEvent;
use crate::packet::{SIDES, Side};
use crate::scenario::{Kind, Outcome, Scenario};
use onebox::time::{MS, SEC};

/// Two links, of which the second is in reserve from the begin.
fn reserve(name: &'static str, event: LinkEvent) -> Scenario {
    Scenario::new(name)
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
        .flow("ping", Flow::ping(50 * MS))
        .at(MS, "B is put in reserve", move |w| {
            let now = w.now;
            w.nodes[Side::Client as usize].link_event(now, 1, event);
        })
}

/// Kilobytes per second over B, of the direction with more.
fn kb_per_s(o: &Outcome, from: f64, to: f64) -> f64 {
    let of = |side| o.history.link_kb(1, side, from, to) / (to - from);
    SIDES.map(of).into_iter().fold(0.0, f64::max)
}

/// Pings five times a second, with all headers and framing; and as much again for probes.
const UPKEEP_KB_PER_S: f64 = 2.0;

/// A stream that fits A, one on top of it that does not from 5 s until 12 s, and then peace.
fn demand(name: &'static str, event: LinkEvent, way: Way) -> Scenario {
    reserve(name, event)
        .flow("small", Flow::constant(way, 20_000))
        .flow("large", Flow::constant(way, 50_000).from(5 * SEC).for_us(7 * SEC))
        .lasts(26 * SEC)
        .at_most("kB/s over B before", UPKEEP_KB_PER_S, |o| kb_per_s(o, 2.0, 5.0))
        .at_least("Mbit/s while more is wanted", 0.95 * 70.0, |o| {
            o.mbps("small", 7.0, 12.0) + o.mbps("large", 7.0, 12.0)
        })
        .at_least("Mbit/s after", 19.8, |o| o.mbps("small", 12.5, 25.5))
        .at_most("kB/s over B 10 s after", UPKEEP_KB_PER_S, |o| kb_per_s(o, 22.0, 26.0))
        .at_most("lost after, packets", 0.0, |o| o.lost("small", 13.0, 25.5))
}

#[test]
fn a_backup_joins_for_demand_and_leaves_again() {
    for way in [Way::Up, Way::Down] {
        demand("demand comes and goes, B is a backup", LinkEvent::Backup, way).run(Kind::Bare);
    }
}

#[test]
fn a_backup_joins_when_the_other_link_is_gone_and_leaves_again() {
    reserve("A dies and comes back, B is a backup", LinkEvent::Backup)
        .flow("stream", Flow::constant(Way::Down, 20_000))
        .at(4 * SEC, "A loses its carrier", |w| w.set_carrier(0, false))
        .at(8 * SEC, "A is back", |w| w.set_carrier(0, true))
        .lasts(20 * SEC)
        .at_most("kB/s over B before", UPKEEP_KB_PER_S, |o| kb_per_s(o, 2.0, 4.0))
        .at_least("Mbit/s meanwhile", 19.5, |o| o.mbps("stream", 4.5, 8.0))
        .at_most("longest gap of the stream, ms", 200.0, |o| o.gap_ms("stream", 2.0, 12.0))
        .at_most("kB/s over B 3 s after", UPKEEP_KB_PER_S, |o| kb_per_s(o, 11.0, 20.0))
        .run_both();
}

/// A metered link may cost so much while nobody needs it: being opened, and rare probes.
const METERED_KB: f64 = 16.0;

#[test]
fn a_metered_link_costs_next_to_nothing_until_it_is_needed() {
    for way in [Way::Up, Way::Down] {
        reserve("B is metered, and A goes silent at 20 s", LinkEvent::Metered)
            .flow("stream", Flow::constant(way, 10_000))
            .at(20 * SEC, "A goes silent", |w| w.change_link(0, |l| l.blackhole = true))
            .lasts(26 * SEC)
            .at_most("kB over B until then", METERED_KB, |o| kb_per_s(o, 0.0, 20.0) * 20.0)
            .at_most("longest gap of the stream, ms", 400.0, |o| o.gap_ms("stream", 2.0, 25.0))
            .at_least("Mbit/s over B", 9.5, |o| o.mbps("stream", 21.0, 25.5))
            .run_both();
    }
}

#[test]
fn a_metered_link_stays_unused_by_an_idle_bond() {
    Scenario::new("a minute without traffic, B is metered")
        .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
        .at(MS, "B is metered", |w| {
            let now = w.now;
            w.nodes[Side::Client as usize].link_event(now, 1, LinkEvent::Metered);
        })
        .lasts(180 * SEC)
        .at_most("kB over B in the first minute", METERED_KB, |o| kb_per_s(o, 0.0, 60.0) * 60.0)
        .at_most("kB over B in the next two", 2.0, |o| kb_per_s(o, 60.0, 180.0) * 120.0)
        .run_both();
}
