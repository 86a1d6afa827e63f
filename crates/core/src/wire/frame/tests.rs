use super::*;
use proptest::prelude::*;

fn round_trip(frame: Frame<'_>) {
    let mut out = [0; 512];
    let mut w = Writer::new(&mut out);
    assert!(frame.write(&mut w));
    let n = w.len();
    let read: Vec<_> = Frames::new(&out[..n]).collect();
    assert_eq!(read, vec![Ok(frame)]);
}

#[test]
fn every_frame_is_read_as_written() {
    let ranges = [(90, 100), (80, 85), (3, 3)].into_iter();
    let ranges = AckRanges::from_descending(ranges).unwrap();
    assert_eq!(ranges.descending(100).collect::<Vec<_>>(), [(90, 100), (80, 85), (3, 3)]);
    let path = PathId(3);
    for frame in [
        Frame::Ping { sent: 1 },
        Frame::Pong { echo: u32::MAX },
        Frame::Ack(Ack { path, largest_low: 100, arrived: 7, delay_us: 4000, ranges }),
        Frame::Challenge { data: 0x0102_0304_0506_0708 },
        Frame::Response { data: 9 },
        Frame::PathStatus { path, mode: 1, metered: true, rate_max_kbps: 8000 },
        Frame::PathReport { path, loss_ppm: 5, rate_kbps: 6, capacity_kbps: 7 },
        Frame::Hold { us: 90_000 },
        Frame::Skip { flow: 513, first: 0xff_fffe, count: 2 },
        Frame::Close { reason: 1 },
        Frame::Load { id: 7, paths: 0x8001, ms: 5000, kbytes: 524_288 },
        Frame::LoadState { id: 7, state: 3, wait_s: 1800 },
        Frame::ObservedAddress { address: "203.0.113.7:40001".parse().unwrap() },
        Frame::ObservedAddress { address: "[2001:db8::7]:1".parse().unwrap() },
        Frame::Repair(Repair {
            first: u32::MAX,
            members: 1 << 63 | 1,
            lengths: 1400,
            parity: &[7; 450],
        }),
        Frame::Packet { flow: 9, sequence: 0xabcdef, ordered: true, packet: b"E..." },
    ] {
        round_trip(frame);
    }
}

#[test]
fn golden_bytes() {
    let mut out = [0; 64];
    let mut w = Writer::new(&mut out);
    let ranges = AckRanges::from_descending([(6, 9), (1, 2)].into_iter()).unwrap();
    let ack = Ack { path: PathId(1), largest_low: 9, arrived: 0x0102, delay_us: 70, ranges };
    assert!(Frame::Ack(ack).write(&mut w));
    let head = PacketHead { flow: 0x0201, sequence: 5, ordered: true };
    assert!(head.write_sized(&mut w, b"ab"));
    assert!(Frame::Packet { flow: 1, sequence: 6, ordered: false, packet: b"cd" }.write(&mut w));
    let n = w.len();
    assert_eq!(
        &out[..n],
        [
            &[3, 15, 1, 9, 0, 0, 0, 2, 1, 0, 0, 0x40, 70, 3, 1, 3, 2][..],
            &[0x43, 1, 2, 5, 0, 0, 2, 0, b'a', b'b'],
            &[0x40, 1, 0, 6, 0, 0, b'c', b'd'],
        ]
        .concat()
    );
}

#[test]
fn unknown_frames_and_padding_are_skipped() {
    let bytes = [0, 0, 0x3f, 3, 1, 2, 3, 0, 0x0a, 2, 5, 99];
    let read: Vec<_> = Frames::new(&bytes).collect();
    assert_eq!(read, vec![Ok(Frame::Close { reason: 5 })]);
}

#[test]
fn no_more_frames_than_count_are_read() {
    let most = [HOLD, 4, 1, 2, 3, 4].repeat(FRAMES_MAX);
    let more = [&most[..], &[0, 0, 0]].concat();
    assert!(Frames::new(&more).all(|frame| frame.is_ok()), "padding is none");
    for unknown in [&[0x3f, 0][..], &[PONG, 4, 1, 2, 3, 4]] {
        let bytes = [&most[..], unknown].concat();
        let read: Vec<_> = Frames::new(&bytes).collect();
        assert_eq!((read.len(), read[FRAMES_MAX].clone()), (FRAMES_MAX + 1, Err(Malformed)));
    }
}

#[test]
fn a_frame_that_does_not_fit_writes_nothing() {
    let mut out = [0; 8];
    let mut w = Writer::new(&mut out);
    assert!(!Frame::Challenge { data: 1 }.write(&mut w));
    assert!(!Frame::Packet { flow: 1, sequence: 1, ordered: true, packet: b"abc" }.write(&mut w));
    let repair = Repair { first: 1, members: 1, lengths: 1, parity: b"" };
    assert!(!Frame::Repair(repair).write(&mut w));
    assert!(w.is_empty());
}

#[test]
fn a_repair_without_its_first_member_is_malformed() {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1], bytes[6]) = (REPAIR, 14, 2);
    assert_eq!(Frames::new(&bytes).collect::<Vec<_>>(), [Err(Malformed)]);
    bytes[6] = 3;
    assert!(matches!(Frames::new(&bytes).next(), Some(Ok(Frame::Repair(_)))));
}

#[test]
fn addresses_are_of_a_family_that_is_known_and_whole() {
    let mapped = "[::ffff:192.0.2.1]:9".parse().unwrap();
    let mut out = [0; 32];
    let mut w = Writer::new(&mut out);
    assert!(Frame::ObservedAddress { address: mapped }.write(&mut w));
    let n = w.len();
    assert_eq!(&out[..n], [OBSERVED_ADDRESS, 7, 4, 9, 0, 192, 0, 2, 1]);
    fn read(bytes: &[u8]) -> Vec<Result<Frame<'_>, Malformed>> {
        Frames::new(bytes).collect()
    }
    let plain = Frame::ObservedAddress { address: "192.0.2.1:9".parse().unwrap() };
    assert_eq!(read(&out[..n]), [Ok(plain.clone())]);
    let mut clothed = vec![OBSERVED_ADDRESS, 19, 6, 9, 0];
    clothed.extend("::ffff:192.0.2.1".parse::<core::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(read(&clothed), [Ok(plain)]);
    assert_eq!(read(&[OBSERVED_ADDRESS, 3, 5, 9, 0]), [], "a family to come is skipped");
    for short in [&[OBSERVED_ADDRESS, 6, 4, 9, 0, 192, 0, 2][..], &[OBSERVED_ADDRESS, 1, 4]] {
        assert_eq!(read(short), [Err(Malformed)]);
    }
    clothed[1] = 18;
    clothed.pop();
    assert_eq!(read(&clothed), [Err(Malformed)]);
}

proptest! {
    #[test]
    fn any_address_is_read_as_it_is(v6: u128, v4: u32, port: u16) {
        for ip in [IpAddr::from(v6.to_be_bytes()), IpAddr::from(v4.to_be_bytes())] {
            round_trip(Frame::ObservedAddress { address: SocketAddr::new(ip.to_canonical(), port) });
        }
    }

    #[test]
    fn any_bytes_end_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), largest: u64) {
        for frame in Frames::new(&bytes).flatten() {
            if let Frame::Ack(ack) = frame {
                let mut last = None;
                for (low, high) in ack.ranges.descending(largest) {
                    prop_assert!(low <= high && last.is_none_or(|l| high < l));
                    last = Some(low);
                }
            }
        }
    }
}
