//! The one nftables table that is ours, `inet onebox`.
//!
//! Why: a server translates the tunnel's addresses to its own and hands ports on; both sides
//! lower the MSS of TCP through the tunnel, or connections behind a blocked ICMP would stall; a
//! router marks connections that come in by a WAN, so that their answers find back to it.
//!
//! How: [`ruleset()`] is a pure function from [`Tables`] to text, and [`Nft`] has the program `nft`
//! swap the whole table in one transaction, in a task of its own. Text through the program and
//! not netlink: every OpenWrt since 22.03 and every Debian has it, the crates that speak the
//! protocol are copyleft or large, and the rules can be read and checked by hand.
//!
//! Limits: `accept` here ends only our own chain. A firewall in another table that drops
//! forwarded packets (fw4 without a zone for the tunnel, ufw) still drops them; it is not ours
//! to change. [`list`] shows its rules, for whoever finds and tells that.

mod fingerprint;
mod program;
mod ruleset;
mod task;

pub(crate) use fingerprint::{is_of_rules, is_ours as is_about_our_table, is_removal};
pub use program::{Error, check, list};
pub use ruleset::{Forward, Guard, Protocol, Ruleset, TABLE, Tables, WanMark, ruleset};
pub use task::Nft;
