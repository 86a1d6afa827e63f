//! What the desired state means for the kernel, entry by entry.

use netlink_packet_route::route::RouteHeader;

use super::monitor::Interest;
use super::part::{Part, Parts};
use super::route::OwnRoute;
use super::rule::{Rule, RuleKind};
use super::{Desired, Lookups, Owner, WanRoute};
use crate::ids::{Ids, Mark, Rank, wan_table};
use crate::nft::{Ruleset, WanMark, ruleset};
use crate::sysctl::{self, Switch};
use onebox_core::prefix::{InterfaceAddress, Prefix};

const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// What is to be there of ours. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// The TUN device.
    pub(super) device: Option<Device>,
    /// Routes, in all tables.
    pub(super) routes: Vec<OwnRoute>,
    /// Rules.
    pub(super) rules: Vec<Rule>,
    /// The nftables table, if there is to be one.
    pub(super) table: Option<Ruleset>,
    /// Switches that are to be turned.
    pub(super) switches: Vec<Switch>,
}

/// How the TUN device is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// Its name.
    pub(super) name: String,
    /// Its index.
    pub(super) ifindex: u32,
    /// Its MTU in bytes; None leaves it.
    pub(super) mtu: Option<u32>,
    /// It is switched on and has these addresses; None leaves both to somebody else.
    pub(super) addresses: Option<Vec<InterfaceAddress>>,
}

impl Entries {
    /// The parts in which this differs from `other`.
    pub(super) fn differing(&self, other: &Entries) -> Parts {
        let device = |entries: &Entries| entries.device.as_ref().map(|d| (d.ifindex, d.mtu));
        let addresses =
            |entries: &Entries| entries.device.as_ref().map(|d| (d.ifindex, d.addresses.clone()));
        let differs = [
            (self.table != other.table, Part::Table),
            (self.switches != other.switches, Part::Switches),
            (device(self) != device(other), Part::Device),
            (addresses(self) != addresses(other), Part::Addresses),
            (self.routes != other.routes, Part::Routes),
            (self.rules != other.rules, Part::Rules),
        ];
        let parts = differs.into_iter().filter(|(differs, _)| *differs).map(|(_, part)| part);
        Parts::of(&parts.collect::<Vec<_>>())
    }

    /// What the monitor has to know to tell what concerns us.
    pub(super) fn interest(&self) -> Interest {
        Interest {
            device: self.device.as_ref().map_or(0, |device| device.ifindex),
            devices: different(self.routes.iter().map(|route| route.ifindex)),
            tables: different(self.routes.iter().map(|route| route.table)),
        }
    }

    /// What `desired` means with these numbers. `advertised`: devices whose IPv6 default route comes
    /// from router advertisements. `known`: what was desired before, and what it means: thousands of
    /// routes are not made again because something else is desired.
    pub(super) fn of(
        ids: &Ids,
        desired: &Desired,
        advertised: &[String],
        known: Option<(&Desired, &Entries)>,
    ) -> Entries {
        let same_routes = known.filter(|(known, _)| {
            (known.ifindex, known.owner) == (desired.ifindex, desired.owner)
                && (&known.routes, &known.barred) == (&desired.routes, &desired.barred)
                && (&known.wans, known.carries(false)) == (&desired.wans, desired.carries(false))
        });
        let same_table = known.filter(|(known, _)| {
            (&known.device, &known.tables) == (&desired.device, &desired.tables)
                && known.wans == desired.wans
        });
        Entries {
            device: Some(Device {
                name: desired.device.clone(),
                ifindex: desired.ifindex,
                mtu: (desired.mtu != 0).then_some(desired.mtu),
                addresses: (desired.owner == Owner::Us).then(|| {
                    let all = desired.addresses.iter().copied();
                    all.filter(|address| desired.carries(address.address.is_ipv4())).collect()
                }),
            }),
            routes: match same_routes {
                Some((_, entries)) => entries.routes.clone(),
                None => routes(ids, desired),
            },
            rules: rules(ids, desired),
            table: match same_table {
                Some((_, entries)) => entries.table.clone(),
                None => desired.tables.as_ref().map(|tables| {
                    ruleset(&desired.device, tables, ids.mask, &wan_marks(ids, desired))
                }),
            },
            switches: switches(desired, advertised),
        }
    }
}

/// The marks of connections that come in by a WAN. A WAN whose number the mask has no room for has
/// none.
fn wan_marks(ids: &Ids, desired: &Desired) -> Vec<WanMark> {
    let mark = |wan: &WanRoute| {
        Some(WanMark { device: wan.device.clone(), mark: ids.mark(Mark::Wan(wan.number))? })
    };
    let mut list: Vec<WanMark> = desired.wans.iter().filter_map(mark).collect();
    // A WAN has a route for each family.
    list.dedup();
    list
}

