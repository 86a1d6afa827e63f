//! The kernel's addresses, routes and rules, as kinds of entries.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use rtnetlink::AddressMessageBuilder;
use tokio::task::JoinHandle;

use super::Error;
use super::diff::{Entry, Kind};
use super::plan::Device;
use super::route::OwnRoute;
use super::rule::{Rule, policy};
use crate::ids;
use crate::netlink::handle::{Error as Netlink, Handle};
use crate::netlink::message::{Link, Object};
use onebox_core::prefix::InterfaceAddress;

/// A connection to the kernel; ends when dropped.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Errors of a family that the kernel does not have: nothing of it can be there.
const NO_FAMILY: [Errno; 3] = [Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP, Errno::ENOENT];
/// What was to be removed is gone already, alone or with its device.
const GONE: [Errno; 4] = [Errno::ENOENT, Errno::ESRCH, Errno::ENODEV, Errno::EADDRNOTAVAIL];

/// The families that routes and rules are read of, one after the other.
const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

fn failed(what: impl Into<String>, error: impl Into<io::Error>) -> Error {
    Error::Netlink { what: what.into(), error: error.into() }
}

/// No error if it is one of `fine`.
fn unless(
    fine: &[Errno],
    result: Result<(), Netlink>,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    match result {
        Err(error) if !error.errno().is_some_and(|e| fine.contains(&e)) => {
            Err(failed(what(), error))
        }
        _ => Ok(()),
    }
}

impl Kernel {
    pub(super) fn open() -> Result<Kernel, Error> {
        let (connection, handle, _) =
            Handle::open(&[]).map_err(|error| failed("open a netlink socket", error))?;
        Ok(Kernel { handle, task: tokio::spawn(connection) })
    }

    /// MTU of the TUN device, and that it is switched on if its addresses are ours.
    pub(super) async fn device(&self, device: &Device) -> Result<(), Error> {
        let link = match device.addresses {
            Some(_) => Link::up(device.ifindex, device.mtu),
            None => Link::with_mtu(device.ifindex, device.mtu),
        };
        let set = self.handle.change(Object::Link(link)).await;
        set.map_err(|error| failed(format!("set up {}", device.name), error))
    }
}

impl Kernel {
    /// Names of the devices with an IPv6 default route from a router advertisement.
    pub(super) async fn advertised(&self) -> Result<Vec<String>, Error> {
        let mut filter = RouteMessage::default();
        filter.header.address_family = AddressFamily::Inet6;
        filter.header.protocol = RouteProtocol::Ra;
        let mut names = Vec::new();
        let read = self.handle.each(Object::Route(filter), |object| {
            if let Object::Route(route) = object
                && route.header.protocol == RouteProtocol::Ra
                && route.header.destination_prefix_length == 0
            {
                let index = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                });
                let name = index.and_then(|index| if_indextoname(index).ok());
                names.extend(name.and_then(|name| name.into_string().ok()));
            }
        });
        unless(&NO_FAMILY, read.await, || "read routes".to_owned())?;
        Ok(names)
    }
}

impl Entry for InterfaceAddress {
    /// IPv6 takes an address once, IPv4 once with each length.
    type Key = (IpAddr, u8);
    fn key(&self) -> (IpAddr, u8) {
        (self.address, if self.address.is_ipv4() { self.length } else { 0 })
    }
}

/// The addresses of global scope of a device that is ours.
pub(super) struct Addresses<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) device: &'a Device,
}

impl Kind for Addresses<'_> {
    type Entry = InterfaceAddress;
    type Found = AddressMessage;

    async fn read(&mut self) -> Result<Vec<(InterfaceAddress, AddressMessage)>, Error> {
        let mut list = Vec::new();
        let all = Object::Address(AddressMessage::default());
        let read = self.kernel.handle.each(all, |object| {
            if let Object::Address(message) = object
                && message.header.index == self.device.ifindex
                && message.header.scope == AddressScope::Universe
            {
                list.extend(read_address(&message).map(|address| (address, message)));
            }
        });
        read.await.map_err(|error| failed("read addresses", error))?;
        Ok(list)
    }

    async fn add(&mut self, address: &InterfaceAddress) -> Result<(), Error> {
        let message = address_message(self.device.ifindex, address);
        let added = self.kernel.handle.add(Object::Address(message)).await;
        let what = || format!("give {} the address {address}", self.device.name);
        unless(&[Errno::EEXIST], added, what)
    }

    async fn remove(
        &mut self,
        address: &InterfaceAddress,
        found: AddressMessage,
    ) -> Result<(), Error> {
        let removed = self.kernel.handle.remove(Object::Address(found)).await;
        unless(&GONE, removed, || format!("take the address {address} from {}", self.device.name))
    }
}

