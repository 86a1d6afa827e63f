//! Initiations that were recorded, forged or are too many.

use super::*;
use crate::crypto::handshake::INIT_LEN;
use crate::crypto::rng::Dice;

/// Where forged datagrams say that they come from.
fn spoofed(dice: &mut Dice) -> SocketAddr {
    let ip = (dice.next_u64() as u32 | 1).to_be_bytes();
    SocketAddr::from(([11, ip[1], ip[2], ip[3]], 1 + dice.below(60_000) as u16))
}

/// An INIT from nobody, with a `mac1` that is right.
pub(super) fn junk(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![0; INIT_LEN];
    dice.fill(&mut bytes);
    bytes[0] = 1;
    bytes[168..].fill(0);
    let key = blake3::derive_key("onebox v2 mac1", key(100).public().as_bytes());
    let mac = blake3::keyed_hash(&key, &bytes[..152]);
    bytes[152..168].copy_from_slice(&mac.as_bytes()[..16]);
    bytes
}

impl World {
    /// Runs while so many of `make` come each second, spread evenly.
    fn flooded(&mut self, us: u64, per_second: u64, mut make: impl FnMut(u64) -> Parcel) {
        let count = us * per_second / SEC;
        let begin = self.now;
        for n in 0..count {
            let at = begin + n * SEC / per_second;
            self.run(at.since(self.now));
            let parcel = make(n);
            self.deliver(parcel);
        }
        self.run((begin + us).since(self.now));
    }
}

fn to_server(from: SocketAddr, bytes: Vec<u8>) -> Parcel {
    Parcel { due: Time::ZERO, from, to: address(SERVER), bytes }
}

#[test]
fn a_new_router_connects_while_others_flood_the_server() {
    let mut dice = Dice::new(1);
    let mut world = World::new();
    let mut flood = |_| to_server(spoofed(&mut dice), junk(&mut dice));
    world.flooded(3 * SEC, 2_000, &mut flood);
    assert!(world.drops(0, Drop::InitiationRate) > 5_000);
    world.add_client(1, 1, HOME);
    let since = world.now;
    while world.states().0 != PeerState::Up {
        world.flooded(10 * MS, 2_000, &mut flood);
        assert!(world.now.since(since) < SEC, "not connected");
    }
    // And goes on, over the next keys.
    for _ in 0..30 {
        world.flooded(5 * SEC, 200, &mut flood);
        assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    }
    assert!(world.sent(2, address(HOME)).len() >= 2, "keys were changed");
    // Nobody gets more than was sent in the own name.
    let to_others: usize =
        world.log.iter().filter(|p| p.to != address(HOME)).map(|p| p.bytes.len()).sum();
    let from_others: usize =
        world.received.iter().filter(|r| r.0 != address(HOME)).map(|r| r.1).sum();
    assert!(to_others * 2 < from_others, "{to_others} for {from_others}");
}

