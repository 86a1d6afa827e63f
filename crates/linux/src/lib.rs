//! The system: sockets, the TUN device, netlink, nftables, sysctls.
//!
//! Everything that touches the kernel is here and nowhere else, each part behind a small
//! interface of plain data: [`netlink`] tells which WANs there are, [`system`] makes addresses,
//! routes, rules, sysctls and the nftables table what they should be and takes them back,
//! [`conntrack`] lets connections begin anew where their way has changed, [`tun`] and [`udp`] move batches of packets.

pub mod clock;
pub mod coalesce;
pub mod conntrack;
pub mod ids;
pub mod netlink;
pub mod nft;
pub mod sysctl;
pub mod system;
pub mod tun;
pub mod udp;
