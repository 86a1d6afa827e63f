//! Which interfaces are WANs.
//!
//! Without configuration every interface with a default route in the main table is one, unless it
//! is a tunnel over others ([`kind`](super::kind)). A WAN that the configuration names is always
//! listed, with the reason if it cannot be used, so that status can show why.

use std::net::IpAddr;

use super::{Interface, Network};

/// What decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Use every interface that has a default route.
    pub discover: bool,
    /// WANs by name and device, in order.
    pub configured: Vec<(String, String)>,
    /// Devices never to use by discovery (mode `off`).
    pub excluded: Vec<String>,
    /// Addresses that are sent from now: they are kept where another is no better.
    pub in_use: Vec<IpAddr>,
}

/// A WAN, usable or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wan {
    /// From the configuration, else the device's name.
    pub name: String,
    /// The device.
    pub device: String,
    /// The device's index; 0 if there is none.
    pub ifindex: u32,
    /// The device's MTU in bytes.
    pub mtu: u32,
    /// How IPv4 leaves by it.
    pub v4: Option<Source>,
    /// How IPv6 leaves by it.
    pub v6: Option<Source>,
    /// Why it cannot be used. None: it can.
    pub fault: Option<WanFault>,
}

/// How one family leaves by a WAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The address to send from.
    pub address: IpAddr,
    /// None on a point-to-point device.
    pub gateway: Option<IpAddr>,
    /// The default route's metric.
    pub metric: u32,
}

/// Why a WAN cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WanFault {
    /// There is no such device.
    Absent,
    /// It is switched off.
    Down,
    /// It has no carrier.
    NoCarrier,
    /// It has no default route.
    NoRoute,
    /// It has no usable address of a family that has a default route.
    NoAddress,
}

impl WanFault {
    /// In words, for status.
    pub fn reason(self) -> &'static str {
        match self {
            WanFault::Absent => "no such device",
            WanFault::Down => "device is down",
            WanFault::NoCarrier => "no carrier",
            WanFault::NoRoute => "no default route",
            WanFault::NoAddress => "no address",
        }
    }
}

/// The WANs: the configured ones in their order, then the discovered ones by index.
pub fn wans(network: &Network, selection: &Selection) -> Vec<Wan> {
    let in_use = &selection.in_use;
    let configured = selection.configured.iter();
    let mut list: Vec<Wan> =
        configured.map(|(name, device)| wan_on(network, name, device, in_use)).collect();
    if selection.discover {
        for (&index, interface) in &network.interfaces {
            let routed = !interface.routes_v4.is_empty() || !interface.routes_v6.is_empty();
            if routed && !interface.tunnel && !selection.decides(&interface.name) {
                list.push(wan(&interface.name, index, interface, in_use));
            }
        }
    }
    list
}

impl Selection {
    /// Whether the configuration says what becomes of a device.
    pub fn decides(&self, device: &str) -> bool {
        let named = self.configured.iter().any(|(_, used)| used == device);
        named || self.excluded.iter().any(|excluded| excluded == device)
    }
}

/// The WAN on a device, whatever is the matter with it.
pub fn wan_on(network: &Network, name: &str, device: &str, in_use: &[IpAddr]) -> Wan {
    match network.interfaces.iter().find(|(_, interface)| interface.name == device) {
        Some((&index, interface)) => wan(name, index, interface, in_use),
        None => Wan {
            name: name.to_owned(),
            device: device.to_owned(),
            ifindex: 0,
            mtu: 0,
            v4: None,
            v6: None,
            fault: Some(WanFault::Absent),
        },
    }
}

