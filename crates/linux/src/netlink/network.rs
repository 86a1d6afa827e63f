//! The state of the network: interfaces, their addresses, their default routes.
//!
//! Messages of the kernel are folded into it one at a time; what they do not change, they report
//! as no change, so that chatter (statistics, wireless events) wakes nobody. Default routes are
//! not followed by message but read anew, because IPv4 routes vanish with their link silently.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use litemap::LiteMap;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkFlags, State};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHopFlags, RouteType,
};

use onebox_core::prefix::Prefix;

use super::kind;
use super::message::Link;

/// All interfaces but the loopback and those left out, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// By index.
    pub interfaces: LiteMap<u32, Interface>,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The device's name.
    pub name: String,
    /// Switched on.
    pub up: bool,
    /// Has its carrier: a cable with somebody at the other end, a session, an association.
    pub carrier: bool,
    /// A tunnel over other interfaces, see `kind`.
    pub tunnel: bool,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Addresses of global scope, usable ones and others.
    pub addresses: Vec<Address>,
    /// Default routes of the main table by this interface, IPv4, best first.
    pub routes_v4: Vec<Route>,
    /// Default routes of the main table by this interface, IPv6, best first.
    pub routes_v6: Vec<Route>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// Its prefix length.
    pub length: u8,
    /// Nothing can be sent from it: duplicate detection runs or has failed.
    pub unusable: bool,
    /// Its time is over, though it still works: not for new traffic where there is another
    /// (RFC 4862 §5.5.4).
    pub deprecated: bool,
    /// A privacy address that will be replaced soon (RFC 8981).
    pub temporary: bool,
    /// Seconds until it is deprecated, as the kernel said last; `u32::MAX`: never.
    pub preferred_s: u32,
}

/// A default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The lower, the better.
    pub metric: u32,
    /// None on a point-to-point device.
    pub gateway: Option<IpAddr>,
    /// The source address that the route asks for.
    pub source: Option<IpAddr>,
    /// The route is only for packets from here (RFC 8043 §2); None: for all.
    pub from: Option<Prefix>,
}

impl Route {
    fn takes(&self, source: IpAddr) -> bool {
        self.from.is_none_or(|from| from.contains(source))
    }
}

impl Interface {
    /// The address to send from and the default route that packets from it take. `in_use` are
    /// addresses that are sent from already.
    ///
    /// Of several, in this order: not deprecated, of the internet rather than unique-local, by the
    /// best route, the one that the route asks for, of the gateway's subnet, lasting, in use
    /// already, preferred for longest. The first of equals is the kernel's primary address.
    pub fn way(&self, v4: bool, in_use: &[IpAddr]) -> Option<(IpAddr, Route)> {
        let routes = if v4 { &self.routes_v4 } else { &self.routes_v6 };
        let usable = self.addresses.iter().filter(|a| !a.unusable && a.ip.is_ipv4() == v4);
        let ways = usable.flat_map(|address| {
            let taken = routes.iter().filter(|route| route.takes(address.ip));
            taken.map(move |route| (address, route))
        });
        let best = ways.min_by_key(|(address, route)| {
            (
                (address.deprecated, is_unique_local(address.ip), route.metric),
                route.source.is_some_and(|asked| asked != address.ip),
                !route.gateway.is_some_and(|gateway| address.is_beside(gateway)),
                (address.temporary, !in_use.contains(&address.ip)),
                Reverse(address.preferred_s),
            )
        });
        best.map(|(address, route)| (address.ip, *route))
    }
}

impl Address {
    /// Whether the other one is in the same subnet.
    fn is_beside(&self, other: IpAddr) -> bool {
        Prefix::new(self.ip, self.length).is_some_and(|subnet| subnet.contains(other))
    }
}

fn is_unique_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unique_local())
}

