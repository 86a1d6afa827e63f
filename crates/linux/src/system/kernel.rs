//! Makes the kernel's addresses, routes and rules those of a list.
//!
//! Each time what is there is read, what is missing added, what is too much removed. That costs
//! a few messages more than remembering, and is right after whatever anybody else has done.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use nix::errno::Errno;
use rtnetlink::AddressMessageBuilder;
use tokio::task::JoinHandle;

use super::{Desired, Error, OwnRoute, Owner, Rule};
use crate::ids::PROTOCOL;
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

    /// Addresses, MTU and state of the TUN device.
    pub(super) async fn device(&self, desired: &Desired) -> Result<(), Error> {
        let ours = desired.owner == Owner::Us;
        let mtu = (desired.mtu != 0).then_some(desired.mtu);
        let link = if ours {
            Link::up(desired.ifindex, mtu)
        } else {
            Link::with_mtu(desired.ifindex, mtu)
        };
        let set = self.handle.change(Object::Link(link)).await;
        let mut result = set.map_err(|e| failed(format!("set up {}", desired.device), e));
        if !ours {
            return result;
        }
        let have = self.addresses(desired.ifindex).await?;
        for wanted in &desired.addresses {
            let there = have.iter().any(|(prefix, _)| prefix == wanted);
            if !there {
                let add = self.handle.add(Object::Address(address(desired.ifindex, wanted))).await;
                let what = || format!("give {} the address {wanted}", desired.device);
                result = result.and(unless(&[Errno::EEXIST], add, what));
            }
        }
        for (prefix, message) in have {
            if !desired.addresses.contains(&prefix) {
                let del = self.handle.remove(Object::Address(message)).await;
                let what = || format!("take the address {prefix} from {}", desired.device);
                result = result.and(unless(&GONE, del, what));
            }
        }
        result
    }

    async fn addresses(
        &self,
        ifindex: u32,
    ) -> Result<Vec<(InterfaceAddress, AddressMessage)>, Error> {
        let mut all = Vec::new();
        let read = self.handle.each(Object::Address(AddressMessage::default()), |object| {
            all.extend(match object {
                Object::Address(message) if message.header.index == ifindex => Some(message),
                _ => None,
            });
        });
        read.await.map_err(|error| failed("read addresses", error))?;
        let mut list = Vec::new();
        for message in all {
            if message.header.scope != AddressScope::Universe {
                continue;
            }
            let own = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(ip) => Some((0, *ip)),
                AddressAttribute::Address(ip) => Some((1, *ip)),
                _ => None,
            };
            // The local address before the other side's.
            let ip: Option<(u8, IpAddr)> = message.attributes.iter().filter_map(own).min();
            if let Some((_, ip)) = ip {
                let own = InterfaceAddress { address: ip, length: message.header.prefix_len };
                list.push((own, message));
            }
        }
        Ok(list)
    }

    /// Makes our routes those of `wanted`.
    pub(super) async fn routes(&self, wanted: &[OwnRoute]) -> Result<(), Error> {
        let have = self.own_routes().await?;
        let mut result = Ok(());
        // A route to the same place has to go before its successor can come.
        for (route, message) in &have {
            if !wanted.contains(route) {
                let del = self.handle.remove(Object::Route(message.clone())).await;
                result = result.and(unless(&GONE, del, || describe("remove", route)));
            }
        }
        for route in wanted {
            if !have.iter().any(|(there, _)| there == route) {
                let add = self.handle.add(Object::Route(route.message())).await;
                result = result.and(unless(&[], add, || describe("add", route)));
            }
        }
        result
    }

    async fn own_routes(&self) -> Result<Vec<(OwnRoute, RouteMessage)>, Error> {
        let mut list = Vec::new();
        for family in FAMILIES {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            filter.header.protocol = RouteProtocol::from(PROTOCOL);
            let read = self.handle.each(Object::Route(filter), |object| {
                if let Object::Route(message) = object {
                    list.extend(OwnRoute::read(&message).map(|route| (route, message)));
                }
            });
            unless(&NO_FAMILY, read.await, || "read routes".to_owned())?;
        }
        Ok(list)
    }

    /// Makes our rules those of `wanted`.
    pub(super) async fn rules(&self, wanted: &[Rule]) -> Result<(), Error> {
        let mut have = Vec::new();
        let mut result = Ok(());
        for family in FAMILIES {
            let mut filter = RuleMessage::default();
            filter.header.family = family;
            let read = self.handle.each(Object::Rule(filter), |object| {
                if let Object::Rule(message) = object {
                    have.extend(Rule::read(&message).map(|rule| (rule, message)));
                }
            });
            unless(&NO_FAMILY, read.await, || "read rules".to_owned())?;
        }
        for rule in wanted {
            if !have.iter().any(|(there, _)| there == rule) {
                // A kernel without IPv6 has no IPv6 to send astray.
                let fine: &[Errno] = if rule.v4 { &[] } else { &NO_FAMILY };
                let added = self.handle.add(Object::Rule(rule.message())).await;
                result = result.and(unless(fine, added, || format!("add the rule {rule:?}")));
            }
        }
        let mut kept: Vec<Rule> = Vec::new();
        for (rule, message) in have {
            // A second one of the same is too much, too.
            if wanted.contains(&rule) && !kept.contains(&rule) {
                kept.push(rule);
                continue;
            }
            let del = self.handle.remove(Object::Rule(message)).await;
            result = result.and(unless(&GONE, del, || format!("remove the rule {rule:?}")));
        }
        result
    }
}

/// The message that gives a device an address.
fn address(ifindex: u32, wanted: &InterfaceAddress) -> AddressMessage {
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

fn describe(verb: &str, route: &OwnRoute) -> String {
    let OwnRoute { table, destination, ifindex, barred, .. } = route;
    if *barred {
        return format!("{verb} the bar to {destination} in table {table}");
    }
    format!("{verb} the route to {destination} by device {ifindex} in table {table}")
}