/// None while there is nothing to route.
fn rules(ids: &Ids, desired: &Desired) -> Vec<Rule> {
    let mut list = Vec::new();
    let (routes, barred) = (!desired.routes.is_empty(), !desired.barred.is_empty());
    if !routes && !barred && desired.wans.is_empty() {
        return list;
    }
    // Where netifd routes, its routes are in the main table.
    let own = desired.owner != Owner::Netifd || barred;
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
        match desired.lookups {
            Lookups::Main if own => rule(Rank::ByWan, MAIN, RuleKind::Lookups),
            Lookups::Wan(ifindex) => rule(Rank::ByWan, wan_table(ifindex), RuleKind::Lookups),
            Lookups::Main | Lookups::Plain => {}
        }
        for wan in &desired.wans {
            let mut sources = wan.sources.iter().filter(|source| source.is_ipv4() == v4).peekable();
            if let (Some(mark), Some(_)) = (ids.mark(Mark::Wan(wan.number)), sources.peek()) {
                rule(Rank::ByWan, wan_table(wan.ifindex), RuleKind::Mark(mark, ids.mask));
            }
            for source in sources {
                rule(Rank::ByWan, wan_table(wan.ifindex), RuleKind::From(*source));
            }
            for resolver in wan.resolvers.iter().filter(|resolver| resolver.is_ipv4() == v4) {
                rule(Rank::ByWan, wan_table(wan.ifindex), RuleKind::OwnTo(*resolver));
            }
        }
    }
    list.sort_unstable();
    list
}

fn routes(ids: &Ids, desired: &Desired) -> Vec<OwnRoute> {
    let own = desired.owner != Owner::Netifd || !desired.barred.is_empty();
    let carried = |prefix: &&Prefix| own && desired.carries(prefix.is_ipv4());
    let tunnel = desired.routes.iter().filter(carried).map(|&destination| OwnRoute {
        table: ids.table,
        destination,
        ifindex: desired.ifindex,
        gateway: None,
        barred: false,
    });
    let barred = desired.barred.iter().map(|&destination| OwnRoute {
        table: ids.table,
        destination,
        ifindex: 0,
        gateway: None,
        barred: true,
    });
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
    let mut list: Vec<OwnRoute> = tunnel.chain(barred).chain(wans).collect();
    list.sort_unstable();
    list
}

/// Each once, in their order.
fn different<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

