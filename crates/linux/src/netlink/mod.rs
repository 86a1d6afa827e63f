//! Which WANs there are: the state of the network, kept by netlink.
//!
//! [`Network`] is that state, plain data; [`Watcher`] keeps it true and says when it changes;
//! [`wans`] is the pure function that decides from it which WANs the tunnel uses and what is
//! wrong with the others. `message` and `handle` are how we talk with the kernel, here and in
//! [`system`](super::system).

pub(super) mod handle;
mod kind;
pub(super) mod message;
mod network;
mod select;
mod watch;

pub use network::{Address, Interface, Network, Route};
pub use select::{Selection, Source, Wan, WanFault, wan_on, wans};
pub use watch::Watcher;
