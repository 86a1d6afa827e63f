//! onebox: several internet connections bonded into one encrypted tunnel.
//!
//! The layers, from the bottom up (ARCHITECTURE.md tells the whole):
//!
//! * [`time`], [`buffer`], [`prefix`]: the vocabulary of every layer.
//! * [`wire`]: bytes on the network. [`crypto`]: handshake and packet protection.
//! * [`engine`]: the bonding state machine of one peer over many paths.
//! * [`endpoint`]: many peers behind one set of sockets.
//! * [`config`]: typed configuration from UCI text.
//! * [`status`]: the snapshot that people and programs are shown.
//! * behind the feature `daemon`: `net` (the system), `openwrt` (its bus), `daemon` (the running
//!   program), `cli`.
//!
//! Everything but the last line is pure: no socket, file, clock, thread or global randomness, so
//! that it runs in the seeded simulation under `tests/sim`.

pub mod config;
pub use onebox_core::{buffer, crypto, endpoint, engine, prefix, time, wire};

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod net;
#[cfg(feature = "daemon")]
pub mod openwrt;
pub mod status;