impl Network {
    /// Takes in what the kernel says about a link. `own` is the device to leave out. Returns
    /// what changed.
    pub(super) fn link(&mut self, message: &Link, gone: bool, own: &str) -> Change {
        // Bridges send messages of their own family about their ports.
        if message.header.interface_family != AddressFamily::Unspec {
            return Change::None;
        }
        let index = message.header.index;
        let flags = message.header.flags;
        let name = message.name.as_deref();
        if gone || flags.contains(LinkFlags::Loopback) || name == Some(own) {
            let lost = self.interfaces.remove(&index);
            return lost.map_or(Change::None, |_| Change::Loss);
        }
        let known = self.interfaces.contains_key(&index);
        let Some(name) = name else { return Change::None };
        let interface = self.interfaces.entry(index).or_default();
        let before = (interface.up, interface.carrier);
        let up = flags.contains(LinkFlags::Up);
        let carrier = flags.contains(LinkFlags::LowerUp)
            && matches!(message.state, None | Some(State::Up | State::Unknown | State::Other(_)));
        let mtu = message.mtu.unwrap_or(interface.mtu);
        let same =
            known && before == (up, carrier) && interface.name == name && interface.mtu == mtu;
        interface.up = up;
        interface.carrier = carrier;
        // Some messages about a device leave its kind out.
        let hardware = message.header.link_layer_type;
        let kind = message.kind.as_deref();
        interface.tunnel |= kind.is_some_and(|kind| kind::is_tunnel(kind, hardware));
        interface.mtu = mtu;
        if interface.name != name {
            name.clone_into(&mut interface.name);
        }
        match before {
            _ if same => Change::None,
            (true, true) if !(up && carrier) => Change::Loss,
            _ => Change::Link,
        }
    }

    /// Takes in what the kernel says about an address.
    pub(super) fn address(&mut self, message: &AddressMessage, gone: bool) -> Change {
        let Some(address) = read_address(message) else { return Change::None };
        let Some(interface) = self.interfaces.get_mut(&message.header.index) else {
            return Change::None;
        };
        let list = &mut interface.addresses;
        let at = list.iter().position(|a| (a.ip, a.length) == (address.ip, address.length));
        match (at, gone) {
            (Some(at), true) => {
                list.remove(at);
            }
            (Some(at), false) => {
                let known = std::mem::replace(&mut list[at], address);
                // That a lifetime is renewed is no news.
                if known == (Address { preferred_s: known.preferred_s, ..address }) {
                    return Change::None;
                }
            }
            (None, false) => list.push(address),
            (None, true) => return Change::None,
        }
        Change::Address
    }

    /// Replaces the default routes by those in `routes`.
    pub(super) fn default_routes(&mut self, routes: &[RouteMessage]) {
        for (_, interface) in &mut self.interfaces {
            interface.routes_v4.clear();
            interface.routes_v6.clear();
        }
        for (index, v4, route) in routes.iter().flat_map(read_routes) {
            if let Some(interface) = self.interfaces.get_mut(&index) {
                let list = if v4 { &mut interface.routes_v4 } else { &mut interface.routes_v6 };
                list.push(route);
            }
        }
        for (_, interface) in &mut self.interfaces {
            interface.routes_v4.sort_unstable();
            interface.routes_v6.sort_unstable();
        }
    }
}

/// What a message changed in the network's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// An address.
    Address,
    /// A link appeared, came up or changed its name or MTU.
    Link,
    /// A link went away, down or lost its carrier.
    Loss,
}

fn read_address(message: &AddressMessage) -> Option<Address> {
    if message.header.scope != AddressScope::Universe {
        return None;
    }
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut address, mut preferred_s) = (None, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            // The same bits and those that the header has no room for.
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::CacheInfo(times) => preferred_s = times.ifa_preferred,
            _ => {}
        }
    }
    // On a point-to-point device the address is the other side's, the local one ours.
    let ip = local.or(address)?;
    let v6 = ip.is_ipv6();
    Some(Address {
        ip,
        length: message.header.prefix_len,
        unusable: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
            && !(v6 && flags.contains(AddressFlags::Optimistic)),
        deprecated: flags.contains(AddressFlags::Deprecated),
        // The same bit means secondary for IPv4.
        temporary: v6 && flags.contains(AddressFlags::Secondary),
        preferred_s,
    })
}

