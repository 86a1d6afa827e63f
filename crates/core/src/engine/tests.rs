//! Two engines back to back over plain virtual links: the smallest world in which the parts work
//! together. The large one is tests/sim.

use super::*;
use crate::wire::Writer;
use crate::wire::frame::{Frame, Frames};
use core::net::{IpAddr, Ipv4Addr};

/// One direction of a link: serialisation, then delay; every `lose`-th datagram is lost.
struct Link {
    rate: u64,
    delay_us: u64,
    lose: u64,
    free_at: Time,
    count: u64,
    dead: bool,
    flying: VecDeque<(Time, PathId, u64, Vec<u8>)>,
}

impl Link {
    fn new(rate: u64, delay_us: u64, lose: u64) -> Link {
        let flying = VecDeque::new();
        Link { rate, delay_us, lose, free_at: Time::ZERO, count: 0, dead: false, flying }
    }

    fn send(&mut self, now: Time, t: &Transmit, payload: &[u8]) {
        self.count += 1;
        let len = payload.len() as u64 + 54;
        if self.dead || (self.lose > 0 && self.count.is_multiple_of(self.lose)) {
            return;
        }
        if self.free_at.since(now) > 150_000 {
            return;
        }
        self.free_at = self.free_at.max(now) + len * 1_000_000 / self.rate;
        let arrives = self.free_at + self.delay_us;
        self.flying.push_back((arrives, t.path, t.number.value(), payload.to_vec()));
    }
}

struct World {
    now: Time,
    pool: Pool,
    /// The router, the server.
    ends: [Engine; 2],
    /// Per path: up, down.
    links: Vec<[Link; 2]>,
    got: [Vec<u32>; 2],
    polls: u64,
}

const VIEW: ip::Packet = ip::Packet {
    source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    destination: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    protocol: ip::TCP,
    ports: (1000, 80),
    ecn: 0,
};

const PATH: PathSettings = PathSettings {
    mode: Mode::Active,
    metered: false,
    send_rate_max: None,
    receive_rate_max: None,
    link_mtu: 1500,
    ip_overhead: 28,
};

impl World {
    fn new(links: &[(u64, u64, u64)]) -> World {
        let settings = |side| Settings {
            seed: 7,
            hold_max_us: 500_000,
            memory: 16 << 20,
            probe_interval_us: 15 * SEC,
            side,
            fec: true,
        };
        let now = Time(1_000_000);
        let mut world = World {
            now,
            pool: Pool::new(100),
            ends: [
                Engine::new(settings(Side::Opening), now),
                Engine::new(settings(Side::Answering), now),
            ],
            links: Vec::new(),
            got: [Vec::new(), Vec::new()],
            polls: 0,
        };
        for (i, &(rate, delay, lose)) in links.iter().enumerate() {
            world.links.push([Link::new(rate, delay, lose), Link::new(rate, delay, lose)]);
            for end in &mut world.ends {
                end.open_path(now, PathId(i as u8), PATH);
            }
        }
        world
    }

    fn push(&mut self, end: usize, sequence: u32) {
        let mut packet = self.pool.take();
        packet.set_len(1400);
        packet.bytes_mut()[..4].copy_from_slice(&sequence.to_le_bytes());
        self.ends[end].push_packet(self.now, &mut self.pool, packet, &VIEW);
    }

