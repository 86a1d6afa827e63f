//! Our routes, and how the kernel writes them.
//!
//! Pure: between [`OwnRoute`] and netlink messages both ways, so that what the kernel has can be
//! compared with what it should have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};

use super::diff::Entry;
use crate::ids;
use onebox_core::prefix::Prefix;

/// The metric of routes to nowhere: worse than any other, better than none.
const BARRED_METRIC: u32 = u32::MAX - 1;

/// One of our routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnRoute {
    /// The table that it lies in.
    pub(super) table: u32,
    /// Where it leads.
    pub(super) destination: Prefix,
    /// By which device.
    pub(super) ifindex: u32,
    /// By which gateway, if any.
    pub(super) gateway: Option<IpAddr>,
    /// Nowhere: whoever sends there is told so. It does not go away with a device, and counts
    /// only where there is no other.
    pub(super) barred: bool,
}

impl Entry for OwnRoute {
    /// Table, destination, and which of the two metrics.
    type Key = (u32, Prefix, bool);
    fn key(&self) -> (u32, Prefix, bool) {
        (self.table, self.destination, self.barred)
    }
}

impl fmt::Display for OwnRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OwnRoute { table, destination, ifindex, barred, .. } = self;
        if *barred {
            return write!(f, "the bar to {destination} in table {table}");
        }
        write!(f, "the route to {destination} by device {ifindex} in table {table}")
    }
}

impl OwnRoute {
    /// The message that adds it.
    pub(super) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = super::family(self.destination.is_ipv4());
        message.header.destination_prefix_length = self.destination.length();
        message.header.protocol = RouteProtocol::from(ids::PROTOCOL);
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
                IpAddr::V6(v6) if v4 => RouteAttribute::Via(RouteVia::Inet6(v6)),
                same => RouteAttribute::Gateway(same.into()),
            });
        }
        message
    }

    /// The table that a route lies in, whosever it is.
    pub(super) fn table_of(message: &RouteMessage) -> u32 {
        let own = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
        own.unwrap_or(u32::from(message.header.table))
    }

    /// Reads a route of ours; None if it is somebody else's.
    pub(super) fn read(message: &RouteMessage) -> Option<OwnRoute> {
        let v4 = message.header.address_family == AddressFamily::Inet;
        let any: IpAddr =
            if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let (table, mut address) = (OwnRoute::table_of(message), any);
        let (mut ifindex, mut gateway) = (0, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => address = (*ip).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => address = (*ip).into(),
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some((*ip).into()),
                RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => gateway = Some((*ip).into()),
                RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                    gateway = Some((*ip).into());
                }
                RouteAttribute::Oif(value) => ifindex = *value,
                _ => {}
            }
        }
        let ours = ids::is_ours(message.header.protocol);
        let destination = Prefix::new(address, message.header.destination_prefix_length)?;
        let barred = message.header.kind == RouteType::Unreachable;
        // The kernel shows such a route of IPv6 with the loopback device.
        let ifindex = if barred { 0 } else { ifindex };
        ours.then_some(OwnRoute { table, destination, ifindex, gateway, barred })
    }
}
