//! A peer with valid keys that does its worst, and what that costs the other end and other peers.
//!
//! Why: authentication says who sends, not that they mean well. Whoever holds a router's keys may send any
//! frame, as often as they like: what that can cost in memory and time, and what it can make the other end
//! do, has bounds, and these tests are their measure.
//!
//! How: [`villain`] does the handshake as a router does and then seals whatever it is told to. In virtual
//! time ([`served`]) it faces a real endpoint; where the machine matters, `live` runs the program in
//! namespaces. Each test prints its figures (`-- --nocapture`).
//!
//! Limits: who has no keys is in `crates/core/src/endpoint/tests/hostile.rs` and `tests/net/security.rs`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the functions that tests share are part of the tests"
)]

#[path = "../bench/engine/allocator.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod allocator;
#[path = "../lab/mod.rs"]
mod lab;

mod acknowledgements;
mod live;
mod log;
mod memory;
mod served;
mod villain;
mod work;