    /// Runs until `until`, keeping `backlog` bytes waiting at `end` with rising numbers.
    fn run(&mut self, until: Time, end: usize, backlog: usize, next: &mut u32) {
        let mut out = [0u8; 2048];
        while self.now < until {
            while self.ends[end].queue.bytes() < backlog {
                self.push(end, *next);
                *next += 1;
            }
            for side in 0..2 {
                self.ends[side].handle_timeout(self.now, &mut self.pool);
                while let Some(t) =
                    self.ends[side].poll_transmit(self.now, &mut self.pool, &mut out)
                {
                    self.polls += 1;
                    self.links[t.path.index()][side].send(self.now, &t, &out[..t.len]);
                }
                let due = self.ends[side].poll_timeout();
                assert!(due > self.now, "{due:?} is not after {:?} (side {side})", self.now);
            }
            let arrivals = self.links.iter().flatten().filter_map(|l| l.flying.front());
            let next =
                arrivals.map(|f| f.0).chain(self.ends.iter().map(|e| e.poll_timeout())).min();
            self.now = next.unwrap_or(until).max(self.now).min(until);
            for i in 0..self.links.len() {
                for side in 0..2 {
                    while self.links[i][side].flying.front().is_some_and(|f| f.0 <= self.now) {
                        let (_, path, number, payload) =
                            self.links[i][side].flying.pop_front().unwrap();
                        let to = &mut self.ends[1 - side];
                        let len = payload.len() + 54;
                        to.handle_payload(self.now, &mut self.pool, path, number, &payload, len)
                            .unwrap();
                        while let Some(packet) = to.poll_deliver() {
                            let bytes = packet.bytes()[..4].try_into().unwrap();
                            self.got[1 - side].push(u32::from_le_bytes(bytes));
                            self.pool.give(packet);
                        }
                    }
                }
            }
        }
    }

    fn states(&self, end: usize) -> Vec<PathState> {
        self.ends[end].paths().map(|p| p.health.state()).collect()
    }
}

const FIFTY: u64 = 6_250_000;

#[test]
fn paths_are_proved_and_their_mtu_found() {
    let mut w = World::new(&[(FIFTY, 20_000, 0), (FIFTY, 30_000, 0)]);
    w.run(Time(2_000_000), 0, 0, &mut 0);
    for end in 0..2 {
        assert_eq!(w.states(end), [PathState::Active; 2]);
        assert!(w.ends[end].paths().all(|p| p.mtu.current() == 1500));
        assert_eq!(w.ends[end].mtu(), 1440);
    }
    assert!(w.polls < 40, "an idle connection is quiet: {} datagrams", w.polls);
}

#[test]
fn no_two_pings_of_a_path_say_the_same() {
    let mut w = World::new(&[(FIFTY, 20_000, 0)]);
    w.run(Time(2 * SEC), 0, 0, &mut 0);
    // A probe of the MTU and a ping for the path's upkeep in one poll.
    let path = w.ends[0].path_mut(PathId(0)).unwrap();
    path.mtu.restart(w.now);
    path.ping_now = true;
    let (mut out, mut said) = ([0; 2048], Vec::new());
    while let Some(t) = w.ends[0].poll_transmit(w.now, &mut w.pool, &mut out) {
        said.extend(Frames::new(&out[..t.len]).flatten().filter_map(|frame| match frame {
            Frame::Ping { sent } => Some((sent, t.len)),
            _ => None,
        }));
    }
    let [(probe, long), (ping, short)] = said[..] else { panic!("{said:?}") };
    assert!(long > 1400 && short < 100 && probe != ping, "{said:?}");
    for (echo, confirmed) in [(ping, 1280), (probe, 1500)] {
        let pong = Frame::Pong { echo };
        w.ends[0].handle_frame(w.now + 40_000, &mut w.pool, PathId(0), pong);
        assert_eq!(w.ends[0].path(PathId(0)).unwrap().mtu.current(), confirmed);
    }
}

#[test]
fn two_links_carry_the_sum_in_order() {
    for end in 0..2 {
        let mut w = World::new(&[(FIFTY, 20_000, 0), (FIFTY, 20_000, 0)]);
        let mut next = 0;
        w.run(Time(3_000_000), end, 400_000, &mut next);
        let before = w.got[1 - end].len();
        w.run(Time(5_000_000), end, 400_000, &mut next);
        let rate = (w.got[1 - end].len() - before) as u64 * 1400 / 2;
        assert!(rate * 100 > 2 * FIFTY * 93, "{rate} of {}", 2 * FIFTY);
        assert!(w.got[1 - end].is_sorted());
    }
}

#[test]
fn unequal_delays_arrive_in_order_without_long_holds() {
    let mut w = World::new(&[(FIFTY, 20_000, 0), (FIFTY, 70_000, 0)]);
    let mut next = 0;
    w.run(Time(3_000_000), 0, 800_000, &mut next);
    let before = w.got[1].len();
    w.run(Time(5_000_000), 0, 800_000, &mut next);
    let rate = (w.got[1].len() - before) as u64 * 1400 / 2;
    assert!(rate * 100 > 2 * FIFTY * 92, "{rate} of {}", 2 * FIFTY);
    assert!(w.got[1].is_sorted());
    let held = w.ends[1].snapshot(w.now).held_bytes;
    assert!(held < 100 * 2048, "{held} bytes held: packets should arrive nearly in order");
}