#[test]
fn recorded_initiations_take_nobodys_place() {
    let mut world = World::connected();
    world.run(300 * SEC);
    let recorded = world.sent(1, address(SERVER));
    assert!(recorded.len() >= 3);
    let mut dice = Dice::new(1);
    let mut replay = |n: u64| {
        let bytes = recorded[n as usize % recorded.len()].bytes.clone();
        to_server(spoofed(&mut dice), bytes)
    };
    let before = world.drops(0, Drop::InitiationRate);
    world.flooded(5 * SEC, 2_000, &mut replay);
    assert_eq!(world.drops(0, Drop::InitiationRate), before, "none takes a token");
    let client = world.client(2, 2, 2);
    world.add(client, &["198.51.100.2:1000"]);
    world.flooded(SEC, 2_000, &mut replay);
    assert_eq!(world.nodes[2].endpoint.snapshot(world.now).peers[0].state, PeerState::Up);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

/// Somebody lets nothing through, records what the client tries, and plays that from then on.
#[test]
fn what_was_recorded_in_an_outage_keeps_nobody_out() {
    for gap_ms in [1, 25, 100, 400] {
        let mut world = World::connected();
        world.traffic(5, 10 * MS);
        world.lose = |_| true;
        world.run(200 * SEC);
        let mut recorded = world.sent(1, address(SERVER));
        recorded.retain(|init| init.due > Time(60 * SEC));
        assert!(recorded.len() > 20, "{}", recorded.len());
        world.lose = |_| false;
        world.push(1, &packet(INSIDE[1], INSIDE[0], 0));
        let since = world.now;
        let mut replay = |n: u64| recorded[n as usize % recorded.len()].clone();
        while world.states() != (PeerState::Up, PeerState::Up) {
            world.flooded(100 * MS, SEC / (gap_ms * MS), &mut replay);
            assert!(world.now.since(since) < 3 * SEC, "{gap_ms} ms: {:?}", world.states());
        }
        for _ in 0..30 {
            world.flooded(5 * SEC, SEC / (gap_ms * MS), &mut replay);
            assert_eq!(world.states(), (PeerState::Up, PeerState::Up), "{gap_ms} ms");
        }
        assert_eq!(world.traffic(5, 10 * MS), (5, 5));
    }
}

#[test]
fn new_keys_are_confirmed_at_once_by_an_idle_client() {
    let mut world = World::connected();
    while world.sent(2, address(HOME)).len() < 2 {
        world.run(MS);
        assert!(world.now < Time(200 * SEC));
    }
    // RESPONSE, and a datagram under the new keys.
    world.run(2 * DELAY_US);
    let made = world.endpoint(0).peers.get(&PeerId(0)).unwrap().handshake;
    assert!(made.is_some_and(|at| world.now.since(at) <= MS), "{made:?} at {:?}", world.now);
}

/// One random schedule of replays: what the client ever sent, at any time, in any order, while its
/// datagrams get lost and it starts again with a clock that says anything.
fn schedule(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut world = World::pair();
    for _ in 0..6 {
        world.lose = match dice.below(4) {
            0 => |p| p.bytes[0] == 2,
            1 => |_| true,
            _ => |_| false,
        };
        match dice.below(4) {
            0 => world.nodes[1].endpoint = world.client(1, 1, dice.below(250) as u8),
            1 => world.boot_in_the_past(),
            _ => {}
        }
        let recorded = world.sent(1, address(SERVER));
        for _ in 0..dice.below(60) {
            if !recorded.is_empty() {
                let place = dice.below(recorded.len() as u64) as usize;
                world.deliver(recorded[place].clone());
            }
            world.run(dice.below(200) * MS);
        }
    }
    world.lose = |_| false;
    let recorded = world.sent(1, address(SERVER));
    world.push(1, &packet(INSIDE[1], INSIDE[0], 0));
    let since = world.now;
    while world.states() != (PeerState::Up, PeerState::Up) {
        if !recorded.is_empty() {
            let place = dice.below(recorded.len() as u64) as usize;
            world.deliver(recorded[place].clone());
        }
        world.run(dice.below(100) * MS);
        assert!(world.now.since(since) < 75 * SEC, "seed {seed}: {:?}", world.states());
    }
    world.run(SEC);
    assert_eq!(world.traffic(5, 10 * MS), (5, 5), "seed {seed}");
}

#[test]
fn no_schedule_of_replays_keeps_a_client_out() {
    (0..40).for_each(schedule);
}

#[test]
#[ignore = "long: REPLAY_RUNS schedules from REPLAY_SEED on, see tests/README.md"]
fn no_schedule_of_very_many() {
    let number = |text: Option<&str>, or: u64| text.map_or(or, |n| n.parse().unwrap());
    // Known to the compiler: nothing here asks the system.
    let first = number(option_env!("REPLAY_SEED"), 0);
    let runs = number(option_env!("REPLAY_RUNS"), 10_000);
    (first..first + runs).for_each(schedule);
}

#[test]
fn another_version_is_told_on_both_sides() {
    use crate::crypto::handshake::tests::{answer_of_version, init_of_version};
    let told = |world: &World, node: usize| {
        world.nodes[node].events.contains(&(PeerId(0), Event::Refused(Drop::WrongVersion)))
    };
    let (client, server) = (key(1), key(100));
    let mut world = World::new();
    let init = init_of_version([&client, &server], 1, 3);
    world.deliver(to_server(address(HOME), init.to_vec()));
    world.run(SEC);
    assert!(told(&world, 0));
    assert_eq!(world.drops(0, Drop::WrongVersion), 1);
    assert_eq!(world.sent(2, address(HOME)).len(), 1, "it is answered, and so can tell");
    assert_eq!(world.endpoint(0).directory.indices.len(), 0);

    let mut world = World::pair();
    world.run(MS);
    let init = world.sent(1, address(SERVER)).remove(0).bytes;
    let bytes = answer_of_version([&client, &server], 1, 3, &init).to_vec();
    let from = address(SERVER);
    world.deliver(Parcel { due: world.now, from, to: address(HOME), bytes });
    world.drain();
    assert!(told(&world, 1));
}
