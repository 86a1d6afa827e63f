//! What a peer can have the other end tell: lines of log, notifications on the bus.

use crate::served::Server;
use crate::villain::frames;
use onebox::endpoint::Event;
use onebox::time::{MS, SEC};
use onebox::wire::PathId;
use onebox::wire::frame::Frame;

/// Seconds of it.
const LASTS: u64 = 6;
/// What may be told of a path at once, beside one each second.
const AT_ONCE: usize = 8;

/// M1: the use of a path changes thousands of times a second.
#[test]
fn a_path_that_changes_all_the_time_is_told_of_once_a_second() {
    let mut server = Server::new();
    let mut villain = server.admit(1);
    let mut mode = 0;
    for _ in 0..LASTS * 1000 {
        let payload = frames(|w| {
            mode = (mode + 1) % 4;
            Frame::PathStatus { path: PathId(0), mode, metered: false, rate_max_kbps: 0 }.write(w)
        });
        let datagram = villain.datagram(0, &payload);
        server.take(1, datagram);
        server.settle();
        server.pass(MS);
    }
    let told = server.events.iter().filter(|e| matches!(e, Event::PathChanged(..))).count();
    let counts = server.events.iter().filter_map(|event| match event {
        Event::PathRestless(_, left_out) => Some(*left_out),
        _ => None,
    });
    let counts: Vec<_> = counts.collect();
    let left_out: u32 = counts.iter().sum();
    println!("{told} changes told, {left_out} counted, in {LASTS} s");
    assert!(told <= AT_ONCE + LASTS as usize && counts.len() <= LASTS as usize);
    assert!(left_out > 1000);
    // The last one is told in the end, so that what is told is right.
    server.pass(2 * SEC);
    let told = server.events.iter().rev().find_map(|event| match event {
        Event::PathChanged(_, state) => Some(*state),
        _ => None,
    });
    assert_eq!(told, Some(server.snapshot().peers[0].engine.paths[0].state));
}
