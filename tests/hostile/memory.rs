//! What a peer can make the other end keep.

use crate::allocator::live;
use crate::served::{PEER_MEMORY, POOL, Server};
use crate::villain::{Villain, frames, packet};
use onebox::buffer::CAPACITY;
use onebox::time::{MS, SEC};
use onebox::wire::frame::Frame;

/// What a peer may keep beside its packets: tables, bytes.
const TABLES_MAX: i64 = 2 << 20;
/// What may be kept when all is over: of the peer, and free buffers of the pool, bytes.
const QUIET_MAX: i64 = 40_000 + (POOL * CAPACITY) as i64;

/// Sends payload after payload, a thousand a second, and says what was sent and the most that was kept.
fn spend(server: &mut Server, villain: &mut Villain, payloads: &[Vec<u8>]) -> (usize, i64) {
    let before = live();
    let mut most = 0;
    for payload in payloads {
        let datagram = villain.datagram(0, payload);
        server.take(1, datagram);
        server.settle();
        server.sent.clear();
        server.pass(MS);
        most = most.max(live() - before);
    }
    (payloads.iter().map(Vec::len).sum(), most)
}

/// Frames of all flows, in as few datagrams as they fit.
fn of_all_flows(mut write: impl FnMut(&mut onebox::wire::Writer<'_>, u16) -> bool) -> Vec<Vec<u8>> {
    let (mut payloads, mut flow) = (Vec::new(), 0);
    while flow < 1024 {
        payloads.push(frames(|w| {
            let written = flow < 1024 && write(w, flow);
            flow += u16::from(written);
            written
        }));
    }
    payloads
}

/// H3: a packet far ahead of its predecessors in each flow.
#[test]
fn places_of_missing_packets_are_bounded() {
    let mut server = Server::new();
    let mut villain = server.admit(1);
    let payloads = of_all_flows(|w, flow| packet(w, flow, 32_767, true));
    let (sent, kept) = spend(&mut server, &mut villain, &payloads);
    println!("a packet far ahead in each flow: {sent} bytes sent, {kept} kept");
    assert!(kept < PEER_MEMORY as i64 / 4, "{kept} bytes for {sent}");
    server.pass(5 * SEC);
}

/// The same without a packet that waits, and with notes of what never comes.
#[test]
fn places_that_nobody_waits_for_are_bounded() {
    for (what, ordered) in [("unordered", Some(false)), ("skip", None)] {
        let mut server = Server::new();
        let mut villain = server.admit(1);
        let before = live();
        let mut sent = 0;
        // Every second number, so that nothing joins.
        for n in 0..300u32 {
            let payloads = of_all_flows(|w, flow| match ordered {
                Some(ordered) => packet(w, flow, 100 + 2 * n, ordered),
                None => Frame::Skip { flow, first: 100 + 2 * n, count: 1 }.write(w),
            });
            for payload in payloads {
                sent += payload.len();
                let datagram = villain.datagram(0, &payload);
                server.take(1, datagram);
            }
            server.settle();
            server.sent.clear();
            server.pass(MS);
        }
        let kept = live() - before;
        println!("{what}: {sent} bytes sent, {kept} kept");
        assert!(kept < TABLES_MAX, "{what}: {kept} bytes for {sent}");
    }
}

/// Packets that wait, from few to the bound: no more than it is kept, and all is given back.
#[test]
fn what_waits_is_within_the_bound() {
    let mut server = Server::new();
    let mut villain = server.admit(1);
    let before = live();
    let mut most = 0;
    for n in 0..200u32 {
        let payloads = of_all_flows(|w, flow| packet(w, flow, 100 + 2 * n, true));
        for payload in payloads {
            let datagram = villain.datagram(0, &payload);
            server.take(1, datagram);
            most = most.max(live() - before);
        }
        server.settle();
        server.sent.clear();
    }
    let bound = PEER_MEMORY as i64 + TABLES_MAX;
    println!("packets that wait: at most {most} kept of {bound}");
    assert!(most < bound, "{most} kept");
    server.pass(150 * SEC);
    let left = live() - before;
    println!("after it {left}");
    assert!(left < QUIET_MAX, "{left} kept for good");
}
