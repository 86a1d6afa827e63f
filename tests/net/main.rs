//! Acceptance in namespaces: real devices, real TCP, emulated links.
//!
//! `emulated` tests the lab itself and needs no onebox. Everything else is a promise of the
//! product, told as a scenario: LAN host, router with its WANs, server, internet host.
//! Needs root or `unshare -Urnm`; see `tests/README.md`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the functions that tests share are part of the tests"
)]

#[path = "../lab/mod.rs"]
mod lab;

mod bonding;
mod emulated;
mod failover;
mod invite;
mod lifecycle;
mod many;
mod outage;
mod reach;
mod records;
mod security;
mod speed;

/// Share of a link's rate that plain TCP gets: 1448 bytes of 1538 on the line.
const PLAIN_TCP: f64 = 0.9415;
