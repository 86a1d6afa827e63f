//! One side goes away and comes back.

use super::*;

#[test]
fn a_restarted_server_is_back_within_two_seconds() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    world.nodes[0].endpoint = world.server(101);
    // Packets of the client go on, as from somebody who is on the phone.
    let start = world.now;
    let delivered = world.nodes[0].delivered.len();
    while world.nodes[0].delivered.len() == delivered {
        world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
        world.run(20 * MS);
        assert!(world.now.since(start) < 5 * SEC, "not back");
    }
    // The stand-in needs up to 1.7 s to notice the silence; an attempt follows at once.
    assert!(world.now.since(start) < 2_000 * MS, "{}", world.now.since(start));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
    assert!(world.drops(0, Drop::UnknownSession) > 0);
}

#[test]
fn a_restarted_client_is_taken_at_once() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    let client = world.client(1, 1, 77);
    world.nodes[1].endpoint = client;
    world.nodes[1].sockets = vec![address("198.51.100.1:2000")];
    world.run(200 * MS);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
    assert_eq!(world.seen_by_server(), Some(address("198.51.100.1:2000")));
}

#[test]
fn a_client_that_lost_its_clock_is_taken_within_two_round_trips() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    world.boot_in_the_past();
    // INIT, RETRY, INIT, RESPONSE, and the first datagram each way.
    world.run(6 * DELAY_US + 5 * MS);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
    // The next one is newer than the last of this run.
    world.run(150 * SEC);
    assert_eq!(world.sent(5, address(HOME)).len(), 1);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

#[test]
fn a_client_that_lost_its_clock_is_taken_when_answers_get_lost() {
    let mut world = World::connected();
    world.boot_in_the_past();
    // The first RETRY is lost, and so is the INIT that follows the second.
    let mut seen = [0; 6];
    world.observer = Some(Box::new(move |parcel, _| {
        let kind = usize::from(parcel.bytes[0]);
        seen[kind] += 1;
        !matches!((kind, seen[kind]), (5, 1) | (1, 3))
    }));
    world.run(4 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

/// The nonce that it was given grows old in an outage: it takes the next one.
#[test]
fn a_client_that_lost_its_clock_is_taken_after_a_long_outage() {
    let mut world = World::connected();
    world.boot_in_the_past();
    while world.sent(5, address(HOME)).is_empty() {
        world.run(MS);
    }
    // It arrives; the INIT that says it does not.
    world.observer = Some(Box::new(|parcel, _| parcel.bytes[0] == 5));
    world.run(600 * SEC);
    world.observer = None;
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.run(5 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

#[test]
fn a_good_bye_is_heard() {
    let mut world = World::connected();
    let now = world.now;
    world.endpoint(0).close(now);
    world.run(300 * MS);
    assert_eq!(world.states().0, PeerState::Connecting);
    world.nodes[0].endpoint = world.server(102);
    world.run(2 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));

    let now = world.now;
    world.endpoint(1).close(now);
    world.run(5 * SEC);
    assert_eq!(world.states().1, PeerState::Down);
    assert_eq!(world.states().0, PeerState::Connecting);
    let sent = world.log.len();
    world.run(300 * SEC);
    assert_eq!(world.log.len(), sent, "nobody calls any more");
}

#[test]
fn reconnecting_begins_anew_from_either_side() {
    for node in [1, 0] {
        let mut world = World::connected();
        world.traffic(10, 10 * MS);
        let now = world.now;
        world.endpoint(node).reconnect(now, PeerId(0));
        world.run(4 * SEC);
        assert_eq!(world.states(), (PeerState::Up, PeerState::Up), "{node}");
        assert_eq!(world.traffic(20, 10 * MS), (20, 20), "{node}");
    }
}

#[test]
fn a_peer_that_is_added_again_begins_anew() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    let now = world.now;
    world.endpoint(0).remove_peer(PeerId(0));
    assert_eq!(world.endpoint(0).directory.indices.len(), 0);
    world.endpoint(0).add_peer(now, peer(Side::Answering, 1, 1, &["10.0.0.2/32"])).unwrap();
    world.run(5 * SEC);
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
}

#[test]
fn an_outage_longer_than_a_session_ends_the_session_and_not_the_connection() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    world.lose = |_| true;
    world.run(400 * SEC);
    assert_eq!(world.states(), (PeerState::Connecting, PeerState::Down));
    assert!(world.endpoint(0).directory.indices.len() == 0);
    world.lose = |_| false;
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.run(2 * SEC);
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
}

#[test]
fn peers_are_refused_with_a_reason() {
    let mut world = World::new();
    let now = world.now;
    let server = world.endpoint(0);
    assert_eq!(
        server.add_peer(now, peer(Side::Answering, 1, 1, &[])),
        Err(PeerError::DuplicateKey)
    );
    assert_eq!(server.add_peer(now, peer(Side::Answering, 100, 1, &[])), Err(PeerError::OwnKey));
    let psk = PresharedKey::none();
    assert_eq!(server.update_peer(PeerId(9), psk, &[]), Err(PeerError::NoSuchPeer));
}

#[test]
fn allowed_addresses_change_without_interruption() {
    let mut world = World::connected();
    let psk = PresharedKey::from_bytes([1; 32]);
    let list = ["10.0.0.9/32".parse().unwrap()];
    world.endpoint(0).update_peer(PeerId(0), psk, &list).unwrap();
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.push(1, &packet([10, 0, 0, 9], INSIDE[0], 2));
    world.run(SEC);
    assert_eq!(world.nodes[0].delivered.len(), 1);
    assert_eq!(world.drops(0, Drop::SpoofedSource), 1);
    assert!(world.endpoint(0).directory.allowed_ips.lookup(ip("10.0.0.2")).is_none());
}
