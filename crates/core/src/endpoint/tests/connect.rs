//! Connecting, carrying, changing keys.

use super::*;
use crate::endpoint::session::REKEY_AFTER_US;

#[test]
fn connects_and_carries_both_ways() {
    let mut world = World::pair();
    world.push(1, &packet(INSIDE[1], INSIDE[0], 7));
    world.run(SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(number(&world.nodes[0].delivered[0].1), 7, "what waited is sent");
    assert_eq!(world.traffic(50, 5 * MS), (50, 50));
    for node in 0..2 {
        assert_eq!(world.nodes[node].endpoint.drops().total(), 0, "{node}");
    }
    let up = Event::State(PeerState::Up);
    assert!(world.nodes[0].events.iter().any(|(_, e)| *e == up));
    assert!(world.nodes[1].events.iter().any(|(_, e)| *e == up));
}

#[test]
fn two_clients_have_their_own_addresses() {
    let mut world = World::connected();
    world.add_client(2, 2, "198.51.100.2:1000");
    world.run(SEC);
    world.push(0, &packet(INSIDE[0], INSIDE[1], 1));
    world.push(0, &packet(INSIDE[0], INSIDE[2], 2));
    world.push(0, &packet(INSIDE[0], [10, 7, 9, 9], 3));
    world.push(0, &packet(INSIDE[0], [192, 0, 2, 1], 4));
    world.push(0, &packet(INSIDE[0], [224, 0, 0, 251], 5));
    world.push(0, &[0; 40]);
    world.run(SEC);
    let got = |w: &World, n: usize| -> Vec<u32> {
        w.nodes[n].delivered.iter().map(|(_, p)| number(p)).collect()
    };
    assert_eq!(got(&world, 1), [1]);
    assert_eq!(got(&world, 2), [2, 3]);
    assert_eq!(world.drops(0, Drop::UnknownDestination), 1);
    assert_eq!(world.drops(0, Drop::NotIp), 1);
}

#[test]
fn a_spoofed_source_is_not_delivered() {
    let mut world = World::connected();
    world.push(1, &packet(INSIDE[2], INSIDE[0], 1));
    let mut v6 = vec![0; 40];
    v6[0] = 0x60;
    v6[8] = 0xfd;
    v6[24] = 0xfd;
    world.push(1, &v6);
    v6[23] = 2;
    world.push(1, &v6);
    world.run(SEC);
    assert_eq!(world.drops(0, Drop::SpoofedSource), 2);
    assert_eq!(world.nodes[0].delivered, [(PeerId(0), v6)]);
}

#[test]
fn keys_change_without_loss() {
    let mut world = World::connected();
    let inits = |w: &World| w.sent(1, address(SERVER)).len();
    let before = inits(&world);
    let count = (4 * REKEY_AFTER_US / (50 * MS)) as u32;
    assert_eq!(world.traffic(count, 50 * MS), (count as usize, count as usize));
    let changes = inits(&world) - before;
    assert!((3..=4).contains(&changes), "{changes}");
    for node in 0..2 {
        assert_eq!(world.nodes[node].endpoint.drops().total(), 0, "{node}");
    }
    assert!(world.endpoint(0).directory.indices.len() <= 3);
    assert!(world.endpoint(1).directory.indices.len() <= 3);
}

#[test]
fn an_idle_tunnel_lives_and_keeps_its_tables_small() {
    let mut world = World::connected();
    world.run(1_000 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    let downs = |e: &&(PeerId, Event)| matches!(e.1, Event::State(s) if s != PeerState::Up);
    assert_eq!(world.nodes[0].events.iter().filter(downs).count(), 0);
    assert!(world.endpoint(0).directory.indices.len() <= 3);
    assert_eq!(world.traffic(3, MS), (3, 3));
}

#[test]
fn a_slow_link_connects_although_each_answer_comes_after_the_next_attempt() {
    let mut world = World::pair();
    world.delay_us = 2 * SEC;
    // Until the last of the attempts is answered, and something has come under its session.
    world.run(12_500 * MS);
    assert_eq!(world.states().0, PeerState::Up);
    assert!(world.sent(1, address(SERVER)).len() >= 3, "each INIT replaces the one before");
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.run(10 * SEC);
    assert_eq!(world.states().1, PeerState::Up);
    assert_eq!(world.nodes[0].delivered.len(), 1);
}

/// The server has moved right after its RESPONSE, or has answered by a way that is gone since: nothing
/// comes under the session. Who is told that it is up does not look for the server elsewhere.
#[test]
fn an_answer_alone_is_no_connection() {
    let mut world = World::pair();
    // Handshakes pass, data does not.
    world.lose = |parcel| parcel.bytes[0] == crate::wire::header::TYPE_DATA;
    world.run(60 * SEC);
    assert!(world.log.iter().filter(|p| p.bytes[0] == 2).count() >= 5, "answers come");
    assert_eq!(world.states(), (PeerState::Connecting, PeerState::Down));
    assert!(world.nodes[1].events.iter().all(|(_, e)| *e != Event::State(PeerState::Up)));
    world.lose = |_| false;
    world.run(5 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

#[test]
fn an_unreachable_server_is_called_with_growing_pauses() {
    let mut world = World::pair();
    world.lose = |_| true;
    world.run(60 * SEC);
    let urgent = world.log.len();
    assert!((40..=120).contains(&urgent), "{urgent}");
    world.run(600 * SEC);
    let calm = world.log.len() - urgent;
    assert!((8..=40).contains(&calm), "{calm}");
    world.lose = |_| false;
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.run(SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(world.nodes[0].delivered.len(), 1);
    assert!(world.endpoint(1).directory.indices.len() <= 2);
}

#[test]
fn peers_take_turns_in_a_batch() {
    let mut world = World::connected();
    world.add_client(2, 2, "198.51.100.2:1000");
    world.run(SEC);
    for n in 0..60 {
        world.push(0, &packet(INSIDE[0], INSIDE[1], n));
    }
    world.push(0, &packet(INSIDE[0], INSIDE[2], 1));
    let World { now, pool, batch, nodes, .. } = &mut world;
    assert!(nodes[0].endpoint.poll_transmit(*now, pool, batch));
    let second =
        batch.datagrams().iter().position(|d| d.via.remote() == address("198.51.100.2:1000"));
    assert!(second.is_some_and(|place| place <= 17), "{second:?}");
    let runs = batch.datagrams().windows(2).filter(|w| w[0].range.end == w[1].range.start);
    assert_eq!(runs.count(), batch.datagrams().len() - 1, "back to back");
}

#[test]
fn handshakes_survive_loss() {
    let mut world = World::pair();
    // Two of three handshake messages get lost: chosen by their bytes, which are random.
    world.lose = |p| p.bytes[0] <= 2 && p.bytes[40] % 3 > 0;
    world.run(60 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    world.run(1_000 * SEC);
    let downs = |e: &&(PeerId, Event)| matches!(e.1, Event::State(s) if s != PeerState::Up);
    assert!(world.nodes[0].events.iter().filter(downs).count() <= 1);
    world.lose = |_| false;
    world.run(20 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
    assert!(world.endpoint(0).directory.indices.len() <= 4);
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    let run = || {
        let mut world = World::connected();
        world.traffic(20, 5 * MS);
        world.log.iter().map(|p| p.bytes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
