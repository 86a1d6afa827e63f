//! What the network daemon of OpenWrt knows of its interfaces.
//!
//! Why: a user of OpenWrt knows `wan` and `wwan`, not the devices under them, and those change:
//! `pppoe-wan` is there only while the line is up, and a modem may come as another device each
//! time. And where a default route is kept out of the main table (`defaultroute 0`, `ip4table`,
//! as with mwan3), only netifd knows the gateway.
//!
//! How: the answer to `ubus call network.interface dump`, read into plain data. Pure.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The object to ask, and the event that tells of changes.
pub const OBJECT: &str = "network.interface";
/// The method of it that tells everything.
pub const DUMP: &str = "dump";

/// The interfaces by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<String, Interface>);

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The device that carries IP while it is up, else the one it is configured with.
    pub device: Option<String>,
    /// Its metric, for its routes.
    pub metric: u32,
    /// Its default routes, wherever they are, and also those that it must not set.
    pub routes: Vec<DefaultRoute>,
}

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Whether it is IPv4.
    pub v4: bool,
    /// None on a point-to-point device.
    pub gateway: Option<IpAddr>,
}

impl Interfaces {
    /// What a dump says. What is missing or odd in it is left out.
    pub fn from_dump(dump: &Map<String, Value>) -> Interfaces {
        let list = dump.get("interface").and_then(Value::as_array);
        let named = list.into_iter().flatten().filter_map(|entry| {
            let name = entry.get("interface")?.as_str()?;
            Some((name.to_owned(), interface(entry)))
        });
        Interfaces(named.collect())
    }

    /// The interface with this name.
    pub fn get(&self, name: &str) -> Option<&Interface> {
        self.0.get(name)
    }
}

fn interface(entry: &Value) -> Interface {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let active = list(entry.get("route"));
    let inactive = list(entry.get("inactive").and_then(|other| other.get("route")));
    let metric = entry.get("metric").and_then(Value::as_u64);
    Interface {
        device: text("l3_device").or_else(|| text("device")),
        metric: metric.and_then(|metric| u32::try_from(metric).ok()).unwrap_or(0),
        routes: active.iter().chain(&inactive).filter_map(default_route).collect(),
    }
}

fn default_route(route: &Value) -> Option<DefaultRoute> {
    let target: IpAddr = route.get("target")?.as_str()?.parse().ok()?;
    if route.get("mask")?.as_u64()? != 0 {
        return None;
    }
    let gateway: Option<IpAddr> = route.get("nexthop").and_then(|hop| hop.as_str()?.parse().ok());
    let gateway = gateway.filter(|gateway| !gateway.is_unspecified());
    Some(DefaultRoute { v4: target.is_ipv4(), gateway })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(dump: Value) -> Interfaces {
        Interfaces::from_dump(dump.as_object().unwrap())
    }

    #[test]
    fn a_dump_tells_devices_and_gateways() {
        let route =
            |to: &str, mask: u32, by: &str| json!({"target": to, "mask": mask, "nexthop": by});
        let interfaces = read(json!({"interface": [
            {"interface": "loopback", "up": true, "l3_device": "lo", "device": "lo", "route": []},
            {"interface": "wan", "up": true, "l3_device": "pppoe-wan", "device": "eth1", "metric": 10,
             "route": [route("192.0.2.0", 24, "0.0.0.0"), route("0.0.0.0", 0, "192.0.2.1"),
                       route("::", 0, "::")]},
            {"interface": "wwan", "up": true, "l3_device": "wwan0", "metric": 20,
             "route": [], "inactive": {"route": [route("0.0.0.0", 0, "10.64.64.64")]}},
            {"interface": "dsl", "up": false, "device": "eth2"},
            {"interface": "off", "up": false},
        ]}));
        let device = |name: &str| interfaces.get(name).and_then(|i| i.device.as_deref());
        assert_eq!(device("wan"), Some("pppoe-wan"));
        assert_eq!(device("dsl"), Some("eth2"));
        assert_eq!((device("off"), device("absent")), (None, None));
        let wan = interfaces.get("wan").unwrap();
        let gateway = "192.0.2.1".parse().ok();
        let routes =
            [DefaultRoute { v4: true, gateway }, DefaultRoute { v4: false, gateway: None }];
        assert_eq!((wan.metric, wan.routes.as_slice()), (10, &routes[..]));
        let wwan = interfaces.get("wwan").unwrap();
        assert_eq!(wwan.routes[0].gateway, "10.64.64.64".parse().ok());
    }

    #[test]
    fn what_is_odd_is_left_out() {
        for dump in
            [json!({}), json!({"interface": {}}), json!({"interface": [1, {}, {"interface": 3}]})]
        {
            assert_eq!(read(dump), Interfaces::default());
        }
        let odd = json!({"interface": [{"interface": "a", "l3_device": 7, "metric": -1,
            "route": [{"target": "x", "mask": 0}, {"target": "::", "mask": "0"}, 5]}]});
        assert_eq!(read(odd).get("a"), Some(&Interface::default()));
    }

    proptest! {
        #[test]
        fn any_dump_is_read_without_panic(bytes: Vec<u8>) {
            if let Ok(table) = crate::openwrt::ubus::blobmsg::table(&bytes) {
                Interfaces::from_dump(&table);
            }
        }
    }
}
