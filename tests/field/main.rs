//! What the field does to the program: faults that people have met, each kind in a file of its own, a
//! test for each form.
//!
//! Needs what `net` needs (see `tests/README.md`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the functions that tests share are part of the tests"
)]

#[path = "../lab/mod.rs"]
mod lab;

mod addresses;
mod forwarding;
mod inbound;
mod kernel;
mod mistakes;
mod mtu;
mod names;
mod policies;
mod signals;
mod soak;
mod system;
mod wall_clock;
mod wans;
