//! What the network daemon of OpenWrt knows of its interfaces.
//!
//! Why: a user of OpenWrt knows `wan` and `wwan`, not the devices under them, and those change:
//! `pppoe-wan` is there only while the line is up, and a modem may come as another device each
//! time. And where a default route is kept out of the main table (`defaultroute 0`, `ip4table`,
//! as with mwan3), only netifd knows the gateway.
//!
//! How: the answer to `ubus call network.interface dump`, read into plain data. The other way
//! round, a [`Link`] is what netifd is told of an interface whose protocol is onebox: the same
//! call by which the scripts of other protocols tell it (`notify_proto`). Pure.

use super::ubus::blobmsg;
use litemap::LiteMap;
use onebox_core::prefix::{InterfaceAddress, Prefix};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The object to ask, and the event that tells of changes.
pub const OBJECT: &str = "network.interface";
/// The method of it that tells everything.
pub const DUMP: &str = "dump";
/// The method of it by which a protocol tells the state of its interface.
pub const NOTIFY: &str = "notify_proto";
/// The methods of it that take an interface up and down.
pub const UP: &str = "up";
/// See [`UP`].
pub const DOWN: &str = "down";
/// The error of an interface that is ours while nobody runs who could set it up. Our protocol's script
/// tells it as well.
pub const NOT_RUNNING: &str = "NOT_RUNNING";
/// The errors with which our protocol's script leaves an interface down that could be up later.
const UNSERVED: [&str; 3] = [NOT_RUNNING, "NOT_NAMED", "SWITCHED_OFF"];
/// The event by which our protocol's script tells that an interface is to be set up.
pub const SETUP: &str = "onebox.setup";
/// The name of our protocol.
pub const PROTOCOL: &str = "onebox";
/// The action of [`NOTIFY`] that tells a link's state (`netifd-proto.sh`).
const ACTION_UPDATE: u32 = 0;
/// The one that tells an error.
const ACTION_ERROR: u32 = 3;

/// The interfaces by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(LiteMap<String, Interface>);

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The device that carries IP while it is up, else the one it is configured with.
    pub device: Option<String>,
    /// Its protocol.
    pub protocol: String,
    /// What it is doing.
    pub state: State,
    /// Our protocol's script left it down, since nobody was there to serve it; not its user.
    pub unserved: bool,
    /// Its metric, for its routes.
    pub metric: u32,
    /// Its default routes, wherever they are, and also those that it must not set.
    pub routes: Vec<DefaultRoute>,
    /// The name servers that this host is to ask because of it.
    pub resolvers: Vec<IpAddr>,
}

/// What an interface is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing: it is not wanted, or cannot be.
    #[default]
    Down,
    /// It waits for its protocol.
    Pending,
    /// It works.
    Up,
}

/// What netifd is told of the interface that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface's name.
    pub interface: String,
    /// The tunnel's device.
    pub device: String,
    /// Traffic belongs into the tunnel, with these addresses and routes. None: it does not.
    pub up: Option<(Vec<InterfaceAddress>, Vec<Prefix>)>,
    /// Why it does not.
    pub error: &'static str,
}

impl Link {
    /// The arguments of [`NOTIFY`], with the types that netifd asks for.
    pub fn arguments(&self) -> Vec<u8> {
        let mut out = Vec::new();
        blobmsg::put_u32(&mut out, "action", ACTION_UPDATE);
        blobmsg::put_text(&mut out, "interface", &self.interface);
        blobmsg::put_value(&mut out, "link-up", &self.up.is_some().into());
        let Some((addresses, routes)) = &self.up else { return out };
        blobmsg::put_text(&mut out, "ifname", &self.device);
        for (v4, addresses_of, routes_of) in
            [(true, "ipaddr", "routes"), (false, "ip6addr", "routes6")]
        {
            let own = addresses.iter().filter(|a| a.address.is_ipv4() == v4);
            let own = own.map(|a| json!({"ipaddr": a.address, "mask": a.length.to_string()}));
            blobmsg::put_value(&mut out, addresses_of, &own.collect());
            let to = routes.iter().filter(|r| r.is_ipv4() == v4);
            let to = to.map(|r| json!({"target": r.address(), "netmask": r.length().to_string()}));
            blobmsg::put_value(&mut out, routes_of, &to.collect());
        }
        out
    }

