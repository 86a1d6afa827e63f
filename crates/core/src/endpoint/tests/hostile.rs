//! What strangers and neighbours send.

use super::*;

#[test]
fn a_wrong_preshared_key_gets_no_answer() {
    let mut world = World::new();
    world.add_client(1, 9, "198.51.100.1:1000");
    world.run(5 * SEC);
    assert!(world.drops(0, Drop::WrongPresharedKey) >= 3);
    assert!(world.log.iter().all(|p| p.to == address(SERVER)));
    assert_eq!(world.endpoint(0).directory.indices.len(), 0);
    // Who it is is told, once a minute and as long as it lasts.
    let told = (PeerId(0), Event::Refused(Drop::WrongPresharedKey));
    let refused = |world: &World| world.nodes[0].events.iter().filter(|e| **e == told).count();
    assert_eq!(refused(&world), 1);
    world.run(100 * SEC);
    assert_eq!(refused(&world), 2);
    let now = world.now;
    let snapshot = world.endpoint(0).snapshot(now).peers.swap_remove(0);
    let (at, why) = snapshot.refused.unwrap();
    assert!(why == Drop::WrongPresharedKey && now.since(at) < 61 * SEC);
}

#[test]
fn an_unknown_key_and_a_wrong_server_key_get_no_answer() {
    let mut world = World::new();
    world.add_client(3, 1, "198.51.100.1:1000");
    let mut lost = endpoint(1, 9, world.now);
    let id = lost.add_peer(world.now, peer(Side::Opening, 101, 1, &["0.0.0.0/0"])).unwrap();
    lost.open_path(world.now, id, PathId(0), path_settings());
    lost.set_candidates(world.now, id, PathId(0), &[way(0, SERVER)]);
    world.add(lost, &["198.51.100.9:1000"]);
    world.run(5 * SEC);
    assert!(world.drops(0, Drop::UnknownKey) >= 3);
    assert!(world.drops(0, Drop::BadMac) >= 3);
    assert!(world.log.iter().all(|p| p.to == address(SERVER)));
}

#[test]
fn replayed_data_is_dropped_and_moves_nothing() {
    let mut world = World::connected();
    world.traffic(20, 5 * MS);
    let seen = world.seen_by_server();
    let delivered = world.nodes[0].delivered.len();
    let mut data = world.sent(4, address(SERVER));
    data.retain(|p| p.due <= world.now);
    let before = world.drops(0, Drop::Replayed);
    let untouched = state(&mut world, 0);
    for parcel in &data {
        world.deliver(Parcel { from: address("192.0.2.66:6"), ..parcel.clone() });
    }
    assert_eq!(world.drops(0, Drop::Replayed) - before, data.len() as u64);
    assert_eq!(state(&mut world, 0), untouched);
    world.run(SEC);
    assert_eq!(world.nodes[0].delivered.len(), delivered);
    assert_eq!(world.seen_by_server(), seen);
    assert!(world.log.iter().all(|p| p.to != address("192.0.2.66:6")));
}

#[test]
fn a_replayed_initiation_changes_nothing() {
    let mut world = World::connected();
    let init = world.sent(1, address(SERVER)).remove(0);
    // At once: the same answer, less than was sent. Later: none.
    world.deliver(Parcel { from: address("192.0.2.66:6"), ..init.clone() });
    world.run(20 * SEC);
    let answers = world.sent(2, address("192.0.2.66:6"));
    assert_eq!(answers.len(), 1);
    assert!(answers[0].bytes.len() < init.bytes.len());
    world.deliver(Parcel { from: address("192.0.2.66:6"), ..init.clone() });
    world.run(200 * SEC);
    world.deliver(Parcel { from: address("192.0.2.66:6"), ..init });
    world.run(SEC);
    assert_eq!(world.sent(2, address("192.0.2.66:6")).len(), 1);
    assert_eq!(world.drops(0, Drop::StaleInitiation), 2);
    assert_eq!(world.traffic(5, MS), (5, 5));
}

/// Everything of an endpoint that a datagram could change, apart from the counters of drops.
fn state(world: &mut World, node: usize) -> String {
    let now = world.now;
    let endpoint = world.endpoint(node);
    let mut text = String::new();
    for peer in endpoint.peers.values() {
        text += &format!("{:?} {:?} {:?}", peer.sessions, peer.flights, peer.attempts);
        text += &format!("{:?} {:?} {:?}", peer.guard, peer.paths, peer.heard);
        text += &format!("{:?} {:?}", peer.remote_instance, peer.engine);
    }
    text +=
        &format!("{:?} {:?} {:?}", endpoint.directory.indices, endpoint.outbox, endpoint.events);
    text += &format!("{:?} {:?}", endpoint.timers, endpoint.snapshot(now).peers);
    text
}

