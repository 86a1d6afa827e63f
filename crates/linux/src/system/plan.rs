//! Which rules and routes the desired state means, and how the kernel writes them.
//!
//! Pure: from [`Desired`] to lists, and between lists and netlink messages both ways, so that
//! what the kernel has can be compared with what it should have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol};

use super::{Desired, Owner};
use crate::ids::{Ids, Mark, PROTOCOL, Rank, is_ours, wan_table};
use onebox_core::prefix::{self, Prefix};

const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// One of our rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// IPv4, else IPv6.
    pub v4: bool,
    /// Lower comes first.
    pub priority: u32,
    /// The table that it leads to.
    pub table: u32,
    /// What it applies to.
    pub kind: RuleKind,
}

/// What a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleKind {
    /// Packets with this mark under this mask.
    Mark(u32, u32),
    /// Everything that finds more than a default route.
    Specific,
    /// Packets from this address.
    From(IpAddr),
    /// This host's own questions to name servers.
    Lookups,
    /// Everything.
    All,
}

/// One of our routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnRoute {
    /// The table that it lies in.
    pub table: u32,
    /// Where it leads.
    pub destination: Prefix,
    /// By which device.
    pub ifindex: u32,
    /// By which gateway, if any.
    pub gateway: Option<IpAddr>,
    /// Nowhere: whoever sends there is told so. It does not go away with a device, and counts
    /// only where there is no other.
    pub barred: bool,
}

/// The metric of routes to nowhere: worse than any other, better than none.
const BARRED_METRIC: u32 = u32::MAX - 1;
/// Of DNS.
const DNS_PORT: u16 = 53;

/// The rules of the desired state. None while there is nothing to route.
pub(super) fn rules(ids: &Ids, desired: &Desired) -> Vec<Rule> {
    let mut list = Vec::new();
    let (routes, barred) = (!desired.routes.is_empty(), !desired.barred.is_empty());
    if !routes && !barred && desired.wans.is_empty() {
        return list;
    }
    // Where netifd routes, its routes are in the main table.
    let own = desired.owner == Owner::Us || barred;
    for v4 in [true, false] {
        let mut rule = |rank: Rank, table: u32, kind: RuleKind| {
            list.push(Rule { v4, priority: ids.priority(rank), table, kind });
        };
        if let Some(mark) = ids.mark(Mark::Tunnel) {
            rule(Rank::OwnPackets, MAIN, RuleKind::Mark(mark, ids.mask));
        }
        if own {
            rule(Rank::Specific, MAIN, RuleKind::Specific);
            rule(Rank::Tunnel, ids.table, RuleKind::All);
        }
        if own && desired.lookups {
            rule(Rank::ByWan, MAIN, RuleKind::Lookups);
        }
        for wan in &desired.wans {
            for source in wan.sources.iter().filter(|source| source.is_ipv4() == v4) {
                rule(Rank::ByWan, wan_table(wan.ifindex), RuleKind::From(*source));
            }
        }
    }
    list.sort_unstable();
    list.dedup();
    list
}