fn switches(desired: &Desired, advertised: &[String]) -> Vec<Switch> {
    // Answers to what arrived by the tunnel may be meant to leave by a WAN: loose.
    let mut list = vec![Switch::of_own_device(sysctl::rp_filter(&desired.device), "2")];
    // What comes in by a WAN for the LAN is answered by that WAN because of its mark, which the
    // strict check does not know.
    let wans = || desired.wans.iter().map(|wan| &wan.device);
    let loose = |device: &String| Switch::new(sysctl::rp_filter(device), "2").only_from("1");
    list.extend(different(wans()).into_iter().map(loose));
    if desired.tables.is_some() {
        // After an outage of the tunnel the kernel has seen data whose acknowledgements it has
        // not, takes the connection's packets for invalid and sends them on untranslated: with
        // an inner address, to nobody. There is no such switch without connection tracking.
        list.push(Switch::new(sysctl::CONNTRACK_LIBERAL, "1"));
    }
    if desired.forwarding {
        // A host that forwards ignores router advertisements unless told otherwise, and would
        // lose its IPv6 default route.
        let devices = different(wans().chain(advertised));
        let switch = |device: &String| Switch::new(sysctl::accept_ra(device), "2").only_from("1");
        list.extend(devices.into_iter().map(switch));
        list.extend([sysctl::FORWARD_V4, sysctl::FORWARD_V6].map(|key| Switch::new(key, "1")));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PROTOCOL, tests::IDS};
    use netlink_packet_route::route::RouteProtocol;
    use netlink_packet_route::rule::{RuleAction, RuleAttribute};

    fn desired() -> Desired {
        let wan = |ifindex: u32, gateway: &str, source: &str| WanRoute {
            number: ifindex as u8 - 2,
            device: format!("wan{ifindex}"),
            ifindex,
            gateway: Some(gateway.parse().unwrap()),
            sources: vec![source.parse().unwrap()],
            resolvers: vec![gateway.parse().unwrap()],
        };
        Desired {
            device: "onebox0".to_owned(),
            ifindex: 9,
            routes: vec!["0.0.0.0/0".parse().unwrap(), "fd00::1/8".parse().unwrap()],
            barred: vec![Prefix::ALL_V6],
            lookups: Lookups::Plain,
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
                (902, 5_183_002, RuleKind::Mark(0x5000_0000, 0xf000_0000)),
                (902, 5_183_002, RuleKind::From("10.1.0.2".parse().unwrap())),
                (902, 5_183_002, RuleKind::OwnTo("10.1.0.1".parse().unwrap())),
                (903, 51, RuleKind::All),
            ]
        );
        assert!(rules(&IDS, &Desired::default()).is_empty());
    }

    #[test]
    fn where_netifd_routes_only_what_is_barred_is_ours() {
        let mut desired =
            Desired { owner: Owner::Netifd, lookups: Lookups::Main, barred: vec![], ..desired() };
        let kinds = |desired: &Desired| {
            let all = rules(&IDS, desired);
            all.iter().filter(|rule| rule.v4).map(|rule| rule.priority).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&desired), [900, 902, 902, 902]);
        assert!(routes(&IDS, &desired).iter().all(|route| route.table != IDS.table));
        desired.barred = vec![Prefix::ALL_V4];
        assert_eq!(kinds(&desired), [900, 901, 902, 902, 902, 902, 903]);
        let own = routes(&IDS, &desired).into_iter().filter(|route| route.table == IDS.table);
        assert_eq!(own.map(|r| r.barred).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(Entries::of(&IDS, &desired, &[], None).device.unwrap().addresses, None);
        // With the addresses alone at netifd, the routes are as without it.
        desired = Desired { owner: Owner::Shared, barred: vec![], ..desired };
        let us = Desired { owner: Owner::Us, ..desired.clone() };
        assert_eq!(rules(&IDS, &desired), rules(&IDS, &us));
        assert_eq!(routes(&IDS, &desired), routes(&IDS, &us));
        assert_eq!(Entries::of(&IDS, &desired, &[], None).device.unwrap().addresses, None);
    }

    #[test]
    fn a_tunnel_that_is_too_narrow_for_ipv6_has_none() {
        let both = ["10.9.0.2/24", "fd09::2/64"].map(|text| text.parse().unwrap()).to_vec();
        let narrow = Desired {
            mtu: 1279,
            addresses: both,
            routes: vec![Prefix::ALL_V4, Prefix::ALL_V6],
            ..desired()
        };
        let wide = Desired { mtu: 1280, ..narrow.clone() };
        let families = |desired: &Desired, known: Option<(&Desired, &Entries)>| {
            let entries = Entries::of(&IDS, desired, &[], known);
            let routes = entries.routes.iter().filter(|route| route.table == IDS.table).count();
            (entries.device.and_then(|device| device.addresses).map_or(0, |a| a.len()), routes)
        };
        let before = Entries::of(&IDS, &wide, &[], None);
        assert_eq!(families(&narrow, Some((&wide, &before))).0, 1);
        let routes = families(&wide, None).1;
        assert_eq!(families(&narrow, Some((&wide, &before))).1 + 1, routes);
    }

    #[test]
    fn only_a_server_forwards_and_no_switch_is_unknown() {
        let keys = |desired: &Desired| -> Vec<String> {
            switches(desired, &[]).into_iter().map(|switch| switch.key).collect()
        };
        let checks = ["onebox0", "wan2", "wan3"].map(sysctl::rp_filter);
        assert_eq!(keys(&desired()), checks);
        let server =
            Desired { forwarding: true, tables: Some(crate::nft::Tables::default()), ..desired() };
        let uplink = ["eth0".to_owned(), "wan2".to_owned()];
        let all = switches(&server, &uplink);
        assert_eq!(all.len(), 9);
        assert!(all.iter().all(|switch| switch.of_own_device || sysctl::is_known(&switch.key)));
    }

    #[test]
    fn messages_read_back_as_what_they_were() {
        let desired = || Desired { lookups: Lookups::Wan(3), ..desired() };
        let all = rules(&IDS, &desired());
        let by_wan = |rule: &Rule| rule.kind == RuleKind::Lookups && rule.table == wan_table(3);
        assert_eq!(all.iter().filter(|rule| by_wan(rule)).count(), 2);
        for rule in all {
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
    fn a_rule_with_more_to_it_is_none_that_we_would_make() {
        for rule in rules(&IDS, &desired()) {
            let mut message = rule.message();
            message.attributes.push(RuleAttribute::SuppressPrefixLen(u32::MAX));
            assert_eq!(Rule::read(&message), Some(rule), "as the kernel shows it");
            message.attributes.push(RuleAttribute::Oifname("lo".to_owned()));
            assert_eq!(Rule::read(&message), Some(Rule { kind: RuleKind::Other, ..rule }));
            let mut message = rule.message();
            message.header.action = RuleAction::Blackhole;
            assert_eq!(Rule::read(&message), Some(Rule { kind: RuleKind::Other, ..rule }));
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
