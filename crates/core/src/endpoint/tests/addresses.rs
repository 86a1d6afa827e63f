//! Addresses change, and claims about them are not believed.

use super::*;

/// Bytes that were sent to `to`, and by it.
fn bytes(world: &World, address: SocketAddr) -> (usize, usize) {
    let sum =
        |f: &dyn Fn(&&Parcel) -> bool| world.log.iter().filter(f).map(|p| p.bytes.len()).sum();
    (sum(&|p| p.to == address), sum(&|p| p.from == address))
}

#[test]
fn a_new_port_is_followed_once_it_is_proved() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    let new = address("198.51.100.1:2000");
    world.nodes[1].sockets[0] = new;
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.run(100 * MS);
    assert_eq!(world.seen_by_server(), Some(new));
    assert!(world.nodes[0].events.contains(&(
        PeerId(0),
        Event::AddressChanged(
            PathId(0),
            Via::Udp(Udp { socket: SocketId(0), remote: new, local: Some(ip("203.0.113.1")) })
        )
    )));
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
    assert_eq!(world.nodes[0].endpoint.snapshot(world.now).peers[0].state, PeerState::Up);
}

#[test]
fn a_claimed_address_gets_at_most_three_times_what_it_sent_and_no_data() {
    let mut world = World::connected();
    world.traffic(10, 10 * MS);
    let (real, victim) = (world.seen_by_server(), address("192.0.2.66:6"));
    // Somebody on the way keeps a datagram back and sends it from the victim's address.
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.drain();
    let stolen = world.air.pop().unwrap();
    let len = stolen.bytes.len();
    world.deliver(Parcel { from: victim, ..stolen });
    for n in 0..200 {
        world.push(0, &packet(INSIDE[0], INSIDE[1], n));
        world.run(20 * MS);
    }
    let (to_victim, _) = bytes(&world, victim);
    assert!(to_victim > 0, "it is challenged");
    assert!(to_victim <= 3 * len, "{to_victim} for {len}");
    assert_eq!(world.seen_by_server(), real);
    assert_eq!(world.nodes[1].delivered.len(), 210);
}

#[test]
fn of_two_families_the_first_that_answers_is_used() {
    for (lost, first) in [(SERVER, SERVER_V6), (SERVER_V6, SERVER)] {
        let mut world = World::new();
        world.nodes[0].sockets.push(address(SERVER_V6));
        world.add_client(1, 1, "198.51.100.1:1000");
        world.nodes[1].sockets.push(address("[2001:db8::2]:1000"));
        let now = world.now;
        let ways = [way(0, SERVER), way(1, SERVER_V6)];
        world.endpoint(1).set_candidates(now, PeerId(0), PathId(0), &ways);
        world.lose = match lost == SERVER {
            true => |p| p.to.is_ipv4(),
            false => |p| p.to.is_ipv6(),
        };
        world.run(2 * SEC);
        assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
        let snapshot = world.nodes[1].endpoint.snapshot(world.now);
        let Via::Udp(udp) = snapshot.peers[0].paths[0].via.unwrap();
        assert_eq!(udp.remote, address(first));
        assert_eq!(snapshot.peers[0].paths.len(), 1, "it is one path");
        assert_eq!(world.traffic(20, 10 * MS), (20, 20));
        // The same INIT went both ways.
        let inits: Vec<_> = world.log.iter().filter(|p| p.bytes[0] == 1).take(2).collect();
        assert_eq!(inits[0].bytes, inits[1].bytes);
        assert_ne!(inits[0].to, inits[1].to);
    }
}

#[test]
fn a_family_that_fails_is_replaced_by_the_other() {
    let mut world = World::new();
    world.nodes[0].sockets.push(address(SERVER_V6));
    world.add_client(1, 1, "198.51.100.1:1000");
    world.nodes[1].sockets.push(address("[2001:db8::2]:1000"));
    let now = world.now;
    let ways = [way(0, SERVER), way(1, SERVER_V6)];
    world.endpoint(1).set_candidates(now, PeerId(0), PathId(0), &ways);
    world.run(2 * SEC);
    assert_eq!(world.drops(0, Drop::Replayed), 0, "each address has a probe of its own");
    world.lose = |p| p.to.is_ipv4();
    world.run(5 * SEC);
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
    assert_eq!(world.seen_by_server(), Some(address("[2001:db8::2]:1000")));
    assert_eq!(world.states(), (PeerState::Up, PeerState::Up));
}

