//! A soak: disturbance after disturbance, drawn by a seed, on a router with four WANs and its server.
//!
//! Why: what each of the other files plays once and from a clean state, the field does in any order
//! and for ever. After each disturbance traffic has to be back within its bound and every WAN in use;
//! at the end nothing may be left behind, and no program may have grown.
//!
//! How: `kinds` has what can happen, with its bounds; `world` the network and the traffic; `health`
//! what is compared at the end. All kinds are played once in a random order, then all again in
//! another; two minutes are enough for two thirds of them. Half of the disturbances happen while one
//! WAN is bad besides. In the second half no program is ended, so that a leak has time to show.
//!
//! `SOAK_SECONDS` (120) is for how long, `SOAK_SEED` (1) draws order, details and whether the kill
//! switch is on, `SOAK_KINDS=a,b` plays those kinds only, each named by its beginning. What fails is
//! printed with all that plays it again; the soak goes on as long as traffic comes back at all.
//!
//! Limits: `kinds` says what cannot be played. The seed fixes what is played and in which order, not
//! the moment of each.

mod health;
mod kinds;
mod world;

use crate::lab::clock;
use crate::lab::emulator::model::Random;
use crate::lab::topology::Lab;
use health::{Kernel, files_left};
use kinds::{Kind, Shadow, kinds};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use world::{LATE_MS, Seen, Side, World, draw_ms};

/// Every WAN has to be in use after this, and every problem over.
const WHOLE_S: f64 = 30.0;

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

/// Says at a panic what was being played.
struct Playing {
    seed: u64,
    number: u64,
    key: String,
}

impl Playing {
    fn name(&self) -> String {
        let Playing { seed, number, key } = self;
        format!("SOAK_SEED={seed} disturbance {number}, {key} (alone: SOAK_KINDS={key})")
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("soak: failed at {}", self.name());
        }
    }
}

/// What was seen of a kind.
#[derive(Default)]
struct Row {
    back_s: Vec<f64>,
    tcp_s: Vec<f64>,
    whole_s: Vec<f64>,
    lost: usize,
    bound_s: f64,
}