#[test]
fn loss_is_repaired() {
    let mut w = World::new(&[(FIFTY, 20_000, 50), (FIFTY, 20_000, 0)]);
    let mut next = 0;
    w.run(Time(4_000_000), 0, 400_000, &mut next);
    w.run(Time(6_000_000), 0, 0, &mut next);
    let missing = next as usize - w.got[1].len();
    assert!(missing <= w.ends[0].snapshot(w.now).dropped_aqm as usize, "{missing} missing");
    assert!(w.got[1].is_sorted());
    assert_eq!(w.ends[1].snapshot(w.now).released_late, 0);
    assert!(w.ends[0].snapshot(w.now).retransmitted > 50);
}

#[test]
fn a_silent_death_loses_nothing_and_is_noticed() {
    let mut w = World::new(&[(FIFTY, 20_000, 0), (FIFTY, 30_000, 0)]);
    let mut next = 0;
    w.run(Time(3_000_000), 0, 300_000, &mut next);
    w.links[0].iter_mut().for_each(|l| l.dead = true);
    let before = w.got[1].len();
    w.run(Time(3_400_000), 0, 300_000, &mut next);
    assert_eq!(w.states(0), [PathState::Suspect, PathState::Active]);
    assert!(w.got[1].len() - before > 400, "traffic went on: {}", w.got[1].len() - before);
    w.run(Time(5_000_000), 0, 300_000, &mut next);
    w.links[0].iter_mut().for_each(|l| l.dead = false);
    w.run(Time(8_000_000), 0, 300_000, &mut next);
    assert_eq!(w.states(0), [PathState::Active; 2]);
    w.run(Time(9_000_000), 0, 0, &mut next);
    let dropped = w.ends[0].snapshot(w.now).dropped_aqm as usize;
    assert!(next as usize - w.got[1].len() <= dropped);
}

#[test]
fn a_lost_link_moves_its_traffic_at_once() {
    let mut w = World::new(&[(FIFTY, 20_000, 0), (FIFTY, 30_000, 0)]);
    let mut next = 0;
    w.run(Time(3_000_000), 0, 300_000, &mut next);
    w.links[0].iter_mut().for_each(|l| l.dead = true);
    w.ends[0].path_lost(w.now, PathId(0), Reason::LinkDown);
    let before = w.got[1].len();
    w.run(Time(3_150_000), 0, 300_000, &mut next);
    assert!(w.got[1].len() - before > 200);
}

#[test]
fn idle_time_does_not_end_the_search_for_the_rate() {
    let mut w = World::new(&[(FIFTY, 20_000, 0), (FIFTY, 20_000, 0)]);
    let mut next = 0;
    for second in 1..20u64 {
        // A packet now and then keeps the paths' pings and acknowledgements going.
        w.push(0, next);
        next += 1;
        w.run(Time((second + 1) * SEC), 0, 0, &mut next);
    }
    w.run(Time(21 * SEC), 0, 300_000, &mut next);
    let before = w.got[1].len();
    w.run(Time(22 * SEC), 0, 300_000, &mut next);
    let rate = (w.got[1].len() - before) as u64 * 1400;
    assert!(rate * 100 > 2 * FIFTY * 85, "{rate} of {}", 2 * FIFTY);
}

#[test]
fn a_flow_gives_back_what_a_burst_took_though_the_connection_is_always_used() {
    let mut w = World::new(&[(FIFTY, 20_000, 0)]);
    let mut next = 0;
    w.run(Time(3 * SEC), 0, 2_000_000, &mut next);
    assert!(w.ends[0].queue.capacity() > 1000);
    w.run(Time(70 * SEC), 0, 1, &mut next);
    assert!(w.ends[0].queue.capacity() < 100, "{}", w.ends[0].queue.capacity());
}

