//! What is particular to OpenWrt: its message bus and its network daemon.
//!
//! [`ubus`] is a client of the bus, [`netifd`] understands what the network daemon says there. Both
//! know nothing of the running program; `daemon` puts them to use.

pub mod netifd;
pub mod ubus;
