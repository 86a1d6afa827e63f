//! One bad moment after another, of all kinds, on four links with what a household sends: what was met then
//! must not be believed for long.

use crate::flow::{Flow, Way};
use crate::link::{Loss, Spec};
use crate::scenario::{Kind, Scenario, run_all, variable};
use crate::world::World;
use onebox::time::{MS, SEC};

/// Rate in Mbit/s and delay in milliseconds one way.
const LINKS: [(u64, u64); 4] = [(30, 5), (20, 10), (10, 20), (6, 30)];
/// From one bad moment to the next, and until a transfer has to be quick again.
const EVERY_US: u64 = 15 * SEC;
const WELL_US: u64 = 6 * SEC;

/// A number from a seed, the same each time (splitmix64).
fn draw(seed: &mut u64, most: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % most
}

fn good(world: &mut World) {
    for (link, (mbit, _)) in LINKS.into_iter().enumerate() {
        world.change_link(link, |spec| {
            (spec.mtu, spec.loss) = (1500, Loss::None);
            spec.kbps = mbit * 1000;
        });
    }
}

fn moments(seed: u64, way: Way, count: u64) -> Scenario {
    let mut dice = seed.wrapping_mul(7919);
    let links = LINKS.map(|(mbit, ms)| Spec::new(mbit * 1000, ms * MS));
    let mut s = Scenario::new(format!("bad moments, seed {seed}, {way:?}"))
        .seed(seed)
        .links(links)
        .flow("ping", Flow::ping(50 * MS))
        .lasts((count + 1) * EVERY_US);
    let every = |n: u64| 2 * SEC + n * SEC;
    let transfers = (count * EVERY_US) / SEC;
    for n in 0..transfers {
        s = s.flow(format!("t{n}"), Flow::transfer(way, 65_536).from(every(n)));
    }
    let mut ends = Vec::new();
    for moment in 0..count {
        let begin = 5 * SEC + moment * EVERY_US;
        let end = begin + (200 + draw(&mut dice, 5500)) * MS;
        let kind = draw(&mut dice, 5);
        let one = draw(&mut dice, 4) as usize;
        let mtu = 1281 + draw(&mut dice, 210) as usize;
        let shadow = draw(&mut dice, 4) as usize;
        let shadow_kind = draw(&mut dice, 4);
        s = s.at(begin, "a bad moment", move |world| {
            match shadow_kind {
                0 => world.change_link(shadow, |spec| spec.loss = Loss::Random(1_000_000)),
                1 => world.change_link(shadow, |spec| spec.loss = Loss::Random(500_000)),
                2 => world.change_link(shadow, |spec| spec.kbps = 300),
                _ => {}
            }
            match kind {
                0 | 1 => (0..4).for_each(|link| world.change_link(link, |spec| spec.mtu = mtu)),
                2 => world.change_link(one, |spec| spec.mtu = mtu),
                3 => (0..4).for_each(|link| {
                    world.change_link(link, |spec| spec.loss = Loss::Random(1_000_000));
                }),
                _ => world.change_link(one, |spec| spec.loss = Loss::Random(500_000)),
            }
        });
        s = s.at(end, "over", good);
        ends.push((begin, end));
    }
    s.at_most("slowest transfer that began well after, ms", 1500.0, move |o| {
        let well = |at: u64| {
            let within = |(begin, end): &(u64, u64)| at + 2 * SEC < *begin || at >= end + WELL_US;
            ends.iter().all(within)
        };
        let later = (0..transfers).filter(|&n| well(every(n)));
        later.map(|n| o.took_ms(&format!("t{n}"), every(n))).fold(0.0, f64::max)
    })
}

/// Seed 1 also found a path that is held for its losses and falls silent to be probed without a pause.
#[test]
fn bad_moments_are_soon_forgotten() {
    let from: u64 = variable("SIM_SEED", 1);
    let runs: u64 = variable("SIM_RUNS", 2);
    let count: u64 = variable("MOMENTS", 8);
    let all = (from..from + runs)
        .flat_map(|seed| [Way::Up, Way::Down].map(|way| moments(seed, way, count)));
    run_all(Kind::Bare, all);
}
