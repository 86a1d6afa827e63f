//! Our rules, and how the kernel writes them.
//!
//! Pure: between [`Rule`] and netlink messages both ways, so that what the kernel has can be
//! compared with what it should have.

use std::net::IpAddr;

use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange,
};
use netlink_packet_route::{AddressFamily, IpProtocol};

use super::diff::Entry;
use crate::ids;
use onebox_core::prefix;

/// Of DNS.
const DNS_PORT: u16 = 53;

/// The bits of the mark with which other programs have their policies followed, unless they are told
/// other ones (options `mmx_mask`, `fw_mask`).
const POLICIES: [(&str, u32); 2] = [("mwan3", 0x3f00), ("pbr", 0x00ff_0000)];

/// The program whose policy a rule of somebody else's is, and where it stands.
pub(super) fn policy(message: &RuleMessage) -> Option<(&'static str, u32)> {
    let (mut priority, mut marked, mut mask, mut ours) = (0, false, 0, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Protocol(value) => ours = ids::is_ours(*value),
            RuleAttribute::FwMark(_) => marked = true,
            RuleAttribute::FwMask(value) => mask = *value,
            _ => {}
        }
    }
    let leads = message.header.action == RuleAction::ToTable && marked && mask != 0 && !ours;
    let (program, _) = POLICIES.into_iter().find(|(_, bits)| leads && mask & !bits == 0)?;
    Some((program, priority))
}

/// One of our rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    /// IPv4, else IPv6.
    pub(super) v4: bool,
    /// Lower comes first.
    pub(super) priority: u32,
    /// The table that it leads to.
    pub(super) table: u32,
    /// What it applies to.
    pub(super) kind: RuleKind,
}

/// What a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RuleKind {
    /// Packets with this mark under this mask.
    Mark(u32, u32),
    /// Everything that finds more than a default route.
    Specific,
    /// Packets from this address.
    From(IpAddr),
    /// This host's own questions to name servers.
    Lookups,
    /// What this host itself sends to this address.
    OwnTo(IpAddr),
    /// Everything.
    All,
    /// What we would not make.
    Other,
}

impl Entry for Rule {
    type Key = Rule;
    fn key(&self) -> Rule {
        *self
    }
}

impl Rule {
    /// The message that adds it.
    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = super::family(self.v4);
        message.header.action = RuleAction::ToTable;
        if let Ok(table) = u8::try_from(self.table) {
            message.header.table = table;
        }
        message.attributes = vec![
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Table(self.table),
            RuleAttribute::Protocol(RouteProtocol::from(ids::PROTOCOL)),
        ];
        match self.kind {
            RuleKind::Mark(mark, mask) => message
                .attributes
                .extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]),
            RuleKind::Specific => message.attributes.push(RuleAttribute::SuppressPrefixLen(0)),
            RuleKind::From(source) => {
                message.header.src_len = prefix::width(source);
                message.attributes.push(RuleAttribute::Source(source));
            }
            RuleKind::Lookups => message.attributes.extend([
                RuleAttribute::Iifname("lo".to_owned()),
                RuleAttribute::IpProtocol(IpProtocol::Udp),
                RuleAttribute::DestinationPortRange(RulePortRange {
                    start: DNS_PORT,
                    end: DNS_PORT,
                }),
            ]),
            RuleKind::OwnTo(destination) => {
                message.header.dst_len = prefix::width(destination);
                message.attributes.extend([
                    RuleAttribute::Iifname("lo".to_owned()),
                    RuleAttribute::Destination(destination),
                ]);
            }
            RuleKind::All | RuleKind::Other => {}
        }
        message
    }

    /// Reads a rule of ours; None if it is somebody else's.
    pub(super) fn read(message: &RuleMessage) -> Option<Rule> {
        let mut rule = Rule {
            v4: message.header.family == AddressFamily::Inet,
            priority: 0,
            table: u32::from(message.header.table),
            kind: RuleKind::All,
        };
        let (mut ours, mut mark, mut mask) = (false, None, u32::MAX);
        let (mut source, mut destination) = (None, None);
        let (mut specific, mut lookups) = (false, false);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(value) => rule.priority = *value,
                RuleAttribute::Table(value) => rule.table = *value,
                RuleAttribute::Protocol(value) => ours = ids::is_ours(*value),
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => mask = *value,
                RuleAttribute::Source(value) => source = Some(*value),
                RuleAttribute::Destination(value) => destination = Some(*value),
                RuleAttribute::SuppressPrefixLen(0) => specific = true,
                RuleAttribute::DestinationPortRange(range) => lookups = range.start == DNS_PORT,
                _ => {}
            }
        }
        rule.kind = match (mark, source, destination) {
            (Some(mark), _, _) => RuleKind::Mark(mark, mask),
            (None, Some(source), _) => RuleKind::From(source),
            (None, None, Some(destination)) => RuleKind::OwnTo(destination),
            (None, None, None) if specific => RuleKind::Specific,
            (None, None, None) if lookups => RuleKind::Lookups,
            (None, None, None) => RuleKind::All,
        };
        if !rule.is_all_of(message) {
            rule.kind = RuleKind::Other;
        }
        ours.then_some(rule)
    }

    /// Whether there is nothing in `message` that this rule does not say.
    fn is_all_of(&self, message: &RuleMessage) -> bool {
        let own = self.message();
        let plain = |message: &RuleMessage| {
            let header = &message.header;
            let inverted = header.flags.contains(RuleFlags::Invert);
            (header.action, header.src_len, header.dst_len, header.tos, inverted)
        };
        let known = |attribute: &RuleAttribute| match attribute {
            // The kernel's way to write that there is none.
            RuleAttribute::SuppressPrefixLen(u32::MAX) => true,
            // Of a kernel to come, which shows it with every rule.
            RuleAttribute::Other(_) => true,
            attribute => own.attributes.contains(attribute),
        };
        plain(&own) == plain(message) && message.attributes.iter().all(known)
    }
}
