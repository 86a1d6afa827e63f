//! Tests of what the benchmarks share, and of one promise that can be counted instead of measured:
//! the engine's steady path does not allocate (`engine/allocations.rs`).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop at the impossible")]

mod figures;
#[path = "net/options.rs"]
mod options;
