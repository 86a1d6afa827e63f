//! The system layer against a real kernel, each test in network namespaces of its own.
//!
//! Needs root, `ip`, `nft` and `/dev/net/tun`; what is missing is said and the test passes.
//! Nothing outside the namespaces is touched, and they go away with their threads.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod clean;
mod daemon;
mod nat;
mod nft;
mod routing;
mod tun;
mod udp;
mod watch;
mod world;
