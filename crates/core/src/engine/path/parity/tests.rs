use super::*;
use crate::wire::frame::Frames;
use proptest::prelude::*;

/// A protected path that loses so much.
fn protect(ppm: u64) -> Protect {
    Protect { on: true, loss: Loss { ppm, ..Loss::default() }, ..Protect::default() }
}

/// Parity as it is on the wire.
struct Written(Vec<u8>);

impl Written {
    fn of(protect: &mut Protect) -> Written {
        let mut out = [0; 2048];
        let mut w = Writer::new(&mut out);
        assert!(protect.write(&mut w));
        let len = w.len();
        Written(out[..len].to_vec())
    }

    fn repair(&self) -> Repair<'_> {
        match Frames::new(&self.0).next() {
            Some(Ok(Frame::Repair(repair))) => repair,
            other => panic!("{other:?}"),
        }
    }
}

/// A receiver that has had parity before, so that it keeps what comes.
fn rebuild(pool: &mut Pool, near: u64) -> Rebuild {
    let mut rebuild = Rebuild::default();
    let earlier = Repair { first: near as u32, members: 1, lengths: 0, parity: &[] };
    let nothing = rebuild.on_repair(Time(0), pool, near, &earlier, &Received::default());
    assert!(nothing.is_none());
    rebuild
}

/// What follows from parity in datagram `near` when all of `payloads` but `lost` have come; their
/// numbers follow `first`.
fn rebuilt(payloads: &[Vec<u8>], first: u64, lost: &[usize]) -> Option<(u64, Vec<u8>)> {
    let (mut pool, mut sender) = (Pool::new(4), protect(1));
    let mut receiver = rebuild(&mut pool, first);
    for (i, payload) in payloads.iter().enumerate() {
        let number = first + 1 + i as u64;
        sender.on_sent(Time(0), &mut pool, number, payload, 1400);
        if !lost.contains(&i) {
            receiver.keep(Time(0), &mut pool, number, payload);
        }
    }
    let written = Written::of(&mut sender);
    let near = first + 1 + payloads.len() as u64;
    receiver
        .on_repair(Time(0), &mut pool, near, &written.repair(), &Received::default())
        .map(|(number, buf)| (number, buf.bytes().to_vec()))
}

#[test]
fn a_group_ends_when_it_is_full_or_old() {
    let (mut pool, mut sender) = (Pool::new(4), protect(50_000));
    assert_eq!((sender.size(), sender.due()), (6, Time::FAR));
    sender.on_sent(Time(7), &mut pool, 10, b"a", 1400);
    assert_eq!(sender.due(), Time(7 + SPAN_US));
    for number in 11..16 {
        assert_ne!(sender.due(), Time::ZERO);
        sender.on_sent(Time(8), &mut pool, number, b"b", 1400);
    }
    assert_eq!(sender.due(), Time::ZERO);
    assert_eq!(Written::of(&mut sender).repair().members, 0b11_1111);
    assert_eq!(sender.due(), Time::FAR);
}

#[test]
fn a_member_out_of_reach_ends_the_group_before_it() {
    let (mut pool, mut sender) = (Pool::new(4), protect(1));
    sender.on_sent(Time(0), &mut pool, 10, b"a", 1400);
    sender.on_sent(Time(0), &mut pool, 10 + REACH, b"b", 1400);
    assert_eq!(sender.due(), Time::ZERO);
    assert_eq!(Written::of(&mut sender).repair().members, 1);
}

#[test]
fn what_leaves_no_room_for_the_head_is_not_protected() {
    let (mut pool, mut sender) = (Pool::new(4), protect(1));
    sender.on_sent(Time(0), &mut pool, 1, &[0; 1401], 1400);
    assert_eq!(sender.due(), Time::FAR);
    sender.on_sent(Time(0), &mut pool, 2, &[0; 1400], 1400);
    assert_ne!(sender.due(), Time::FAR);
    assert!(!sender.write(&mut Writer::new(&mut [0; 1200])), "the path has become narrower");
    assert_eq!(sender.due(), Time::FAR);
}

#[test]
fn protection_needs_late_repairs_and_loss_and_does_not_flap() {
    let mut sender = Protect::default();
    let mut decide = |late_ms: i64, ppm, allowed| {
        sender.loss.ppm = ppm;
        sender.decide(late_ms * 1000, allowed);
        sender.is_on()
    };
    assert!(!decide(600, 900, true));
    assert!(decide(600, 1100, true));
    assert!(decide(600, 600, true));
    assert!(!decide(600, 400, true));
    assert!(!decide(190, 20_000, true));
    assert!(decide(210, 20_000, true));
    assert!(decide(180, 20_000, true));
    assert!(!decide(160, 20_000, true));
    assert!(!decide(600, 160_000, true));
    assert!(decide(600, 140_000, true));
    assert!(decide(600, 190_000, true));
    assert!(!decide(600, 210_000, true));
    assert!(!decide(600, 20_000, false));
}

