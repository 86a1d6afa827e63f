//! What a quiet connection keeps on the heap: a server has thousands of them.

use crate::drive::{Drive, Setup};
use onebox::time::SEC;

/// Bytes that an engine with two open paths may keep.
const QUIET_MAX: i64 = 30_000;

#[test]
fn a_quiet_engine_keeps_little_memory() {
    let mut drive = Drive::new(Setup { flows: 0, link_mbit: 100 });
    drive.run(120 * SEC);
    for end in 0..2 {
        let heap = drive.heap(end);
        println!("end {end}: {heap} bytes");
        assert!((1..QUIET_MAX).contains(&heap), "end {end} keeps {heap} bytes");
    }
}

#[test]
fn memory_is_given_back_after_use() {
    let mut drive = Drive::new(Setup { flows: 1, link_mbit: 100 });
    drive.fill_pools();
    drive.run(3 * SEC);
    let busy = [0, 1].map(|end| drive.heap(end));
    drive.fall_silent();
    drive.run(60 * SEC);
    for (end, busy) in busy.into_iter().enumerate() {
        let heap = drive.heap(end);
        println!("end {end}: {busy} bytes in use, {heap} after it");
        assert!(heap < QUIET_MAX, "end {end} keeps {heap} bytes of {busy}");
    }
}
