//! The next free address of the tunnel's networks, for a new router.
//!
//! How: the lowest number behind the networks' prefixes that is free in all of them, so that a
//! router is `10.99.0.7` and `fd99::7`. Taken are the server's own addresses, and what a peer has
//! of the network by a prefix longer than it (a peer to which all of the network belongs, or
//! everything, gives way: the longer prefix decides where a packet goes).

use super::model::Peer;
use crate::prefix::{InterfaceAddress, width};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers that are tried: of a larger network only the beginning is used.
const NUMBERS_MAX: u32 = 1 << 16;

/// A network has no free address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no address is free in {0}: remove a peer, or give the server a larger network")]
pub struct Full(pub String);

/// An address of each network of `own`, the server's addresses in different networks.
///
/// # Errors
///
/// There is none that is free in all of them.
pub fn next_free(own: &[InterfaceAddress], peers: &[Peer]) -> Result<Vec<InterfaceAddress>, Full> {
    let full = || {
        let networks: Vec<String> = own.iter().map(|a| a.network().to_string()).collect();
        Full(networks.join(" and "))
    };
    (1..NUMBERS_MAX)
        .find_map(|number| {
            let all = own.iter().map(|own| address(*own, number, peers));
            all.collect::<Option<Vec<InterfaceAddress>>>()
        })
        .ok_or_else(full)
}

/// The address with this number in the network of `own`, if it can be given away.
fn address(own: InterfaceAddress, number: u32, peers: &[Peer]) -> Option<InterfaceAddress> {
    let network = own.network();
    let host_bits = width(own.address) - own.length;
    // The last number of an IPv4 network is its broadcast address.
    let numbers = 1u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX);
    let last = if own.address.is_ipv4() { numbers.saturating_sub(1) } else { numbers };
    if u128::from(number) >= last {
        return None;
    }
    let address = match network.address() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | number)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | u128::from(number))),
    };
    let taken = peers.iter().flat_map(|peer| &peer.allowed_ips).any(|prefix| {
        prefix.length() > own.length && network.covers(*prefix) && prefix.contains(address)
    });
    (address != own.address && !taken).then_some(InterfaceAddress { address, length: own.length })
}

/// The first address of each family: the networks in which routers get theirs.
pub fn networks(own: &[InterfaceAddress]) -> Vec<InterfaceAddress> {
    let first = |v4: bool| own.iter().copied().find(|a| a.address.is_ipv4() == v4);
    [first(true), first(false)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::PublicKey;

    fn peer(allowed: &[&str]) -> Peer {
        Peer {
            name: "p".to_owned(),
            public_key: PublicKey::from_bytes([0; 32]),
            preshared_key: None,
            endpoints: Vec::new(),
            allowed_ips: allowed.iter().map(|p| p.parse().unwrap()).collect(),
            route_allowed_ips: true,
        }
    }

    fn free(own: &[&str], peers: &[Peer]) -> Option<String> {
        let own: Vec<InterfaceAddress> = own.iter().map(|a| a.parse().unwrap()).collect();
        let found = next_free(&networks(&own), peers).ok()?;
        Some(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_lowest_number_that_is_free_in_both_families() {
        let own = ["10.99.0.1/24", "fd99::1/64", "10.98.0.1/24"];
        assert_eq!(free(&own, &[]).unwrap(), "10.99.0.2/24 fd99::2/64");
        let peers = [peer(&["10.99.0.2/32", "fd99::3/128"]), peer(&["10.99.0.4/30"])];
        assert_eq!(free(&own, &peers).unwrap(), "10.99.0.8/24 fd99::8/64");
        // A router that has been removed leaves its place.
        assert_eq!(free(&own, &peers[1..]).unwrap(), "10.99.0.2/24 fd99::2/64");
        // Who has everything, or all of the network, does not have each address.
        let wide = [peer(&["0.0.0.0/0", "10.99.0.0/24", "10.0.0.0/8", "192.168.1.0/24"])];
        assert_eq!(free(&own, &wide).unwrap(), "10.99.0.2/24 fd99::2/64");
        assert_eq!(free(&["10.99.0.2/24"], &[]).unwrap(), "10.99.0.1/24");
        assert_eq!(free(&["fd99::5/64"], &[]).unwrap(), "fd99::1/64");
    }

    #[test]
    fn a_full_network_is_told() {
        assert_eq!(free(&["10.0.0.1/30"], &[]).unwrap(), "10.0.0.2/30");
        assert_eq!(free(&["10.0.0.1/30"], &[peer(&["10.0.0.2/32"])]), None);
        assert_eq!(free(&["10.0.0.1/32"], &[]), None);
        assert_eq!(free(&["10.0.0.1/31"], &[]), None);
        assert_eq!(free(&["fd99::1/128"], &[]), None);
        let own: [InterfaceAddress; 1] = ["10.0.0.1/32".parse().unwrap()];
        assert!(next_free(&own, &[]).unwrap_err().to_string().contains("10.0.0.1/32"));
    }
}