#[test]
fn what_a_flood_loses_is_not_the_links_loss() {
    let mut loss = Loss::default();
    loss.measure(Time(SEC), 1000, 0, true, 600 * MS);
    loss.measure(Time(2 * SEC), 2000, 500, false, 600 * MS);
    assert_eq!(loss.ppm, 0);
    loss.measure(Time(4 * SEC), 3000, 510, false, 600 * MS);
    assert_eq!(loss.ppm, 10 * 1000 / LOSS_WEIGHT, "10 of 1000");
}

#[test]
fn what_has_arrived_or_is_too_old_is_not_rebuilt() {
    let (mut pool, mut sender) = (Pool::new(4), protect(1));
    let mut receiver = rebuild(&mut pool, 9);
    for number in [10, 11] {
        sender.on_sent(Time(0), &mut pool, number, b"x", 1400);
    }
    let written = Written::of(&mut sender);
    receiver.keep(Time(0), &mut pool, 11, b"x");
    let mut received = Received::default();
    received.record(Time(0), 10, true);
    assert!(receiver.on_repair(Time(0), &mut pool, 12, &written.repair(), &received).is_none());
    let nothing = Received::default();
    assert!(
        receiver.on_repair(Time(0), &mut pool, 10, &written.repair(), &nothing).is_none(),
        "parity of what is yet to come"
    );
    let found = receiver.on_repair(Time(0), &mut pool, 12, &written.repair(), &nothing).unwrap();
    assert_eq!((found.0, found.1.bytes()), (10, &b"x"[..]));
    receiver.keep(Time(0), &mut pool, 10 + KEPT, b"y");
    assert!(receiver.on_repair(Time(0), &mut pool, 12, &written.repair(), &nothing).is_none());
}

#[test]
fn a_rebuilt_payload_is_known_and_not_rebuilt_again() {
    let (mut pool, mut sender) = (Pool::new(4), protect(1));
    let mut receiver = rebuild(&mut pool, 9);
    sender.on_sent(Time(0), &mut pool, 10, b"x", 1400);
    let written = Written::of(&mut sender);
    let nothing = Received::default();
    let (number, payload) =
        receiver.on_repair(Time(0), &mut pool, 12, &written.repair(), &nothing).unwrap();
    receiver.keep(Time(0), &mut pool, number, payload.bytes());
    assert!(receiver.has(10));
    assert!(receiver.on_repair(Time(0), &mut pool, 13, &written.repair(), &nothing).is_none());
}

#[test]
fn copies_are_bounded_and_given_back() {
    let mut pool = Pool::new(2 * KEPT as usize);
    let mut receiver = Rebuild::default();
    receiver.keep(Time(0), &mut pool, 1, b"x");
    assert_eq!(receiver.buffers(), 0, "no parity, no copies");
    let mut receiver = rebuild(&mut pool, 1);
    for number in 2..1000 {
        receiver.keep(Time(0), &mut pool, number, b"x");
    }
    receiver.keep(Time(0), &mut pool, 3, b"too old");
    assert_eq!(receiver.buffers(), KEPT as usize * CAPACITY);
    assert!(!receiver.has(3) && receiver.has(999));
    receiver.keep(Time(FORGET_US + 1), &mut pool, 1000, b"x");
    assert_eq!(receiver.buffers(), 0);
}

proptest! {
    #[test]
    fn one_lost_payload_is_rebuilt_and_no_more(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..1400), 1..33),
        first in 0u64..1 << 40,
        lost: prop::sample::Index,
        other: prop::sample::Index,
    ) {
        let (lost, other) = (lost.index(payloads.len()), other.index(payloads.len()));
        let number = first + 1 + lost as u64;
        prop_assert_eq!(rebuilt(&payloads, first, &[lost]), Some((number, payloads[lost].clone())));
        prop_assert_eq!(rebuilt(&payloads, first, &[]), None);
        if other != lost {
            prop_assert_eq!(rebuilt(&payloads, first, &[lost, other]), None);
        }
    }

    #[test]
    fn any_parity_ends_without_panic(
        kept in prop::collection::vec((0u64..200, prop::collection::vec(any::<u8>(), 0..80)), 0..80),
        first: u32,
        near in prop_oneof![0u64..200, any::<u64>()],
        members: u64,
        lengths: u16,
        parity in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut pool = Pool::new(4);
        let mut receiver = rebuild(&mut pool, 0);
        for (number, payload) in &kept {
            receiver.keep(Time(0), &mut pool, *number, payload);
        }
        for first in [first, near as u32, (near as u32).wrapping_sub(20)] {
            let repair = Repair { first, members: members | 1, lengths, parity: &parity };
            let found =
                receiver.on_repair(Time(0), &mut pool, near, &repair, &Received::default());
            if let Some((number, payload)) = found {
                prop_assert!(number < near && payload.len() <= parity.len());
                prop_assert!(!receiver.has(number));
            }
        }
        prop_assert!(receiver.buffers() <= BUFFERS_MAX);
    }
}