#[test]
fn soak() {
    let seconds = Duration::from_secs(variable("SOAK_SECONDS", 120));
    let seed: u64 = variable("SOAK_SEED", 1);
    let wanted = std::env::var("SOAK_KINDS").unwrap_or_default();

    let lab = Lab::new(&[]);
    world::masquerade(&lab);
    let ends = [&lab.site().router, &lab.server];
    let before = ends.map(Kernel::of);
    let kill_switch = Random::new(seed).next() % 2 == 1;
    println!("seed {seed}, {} s, kill switch {kill_switch}", seconds.as_secs());
    let mut world = World::start(&lab, kill_switch);
    let kinds = kinds(&world, &wanted);
    assert!(!kinds.is_empty(), "no such kind: {wanted}");

    let start = clock::now();
    let mut table = BTreeMap::<String, Row>::new();
    let mut failures = Vec::new();
    let mut deck = Vec::new();
    let mut number = 0;
    while start.elapsed() < seconds {
        if deck.is_empty() {
            deck = shuffled(kinds.len(), &mut Random::new(!stream(seed, number)));
        }
        let kind = &kinds[deck.pop().expect("a card")];
        number += 1;
        // A second half without restarts, as far as other kinds are wanted.
        let late = start.elapsed() > seconds / 2;
        if late && kind.restarts && kinds.iter().any(|kind| !kind.restarts) {
            continue;
        }
        let playing = Playing { seed, number, key: kind.key.clone() };
        let seen = play(&mut world, kind, start, &playing, &mut table);
        if let Some(failure) = judge(kind, &seen) {
            println!("  FAILED: {failure}: {}", playing.name());
            failures.push(format!("{failure}: {}", playing.name()));
        }
    }
    print_table(&table);

    for side in Side::BOTH {
        let life = &world.lives[side as usize];
        let grown = life.judge(side, world.programs[side as usize].program());
        failures.extend(grown.map(|text| format!("has grown: {text}: SOAK_SEED={seed}")));
    }
    world.move_server_home();
    for side in Side::BOTH {
        world.program(side).stop();
        let left = before[side as usize].changes(&Kernel::of(ends[side as usize]));
        let left = left.into_iter().chain(files_left(world.program(side)));
        failures.extend(left.map(|left| format!("{}: {left}: SOAK_SEED={seed}", side.name())));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The seed of one disturbance: no two of any runs share one, but for seeds beyond 44 bits.
fn stream(seed: u64, number: u64) -> u64 {
    (seed << 20).wrapping_add(number)
}

/// Plays one disturbance and prints it.
fn play(
    world: &mut World<'_>,
    kind: &Kind,
    start: Instant,
    playing: &Playing,
    table: &mut BTreeMap<String, Row>,
) -> Seen {
    let mut random = Random::new(stream(playing.seed, playing.number));
    clock::pass(draw_ms(&mut random, 100, 1000));
    world.seen = Seen::default();
    let shadow = Shadow::begin(world, kind, &mut random);
    let begin = clock::now();
    let at_s = begin.duration_since(start).as_secs_f64();
    kind.play(world, &mut random);
    shadow.end(world);
    world.seen.detail += &shadow.name();
    world.whole();
    for side in Side::BOTH {
        world.lives[side as usize].look(world.programs[side as usize].program());
    }
    let seen = world.seen.clone();
    let took_ms = begin.elapsed().as_secs_f64() * 1000.0;
    // Answers to the last ones are still on their way.
    let lost = world.pinger.since(begin).late(0.0, took_ms - 500.0, LATE_MS);
    println!(
        "{at_s:7.1} s  #{:<3} {:<24} back {:5.2} s, TCP {:5.2} s, whole {:5.2} s, lost {lost:3}  {}",
        playing.number,
        kind.key,
        seen.back.as_secs_f64(),
        seen.tcp.as_secs_f64(),
        seen.whole.as_secs_f64(),
        seen.detail
    );
    let row = table.entry(kind.key.clone()).or_default();
    row.bound_s = kind.back_s;
    row.back_s.push(seen.back.as_secs_f64());
    row.tcp_s.push(seen.tcp.as_secs_f64());
    row.whole_s.push(seen.whole.as_secs_f64());
    row.lost = row.lost.max(lost);
    seen
}

/// What was later than it may be.
fn judge(kind: &Kind, seen: &Seen) -> Option<String> {
    let bounds = [
        ("traffic", seen.back, kind.back_s),
        ("TCP", seen.tcp, kind.tcp_s),
        ("every WAN", seen.whole, WHOLE_S),
    ];
    let late = bounds.iter().find(|(_, took, bound_s)| took.as_secs_f64() > *bound_s);
    late.map(|(what, took, bound_s)| {
        format!("{what} after {:.2} s of {bound_s} s ({})", took.as_secs_f64(), seen.detail)
    })
}

/// The numbers below `count` in a random order (Fisher and Yates).
fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut list: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        list.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    list
}

fn print_table(table: &BTreeMap<String, Row>) {
    println!(
        "kind                     count   back: median  worst  bound   TCP worst   whole: median  worst   most lost"
    );
    for (key, row) in table {
        let sorted = |list: &[f64]| {
            let mut list = list.to_vec();
            list.sort_by(f64::total_cmp);
            (list[list.len() / 2], list[list.len() - 1])
        };
        let (back, tcp, whole) = (sorted(&row.back_s), sorted(&row.tcp_s), sorted(&row.whole_s));
        println!(
            "{key:<24} {:5}   {:12.2} {:6.2} {:6.1}   {:9.2}   {:13.2} {:6.2}   {:9}",
            row.back_s.len(),
            back.0,
            back.1,
            row.bound_s,
            tcp.1,
            whole.0,
            whole.1,
            row.lost
        );
    }
}