/// The routes of the desired state.
pub(super) fn routes(ids: &Ids, desired: &Desired) -> Vec<OwnRoute> {
    let tunnel = desired.routes.iter().map(|&destination| OwnRoute {
        table: ids.table,
        destination,
        ifindex: desired.ifindex,
        gateway: None,
        barred: false,
    });
    let tunnel = tunnel.filter(|_| desired.owner == Owner::Us || !desired.barred.is_empty()).chain(
        desired.barred.iter().map(|&destination| OwnRoute {
            table: ids.table,
            destination,
            ifindex: 0,
            gateway: None,
            barred: true,
        }),
    );
    let wans = desired.wans.iter().filter_map(|wan| {
        let v4 = wan.sources.first()?.is_ipv4();
        Some(OwnRoute {
            table: wan_table(wan.ifindex),
            destination: if v4 { Prefix::ALL_V4 } else { Prefix::ALL_V6 },
            ifindex: wan.ifindex,
            gateway: wan.gateway,
            barred: false,
        })
    });
    let mut list: Vec<OwnRoute> = tunnel.chain(wans).collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn family(v4: bool) -> AddressFamily {
    if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl Rule {
    /// The message that adds it.
    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.v4);
        message.header.action = RuleAction::ToTable;
        if let Ok(table) = u8::try_from(self.table) {
            message.header.table = table;
        }
        message.attributes = vec![
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Table(self.table),
            RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
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
            RuleKind::All => {}
        }
        message
    }

    /// Reads a rule of ours; None if it is somebody else's. One that carries our number but that
    /// we would not make reads as something that is not desired.
    pub(super) fn read(message: &RuleMessage) -> Option<Rule> {
        let mut rule = Rule {
            v4: message.header.family == AddressFamily::Inet,
            priority: 0,
            table: u32::from(message.header.table),
            kind: RuleKind::All,
        };
        let (mut ours, mut mark, mut mask, mut source) = (false, None, u32::MAX, None);
        let (mut specific, mut lookups) = (false, false);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(value) => rule.priority = *value,
                RuleAttribute::Table(value) => rule.table = *value,
                RuleAttribute::Protocol(value) => ours = is_ours(*value),
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => mask = *value,
                RuleAttribute::Source(value) => source = Some(*value),
                RuleAttribute::SuppressPrefixLen(0) => specific = true,
                RuleAttribute::DestinationPortRange(range) => lookups = range.start == DNS_PORT,
                _ => {}
            }
        }
        rule.kind = match (mark, source) {
            (Some(mark), _) => RuleKind::Mark(mark, mask),
            (None, Some(source)) => RuleKind::From(source),
            (None, None) if specific => RuleKind::Specific,
            (None, None) if lookups => RuleKind::Lookups,
            (None, None) => RuleKind::All,
        };
        ours.then_some(rule)
    }
}

impl OwnRoute {
    /// The message that adds it.
    pub(super) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination.is_ipv4());
        message.header.destination_prefix_length = self.destination.length();
        message.header.protocol = RouteProtocol::from(PROTOCOL);
        message.header.kind = RouteType::Unicast;
        message.header.scope = RouteScope::Link;
        if self.barred {
            message.header.kind = RouteType::Unreachable;
            message.header.scope = RouteScope::Universe;
        }
        if let Ok(table) = u8::try_from(self.table) {
            message.header.table = table;
        }
        message.attributes = vec![
            RouteAttribute::Table(self.table),
            RouteAttribute::Destination(self.destination.address().into()),
            if self.barred {
                RouteAttribute::Priority(BARRED_METRIC)
            } else {
                RouteAttribute::Oif(self.ifindex)
            },
        ];
        if let Some(gateway) = self.gateway {
            message.header.scope = RouteScope::Universe;
            // The main table has accepted this gateway: no need to look for it again, and it
            // may be one that only a device route leads to.
            message.header.flags = RouteFlags::Onlink;
            let v4 = self.destination.is_ipv4();
            message.attributes.push(match gateway {
                IpAddr::V6(v6) if v4 => {
                    RouteAttribute::Via(netlink_packet_route::route::RouteVia::Inet6(v6))
                }
                same => RouteAttribute::Gateway(same.into()),
            });
        }
        message
    }

    /// Reads a route of ours; None if it is somebody else's.
    pub(super) fn read(message: &RouteMessage) -> Option<OwnRoute> {
        let v4 = message.header.address_family == AddressFamily::Inet;
        let any: IpAddr =
            if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let (mut table, mut address) = (u32::from(message.header.table), any);
        let (mut ifindex, mut gateway) = (0, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(value) => table = *value,
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => address = (*ip).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => address = (*ip).into(),
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some((*ip).into()),
                RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => gateway = Some((*ip).into()),
                RouteAttribute::Via(netlink_packet_route::route::RouteVia::Inet6(ip)) => {
                    gateway = Some((*ip).into());
                }
                RouteAttribute::Oif(value) => ifindex = *value,
                _ => {}
            }
        }
        let ours = is_ours(message.header.protocol);
        let destination = Prefix::new(address, message.header.destination_prefix_length)?;
        let barred = message.header.kind == RouteType::Unreachable;
        // The kernel shows such a route of IPv6 with the loopback device.
        let ifindex = if barred { 0 } else { ifindex };
        ours.then_some(OwnRoute { table, destination, ifindex, gateway, barred })
    }
}

