//! Both sides in one endpoint, and what a peer costs that is not there.

use super::*;

/// Calls the server and is called by a client of its own.
const MIDDLE: [&str; 2] = ["198.51.100.1:1000", "198.51.100.1:51830"];

#[test]
fn an_endpoint_calls_one_peer_and_answers_another() {
    let mut world = World::new();
    let mut middle = world.client(1, 1, 1);
    let below = peer(Side::Answering, 5, 5, &["10.0.5.0/24"]);
    let below = middle.add_peer(world.now, below).unwrap();
    world.add(middle, &MIDDLE);
    let mut leaf = endpoint(5, 5, world.now);
    let above = leaf.add_peer(world.now, peer(Side::Opening, 1, 5, &["0.0.0.0/0"])).unwrap();
    leaf.open_path(world.now, above, PathId(0), path_settings());
    leaf.set_candidates(world.now, above, PathId(0), &[way(0, MIDDLE[1])]);
    world.add(leaf, &["198.51.100.5:1000"]);
    world.run(SEC);
    let states: Vec<_> =
        world.nodes[1].endpoint.snapshot(world.now).peers.iter().map(|p| p.state).collect();
    assert_eq!(states, [PeerState::Up, PeerState::Up]);
    world.push(1, &packet([10, 0, 0, 2], [10, 0, 5, 1], 1));
    world.push(2, &packet([10, 0, 5, 1], [10, 0, 0, 2], 2));
    world.run(SEC);
    assert_eq!(number(&world.nodes[2].delivered[0].1), 1);
    assert_eq!(number(&world.nodes[1].delivered[0].1), 2);
    assert_eq!(world.nodes[1].delivered[0].0, below);
}

#[test]
fn a_peer_is_not_called_by_whom_it_is_to_be_called() {
    // Both would call: neither answers, and both say why.
    let mut world = World::new();
    let mut other = endpoint(1, 1, world.now);
    other.add_peer(world.now, peer(Side::Answering, 9, 9, &[])).unwrap();
    let id = other.add_peer(world.now, peer(Side::Opening, 5, 5, &["0.0.0.0/0"])).unwrap();
    other.open_path(world.now, id, PathId(0), path_settings());
    world.add(other, &["198.51.100.1:1000"]);
    let mut caller = endpoint(5, 5, world.now);
    let id = caller.add_peer(world.now, peer(Side::Opening, 1, 5, &["0.0.0.0/0"])).unwrap();
    caller.open_path(world.now, id, PathId(0), path_settings());
    caller.set_candidates(world.now, id, PathId(0), &[way(0, "198.51.100.1:1000")]);
    world.add(caller, &["198.51.100.5:1000"]);
    world.run(5 * SEC);
    assert!(world.drops(1, Drop::Unexpected) >= 3);
    assert_eq!(world.sent(2, address("198.51.100.5:1000")).len(), 0);
}

#[test]
fn a_peer_that_never_came_has_no_engine_and_keeps_no_packets() {
    let mut world = World::connected();
    world.push(0, &packet(INSIDE[0], INSIDE[2], 1));
    world.run(SEC);
    assert_eq!(world.drops(0, Drop::NotConnected), 1);
    let engines = |w: &mut World, node: usize| -> Vec<bool> {
        w.endpoint(node).peers.values().map(|p| p.engine.is_some()).collect()
    };
    assert_eq!(engines(&mut world, 0), [true, false]);
    assert_eq!(engines(&mut world, 1), [true]);
    // Its paths are shown as they would begin.
    let now = world.now;
    world.endpoint(1).reconnect(now, PeerId(0));
    world.endpoint(1).path_lost(now, PeerId(0), PathId(0), Reason::LinkDown);
    assert_eq!(engines(&mut world, 1), [false]);
    let shown = &world.endpoint(1).snapshot(now).peers[0].engine.paths[0];
    assert_eq!((shown.state, shown.reason), (PathState::Down, Reason::LinkDown));
}

#[test]
fn packets_wait_for_a_peer_that_has_just_left() {
    let mut world = World::connected();
    let now = world.now;
    world.endpoint(1).close(now);
    world.run(3 * SEC);
    world.push(0, &packet(INSIDE[0], INSIDE[1], 8));
    world.nodes[1].endpoint = world.client(1, 1, 2);
    world.run(2 * SEC);
    assert_eq!(number(&world.nodes[1].delivered[0].1), 8);
    let now = world.now;
    world.endpoint(1).close(now);
    world.run(120 * SEC);
    world.push(0, &packet(INSIDE[0], INSIDE[1], 9));
    assert_eq!(world.drops(0, Drop::NotConnected), 1);
}

#[test]
fn peers_share_one_bound_of_memory_and_give_it_back() {
    let mut world = World::connected();
    world.add_client(2, 2, "198.51.100.2:1000");
    world.run(SEC);
    // Nothing gets through to the clients any more, and the server goes on being fed for both.
    world.lose = |parcel| parcel.to != address(SERVER);
    let bound = template().memory + template().memory / 2;
    world.endpoint(0).budget = budget::Budget::new(bound, template().memory);
    let mut most = 0;
    for n in 0..3000 {
        world.push(0, &packet(INSIDE[0], INSIDE[1], n));
        world.push(0, &packet(INSIDE[0], INSIDE[2], n));
        let engines = world.endpoint(0).peers.values().filter_map(|p| p.engine.as_ref());
        let kept: usize = engines.map(|engine| engine.buffered()).sum();
        assert_eq!(world.endpoint(0).budget.used(), kept);
        most = most.max(kept);
    }
    assert!(most <= bound && most > bound / 2, "{most} of {bound}");
    let now = world.now;
    for id in [PeerId(0), PeerId(1)] {
        world.endpoint(0).reconnect(now, id);
    }
    assert_eq!(world.endpoint(0).budget.used(), 0);
    // One alone has all of its own bound.
    world.lose = |_| false;
    world.run(5 * SEC);
    assert_eq!(world.traffic(20, 10 * MS), (20, 20));
}
