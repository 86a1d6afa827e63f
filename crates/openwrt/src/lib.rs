//! What is particular to OpenWrt: its message bus, its network daemon, its configuration language.
//!
//! [`ubus`] is a client of the bus, [`netifd`] understands what the network daemon says there, [`uci`]
//! reads and edits configuration files. They know nothing of the running program, which puts them to use.

pub mod netifd;
pub mod ubus;
pub mod uci;
