//! Which WANs there are: a picture of the interfaces, kept by netlink.
//!
//! [`Network`] is the picture, plain data; [`Watcher`] keeps it true and says when it changes;
//! [`wans`] is the pure function that decides from it which WANs the tunnel uses and what is
//! wrong with the others.

mod picture;
mod select;
mod watch;

pub use picture::{Address, Interface, Network, Route};
pub use select::{Selection, Source, Wan, WanFault, wans};
pub use watch::Watcher;

/// The kernel's error number in an answer, if it is one.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<nix::errno::Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            message.code.map(|code| nix::errno::Errno::from_raw(-code.get()))
        }
        _ => None,
    }
}