/// Our routes, in all tables.
pub(super) struct Routes<'a>(pub(super) &'a Kernel);

impl Kind for Routes<'_> {
    type Entry = OwnRoute;
    type Found = RouteMessage;

    async fn read(&mut self) -> Result<Vec<(OwnRoute, RouteMessage)>, Error> {
        let mut list = Vec::new();
        for family in FAMILIES {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            filter.header.protocol = RouteProtocol::from(ids::PROTOCOL);
            let read = self.0.handle.each(Object::Route(filter), |object| {
                if let Object::Route(message) = object {
                    list.extend(OwnRoute::read(&message).map(|route| (route, message)));
                }
            });
            unless(&NO_FAMILY, read.await, || "read routes".to_owned())?;
        }
        Ok(list)
    }

    async fn add(&mut self, route: &OwnRoute) -> Result<(), Error> {
        let added = self.0.handle.add(Object::Route(route.message())).await;
        unless(&[], added, || format!("add {route}"))
    }

    async fn remove(&mut self, route: &OwnRoute, found: RouteMessage) -> Result<(), Error> {
        let removed = self.0.handle.remove(Object::Route(found)).await;
        unless(&GONE, removed, || format!("remove {route}"))
    }
}

impl Kernel {
    /// The programs with policies of routing that stand behind this priority.
    pub(super) async fn policies_behind(&self, priority: u32) -> Result<Vec<&'static str>, Error> {
        let mut programs = Vec::new();
        for family in FAMILIES {
            let mut filter = RuleMessage::default();
            filter.header.family = family;
            let read = self.handle.each(Object::Rule(filter), |object| {
                if let Object::Rule(message) = object
                    && let Some((program, at)) = policy(&message)
                    && at > priority
                    && !programs.contains(&program)
                {
                    programs.push(program);
                }
            });
            unless(&NO_FAMILY, read.await, || "read rules".to_owned())?;
        }
        Ok(programs)
    }
}

/// Our rules, with all priorities.
pub(super) struct Rules<'a>(pub(super) &'a Kernel);

impl Kind for Rules<'_> {
    type Entry = Rule;
    type Found = RuleMessage;

    async fn read(&mut self) -> Result<Vec<(Rule, RuleMessage)>, Error> {
        let mut list = Vec::new();
        for family in FAMILIES {
            let mut filter = RuleMessage::default();
            filter.header.family = family;
            let read = self.0.handle.each(Object::Rule(filter), |object| {
                if let Object::Rule(message) = object {
                    list.extend(Rule::read(&message).map(|rule| (rule, message)));
                }
            });
            unless(&NO_FAMILY, read.await, || "read rules".to_owned())?;
        }
        Ok(list)
    }

    async fn add(&mut self, rule: &Rule) -> Result<(), Error> {
        // A kernel without IPv6 has no IPv6 to send astray.
        let fine: &[Errno] = if rule.v4 { &[] } else { &NO_FAMILY };
        let added = self.0.handle.add(Object::Rule(rule.message())).await;
        unless(fine, added, || format!("add the rule {rule:?}"))
    }

    async fn remove(&mut self, rule: &Rule, found: RuleMessage) -> Result<(), Error> {
        let removed = self.0.handle.remove(Object::Rule(found)).await;
        unless(&GONE, removed, || format!("remove the rule {rule:?}"))
    }
}

fn read_address(message: &AddressMessage) -> Option<InterfaceAddress> {
    let own = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(ip) => Some((0, *ip)),
        AddressAttribute::Address(ip) => Some((1, *ip)),
        _ => None,
    };
    // The local address before the other side's.
    let (_, address) = message.attributes.iter().filter_map(own).min()?;
    Some(InterfaceAddress { address, length: message.header.prefix_len })
}

/// The message that gives a device an address.
fn address_message(ifindex: u32, wanted: &InterfaceAddress) -> AddressMessage {
    match wanted.address {
        IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(ifindex)
            .address(ip, wanted.length)
            .build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(ifindex)
            .address(ip, wanted.length)
            .build(),
    }
}
