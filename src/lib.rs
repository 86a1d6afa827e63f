//! onebox: several internet connections bonded into one encrypted tunnel.
//!
//! This is the program. Below it are the crates `onebox_core` (pure: wire, crypto, engine, endpoint),
//! `onebox_linux` (the kernel) and `onebox_openwrt` (bus, network daemon and configuration language of
//! OpenWrt). ARCHITECTURE.md tells the whole.
//!
//! * [`config`]: typed configuration from UCI text.
//! * [`status`]: the snapshot that people and programs are shown.
//! * [`dataplane`]: the thread that moves packets. [`control`]: how others ask the program.
//! * [`findings`]: what of the system around it keeps it from working.
//! * [`daemon`]: the running program. [`cli`]: the command line.

pub use onebox_core::{buffer, crypto, endpoint, engine, prefix, time, wire};

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod findings;
pub mod status;
