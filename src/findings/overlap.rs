//! Networks that are at two places at once.
//!
//! Why: the router of a provider has 192.168.1.0/24 for its LAN, and so has the one behind it. An
//! address of that network is then at both, and the router sends to the nearer one: the gateway, or
//! the device at home, cannot be reached. The same between the tunnel's network and a LAN.
//!
//! Limits: two WANs with one network are no fault, each has sockets of its own. What is behind the
//! other end is not to be seen from here.

use crate::prefix::{InterfaceAddress, Prefix};
use core::fmt;
use onebox_linux::netlink::{Interface, Network};

/// One network at two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The device that should get another network, and what it has.
    pub inner: (String, Prefix),
    /// The other place.
    pub outer: (String, Prefix),
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap { inner: (inner, a), outer: (outer, b) } = self;
        write!(f, "{inner} has {a}, {outer} has {b}")
    }
}

fn networks(interface: &Interface) -> impl Iterator<Item = (String, Prefix)> + '_ {
    let prefixes = interface
        .addresses
        .iter()
        .map(|a| InterfaceAddress { address: a.ip, length: a.length }.network());
    prefixes.map(|prefix| (interface.name.clone(), prefix))
}

/// What overlaps of the LANs (no default route), the WANs, and the tunnel with its own addresses.
pub fn overlaps(device: &str, own: &[InterfaceAddress], network: &Network) -> Vec<Overlap> {
    let interfaces = network.interfaces.values();
    let plain = interfaces.filter(|i| i.up && !i.tunnel && i.name != device);
    let (wans, lans): (Vec<_>, Vec<_>) =
        plain.partition(|i| !i.routes_v4.is_empty() || !i.routes_v6.is_empty());
    let wans: Vec<_> = wans.into_iter().flat_map(networks).collect();
    let lans: Vec<_> = lans.into_iter().flat_map(networks).collect();
    let tunnel = own.iter().map(|own| (device.to_owned(), own.network()));
    let tunnel: Vec<_> = tunnel.collect();
    let mut all = Vec::new();
    for (inside, outside) in [(&lans, &wans), (&tunnel, &lans), (&tunnel, &wans)] {
        for inner in inside {
            let same = |o: &&(String, Prefix)| o.1.covers(inner.1) || inner.1.covers(o.1);
            let found = outside.iter().filter(same);
            all.extend(found.map(|outer| Overlap { inner: inner.clone(), outer: outer.clone() }));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebox_linux::netlink::{Address, Route};

    fn interface(name: &str, address: &str, routed: bool) -> Interface {
        let own: InterfaceAddress = address.parse().unwrap();
        let route = Route { metric: 0, gateway: None, source: None, from: None };
        Interface {
            name: name.to_owned(),
            up: true,
            carrier: true,
            tunnel: false,
            mtu: 1500,
            addresses: vec![Address {
                ip: own.address,
                length: own.length,
                unusable: false,
                deprecated: false,
                temporary: false,
                preferred_s: u32::MAX,
            }],
            routes_v4: if routed { vec![route] } else { Vec::new() },
            routes_v6: Vec::new(),
        }
    }

    fn found(interfaces: Vec<Interface>) -> Vec<String> {
        let numbered = (1..).zip(interfaces);
        let network = Network { interfaces: numbered.collect() };
        let own: InterfaceAddress = "10.99.0.2/24".parse().unwrap();
        overlaps("onebox0", &[own], &network).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_lan_a_wan_and_the_tunnel_are_three_networks() {
        let lan = || interface("br-lan", "192.168.1.1/24", false);
        let good = vec![lan(), interface("eth1", "192.168.2.2/24", true)];
        assert_eq!(found(good), [""; 0]);
        let twins = vec![
            interface("wan1", "192.168.8.2/24", true),
            interface("wan2", "192.168.8.3/24", true),
        ];
        assert_eq!(found(twins), [""; 0]);
        let double = vec![lan(), interface("eth1", "192.168.1.77/24", true)];
        assert_eq!(found(double), ["br-lan has 192.168.1.0/24, eth1 has 192.168.1.0/24"]);
        let larger = vec![lan(), interface("eth1", "192.168.0.2/16", true)];
        assert_eq!(found(larger), ["br-lan has 192.168.1.0/24, eth1 has 192.168.0.0/16"]);
        let inside = vec![interface("br-lan", "10.0.0.1/8", false)];
        assert_eq!(found(inside), ["onebox0 has 10.99.0.0/24, br-lan has 10.0.0.0/8"]);
        let mut down = interface("eth2", "192.168.1.5/24", true);
        down.up = false;
        assert_eq!(found(vec![lan(), down]), [""; 0]);
    }
}