/// Whether a route is a default route of the main table that packets can take.
pub(super) fn is_default(message: &RouteMessage) -> bool {
    let header = &message.header;
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    header.destination_prefix_length == 0
        && header.kind == RouteType::Unicast
        && table.unwrap_or(u32::from(header.table)) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// The next hops of a default route: interface, whether IPv4, route.
fn read_routes(message: &RouteMessage) -> Vec<(u32, bool, Route)> {
    if !is_default(message) {
        return Vec::new();
    }
    let v4 = message.header.address_family == AddressFamily::Inet;
    let mut route = Route { metric: 0, gateway: None, source: None, from: None };
    let from = message.header.source_prefix_length;
    let (mut device, mut hops) = (None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Source(address) => {
                route.from = ip(address).and_then(|address| Prefix::new(address, from));
            }
            RouteAttribute::MultiPath(all) => {
                let dead = RouteNextHopFlags::Dead;
                hops.extend(
                    all.iter()
                        .filter(|hop| !hop.flags.contains(dead))
                        .map(|hop| (hop.interface_index, hop.attributes.iter().find_map(gateway))),
                );
            }
            other => route.gateway = route.gateway.or_else(|| gateway(other)),
        }
    }
    if let Some(device) = device {
        hops.push((device, route.gateway));
    }
    hops.into_iter().map(|(index, gateway)| (index, v4, Route { gateway, ..route })).collect()
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    use netlink_packet_route::route::RouteVia;
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        // An IPv4 route by an IPv6 gateway (RFC 5549).
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) if *v6 != Ipv6Addr::UNSPECIFIED => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::address::CacheInfo;

    fn link(index: u32, name: &str, flags: LinkFlags, state: State) -> Link {
        let mut link = Link {
            name: Some(name.to_owned()),
            mtu: Some(1500),
            state: Some(state),
            ..Link::default()
        };
        link.header.index = index;
        link.header.flags = flags;
        link
    }

    fn address(index: u32, ip: &str, flags: AddressFlags) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = 64;
        message.attributes =
            vec![AddressAttribute::Address(ip.parse().unwrap()), AddressAttribute::Flags(flags)];
        message
    }

    #[test]
    fn a_lost_carrier_is_told_from_other_changes() {
        let mut network = Network::default();
        let on = LinkFlags::Up | LinkFlags::LowerUp;
        assert_eq!(network.link(&link(3, "wan", on, State::Up), false, "tun"), Change::Link);
        assert_eq!(network.link(&link(3, "wan", on, State::Up), false, "tun"), Change::None);
        assert_eq!(
            network.link(&link(3, "wan", LinkFlags::Up, State::Down), false, "tun"),
            Change::Loss
        );
        assert_eq!(network.link(&link(3, "wan", on, State::Up), false, "tun"), Change::Link);
        // Associated, but not yet authenticated.
        assert_eq!(network.link(&link(3, "wan", on, State::Dormant), false, "tun"), Change::Loss);
        assert_eq!(network.link(&link(3, "wan", on, State::Up), true, "tun"), Change::Loss);
        assert!(network.interfaces.is_empty());
    }

    #[test]
    fn our_own_device_and_the_loopback_are_left_out() {
        let mut network = Network::default();
        network.link(&link(1, "lo", LinkFlags::Loopback, State::Unknown), false, "tun");
        network.link(&link(2, "tun", LinkFlags::Up, State::Unknown), false, "tun");
        assert!(network.interfaces.is_empty());
    }

    /// A default route from `from` by `gateway`.
    fn route(index: u32, metric: u32, from: &str, gateway: &str) -> RouteMessage {
        let gateway: IpAddr = gateway.parse().unwrap();
        let address = |ip| match ip {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        let mut message = RouteMessage::default();
        let v4 = gateway.is_ipv4();
        message.header.address_family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.kind = RouteType::Unicast;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = vec![
            RouteAttribute::Oif(index),
            RouteAttribute::Priority(metric),
            RouteAttribute::Gateway(address(gateway)),
        ];
        if !from.is_empty() {
            let from: Prefix = from.parse().unwrap();
            message.header.source_prefix_length = from.length();
            message.attributes.push(RouteAttribute::Source(address(from.address())));
        }
        message
    }

    fn one_wan() -> Network {
        let mut network = Network::default();
        network.link(&link(3, "wan", LinkFlags::Up, State::Up), false, "tun");
        network
    }

    fn source(network: &Network, in_use: &[&str]) -> Option<String> {
        let in_use: Vec<IpAddr> = in_use.iter().map(|ip| ip.parse().unwrap()).collect();
        network.interfaces[&3].way(false, &in_use).map(|(address, _)| address.to_string())
    }

    const NONE: AddressFlags = AddressFlags::empty();

    #[test]
    fn the_source_is_lasting_and_global() {
        let mut network = one_wan();
        network.default_routes(&[route(3, 10, "", "fe80::1")]);
        for (ip, flags) in [
            ("fd00::1", NONE),
            ("2001:db8::a", AddressFlags::Secondary),
            ("2001:db8::b", AddressFlags::Tentative),
            ("2001:db8::c", AddressFlags::Deprecated),
            ("2001:db8::d", NONE),
        ] {
            assert_eq!(network.address(&address(3, ip, flags), false), Change::Address);
        }
        for (gone, next) in [
            ("", "2001:db8::d"),
            ("2001:db8::d", "2001:db8::a"),
            ("2001:db8::a", "fd00::1"),
            // Better an address whose time is over than none.
            ("fd00::1", "2001:db8::c"),
        ] {
            if !gone.is_empty() {
                network.address(&address(3, gone, NONE), true);
            }
            assert_eq!(source(&network, &[]).as_deref(), Some(next));
        }
        network.address(&address(3, "2001:db8::c", NONE), true);
        assert_eq!(source(&network, &[]), None, "the search for duplicates still runs");
        assert_eq!(network.interfaces[&3].way(true, &[]), None);
    }

    #[test]
    fn the_source_is_of_the_prefix_that_the_route_is_for() {
        let mut network = one_wan();
        network.address(&address(3, "2001:db8:1::2", NONE), false);
        network.address(&address(3, "2001:db8:2::2", NONE), false);
        network.default_routes(&[route(3, 10, "2001:db8:2::/56", "fe80::2")]);
        assert_eq!(source(&network, &[]).as_deref(), Some("2001:db8:2::2"));
        // Of two prefixes that of the better route, with its own gateway.
        network.default_routes(&[
            route(3, 20, "2001:db8:2::/56", "fe80::2"),
            route(3, 10, "2001:db8:1::/56", "fe80::1"),
        ]);
        let (address, way) = network.interfaces[&3].way(false, &[]).unwrap();
        assert_eq!(address.to_string(), "2001:db8:1::2");
        assert_eq!(way.gateway.unwrap().to_string(), "fe80::1");
        network.default_routes(&[route(3, 10, "2001:db8:3::/56", "fe80::1")]);
        assert_eq!(source(&network, &[]), None);
    }

    #[test]
    fn the_prefix_that_lasts_longest_is_taken_and_then_kept() {
        let lasting = |ip, preferred| {
            let mut message = address(3, ip, NONE);
            let mut times = CacheInfo::default();
            times.ifa_preferred = preferred;
            message.attributes.push(AddressAttribute::CacheInfo(times));
            message
        };
        let mut network = one_wan();
        network.default_routes(&[route(3, 10, "", "fe80::1")]);
        network.address(&lasting("2001:db8:1::2", 600), false);
        network.address(&lasting("2001:db8:2::2", 3600), false);
        assert_eq!(source(&network, &[]).as_deref(), Some("2001:db8:2::2"));
        assert_eq!(source(&network, &["2001:db8:1::2"]).as_deref(), Some("2001:db8:1::2"));
        // A lifetime is renewed, which is no news; the prefix is withdrawn, which is.
        assert_eq!(network.address(&lasting("2001:db8:1::2", 7200), false), Change::None);
        let mut over = address(3, "2001:db8:1::2", AddressFlags::Deprecated);
        assert_eq!(network.address(&over, false), Change::Address);
        assert_eq!(source(&network, &["2001:db8:1::2"]).as_deref(), Some("2001:db8:2::2"));
        over.attributes.clear();
        assert_eq!(network.address(&over, false), Change::None);
    }

    #[test]
    fn of_several_ipv4_addresses_that_of_the_gateways_subnet_is_taken() {
        let mut network = one_wan();
        for ip in ["192.0.2.2", "10.0.0.2", "10.0.0.3"] {
            let mut message = address(3, ip, NONE);
            message.header.prefix_len = 24;
            network.address(&message, false);
        }
        let taken =
            |network: &Network| network.interfaces[&3].way(true, &[]).unwrap().0.to_string();
        network.default_routes(&[route(3, 10, "", "10.0.0.1")]);
        assert_eq!(taken(&network), "10.0.0.2");
        // A gateway in no subnet of ours: the first address.
        network.default_routes(&[route(3, 10, "", "172.16.0.1")]);
        assert_eq!(taken(&network), "192.0.2.2");
    }

    #[test]
    fn a_tunnel_stays_one_whatever_a_message_leaves_out() {
        let mut network = Network::default();
        let plain = link(4, "wg0", LinkFlags::Up, State::Unknown);
        let whole = Link { kind: Some("wireguard".to_owned()), ..plain.clone() };
        network.link(&whole, false, "tun");
        network.link(&plain, false, "tun");
        assert!(network.interfaces[&4].tunnel);
    }
}
