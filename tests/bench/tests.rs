//! Tests of what the benchmarks share, and of one promise that can be counted instead of measured:
//! the engine's steady path does not allocate (`engine/allocations.rs`).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop at the impossible")]

#[path = "engine/allocations.rs"]
mod allocations;
#[path = "engine/allocator.rs"]
#[allow(dead_code, reason = "origins are looked up by the benchmark only")]
mod allocator;
#[path = "engine/drive.rs"]
#[allow(dead_code, reason = "times are used by the benchmark only")]
mod drive;
mod figures;
#[path = "engine/memory.rs"]
mod memory;
#[path = "net/options.rs"]
mod options;
#[path = "engine/peers.rs"]
mod peers;
