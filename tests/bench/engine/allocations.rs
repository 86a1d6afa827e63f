//! No packet on the steady path costs an allocation: counted, so that it holds on any machine.
//!
//! Queues and logs may still grow to the largest size that they will have, and what happens twice
//! a second (reports, timers) is no packet: hence a bound of one in a thousand packets, and not none.

use crate::drive::{Drive, Setup};
use onebox::time::SEC;

/// Allocations per packet at either end that are none.
const NONE: f64 = 0.001;

#[test]
fn the_steady_path_does_not_allocate() {
    for flows in [1, 64] {
        let mut drive = Drive::new(Setup { flows, link_mbit: 100 });
        drive.run(3 * SEC);
        let cost = drive.run(2 * SEC);
        assert!(cost.packets > 25_000, "{flows} flows: only {} packets in 2 s", cost.packets);
        let [sender, receiver] = [0, 1].map(|end| cost.allocations_per_packet(end));
        println!("{flows} flows: {sender:.5} and {receiver:.5} allocations per packet");
        assert!(
            sender < NONE && receiver < NONE,
            "{flows} flows: {sender:.4} allocations per packet where they are sent, {receiver:.4} \
             where they arrive; `cargo bench --bench engine -- --where` tells from where"
        );
    }
}
