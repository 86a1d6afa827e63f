//! The system: sockets, the TUN device, netlink, nftables, sysctls.
//!
//! Everything that touches the kernel is here and nowhere else, each part behind a small
//! interface of plain data.
//!
//! | Room | What is done in it |
//! |---|---|
//! | [`tun`], [`udp`], [`coalesce`] | batches of packets, in and out of the TUN device and the sockets |
//! | [`netlink`] | tells which WANs there are, and when that changes |
//! | [`system`] | makes addresses, routes, rules, switches and the nftables table what they should be, and takes them back |
//! | [`ids`] | gives out the marks, tables, priorities and the protocol number that are ours |
//! | [`nft`] | the nftables table: its text, and the program that puts it in force |
//! | [`sysctl`] | the kernel's switches, and where they were |
//! | `nfnetlink` | questions to netfilter, which both of these need |
//! | [`conntrack`] | lets connections begin anew where their way has changed |
//! | [`memory`] | how much there is |
//! | `unwinder` | ends a trace of the stack, where there are no tables for it |
//! | [`clock`] | the one place that reads clocks and asks for randomness |

pub mod clock;
pub mod coalesce;
pub mod conntrack;
pub mod ids;
pub mod link_kind;
pub mod memory;
pub mod netlink;
mod nfnetlink;
pub mod nft;
pub mod sysctl;
pub mod system;
pub mod tun;
pub mod udp;
#[cfg(no_unwinder)]
mod unwinder;
