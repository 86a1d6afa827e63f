//! Groups, their order, and that splitting a joined packet gives the packets back.

use super::*;

/// A TCP segment with a right checksum.
fn tcp(v6: bool, port: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let ip = if v6 { 40 } else { 20 };
    let mut packet = vec![0; ip + 20];
    packet.extend_from_slice(payload);
    put_u16(&mut packet, ip, port);
    put_u16(&mut packet, ip + 2, 443);
    packet[ip + 4..ip + 8].copy_from_slice(&sequence.to_be_bytes());
    packet[ip + 12] = 0x50;
    packet[ip + 13] = flags;
    put_u16(&mut packet, ip + 14, 500);
    finish(packet, v6, TCP, 16)
}

fn udp(v6: bool, port: u16, payload: &[u8]) -> Vec<u8> {
    let ip = if v6 { 40 } else { 20 };
    let mut packet = vec![0; ip + 8];
    packet.extend_from_slice(payload);
    put_u16(&mut packet, ip, port);
    put_u16(&mut packet, ip + 2, 53);
    put_u16(&mut packet, ip + 4, 8 + payload.len() as u16);
    finish(packet, v6, UDP, 6)
}

fn finish(mut packet: Vec<u8>, v6: bool, protocol: u8, offset: usize) -> Vec<u8> {
    let length = packet.len();
    let ip = if v6 {
        packet[0] = 0x60;
        put_u16(&mut packet, 4, (length - 40) as u16);
        packet[6] = protocol;
        packet[7] = 64;
        packet[8] = 0xfd;
        packet[24] = 0xfd;
        40
    } else {
        packet[0] = 0x45;
        put_u16(&mut packet, 2, length as u16);
        packet[6] = 0x40;
        packet[8] = 64;
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = !checksum(&packet[..20], 0);
        put_u16(&mut packet, 10, sum);
        20
    };
    let sum = !checksum(&packet[ip..], pseudo_sum(&packet, ip, protocol, length - ip));
    put_u16(&mut packet, ip + offset, sum);
    packet
}

fn groups(packets: &mut [Vec<u8>]) -> Vec<Vec<usize>> {
    let mut coalescer = Coalescer::default();
    coalescer.plan(packets, true);
    (0..coalescer.len()).map(|g| coalescer.group(g).1.map(|(i, _)| i).collect()).collect()
}

/// Joins, writes into one buffer, splits with the reader's code and compares.
fn round_trip(packets: &[Vec<u8>], v6: bool) {
    let mut joined = packets.to_vec();
    let mut coalescer = Coalescer::default();
    coalescer.plan(&mut joined, true);
    assert_eq!(coalescer.len(), 1);
    let (header, members) = coalescer.group(0);
    let mut large = Vec::new();
    for (index, from) in members {
        large.extend_from_slice(&joined[index][from..]);
    }
    let mut out = vec![vec![0; 2000]; packets.len()];
    let mut sizes = vec![0; packets.len()];
    let count = tun_rs::gso_split(&mut large, header, &mut out, &mut sizes, 0, v6).unwrap();
    assert_eq!(count, packets.len());
    for ((out, size), packet) in out.iter_mut().zip(sizes).zip(packets) {
        out.truncate(size);
        if !v6 {
            // The splitter numbers IPv4 identifications: not what is compared.
            put_u16(out, 4, 0);
            put_u16(out, 10, 0);
            let sum = !checksum(&out[..20], 0);
            put_u16(out, 10, sum);
        }
        assert_eq!(out, packet);
    }
}

#[test]
fn a_joined_stream_splits_into_its_segments() {
    for v6 in [false, true] {
        let packets = [
            tcp(v6, 1, 1000, ACK, &[1; 1300]),
            tcp(v6, 1, 2300, ACK, &[2; 1300]),
            tcp(v6, 1, 3600, ACK | PSH, &[3; 77]),
        ];
        round_trip(&packets, v6);
    }
}

#[test]
fn joined_datagrams_split_into_themselves() {
    for v6 in [false, true] {
        round_trip(&[udp(v6, 1, &[1; 900]), udp(v6, 1, &[2; 900]), udp(v6, 1, &[3; 5])], v6);
    }
}

#[test]
fn flows_interleave_and_keep_their_order() {
    let mut packets = [
        tcp(false, 1, 0, ACK, &[1; 100]),
        tcp(false, 2, 0, ACK, &[1; 100]),
        tcp(false, 1, 100, ACK, &[1; 100]),
        tcp(false, 2, 100, ACK, &[1; 100]),
        // A gap: a group of its own, which later segments continue.
        tcp(false, 1, 500, ACK, &[1; 100]),
        tcp(false, 1, 600, ACK, &[1; 100]),
        // A pure acknowledgement closes the flow's group.
        tcp(false, 2, 200, ACK, &[]),
        tcp(false, 2, 200, ACK, &[1; 100]),
    ];
    assert_eq!(groups(&mut packets), [vec![0, 2], vec![1, 3], vec![4, 5], vec![6], vec![7]],);
}

#[test]
fn a_short_or_pushed_segment_ends_its_group() {
    let mut packets = [
        tcp(false, 1, 0, ACK, &[1; 100]),
        tcp(false, 1, 100, ACK, &[1; 50]),
        tcp(false, 1, 150, ACK | PSH, &[1; 50]),
        tcp(false, 1, 200, ACK, &[1; 50]),
        tcp(false, 1, 250, ACK, &[1; 60]),
    ];
    assert_eq!(groups(&mut packets), [vec![0, 1], vec![2], vec![3], vec![4]]);
}

#[test]
fn what_is_odd_stands_alone() {
    let mut damaged = tcp(false, 1, 100, ACK, &[1; 100]);
    damaged[60] ^= 1;
    let mut fragment = udp(false, 9, &[1; 100]);
    fragment[6] = 0x20;
    let mut no_checksum = udp(false, 1, &[1; 100]);
    put_u16(&mut no_checksum, 26, 0);
    let mut other_window = tcp(false, 3, 100, ACK, &[1; 100]);
    put_u16(&mut other_window, 34, 7);
    let mut packets = [
        tcp(false, 1, 0, ACK, &[1; 100]),
        damaged,
        fragment.clone(),
        fragment,
        no_checksum.clone(),
        no_checksum,
        tcp(false, 3, 0, ACK, &[1; 100]),
        other_window,
        vec![],
        vec![0x45],
        vec![0x60; 40],
        tcp(false, 4, 0, 2, &[]),
    ];
    let before = packets.clone();
    let groups = groups(&mut packets);
    assert_eq!(groups, (0..packets.len()).map(|i| vec![i]).collect::<Vec<_>>());
    assert_eq!(packets, before, "a packet that stands alone is not touched");
}

#[test]
fn a_group_has_a_limit() {
    let mut packets: Vec<_> = (0..150).map(|i| tcp(false, 1, i * 1400, ACK, &[0; 1400])).collect();
    for group in groups(&mut packets) {
        assert!(group.len() <= GROUP_MAX && group.len() * 1400 + 40 <= TOTAL_MAX);
    }
}
