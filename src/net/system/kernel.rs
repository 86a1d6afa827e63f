//! Makes the kernel's addresses, routes and rules those of a list.
//!
//! Each time what is there is read, what is missing added, what is too much removed. That costs
//! a few messages more than remembering, and is right after whatever anybody else has done.

use std::io;
use std::net::IpAddr;

use futures_util::StreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use nix::errno::Errno;
use rtnetlink::{Handle, IpVersion, LinkUnspec};
use tokio::task::JoinHandle;

use super::{Desired, Error, Ids, OwnRoute, Owner, Rule};
use crate::net::netlink::errno;
use crate::prefix::InterfaceAddress;

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

fn failed(what: impl Into<String>, error: rtnetlink::Error) -> Error {
    let error = match errno(&error) {
        Some(errno) => errno.into(),
        None => io::Error::other(error),
    };
    Error::Netlink { what: what.into(), error }
}

/// No error if it is one of `fine`.
fn unless(
    fine: &[Errno],
    result: Result<(), rtnetlink::Error>,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    match result {
        Err(error) if !errno(&error).is_some_and(|e| fine.contains(&e)) => {
            Err(failed(what(), error))
        }
        _ => Ok(()),
    }
}

impl Kernel {
    pub(super) fn open() -> Result<Kernel, Error> {
        // Strict checks make the kernel filter what it shows; kernels before 4.20 do not know
        // them and show everything, which is filtered here as well.
        let opened =
            rtnetlink::new_connection_with_strict_check().or_else(|_| rtnetlink::new_connection());
        let (connection, handle, _) = opened
            .map_err(|error| Error::Netlink { what: "open a netlink socket".to_owned(), error })?;
        Ok(Kernel { handle, task: tokio::spawn(connection) })
    }

    /// Addresses, MTU and state of the TUN device.
    pub(super) async fn device(&self, desired: &Desired) -> Result<(), Error> {
        let ours = desired.owner == Owner::Us;
        let mut link = LinkUnspec::new_with_index(desired.ifindex);
        if ours {
            link = link.up();
        }
        if desired.mtu != 0 {
            link = link.mtu(desired.mtu);
        }
        let set = self.handle.link().change(link.build()).execute().await;
        let mut result = set.map_err(|e| failed(format!("set up {}", desired.device), e));
        if !ours {
            return result;
        }
        let have = self.addresses(desired.ifindex).await?;
        for wanted in &desired.addresses {
            let there = have.iter().any(|(prefix, _)| prefix == wanted);
            if !there {
                let add = self.handle.address().add(desired.ifindex, wanted.address, wanted.length);
                let what = || format!("give {} the address {wanted}", desired.device);
                result = result.and(unless(&[Errno::EEXIST], add.execute().await, what));
            }
        }
        for (prefix, message) in have {
            if !desired.addresses.contains(&prefix) {
                let del = self.handle.address().del(message).execute().await;
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
        let mut list = Vec::new();
        let all = self.handle.address().get().set_link_index_filter(ifindex).execute();
        let mut all = std::pin::pin!(all);
        while let Some(message) = all.next().await {
            let message = message.map_err(|e| failed("read addresses", e))?;
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
    pub(super) async fn routes(&self, ids: &Ids, wanted: &[OwnRoute]) -> Result<(), Error> {
        let have = self.own_routes(ids).await?;
        let mut result = Ok(());
        // A route to the same place has to go before its successor can come.
        for (route, message) in &have {
            if !wanted.contains(route) {
                let del = self.handle.route().del(message.clone()).execute().await;
                result = result.and(unless(&GONE, del, || describe("remove", route)));
            }
        }
        for route in wanted {
            if !have.iter().any(|(there, _)| there == route) {
                let add = self.handle.route().add(route.message(ids)).execute().await;
                result = result.and(unless(&[], add, || describe("add", route)));
            }
        }
        result
    }

    async fn own_routes(&self, ids: &Ids) -> Result<Vec<(OwnRoute, RouteMessage)>, Error> {
        let mut list = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            filter.header.protocol = RouteProtocol::from(ids.protocol);
            let mut all = std::pin::pin!(self.handle.route().get(filter).execute());
            while let Some(message) = all.next().await {
                match message {
                    Ok(message) => {
                        list.extend(OwnRoute::read(ids, &message).map(|r| (r, message)));
                    }
                    Err(e) if errno(&e).is_some_and(|e| NO_FAMILY.contains(&e)) => break,
                    Err(e) => return Err(failed("read routes", e)),
                }
            }
        }
        Ok(list)
    }

    /// Makes our rules those of `wanted`.
    pub(super) async fn rules(&self, ids: &Ids, wanted: &[Rule]) -> Result<(), Error> {
        let mut have = Vec::new();
        let mut result = Ok(());
        for family in [IpVersion::V4, IpVersion::V6] {
            let mut all = std::pin::pin!(self.handle.rule().get(family).execute());
            while let Some(message) = all.next().await {
                match message {
                    Ok(message) => have.extend(Rule::read(ids, &message).map(|r| (r, message))),
                    Err(e) if errno(&e).is_some_and(|e| NO_FAMILY.contains(&e)) => break,
                    Err(e) => return Err(failed("read rules", e)),
                }
            }
        }
        for rule in wanted {
            if !have.iter().any(|(there, _)| there == rule) {
                let mut add = self.handle.rule().add();
                *add.message_mut() = rule.message(ids);
                // A kernel without IPv6 has no IPv6 to send astray.
                let fine: &[Errno] = if rule.v4 { &[] } else { &NO_FAMILY };
                let added = add.execute().await;
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
            let del = self.handle.rule().del(message).execute().await;
            result = result.and(unless(&GONE, del, || format!("remove the rule {rule:?}")));
        }
        result
    }
}

fn describe(verb: &str, route: &OwnRoute) -> String {
    let OwnRoute { table, destination, ifindex, barred, .. } = route;
    if *barred {
        return format!("{verb} the bar to {destination} in table {table}");
    }
    format!("{verb} the route to {destination} by device {ifindex} in table {table}")
}