/// A server that is older than the speed test skips its frames, and acknowledges all padding.
#[test]
fn a_server_that_does_not_know_speed_tests_is_told_and_the_way_up_measured() {
    let mut world = World::new(&[(1_250_000, 10_000, 0)]);
    // One that calls takes no requests either.
    world.ends[1].settings.side = Side::Opening;
    let mut next = 0;
    world.run(Time(2_000_000), 0, 0, &mut next);
    let plan = SpeedTestPlan {
        id: 5,
        paths: vec![(PathId(0), u64::MAX)],
        ways: vec![Way::Down, Way::Up],
        step_us: 2 * SEC,
        together: true,
    };
    let now = world.now;
    world.ends[0].start_speed_test(now, plan);
    world.run(Time(9_000_000), 0, 0, &mut next);
    let test = world.ends[0].speed_test(world.now).expect("it was begun");
    assert_eq!((test.results.len(), test.percent), (2, 100), "{test:?}");
    assert_eq!(test.results[0].rate, Err(Refusal::Unknown));
    let up = test.results[1].rate.expect("it was measured");
    assert!(up.abs_diff(1_250_000) < 60_000, "{up}");
    assert!(world.got[1].is_empty(), "padding is nobody's packet");
}

#[test]
fn a_flood_of_observed_addresses_costs_nothing_but_its_acknowledgement() {
    let mut world = World::new(&[(FIFTY, 10_000, 0)]);
    let mut next = 0;
    world.run(Time(2 * SEC), 0, 0, &mut next);
    let now = world.now;
    let router = &mut world.ends[0];
    while router.poll_event().is_some() {}
    let (before, mut out) = (router.paths[0].as_ref().unwrap().sent.packets_sent, [0; 1400]);
    let mut last = None;
    for number in 1000..2000 {
        let mut w = Writer::new(&mut out);
        for port in 0..50 {
            last = Some(([192, 0, (number % 256) as u8, 1], port).into());
            Frame::ObservedAddress { address: last.unwrap() }.write(&mut w);
        }
        let len = w.len();
        let read = router.handle_payload(now, &mut world.pool, PathId(0), number, &out[..len], len);
        // After a while the budget of frames is used up, and only the first are read.
        assert!(read.is_ok() || number > 1050, "{number}");
        assert_eq!(router.poll_event(), None);
    }
    // The first of a datagram holds: it says the others in the same breath.
    let first = last.map(|a: SocketAddr| SocketAddr::new(a.ip(), 0));
    assert_eq!(router.snapshot(now).paths[0].observed, first);
    assert_eq!(router.buffered(), 0);
    let mut datagrams = 0;
    while router.poll_transmit(now, &mut world.pool, &mut out).is_some() {
        datagrams += 1;
    }
    let sent = router.paths[0].as_ref().unwrap().sent.packets_sent;
    assert!(datagrams <= 2 && sent - before <= 1, "{datagrams} datagrams, {sent}");
    // A path that is not open is nobody's.
    let read = router.handle_payload(now, &mut world.pool, PathId(9), 1, &out[..0], 0);
    assert_eq!(read, Ok(()));
}

#[test]
fn an_observed_address_is_told_again_when_its_datagram_is_given_up() {
    let mut world = World::new(&[(FIFTY, 10_000, 0)]);
    let mut next = 0;
    world.run(Time(2 * SEC), 0, 0, &mut next);
    let address = ([192, 0, 2, 1], 7).into();
    world.ends[1].see(PathId(0), address);
    let tell = |world: &mut World| {
        let (now, mut out) = (world.now, [0; 1400]);
        let sent = world.ends[1].poll_transmit(now, &mut world.pool, &mut out).unwrap();
        Frames::new(&out[..sent.len]).any(|f| f == Ok(Frame::ObservedAddress { address }))
    };
    assert!(tell(&mut world));
    let now = world.now;
    // As a path is given up that loses too much, and stays in use.
    world.ends[1].path_mut(PathId(0)).unwrap().abandon(now, |_| {});
    assert!(tell(&mut world));
    world.run(now + SEC, 0, 0, &mut next);
    assert_eq!(world.ends[1].path(PathId(0)).unwrap().observed.due(), None);
}
