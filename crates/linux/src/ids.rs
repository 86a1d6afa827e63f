//! The numbers with which we tell our packets, routes and rules from others', each given out here.
//!
//! Why: marks, tables and priorities are shared by everything on a host that routes. Two users of
//! one number break each other in silence, whether both are ours or one is a stranger's.
//!
//! | Number | Value | For |
//! |---|---|---|
//! | protocol | [`PROTOCOL`] | every route and rule of ours; whose one is, this alone decides |
//! | table | `table` | routes into the tunnel |
//! | tables | [`WAN_TABLES`] + interface index | a WAN's default route, one table per WAN |
//! | priority | `rule_priority` + 0, 900 at most | the tunnel's own packets: what others decide about the rest is not about them |
//! | priority | + 1 | what the main table knows better than by a default route |
//! | priority | + 2 | packets from a WAN's address, questions to name servers |
//! | priority | + 3 | everything else, into the tunnel |
//! | mark | `fwmark` | the tunnel's own packets ([`Mark::Tunnel`]) |
//! | marks | the other values of `fwmask`, lowest first | [`Mark::Block`], [`Mark::Proxy`], then an exit and a WAN in turn; a connection bears the mark of its packets |
//!
//! What is in backticks without a link is an option of the configuration, which has the defaults.
//! They keep away from mwan3 (mark bits 0x3f00, rules from 1001), pbr (mark bits 0xff0000, rules
//! from 30000 downwards) and the protocol numbers in use (iproute2 `rt_protos`).
//!
//! Limits: a mask of four bits, the default, has values for six exits and six WANs, one of eight
//! bits for 126 of each.

use netlink_packet_route::route::RouteProtocol;

/// Protocol number of our routes and rules.
pub const PROTOCOL: u8 = 0x6f;
/// First of the 65,536 tables of WANs.
pub const WAN_TABLES: u32 = 5_183_000;

/// Where the rule for the tunnel's own packets stands at the latest: before those of mwan3, which would
/// have them leave by a WAN that they are not bound to, that is not at all.
const OWN_PACKETS: u32 = 900;

/// Whether a route or rule with this protocol number is ours, in whatever table and with whatever
/// priority: an earlier run may have had others.
pub(crate) fn is_ours(protocol: RouteProtocol) -> bool {
    u8::from(protocol) == PROTOCOL
}

/// The numbers that the configuration decides, and what follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Table of the routes into the tunnel.
    pub table: u32,
    /// Priority of the first of our rules.
    pub priority: u32,
    /// Mark on the tunnel's own packets, not 0 and within `mask`.
    pub mark: u32,
    /// The bits of the mark that are ours.
    pub mask: u32,
}

/// Where a rule stands among ours: which comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The tunnel's own packets.
    OwnPackets,
    /// What the main table knows better than by a default route.
    Specific,
    /// What leaves by a WAN for where it comes from.
    ByWan,
    /// Everything else.
    Tunnel,
}

/// What a mark on a packet, or on a connection, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The tunnel's own: leaves by the WAN that its socket is bound to.
    Tunnel,
    /// Leaves nowhere.
    Block,
    /// Goes to a proxy on this host.
    Proxy,
    /// Belongs to this exit of the tunnel, counted from 0.
    Exit(u8),
    /// Belongs to this WAN, counted from 0.
    Wan(u8),
}

/// The table of the WAN with this interface index.
pub fn wan_table(ifindex: u32) -> u32 {
    WAN_TABLES + (ifindex & 0xffff)
}

impl Ids {
    /// The priority of a rule.
    pub(crate) fn priority(&self, rank: Rank) -> u32 {
        match rank {
            Rank::OwnPackets => self.priority.min(OWN_PACKETS),
            _ => self.priority.saturating_add(rank as u32),
        }
    }

    /// The value of a mark; None if the mask has too few bits for it.
    pub fn mark(&self, mark: Mark) -> Option<u32> {
        let number = match mark {
            Mark::Tunnel => return Some(self.mark),
            Mark::Block => 1,
            Mark::Proxy => 2,
            Mark::Exit(number) => 3 + 2 * u32::from(number),
            Mark::Wan(number) => 4 + 2 * u32::from(number),
        };
        // The configuration has taken one value, whichever it likes: those from there on move up.
        let taken = (1..=number).any(|n| spread(n, self.mask) == Some(self.mark));
        spread(number + u32::from(taken), self.mask)
    }
}

/// The bits of `number`, lowest first, at the places of the bits of `mask`; None if there are
/// more of them.
fn spread(mut number: u32, mut mask: u32) -> Option<u32> {
    let mut value = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        value |= lowest * (number & 1);
        number >>= 1;
        mask ^= lowest;
    }
    (number == 0).then_some(value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Numbers for tests.
    pub(crate) const IDS: Ids =
        Ids { table: 51, priority: 900, mark: 0x1000_0000, mask: 0xf000_0000 };

    fn all() -> impl Iterator<Item = Mark> {
        let numbered = (0..=u8::MAX).flat_map(|n| [Mark::Exit(n), Mark::Wan(n)]);
        [Mark::Tunnel, Mark::Block, Mark::Proxy].into_iter().chain(numbered)
    }

    #[test]
    fn each_mark_has_a_value_of_its_own_within_the_mask() {
        for (mark, mask, values) in [
            (0x1000_0000, 0xf000_0000, 15),
            (0xf000_0000, 0xf000_0000, 15),
            (0x6f00_0000, 0xff00_0000, 255),
            (0x0400_0001, 0x0c00_0003, 15),
            (1, 1, 1),
            (3, u32::MAX, 515),
        ] {
            let ids = Ids { mark, mask, ..IDS };
            let given: Vec<u32> = all().filter_map(|mark| ids.mark(mark)).collect();
            let different: BTreeSet<u32> = given.iter().copied().collect();
            assert_eq!((given.len(), different.len()), (values, values), "{mark:#x}/{mask:#x}");
            assert!(given.iter().all(|value| *value != 0 && value & !mask == 0));
        }
    }

    #[test]
    fn the_default_mask_has_marks_for_six_exits_and_six_wans() {
        assert_eq!(IDS.mark(Mark::Tunnel), Some(0x1000_0000));
        assert_eq!(IDS.mark(Mark::Block), Some(0x2000_0000));
        assert_eq!(IDS.mark(Mark::Wan(5)), Some(0xf000_0000));
        assert_eq!(IDS.mark(Mark::Exit(6)), None);
    }

    #[test]
    fn a_wans_table_is_no_other_wans() {
        assert_eq!(wan_table(2), 5_183_002);
        assert_ne!(wan_table(0xffff), wan_table(0));
    }
}
