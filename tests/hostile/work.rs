//! What time a peer can make the other end spend.

use crate::served::{Server, stopwatch};
use crate::villain::{Villain, frames, packet};
use onebox::time::MS;
use onebox::wire::frame::Frame;
use std::time::Duration;

/// What a datagram may cost, times what an honest one of the same length does.
const WORST: f64 = 8.0;
const DATAGRAMS: usize = 400;

/// The least time of a datagram, over several runs of many: what it costs on a machine with other work.
fn cost(
    server: &mut Server,
    villain: &mut Villain,
    mut payload: impl FnMut(usize) -> Vec<u8>,
) -> Duration {
    let mut least = Duration::MAX;
    let mut n = 0;
    for _ in 0..5 {
        let mut spent = Duration::ZERO;
        for _ in 0..DATAGRAMS {
            let datagram = villain.datagram(0, &payload(n));
            n += 1;
            spent += stopwatch(|| {
                server.take(1, datagram);
                server.settle();
                server.endpoint.poll_timeout();
            });
            server.sent.clear();
            server.now = server.now + MS / 10;
        }
        least = least.min(spent / DATAGRAMS as u32);
    }
    least
}

/// What a full datagram of an honest peer costs.
fn honest(server: &mut Server) -> Duration {
    let mut villain = server.admit(1);
    cost(server, &mut villain, |n| {
        let packet = [0x45; 1400];
        let frame = Frame::Packet { flow: 7, sequence: n as u32, ordered: true, packet: &packet };
        frames(|w| frame.write(w))
    })
}

/// One attack against what an honest datagram costs.
fn compare(
    what: &str,
    prepare: impl FnOnce(&mut Server, &mut Villain),
    payload: impl FnMut(usize) -> Vec<u8>,
) {
    let mut server = Server::new();
    let honest = honest(&mut server);
    let mut villain = server.admit(1);
    prepare(&mut server, &mut villain);
    let cost = cost(&mut server, &mut villain, payload);
    let times = cost.as_secs_f64() / honest.as_secs_f64();
    println!("{what}: {cost:.1?} a datagram, {times:.1} times an honest one ({honest:.1?})");
    assert!(times < WORST, "{what}: {cost:?} a datagram, {times:.1} times an honest one");
}

fn nothing(_: &mut Server, _: &mut Villain) {}

/// H4: notes of numbers that never come, as many as there can be.
#[test]
fn skips_cost_little() {
    compare("long skips", nothing, |n| {
        let mut flow = (n as u16).wrapping_mul(100);
        frames(|w| {
            flow = flow.wrapping_add(1);
            Frame::Skip { flow, first: 1, count: u16::MAX }.write(w)
        })
    });
    compare("the same skip again", nothing, |_| {
        frames(|w| Frame::Skip { flow: 1, first: 16_000, count: u16::MAX }.write(w))
    });
    compare("skips that join nothing", nothing, |n| {
        let mut first = 200 * n as u32;
        frames(|w| {
            first += 2;
            Frame::Skip { flow: 1, first, count: 1 }.write(w)
        })
    });
}

/// Many flows wait, and each datagram asks which of them first.
#[test]
fn flows_that_wait_cost_little() {
    compare(
        "a datagram beside 1024 waiting flows",
        |server, villain| {
            let mut flow = 0;
            while flow < 1024 {
                let payload = frames(|w| {
                    let written = flow < 1024 && packet(w, flow, 30_000, true);
                    flow += u16::from(written);
                    written
                });
                let datagram = villain.datagram(0, &payload);
                server.take(1, datagram);
            }
        },
        |n| frames(|w| w.is_empty() && packet(w, 1, 29_000 - n as u32, true)),
    );
    // What follows next, in pairs that wait for each other, in front of a packet far ahead.
    compare(
        "gaps that close beside 1024 waiting flows",
        |server, villain| {
            let mut flow = 0;
            while flow < 1024 {
                let payload = frames(|w| {
                    let written = flow < 1024 && packet(w, flow, 32_000, true);
                    flow += u16::from(written);
                    written
                });
                let datagram = villain.datagram(0, &payload);
                server.take(1, datagram);
            }
        },
        |n| {
            let mut k = n as u32 * 64;
            let end = k + 64;
            frames(|w| {
                k += 1;
                k <= end && packet(w, k as u16 / 1024, (k % 1024) ^ 1, true)
            })
        },
    );
}

/// Acknowledgements of everything, again and again, and parity of nothing.
#[test]
fn what_is_read_again_costs_little() {
    let ranges = onebox::wire::AckRanges::from_descending(
        (0..31).map(|n| (100_000 - 3 * n, 100_001 - 3 * n)),
    );
    let ack = onebox::wire::frame::Ack {
        path: onebox::wire::PathId(1),
        largest_low: 0,
        arrived: 0,
        delay_us: 0,
        ranges: ranges.unwrap(),
    };
    compare("acknowledgements", nothing, |_| frames(|w| Frame::Ack(ack.clone()).write(w)));
    let repair =
        onebox::wire::frame::Repair { first: 0, members: u64::MAX, lengths: 0, parity: &[] };
    compare("parity", nothing, |n| {
        let repair = onebox::wire::frame::Repair { first: n as u32, ..repair };
        frames(|w| Frame::Repair(repair).write(w))
    });
}

/// Packets of few bytes, in every order.
#[test]
fn small_packets_cost_little() {
    let mut rolled = 1u64;
    let mut roll = move || {
        rolled = rolled.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        rolled >> 33
    };
    compare("packets far apart", nothing, |_| {
        frames(|w| packet(w, roll() as u16, roll() as u32 & 0x7fff, true))
    });
    compare("one flow, far ahead and back", nothing, |n| {
        let mut k = n as u32 * 200;
        frames(|w| {
            k += 1;
            packet(w, 3, if k.is_multiple_of(2) { k } else { k + 32_000 }, k.is_multiple_of(3))
        })
    });
}

/// Everything else that has no body to speak of.
#[test]
fn other_frames_cost_little() {
    compare("pings", nothing, |_| frames(|w| Frame::Ping { sent: 1 }.write(w)));
    compare("challenges", nothing, |_| frames(|w| Frame::Challenge { data: 1 }.write(w)));
    compare("uses of paths", nothing, |n| {
        let mut mode = n as u8;
        frames(|w| {
            mode = mode.wrapping_add(1);
            let frame = Frame::PathStatus {
                path: onebox::wire::PathId(0),
                mode: mode % 4,
                metered: false,
                rate_max_kbps: 0,
            };
            frame.write(w)
        })
    });
    compare("holds", nothing, |_| frames(|w| Frame::Hold { us: 1 }.write(w)));
    compare("padding", nothing, |_| vec![0; crate::villain::PAYLOAD_MAX]);
}