#[test]
fn several_paths_share_one_connection() {
    let mut world = World::new();
    world.add_client(1, 1, "198.51.100.1:1000");
    world.nodes[1].sockets.push(address("192.0.2.200:1000"));
    let now = world.now;
    world.endpoint(1).open_path(now, PeerId(0), PathId(1), path_settings());
    world.endpoint(1).set_candidates(now, PeerId(0), PathId(1), &[way(1, SERVER)]);
    world.run(SEC);
    let paths = world.nodes[0].endpoint.snapshot(world.now).peers[0].paths.clone();
    let seen: Vec<_> = paths.iter().map(|p| (p.id, p.via.unwrap().remote())).collect();
    assert_eq!(
        seen,
        [(PathId(0), address("198.51.100.1:1000")), (PathId(1), address("192.0.2.200:1000"))]
    );
    world.endpoint(1).path_lost(now, PeerId(0), PathId(0), Reason::LinkDown);
    world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
    world.run(SEC);
    assert_eq!(world.nodes[0].delivered.len(), 1);
}

#[test]
fn the_client_learns_where_it_is_seen_and_when_that_changes() {
    let mut world = World::connected();
    // Time enough that new addresses are looked at one after the other.
    world.run(5 * SEC);
    assert_eq!(world.told_to_client(), Some(address("198.51.100.1:1000")));
    for new in ["198.51.100.1:2000", "203.0.113.99:7"] {
        world.nodes[1].sockets[0] = address(new);
        world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
        world.run(200 * MS);
        assert_eq!(world.told_to_client(), Some(address(new)));
    }
    let server = world.nodes[0].endpoint.snapshot(world.now);
    assert_eq!(server.peers[0].engine.paths[0].observed, None, "it knows where it is");
}

#[test]
fn what_is_told_in_a_datagram_that_is_lost_is_told_again() {
    for lost_ms in [30, 100, 300, 3000] {
        let mut world = World::connected();
        world.traffic(10, 10 * MS);
        let new = address("198.51.100.1:2000");
        world.nodes[1].sockets[0] = new;
        world.push(1, &packet(INSIDE[1], INSIDE[0], 1));
        while world.seen_by_server() != Some(new) {
            world.run(MS);
        }
        assert_ne!(world.told_to_client(), Some(new));
        world.lose = |p| p.to == address("198.51.100.1:2000");
        world.air.retain(|p| p.to != new);
        world.run(lost_ms * MS);
        assert_ne!(world.told_to_client(), Some(new));
        world.lose = |_| false;
        // A path that was silent for seconds is asked once a second.
        world.run(3 * SEC);
        assert_eq!(world.told_to_client(), Some(new), "after {lost_ms} ms");
    }
}

#[test]
fn an_idle_router_learns_its_new_address_at_its_next_keepalive() {
    let mut world = World::connected();
    world.run(30 * SEC);
    let new = address("203.0.113.99:7");
    world.nodes[1].sockets[0] = new;
    // One comes each second.
    world.run(1200 * MS);
    assert_eq!(world.told_to_client(), Some(new));
}

#[test]
fn who_comes_back_is_told_anew() {
    let mut world = World::connected();
    world.run(SEC);
    let was = world.told_to_client();
    let now = world.now;
    world.endpoint(1).reconnect(now, PeerId(0));
    assert_eq!(world.told_to_client(), None, "of another connection");
    world.run(2 * SEC);
    assert_eq!((world.told_to_client(), was.is_some()), (was, true));
    // The server begins anew.
    let now = world.now;
    world.endpoint(0).reconnect(now, PeerId(0));
    world.run(5 * SEC);
    assert_eq!(world.told_to_client(), was);
}