#[cfg(test)]
mod tests {
    use super::super::WanRoute;
    use super::*;
    use crate::ids::tests::IDS;

    fn desired() -> Desired {
        let wan = |ifindex: u32, gateway: &str, source: &str| WanRoute {
            device: format!("wan{ifindex}"),
            ifindex,
            gateway: Some(gateway.parse().unwrap()),
            sources: vec![source.parse().unwrap()],
        };
        Desired {
            device: "onebox0".to_owned(),
            ifindex: 9,
            routes: vec!["0.0.0.0/0".parse().unwrap(), "fd00::1/8".parse().unwrap()],
            barred: vec![Prefix::ALL_V6],
            lookups: false,
            wans: vec![wan(2, "10.1.0.1", "10.1.0.2"), wan(3, "fe80::1", "2001:db8::2")],
            ..Desired::default()
        }
    }

    #[test]
    fn rules_come_in_their_order() {
        let told: Vec<_> = rules(&IDS, &desired())
            .iter()
            .filter(|rule| rule.v4)
            .map(|rule| (rule.priority, rule.table, rule.kind))
            .collect();
        assert_eq!(
            told,
            [
                (900, 254, RuleKind::Mark(0x1000_0000, 0xf000_0000)),
                (901, 254, RuleKind::Specific),
                (902, 5_183_002, RuleKind::From("10.1.0.2".parse().unwrap())),
                (903, 51, RuleKind::All),
            ]
        );
        assert!(rules(&IDS, &Desired::default()).is_empty());
    }

    #[test]
    fn where_netifd_routes_only_what_is_barred_is_ours() {
        let mut desired =
            Desired { owner: Owner::Netifd, lookups: true, barred: vec![], ..desired() };
        let kinds = |desired: &Desired| {
            let all = rules(&IDS, desired);
            all.iter().filter(|rule| rule.v4).map(|rule| rule.priority).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&desired), [900, 902]);
        assert!(routes(&IDS, &desired).iter().all(|route| route.table != IDS.table));
        desired.barred = vec![Prefix::ALL_V4];
        assert_eq!(kinds(&desired), [900, 901, 902, 902, 903]);
        let own = routes(&IDS, &desired).into_iter().filter(|route| route.table == IDS.table);
        assert_eq!(own.map(|r| r.barred).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn messages_read_back_as_what_they_were() {
        let desired = || Desired { lookups: true, ..desired() };
        for rule in rules(&IDS, &desired()) {
            assert_eq!(Rule::read(&rule.message()), Some(rule));
        }
        for route in routes(&IDS, &desired()) {
            assert_eq!(OwnRoute::read(&route.message()), Some(route));
        }
    }

    #[test]
    fn what_does_not_carry_our_number_is_not_ours() {
        let other = RouteProtocol::from(PROTOCOL + 1);
        for rule in rules(&IDS, &desired()) {
            let mut message = rule.message();
            message.attributes.retain(|a| !matches!(a, RuleAttribute::Protocol(_)));
            assert_eq!(Rule::read(&message), None);
            message.attributes.push(RuleAttribute::Protocol(other));
            assert_eq!(Rule::read(&message), None);
        }
        for route in routes(&IDS, &desired()) {
            let mut message = route.message();
            message.header.protocol = other;
            assert_eq!(OwnRoute::read(&message), None);
        }
    }

    #[test]
    fn what_carries_our_number_is_ours_wherever_it_is() {
        let elsewhere = Ids { priority: 100, table: 100_000, ..IDS };
        for rule in rules(&elsewhere, &desired()) {
            assert_eq!(Rule::read(&rule.message()), Some(rule));
        }
        for route in routes(&elsewhere, &desired()) {
            assert_eq!(OwnRoute::read(&route.message()), Some(route));
        }
    }
}