    /// The arguments of [`NOTIFY`] that tell an error.
    pub fn error_arguments(&self, error: &str) -> Vec<u8> {
        let mut out = Vec::new();
        blobmsg::put_u32(&mut out, "action", ACTION_ERROR);
        blobmsg::put_text(&mut out, "interface", &self.interface);
        blobmsg::put_value(&mut out, "error", &json!([error]));
        out
    }

    /// The arguments of [`UP`] and [`DOWN`].
    pub fn named(&self) -> Map<String, Value> {
        Map::from_iter([("interface".to_owned(), Value::from(self.interface.as_str()))])
    }
}

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Whether it is IPv4.
    pub v4: bool,
    /// None on a point-to-point device.
    pub gateway: Option<IpAddr>,
    /// The route is only for packets from here; None: for all.
    pub from: Option<Prefix>,
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

    /// The name servers of the interfaces that are up on this device.
    pub fn resolvers(&self, device: &str) -> impl Iterator<Item = IpAddr> {
        let up = |i: &&Interface| i.state == State::Up && i.device.as_deref() == Some(device);
        self.0.values().filter(up).flat_map(|interface| &interface.resolvers).copied()
    }

    /// The interface with this name.
    pub fn get(&self, name: &str) -> Option<&Interface> {
        self.0.get(name)
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn interface(entry: &Value) -> Interface {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let active = list(entry.get("route"));
    let inactive = list(entry.get("inactive").and_then(|other| other.get("route")));
    let flag = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(false);
    let metric = entry.get("metric").and_then(Value::as_u64);
    let last = list(entry.get("errors")).pop();
    let error = last.as_ref().and_then(|error| error.get("code")?.as_str());
    Interface {
        device: text("l3_device").or_else(|| text("device")),
        protocol: text("proto").unwrap_or_default(),
        state: match (flag("up"), flag("pending")) {
            (true, _) => State::Up,
            (false, true) => State::Pending,
            (false, false) => State::Down,
        },
        unserved: error.is_some_and(|error| UNSERVED.contains(&error)),
        metric: metric.and_then(|metric| u32::try_from(metric).ok()).unwrap_or(0),
        routes: active.iter().chain(&inactive).filter_map(default_route).collect(),
        resolvers: list(entry.get("dns-server")).iter().filter_map(address).collect(),
    }
}

fn default_route(route: &Value) -> Option<DefaultRoute> {
    let target: IpAddr = route.get("target")?.as_str()?.parse().ok()?;
    if route.get("mask")?.as_u64()? != 0 {
        return None;
    }
    let gateway: Option<IpAddr> = route.get("nexthop").and_then(|hop| hop.as_str()?.parse().ok());
    let gateway = gateway.filter(|gateway| !gateway.is_unspecified());
    let from: Option<Prefix> = route.get("source").and_then(|from| from.as_str()?.parse().ok());
    let from = from.filter(|from| !from.is_default());
    Some(DefaultRoute { v4: target.is_ipv4(), gateway, from })
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
        let route = |to: &str, mask: u32, by: &str| json!({"target": to, "mask": mask, "nexthop": by, "source": "0.0.0.0/0"});
        let interfaces = read(json!({"interface": [
            {"interface": "loopback", "up": true, "l3_device": "lo", "device": "lo", "route": []},
            {"interface": "wan", "up": true, "l3_device": "pppoe-wan", "device": "eth1", "metric": 10,
             "dns-server": ["192.0.2.53", "2001:db8::53", 53, "resolver"],
             "route": [route("192.0.2.0", 24, "0.0.0.0"), route("0.0.0.0", 0, "192.0.2.1"),
                       {"target": "::", "mask": 0, "nexthop": "::", "source": "2001:db8::/56"}]},
            {"interface": "wwan", "up": true, "l3_device": "wwan0", "metric": 20,
             "route": [], "inactive": {"route": [route("0.0.0.0", 0, "10.64.64.64")]}},
            {"interface": "dsl", "up": false, "pending": true, "proto": "onebox", "device": "eth2"},
            {"interface": "off", "up": false,
             "errors": [{"subsystem": "onebox", "code": "NOT_RUNNING"}]},
        ]}));
        let resolvers = |device| interfaces.resolvers(device).map(|ip| ip.to_string());
        assert_eq!(resolvers("pppoe-wan").collect::<Vec<_>>(), ["192.0.2.53", "2001:db8::53"]);
        assert_eq!(resolvers("wwan0").count(), 0);
        let device = |name: &str| interfaces.get(name).and_then(|i| i.device.as_deref());
        assert_eq!(device("wan"), Some("pppoe-wan"));
        assert_eq!(device("dsl"), Some("eth2"));
        assert_eq!((device("off"), device("absent")), (None, None));
        let state = |name: &str| interfaces.get(name).map(|i| i.state);
        assert_eq!(state("wan"), Some(State::Up));
        assert_eq!((state("dsl"), state("off")), (Some(State::Pending), Some(State::Down)));
        assert_eq!(interfaces.get("dsl").unwrap().protocol, PROTOCOL);
        let unserved = |name: &str| interfaces.get(name).unwrap().unserved;
        assert!(unserved("off") && !unserved("dsl"));
        let wan = interfaces.get("wan").unwrap();
        let gateway = "192.0.2.1".parse().ok();
        let from = "2001:db8::/56".parse().ok();
        let routes = [
            DefaultRoute { v4: true, gateway, from: None },
            DefaultRoute { v4: false, gateway: None, from },
        ];
        assert_eq!((wan.metric, wan.routes.as_slice()), (10, &routes[..]));
        let wwan = interfaces.get("wwan").unwrap();
        assert_eq!(wwan.routes[0].gateway, "10.64.64.64".parse().ok());
    }

    #[test]
    fn a_link_is_told_in_the_types_that_netifd_reads() {
        let mut link =
            Link { interface: "vpn".into(), device: "onebox0".into(), up: None, error: "" };
        let read = |link: &Link| Value::Object(blobmsg::table(&link.arguments()).unwrap());
        let down = json!({"action": 0, "interface": "vpn", "link-up": false});
        assert_eq!(read(&link), down);
        let error = Value::Object(blobmsg::table(&link.error_arguments("NO_ANSWER")).unwrap());
        assert_eq!(error, json!({"action": 3, "interface": "vpn", "error": ["NO_ANSWER"]}));
        let addresses = ["10.99.0.2/24", "fd99::2/64"].map(|a| a.parse().unwrap());
        let routes = ["0.0.0.0/0", "::/0", "10.0.0.0/8"].map(|r| r.parse().unwrap());
        link.up = Some((addresses.to_vec(), routes.to_vec()));
        assert_eq!(
            read(&link),
            json!({"action": 0, "interface": "vpn", "link-up": true, "ifname": "onebox0",
                "ipaddr": [{"ipaddr": "10.99.0.2", "mask": "24"}],
                "routes": [{"target": "0.0.0.0", "netmask": "0"},
                           {"target": "10.0.0.0", "netmask": "8"}],
                "ip6addr": [{"ipaddr": "fd99::2", "mask": "64"}],
                "routes6": [{"target": "::", "netmask": "0"}]})
        );
        // A number of 32 bits: netifd takes no other for this.
        assert_eq!(link.arguments()[0], 0x80 | blobmsg::Type::Int32 as u8);
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
            if let Ok(table) = crate::ubus::blobmsg::table(&bytes) {
                Interfaces::from_dump(&table);
            }
        }
    }
}