fn wan(name: &str, ifindex: u32, interface: &Interface, in_use: &[IpAddr]) -> Wan {
    let source = |v4: bool| {
        let (address, route) = interface.way(v4, in_use)?;
        Some(Source { address, gateway: route.gateway, metric: route.metric })
    };
    let (v4, v6) = (source(true), source(false));
    let fault = if !interface.up {
        Some(WanFault::Down)
    } else if !interface.carrier {
        Some(WanFault::NoCarrier)
    } else if v4.is_some() || v6.is_some() {
        None
    } else if interface.addresses.iter().all(|address| address.unusable) {
        // IPv4 routes go with their address: it is what is missing.
        Some(WanFault::NoAddress)
    } else if interface.routes_v4.is_empty() && interface.routes_v6.is_empty() {
        Some(WanFault::NoRoute)
    } else {
        Some(WanFault::NoAddress)
    };
    Wan {
        name: name.to_owned(),
        device: interface.name.clone(),
        ifindex,
        mtu: interface.mtu,
        v4,
        v6,
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Address, Route};
    use super::*;

    fn interface(name: &str, ip: Option<&str>, gateway: Option<&str>) -> Interface {
        let address = |ip: &str| Address {
            ip: ip.parse().unwrap(),
            length: 24,
            unusable: false,
            deprecated: false,
            temporary: false,
            preferred_s: u32::MAX,
        };
        let route = |gw: &str| Route {
            metric: 10,
            gateway: Some(gw.parse().unwrap()),
            source: None,
            from: None,
        };
        Interface {
            name: name.to_owned(),
            up: true,
            carrier: true,
            tunnel: false,
            mtu: 1500,
            addresses: ip.map(address).into_iter().collect(),
            routes_v4: gateway.map(route).into_iter().collect(),
            routes_v6: Vec::new(),
        }
    }

    fn network() -> Network {
        let mut off = interface("off", Some("10.0.3.2"), Some("10.0.3.1"));
        off.carrier = false;
        let list = [
            (2, interface("dsl", Some("10.0.1.2"), Some("10.0.1.1"))),
            (3, interface("lan", Some("192.168.1.1"), None)),
            (4, interface("lte", None, Some("10.0.2.1"))),
            (5, off),
        ];
        Network { interfaces: list.into_iter().collect() }
    }

    #[test]
    fn discovery_takes_what_has_a_default_route() {
        let selection = Selection { discover: true, ..Selection::default() };
        let list = wans(&network(), &selection);
        let told: Vec<_> = list.iter().map(|w| (w.name.as_str(), w.fault)).collect();
        assert_eq!(
            told,
            [("dsl", None), ("lte", Some(WanFault::NoAddress)), ("off", Some(WanFault::NoCarrier))]
        );
        assert_eq!(list[0].v4.unwrap().address.to_string(), "10.0.1.2");
        assert_eq!(list[0].v4.unwrap().gateway.unwrap().to_string(), "10.0.1.1");
    }

    #[test]
    fn configured_wans_come_first_and_say_what_is_wrong() {
        let named = |name: &str, device: &str| (name.to_owned(), device.to_owned());
        let selection = Selection {
            discover: true,
            configured: vec![named("a", "usb0"), named("b", "lan"), named("c", "dsl")],
            excluded: vec!["lte".to_owned()],
            ..Selection::default()
        };
        let list = wans(&network(), &selection);
        let told: Vec<_> = list.iter().map(|w| (w.name.as_str(), w.fault)).collect();
        assert_eq!(
            told,
            [
                ("a", Some(WanFault::Absent)),
                ("b", Some(WanFault::NoRoute)),
                ("c", None),
                ("off", Some(WanFault::NoCarrier))
            ]
        );
    }

    #[test]
    fn a_tunnel_is_a_wan_only_if_it_is_named() {
        let mut network = network();
        network.interfaces.get_mut(&2).unwrap().tunnel = true;
        let mut selection = Selection { discover: true, ..Selection::default() };
        assert!(wans(&network, &selection).iter().all(|wan| wan.device != "dsl"));
        selection.configured = vec![("vpn".to_owned(), "dsl".to_owned())];
        let list = wans(&network, &selection);
        assert_eq!((list[0].name.as_str(), list[0].fault), ("vpn", None));
    }

    #[test]
    fn without_address_and_route_the_address_is_what_is_missing() {
        let fault = |ip, gateway| wan("w", 2, &interface("w", ip, gateway), &[]).fault;
        assert_eq!(fault(None, None), Some(WanFault::NoAddress));
        assert_eq!(fault(Some("10.0.1.2"), None), Some(WanFault::NoRoute));
        assert_eq!(fault(None, Some("10.0.1.1")), Some(WanFault::NoAddress));
    }

    #[test]
    fn without_discovery_only_the_configured_ones_count() {
        assert!(wans(&network(), &Selection::default()).is_empty());
    }
}
