use super::*;
use core::net::{IpAddr, Ipv4Addr};

const HEAD: Want = Want { ahead: 0, max_len: 2000, longest: 2000 };

fn view(port: u16, ecn: u8) -> ip::Packet {
    ip::Packet {
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        destination: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        protocol: ip::TCP,
        ports: (port, 80),
        ecn,
    }
}

fn aqm() -> Aqm {
    Aqm::new(40_000, 0, 0, false)
}

struct Queues {
    limit: usize,
    queue: Queue,
    pool: Pool,
}

impl Queues {
    fn new(limit: usize) -> Queues {
        Queues { limit, queue: Queue::new(1), pool: Pool::new(8) }
    }

    fn push(&mut self, now: u64, port: u16, len: usize) {
        let mut packet = Buf::new();
        packet.set_len(len);
        self.queue.push(Time(now), &mut self.pool, packet, &view(port, 0), self.limit);
    }

    fn pop(&mut self, now: u64, want: Want) -> Option<Outgoing> {
        self.queue.pop(Time(now), &mut self.pool, want, aqm())
    }
}

#[test]
fn one_flow_stays_in_order() {
    let mut q = Queues::new(1 << 20);
    for _ in 0..10 {
        q.push(0, 1, 1000);
    }
    let order: Vec<u32> = std::iter::from_fn(|| q.pop(1000, HEAD)).map(|o| o.sequence).collect();
    assert_eq!(order, (0..10).collect::<Vec<_>>());
    assert!(q.queue.is_empty());
}

#[test]
fn a_sparse_flow_goes_before_a_bulk_flow() {
    let mut q = Queues::new(1 << 20);
    for _ in 0..50 {
        q.push(0, 1, 1400);
    }
    for _ in 0..5 {
        q.pop(0, HEAD).unwrap();
    }
    q.push(0, 2, 100);
    let bulk = q.pop(0, HEAD).unwrap();
    let next = q.pop(0, HEAD).unwrap();
    assert!(bulk.packet.len() == 100 || next.packet.len() == 100);
}

#[test]
fn bulk_flows_share_by_bytes() {
    let mut q = Queues::new(1 << 22);
    for _ in 0..300 {
        q.push(0, 1, 1400);
        q.push(0, 2, 700);
        q.push(0, 2, 700);
    }
    let mut bytes = [0usize; 2];
    for _ in 0..300 {
        let out = q.pop(0, HEAD).unwrap();
        bytes[usize::from(out.packet.len() == 700)] += out.packet.len();
    }
    let (a, b) = (bytes[0] as f64, bytes[1] as f64);
    assert!((0.9..1.1).contains(&(a / b)), "{bytes:?}");
}

#[test]
fn a_slower_path_takes_what_comes_later() {
    let mut q = Queues::new(1 << 20);
    for _ in 0..100 {
        q.push(0, 1, 1000);
    }
    let slow = Want { ahead: 50_000, max_len: 2000, longest: 2000 };
    assert_eq!(q.pop(0, slow).unwrap().sequence, 50);
    assert_eq!(q.pop(0, HEAD).unwrap().sequence, 0);
    let next = q.pop(0, slow).unwrap().sequence;
    assert!((50..=53).contains(&next), "{next}");
    let rest: Vec<u32> = std::iter::from_fn(|| q.pop(0, HEAD)).map(|o| o.sequence).collect();
    assert_eq!(rest.len(), 97);
    assert!(rest.is_sorted());
}

#[test]
fn a_slower_path_gets_nothing_of_a_short_queue() {
    let mut q = Queues::new(1 << 20);
    for _ in 0..10 {
        q.push(0, 1, 1000);
    }
    assert!(q.pop(0, Want { ahead: 10_000, max_len: 2000, longest: 2000 }).is_none());
    assert!(q.pop(0, Want { ahead: 5_000, max_len: 2000, longest: 2000 }).is_some());
}

#[test]
fn codel_drops_from_a_standing_queue_and_says_so() {
    let mut q = Queues::new(1 << 22);
    let mut skipped = 0;
    for now in (0..2_000_000).step_by(1000) {
        q.push(now, 1, 1400);
        if now > 100_000
            && let Some(out) = q.pop(now, HEAD)
        {
            skipped += out.skip.map_or(0, |(first, count)| {
                assert_eq!(first + u32::from(count), out.sequence);
                u64::from(count)
            });
        }
    }
    assert!(q.queue.dropped_aqm > 5, "{}", q.queue.dropped_aqm);
    assert_eq!(skipped, q.queue.dropped_aqm);
}

#[test]
fn ecn_capable_packets_are_marked_instead() {
    let mut queue = Queue::new(1);
    let mut pool = Pool::new(8);
    for now in (0..1_000_000).step_by(1000) {
        let mut packet = Buf::new();
        packet.copy_from(&[0x45; 1400]);
        queue.push(Time(now), &mut pool, packet, &view(1, 2), 1 << 22);
        if now > 100_000 {
            queue.pop(Time(now), &mut pool, HEAD, aqm());
        }
    }
    assert_eq!(queue.dropped_aqm, 0);
    assert!(queue.marked > 3);
}

#[test]
fn the_bound_holds_and_the_longest_flow_pays() {
    let mut q = Queues::new(100 * CAPACITY);
    q.push(0, 2, 100);
    for _ in 0..1000 {
        q.push(0, 1, 1400);
    }
    assert!(q.queue.packets <= 101);
    assert!(q.queue.dropped_full >= 900);
    assert_eq!(q.pop(0, HEAD).unwrap().packet.len(), 100);
}

#[test]
fn a_packet_too_long_for_the_path_stays() {
    let mut q = Queues::new(1 << 20);
    q.push(0, 1, 1400);
    assert!(q.pop(0, Want { ahead: 0, max_len: 1200, longest: 2000 }).is_none());
    assert!(q.pop(0, HEAD).is_some());
}

#[test]
fn other_flows_do_not_wait_with_a_packet_too_long_for_the_path() {
    let mut q = Queues::new(1 << 20);
    q.push(0, 1, 1400);
    q.push(0, 2, 100);
    let narrow = Want { ahead: 0, max_len: 1200, longest: 2000 };
    assert_eq!(q.pop(0, narrow).unwrap().packet.len(), 100);
    assert!(q.pop(0, narrow).is_none());
    assert_eq!(q.pop(0, HEAD).unwrap().packet.len(), 1400);
}

#[test]
fn a_packet_too_long_for_every_path_does_not_block_the_others() {
    let mut q = Queues::new(1 << 20);
    q.push(0, 1, 1400);
    q.push(0, 2, 1000);
    let narrow = Want { ahead: 0, max_len: 1200, longest: 1200 };
    assert_eq!(q.pop(0, narrow).unwrap().packet.len(), 1000);
    assert!(q.pop(0, narrow).is_none());
    assert_eq!(q.queue.too_long, 1);
}