#[test]
fn no_altered_byte_of_any_datagram_changes_anything() {
    let mut world = World::pair();
    let kinds: [(u8, usize); 3] = [(1, 0), (2, 1), (4, 0)];
    for (kind, receiver) in kinds {
        // Until such a datagram is about to arrive.
        let parcel = loop {
            world.drain();
            if let Some(place) = world.air.iter().position(|p| p.bytes[0] == kind) {
                break world.air.remove(place);
            }
            world.run(MS);
        };
        let before = state(&mut world, receiver);
        for place in 0..parcel.bytes.len() {
            // The last sixteen bytes of a handshake message are not read until there are cookies.
            if kind != 4 && place >= parcel.bytes.len() - 16 {
                continue;
            }
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = parcel.bytes.clone();
                bytes[place] ^= flip;
                world.deliver(Parcel { bytes, ..parcel.clone() });
                assert_eq!(state(&mut world, receiver), before, "{kind} {place} {flip}");
            }
            world.deliver(Parcel { bytes: parcel.bytes[..place].to_vec(), ..parcel.clone() });
            assert_eq!(state(&mut world, receiver), before, "{kind} cut at {place}");
        }
        world.deliver(parcel);
        assert_ne!(state(&mut world, receiver), before, "{kind}: the true one is taken");
    }
    world.run(2 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

#[test]
fn junk_is_counted() {
    let mut world = World::connected();
    for len in 0..200usize {
        for kind in 0..6u8 {
            let mut bytes = vec![0x5a; len];
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let from = address("192.0.2.66:6");
            world.deliver(Parcel { due: world.now, from, to: address(SERVER), bytes });
        }
    }
    world.run(SEC);
    assert_eq!(world.nodes[0].endpoint.drops().total(), 1_200);
    assert!(world.log.iter().all(|p| p.to != address("192.0.2.66:6")));
    assert_eq!(world.traffic(5, MS), (5, 5));
}

#[test]
fn initiations_are_computed_at_a_bounded_rate() {
    let mut world = World::new();
    let mut dice = crate::crypto::rng::Dice::new(1);
    for n in 0..400 {
        let (from, bytes) = (address(&format!("192.0.2.66:{n}")), flood::junk(&mut dice));
        world.deliver(Parcel { due: world.now, from, to: address(SERVER), bytes });
    }
    assert_eq!(world.drops(0, Drop::Undecryptable), accept::INITS_BURST);
    assert_eq!(world.drops(0, Drop::InitiationRate), 400 - accept::INITS_BURST);
    // Each of the others gets a cookie, as far as they can wait to be sent.
    world.drain();
    let replies = world.log.iter().filter(|p| p.bytes.len() == 64 && p.bytes[0] == 3);
    assert_eq!(replies.count(), 256);
    assert_eq!(world.log.len(), 256);
}

#[test]
fn a_client_answers_no_initiation_and_takes_no_path_that_it_has_not_opened() {
    let mut world = World::connected();
    let mut init = world.sent(1, address(SERVER)).remove(0);
    init.to = address("198.51.100.1:1000");
    world.deliver(init);
    assert_eq!(world.drops(1, Drop::Unexpected), 1);
    let now = world.now;
    world.endpoint(1).close_path(now, PeerId(0), PathId(0));
    world.push(0, &packet(INSIDE[0], INSIDE[1], 1));
    world.run(100 * MS);
    assert!(world.drops(1, Drop::Unexpected) >= 2);
}

#[test]
fn a_path_that_is_opened_again_cannot_be_replayed() {
    let mut world = World::connected();
    world.traffic(3, MS);
    let now = world.now;
    world.endpoint(1).close_path(now, PeerId(0), PathId(0));
    world.endpoint(1).open_path(now, PeerId(0), PathId(0), path_settings());
    let delivered = world.nodes[1].delivered.len();
    for parcel in world.sent(4, address("198.51.100.1:1000")) {
        world.deliver(parcel);
    }
    world.drain();
    assert_eq!(world.nodes[1].delivered.len(), delivered);
}

#[test]
fn who_begins_anew_gets_no_more_bytes_for_speed_tests() {
    let mut world = World::connected();
    let mut used_up = engine::Allowance::default();
    while used_up.take(world.now, engine::LOAD_BYTES_MAX).is_ok() {}
    let peer = world.endpoint(0).peers.get_mut(&PeerId(0)).unwrap();
    peer.engine.as_mut().unwrap().set_allowance(used_up);
    let client = world.client(1, 1, 77);
    world.nodes[1].endpoint = client;
    world.run(200 * MS);
    let now = world.now;
    let plan = engine::SpeedTestPlan {
        id: 1,
        paths: vec![(PathId(0), u64::MAX)],
        ways: vec![engine::Way::Down],
        step_us: SEC,
        together: false,
    };
    let id = *world.endpoint(1).peers.keys().next().unwrap();
    assert!(world.endpoint(1).start_speed_test(now, id, plan));
    world.run(SEC);
    let now = world.now;
    let seen = world.endpoint(1).snapshot(now).peers[0].engine.speed_test.clone().unwrap();
    let rate = seen.results.first().map(|result| result.rate);
    assert!(matches!(rate, Some(Err(engine::Refusal::Hour(_)))), "{seen:?}");
}
